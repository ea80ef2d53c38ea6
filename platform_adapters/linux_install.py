# SPDX-License-Identifier: MIT
"""`trueboot-agent install FILE`: a technician with a bundle on a stick.

The file is checked at once, against the device's own trusted state, the release
rules and the update machine, and its image against the signed hash; nothing is
stored for that.  Then the running agent, or the next one to start, is asked for
it through a record in its store (`agent/request.py`), and decides again by
itself.  The journal tells how it goes on.

As root it becomes the owner of the state folder first: what cannot be read then,
the agent cannot read either.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import secrets
import sys
import time
from types import SimpleNamespace
from typing import Any

from agent import begin, journal, request, update
from agent import config as schema
from agent.errors import AgentError, DeviceError, MisuseError, RefusedError, UnreachableError
from agent.tasks import consider, stick, trusted
from agent.trust.bundle import Bundle
from platform_adapters.filestore import FileStore
from platform_adapters.linux import Linux
from platform_adapters.linux_service import UNAVAILABLE, Stop, holder

FAILED, LATER = 1, 75
LOOK_S = 0.3
PIECE_BYTES = 256 * 1024
PHASES = {
    update.OFFERED: "waits for consent to take it",
    update.FETCHING: "is being copied into the spare slot",
    update.STAGED: "is verified; waits for consent to activate it, then restarts",
    update.TRIAL: "is on trial",
}


def platform_of(config: dict[str, Any]) -> Linux:
    if "raspberry_pi" not in config:
        return Linux(config)
    from platform_adapters import raspberry_pi

    return raspberry_pi.RaspberryPi(config)


class Looker:
    """What of an agent the considering task needs; this one changes nothing."""

    def __init__(self, config: dict[str, Any]):
        self.platform = platform_of(config)
        self.config = schema.check(self.platform.config)
        self.record = journal.load(self.platform.store)
        if "update" not in self.record:
            begin.fill(self, self.record)
        self.update_state = self.record["update"]
        self.uplink = SimpleNamespace(guessed=None)  # Linux's clock is the system's

    def log_error(self, error: AgentError) -> None:
        say("the device's own %s" % error)


def install(config: dict[str, Any], name: str, timeout_s: float) -> int:
    """0 when confirmed, or handed over with `timeout_s` 0; else Stop."""
    try:
        return check_and_follow(config, os.path.abspath(name), timeout_s)
    except (RefusedError, DeviceError) as error:
        code = UNAVAILABLE if error.code in ("store", "state") else FAILED
        raise Stop(code, str(error)) from None
    except UnreachableError as error:
        raise Stop(LATER if error.code == "install_busy" else UNAVAILABLE, str(error)) from None


def check_and_follow(config: dict[str, Any], name: str, timeout_s: float) -> int:
    become_owner(config["state"])
    if not os.path.isfile(name):
        raise UnreachableError("bundle_gone", "there is no file %s" % name)
    looker = Looker(config)
    release = examine(looker, name)
    what = "%s, version %s," % (release["target"], release["version"])
    if verdict(looker.update_state, release):
        say("%s runs already" % what)
        return 0
    identifier = secrets.token_hex(8)
    data = request.encode(name, identifier)
    return hand_over(looker, data, identifier, what + " is trusted", timeout_s)


def rollback(config: dict[str, Any], timeout_s: float) -> int:
    """Like `install`, of the image that ran before; the agent looks it up in the repository, and needs no download."""
    become_owner(config["state"])
    looker = Looker(config)
    try:
        if looker.update_state["phase"] != update.IDLE:
            raise Stop(LATER, "install_busy: an update is under way: " + looker.update_state["phase"])
        try:
            note = request.before(looker.platform.slots, looker.update_state)
        except MisuseError as error:
            raise Stop(FAILED, str(error)) from None
        identifier = secrets.token_hex(8)
        what = "%s, version %s, ran before" % (note["target"], note["version"])
        return hand_over(looker, request.encode_back(identifier), identifier, what, timeout_s)
    except (RefusedError, DeviceError) as error:
        raise Stop(UNAVAILABLE if error.code in ("store", "state") else FAILED, str(error)) from None


def hand_over(looker: Looker, data: bytes, identifier: str, what: str, timeout_s: float) -> int:
    looker.platform.store.save(request.RECORD, data)
    config = looker.platform.config
    owner = holder(config["state"])
    if owner:
        say("%s; handed to the agent (PID %s)" % (what, owner.get("pid")))
    else:
        say("%s; no agent runs, the next one to start takes it up" % what)
    if not timeout_s:
        return 0
    if not owner:
        raise Stop(LATER, "not installed yet: start the agent")
    return follow(config["state"], identifier, timeout_s)


def become_owner(state: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        owner = os.stat(state)
        if os.geteuid() != 0 or owner.st_uid == 0:
            return
        try:
            os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
        except KeyError:
            os.setgroups([owner.st_gid])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)


def examine(looker: Looker, name: str) -> dict[str, Any]:
    """The trusted release that the file carries, whole."""
    walk = trusted.start(looker, False)
    bundle = Bundle(walk)
    offer = {"file": name}
    size = run(consider.read_bundle(looker, offer, bundle, lambda: None))
    release = consider.judge_bundle(looker, offer, bundle.path, walk.target, bundle.prefix, size)
    body = stick.File(name, release["source"]["prefix"], release["source"]["length"])
    hasher = hashlib.sha256()
    try:
        while data := body.read(PIECE_BYTES):
            hasher.update(data)
    finally:
        body.close()
    if hasher.hexdigest() != release["sha256"]:
        raise RefusedError("image_hash", "the image is not the one that was signed")
    return release


def run(task: Any) -> Any:
    """The result of a task that waits for nobody."""
    while True:
        try:
            next(task)
        except StopIteration as end:
            return end.value


def verdict(state: dict[str, Any], release: dict[str, Any]) -> bool:
    """Whether it runs already; RefusedError with what the update machine would say."""
    if state["phase"] == update.TRIAL:
        text = "version %s is on trial; try again when that has ended"
        raise UnreachableError("install_busy", text % state["release"]["version"])
    _, commands = update.step(state, ("offered", dict(release, job=None, nonce=None)))
    for command in commands:
        report = command[2] if command[0] == "save" else None
        if report and report["outcome"] == "failed":
            raise UnreachableError("install_busy", report["reason"])
        if report and report["outcome"] == "refused":
            raise RefusedError("release_refused", report["reason"])
        if report:
            return True
    return False


def follow(state: str, identifier: str, timeout_s: float) -> int:
    """Tell of each phase until the journal holds the outcome."""
    store = FileStore(state + "/store")
    end = time.monotonic() + timeout_s
    told = ""
    while time.monotonic() < end:
        pending = store.load(request.RECORD)
        record = journal.load(store)
        last, now = record.get("last", {}), record.get("update", {})
        if last.get("request") == identifier:
            return ended(last)
        if (now.get("release") or {}).get("request") == identifier:
            if now["phase"] != told:
                told = now["phase"]
                say("version %s %s" % (now["release"]["version"], PHASES.get(told, told)))
        elif pending is None or identifier.encode() not in pending:
            raise RefusedError("install_lost", "another request took its place")
        time.sleep(LOOK_S)
    raise Stop(LATER, "not ended after %d s; the agent goes on, see `trueboot-agent status`" % timeout_s)


def ended(last: dict[str, Any]) -> int:
    if last["outcome"] == "updated":
        say("version %s is confirmed" % last["version"])
        return 0
    raise Stop(FAILED, "%s: %s" % (last["outcome"].replace("_", " "), last["reason"]))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
