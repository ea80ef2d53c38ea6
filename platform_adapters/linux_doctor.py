# SPDX-License-Identifier: MIT
"""`trueboot-agent doctor`: what is wrong with this device, one line a check, and what to do about it.

It looks and changes nothing; a running agent is not disturbed.  As root it becomes the owner of the state folder first:
what it cannot read then, the agent cannot either.  Each look is bounded; no secret is read but to see who may read it.

Verdicts: ok, warn (it runs, and will not for ever or not for everybody), fail (it does not).  Exit code 1 when one fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from agent import config as schema
from agent import hold, identity, journal, life
from agent.errors import AgentError
from agent.wire import elements, pem, x509
from platform_adapters import anchored, bootrecord, linux_config, raspberry_pi
from platform_adapters.filestore import FileStore
from platform_adapters.linux_install import become_owner
from platform_adapters.linux_net import Net
from platform_adapters.linux_service import SYSTEM, Stop, holder

OK, WARN, FAIL = "ok", "warn", "fail"
DIAL_S = 5
DAY_S = 86400
SOON_S = 14 * DAY_S
LITTLE_BYTES = 16 * 1024 * 1024  # beside the image that is expected
NONE_BYTES = 1024 * 1024
ROOT_BYTES = 256 * 1024


class Check(NamedTuple):
    name: str
    verdict: str
    found: str
    todo: str = ""


def run(path: str | None, as_json: bool) -> int:
    checks = list(examine(path))
    if as_json:
        good = all(check.verdict != FAIL for check in checks)
        print(json.dumps({"ok": good, "checks": [check._asdict() for check in checks]}))
    else:
        for check in checks:
            print(line(check))
    sys.stdout.flush()
    return 1 if any(check.verdict == FAIL for check in checks) else 0


def line(check: Check) -> str:
    todo = "; do: " + check.todo if check.todo else ""
    return ("%-4s %-12s %s%s" % (check.verdict, check.name, check.found, todo)).replace("\n", " ")


def examine(path: str | None) -> Iterator[Check]:
    """The checks, in order; those that rest on one that failed are left out."""
    try:
        given = linux_config.read(path)
        plain = dict(given)
        table = plain.pop(SYSTEM, None)
        if table is not None:
            raspberry_pi.checked(table)
        config = schema.check(plain)
    except AgentError as error:
        todo = "correct it; the keys are listed in docs/reference/config.md"
        yield Check("config", FAIL, error.detail, todo)
        return
    file = path or os.environ[linux_config.VARIABLE]
    yield _config(file, config)
    state = config["state"]
    try:
        become_owner(state)
    except OSError as error:
        yield Check("state", FAIL, "cannot become the owner of %s: %s" % (state, error.strerror), "run it as root")
        return
    yield from guarded("state", _state, state)
    found: dict[str, Any] = {"anchors": [], "record": {}}
    yield from guarded("ca", _anchors, config, found)
    yield from guarded("root", _root, config)
    yield from guarded("journal", _journal, state, found)
    yield from guarded("clock", _clock, found["record"])
    yield from guarded("keys", _keys, config)
    yield from guarded("identity", _identity, config, found["record"])
    yield from guarded("slots", _slots, config) if table is None else guarded("slots", _systems, given)
    yield from guarded("disk", _disk, config)
    yield from guarded("agent", _agent, state)
    if found["anchors"]:
        for name in ("https", "mqtt"):
            if not config[name]:
                continue  # the service tells a device of some dialects
            yield from guarded(name, _server, name, config, found["anchors"])


def guarded(name: str, look: Callable[..., Iterator[Check]], *arguments: Any) -> Iterator[Check]:
    try:
        yield from look(*arguments)
    except (AgentError, Stop) as error:
        yield Check(name, FAIL, getattr(error, "detail", None) or getattr(error, "line", ""), _explained(error))
    except OSError as error:
        yield Check(name, FAIL, "%s: %s" % (error.filename or name, error.strerror or error), "see its permissions")


def _explained(error: Exception) -> str:
    return "trueboot explain " + error.code if isinstance(getattr(error, "code", None), str) else ""


def fingerprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()[:16]


def _config(file: str, config: dict[str, Any]) -> Check:
    secret = config["device_secret"] or config["product_secret"]
    names = (config["product_key"], config["device_key"])
    with contextlib.suppress(OSError):
        if secret and stat.S_IMODE(os.stat(file).st_mode) & 0o007:
            return Check("config", WARN, "%s holds a secret, and everybody can read it" % file, "chmod o= " + file)
    return Check("config", OK, "%s: device %s" % (file, "/".join(filter(None, names))))


def _state(state: str) -> Iterator[Check]:
    if not os.path.isdir(state):
        yield Check("state", WARN, "%s is not there: this device has not started yet" % state)
        return
    mode = os.stat(state).st_mode
    if not os.access(state, os.W_OK | os.X_OK):
        yield Check("state", FAIL, "%s cannot be written to" % state, "give it to the user that runs the agent")
    elif stat.S_IMODE(mode) & 0o077:
        yield Check("state", WARN, "others can look into %s" % state, "chmod 700 " + state)
    else:
        yield Check("state", OK, state)


def _anchors(config: dict[str, Any], found: dict[str, Any]) -> Iterator[Check]:
    with open(config["ca_file"], "rb") as file:
        data = file.read(ROOT_BYTES)
    provisioned = [data] if data[:1] == b"\x30" else pem.decode_all(data, "CERTIFICATE")
    if not provisioned:
        yield Check("ca", FAIL, "%s holds no certificate" % config["ca_file"], "get the CA file from the server")
        return
    found["anchors"] = anchored.read(provisioned, FileStore(config["state"] + "/store"))
    now = int(time.time())
    for der in found["anchors"]:
        read = x509.read(der)
        told = "%s, sha256 %s" % (read.common_name, fingerprint(der))
        if read.not_after < now:
            yield Check("ca", FAIL, told + ", is over", "get the new CA file from the server, or mend the clock")
        elif read.not_after < now + SOON_S:
            yield Check("ca", WARN, told + ", ends in %d days" % ((read.not_after - now) // DAY_S), "renew the CA")
        else:
            yield Check("ca", OK, told)


def _root(config: dict[str, Any]) -> Iterator[Check]:
    name = config["root_file"]
    with open(name, "rb") as file:
        data = file.read(ROOT_BYTES)
    try:
        signed = json.loads(data)["signed"]
        good = signed["_type"] == "root" and signed["roles"].keys() >= {"root", "targets", "snapshot", "timestamp"}
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        yield Check("root", FAIL, "%s is no root metadata of releases" % name, "copy root.json from the server's state")
    else:
        yield Check("root", OK, "releases: %s, version %s" % (name, signed.get("version")))


def _journal(state: str, found: dict[str, Any]) -> Iterator[Check]:
    store = FileStore(state + "/store")
    found["record"] = record = journal.load(store)
    if record:
        yield Check("journal", OK, "boot %s, version %s" % (record.get("boot", 0), record["update"]["version"]))
    elif any(store.load(name) for name in journal.COPIES):
        todo = "the next start begins a new one; if that is not meant, restore the state folder"
        yield Check("journal", FAIL, "both copies are damaged", todo)
    else:
        yield Check("journal", WARN, "empty: this device has not started yet")


def _clock(record: dict[str, Any]) -> Iterator[Check]:
    now, floor = int(time.time()), max(hold.BUILT, record.get("clock", 0))
    told = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if now < floor:
        behind = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(floor))
        yield Check(
            "clock", FAIL, "%s is before %s, which was signed" % (told, behind), "set it: timedatectl set-ntp true"
        )
    elif os.path.isdir("/run/systemd/timesync") and not os.path.exists("/run/systemd/timesync/synchronized"):
        yield Check("clock", WARN, "%s, not synchronized" % told, "timedatectl; is a time server reachable?")
    else:
        yield Check("clock", OK, told)


def _keys(config: dict[str, Any]) -> Iterator[Check]:
    folder = config["state"] + "/keys"
    exposed = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            if stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) & 0o077:
                exposed.append(os.path.join(folder, name))
    for file in exposed:
        yield Check("keys", FAIL, "others can read %s: it is not used (key_exposed)" % file, "chmod 600 " + file)
    if config["keys"] == "tpm":
        yield _tpm(config["tpm"] or "device:/dev/tpmrm0")
    elif not exposed:
        yield Check("keys", OK, "in files below %s" % folder)


def _tpm(tcti: str) -> Check:
    kind, _, device = tcti.partition(":")
    try:
        import tpm2_pytss  # noqa: F401
    except (ImportError, NotImplementedError):
        return Check("keys", FAIL, "tpm2-pytss is not installed (tpm_library)", "pip install 'trueboot[tpm]'")
    if kind == "device" and not os.path.exists(device):
        return Check(
            "keys", FAIL, "there is no %s (tpm_absent)" % device, "switch the TPM on, or see `tpm` in agent.toml"
        )
    if kind == "device" and not os.access(device, os.R_OK | os.W_OK):
        todo = "usermod -aG tss USER, and start the agent again"
        return Check("keys", FAIL, "%s may not be opened (tpm_permission)" % device, todo)
    return Check("keys", OK, "in the TPM at %s" % tcti)


def _identity(config: dict[str, Any], record: dict[str, Any]) -> Iterator[Check]:
    told = record.get("identity") or identity.initial()
    phase = told["phase"]
    if phase == identity.REVOKED:
        todo = "ask the operator; then trueboot-agent forget-identity"
        yield Check("identity", FAIL, "revoked (%s)" % told.get("reason", ""), todo)
        return
    label = told.get("before") or told["label"]
    chain = FileStore(config["state"] + "/store").load("cert." + label)
    if chain is None:
        way = config["device_secret"] or config["product_secret"]
        secret = way or FileStore(config["state"] + "/store").load("secret")
        if not secret and phase == "blank":
            yield Check("identity", FAIL, "no secret to enrol with", "device_secret or product_secret, or certificate")
        else:
            yield Check(
                "identity", WARN, "phase %s: no certificate yet" % phase, "start the agent; it enrols by itself"
            )
        return
    leaf = elements.split(chain)[0]
    why, due_ms, end_ms = life.plan(life.dates(leaf), told.get("since", 0), int(time.time()), config["renew_percent"])
    left = end_ms // 1000 - int(time.time())
    text = "%s, certificate until %s" % (phase, time.strftime("%Y-%m-%d", time.gmtime(end_ms // 1000)))
    if left < 0:
        yield Check(
            "identity", FAIL, text + ": it is over", "mend the clock; or the agent renews it when the server answers"
        )
    elif why or due_ms // 1000 < int(time.time()):
        yield Check("identity", WARN, text + ": " + (why or "its renewal is due"), "is the server reachable?")
    else:
        yield Check("identity", OK, text)


def _slots(config: dict[str, Any]) -> Iterator[Check]:
    record = bootrecord.load(config["state"])
    slot = record["active"]
    main = os.path.join(config["slots"], slot, "main.py")
    if not os.path.isfile(main):
        yield Check("slots", FAIL, "slot %s has no main.py (%s)" % (slot, main), "install an app image there")
    elif not os.access(os.path.join(config["slots"], slot, ".index"), os.R_OK):
        todo = "put it there as a release: trueboot device make, or an update"
        yield Check("slots", WARN, "slot %s was filled by hand: what runs cannot be proven" % slot, todo)
    elif record["trial"]:
        yield Check("slots", WARN, "slot %s is on trial; %s is the one before" % (record["trial"], slot))
    else:
        told = "slot %s runs" % slot
        failure = "; the last trial failed: " + record["failure"] if record["failure"] else ""
        yield Check("slots", WARN if failure else OK, told + failure)


def _systems(given: dict[str, Any]) -> Iterator[Check]:
    slots = raspberry_pi.RaspberryPi(given).slots
    slot = slots.running()
    if slots.state()["confirmed"]:
        yield Check("slots", OK, "system %s runs, confirmed" % slot)
    else:
        yield Check("slots", WARN, "system %s is on trial; %s is the one before" % (slot, slots.spare()))


def _disk(config: dict[str, Any]) -> Iterator[Check]:
    seen = set()
    for key in ("state", "slots"):
        folder = config[key]
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        device = os.stat(folder).st_dev
        if device in seen:
            continue
        seen.add(device)
        room = os.statvfs(folder)
        free = room.f_bavail * room.f_frsize
        told = "%d MiB free below %s" % (free >> 20, folder)
        if free < NONE_BYTES or (room.f_files and not room.f_favail):
            yield Check("disk", FAIL, told, "make room: the journal cannot be written")
        elif free < LITTLE_BYTES:
            yield Check("disk", WARN, told, "make room: an image may not fit")
        else:
            yield Check("disk", OK, told)


def _agent(state: str) -> Iterator[Check]:
    found = holder(state)
    if found:
        yield Check("agent", OK, "runs, PID %s, slot %s" % (found.get("pid"), found.get("slot", "?")))
    else:
        yield Check("agent", WARN, "does not run", "systemctl status trueboot-agent, or trueboot-agent run")


def _server(name: str, config: dict[str, Any], anchors: list[bytes]) -> Iterator[Check]:
    """One handshake, without a certificate of ours: who it is must hold, and how long."""
    host, port = schema.address(config[name])
    try:
        with Net(lambda: anchors, None, limit_s=DIAL_S).dial(host, port, None) as dialled:  # type: ignore[arg-type]
            der = dialled.getpeercert(True) or b""
    except AgentError as error:
        if error.code == "tls_refused":  # by TLS 1.2 a listener for certificates says so at once
            yield Check(name, OK, "%s:%d answers, and wants a certificate" % (host, port))
        else:
            yield Check(name, FAIL, "%s:%d: %s" % (host, port, error.detail), "trueboot explain " + error.code)
        return
    read = x509.read(der)
    left = (read.not_after - int(time.time())) // DAY_S
    told = "%s:%d answers, sha256 %s, %d days left" % (host, port, fingerprint(der), left)
    yield Check(name, WARN if left < 7 else OK, told, "renew the server's certificate" if left < 7 else "")
