# SPDX-License-Identifier: MIT
"""`trueboot-agent`: the trampoline on Linux, a look at a device's state, and the way in for a bundle in a file.

`run` is what boot.py is on boards: lock the state, choose the slot, count a
trial's boot, and become the guard (`linux_guard.py`), which runs the slot.  It
lives outside the slots and imports little.  `install` and `rollback` are in `linux_install`, `forget-identity` in `linux_forget`.

Exit codes of `run`, for supervisors (restart on 1, 3, 69 and on signals; stop on 0, 2, 77, 78)
  0 ended   2 usage   3 please reset me (--exit-on-reset)   69 its surroundings fail it, say a folder not writable
  75 another agent runs on this state   77 revoked   78 wrong configuration   1 crashed
Exit codes of `install` and `rollback`
  0 the release is confirmed (with --no-wait: it is handed over)   1 refused, failed or rolled back: the line says why
  2 usage   69 file or state cannot be read or written   75 not ended in time, or no agent runs: the request stays
  78 wrong configuration
Exit codes of `install-service` and `remove-service` (`linux_setup`): 0 done   2 usage   69 no systemd, or a step failed
  and nothing was changed   77 not root   78 wrong configuration
`doctor` (`linux_doctor`): 0 nothing fails   1 something does
Exit codes of `forget-identity`: 0 done   1 without --yes   2, 69, 75, 78 as above
`csr` and `certificate` are in `linux_bench`; their exit codes: 0 well, 1 refused, 69, 75 and 78 as of `run`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import os
import sys
import time
from typing import Any, NoReturn

from agent.errors import AgentError, MisuseError
from platform_adapters import bootrecord, linux_reset

USAGE, UNAVAILABLE, LOCKED, CONFIG = 2, 69, 75, 78
SYSTEM = "raspberry_pi"  # the configuration's table of a device whose slots are whole systems
LOCK_VARIABLE = "TRUEBOOT_LOCK_FD"
LOCK_TRIES, LOCK_PAUSE_S = 5, 0.05  # `status` holds the lock for a moment
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GUARD = os.path.join(ROOT, "platform_adapters", "linux_guard.py")
AGAIN = "import sys; sys.path.append(%r); from platform_adapters.linux_service import main; sys.exit(main())"


class Stop(Exception):
    """One line for people and one code for programs; `name`: what `trueboot explain` says more of."""

    def __init__(self, code: int, line: str, name: str = ""):
        super().__init__(code, line)
        self.code = code
        self.line = line + (" [%s]" % name if name else "")


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.verb == "status":
            return status(options.config, options.json)
        if options.verb in ("csr", "certificate"):
            from platform_adapters import linux_bench

            config, _ = settings(options.config)
            if options.verb == "csr":
                return linux_bench.csr(config, options.subject)
            return linux_bench.certificate(config, options.file)
        if options.verb in ("install", "rollback"):
            from platform_adapters import linux_install

            config, _ = settings(options.config)
            timeout = 0 if options.no_wait else options.timeout
            if options.verb == "rollback":
                return linux_install.rollback(config, timeout)
            return linux_install.install(config, options.file, timeout)
        if options.verb in ("install-service", "remove-service"):
            from platform_adapters import linux_setup

            return linux_setup.install(options) if options.verb == "install-service" else linux_setup.remove(options)
        if options.verb == "doctor":
            from platform_adapters import linux_doctor

            return linux_doctor.run(options.config, options.json)
        if options.verb == "forget-identity":
            from platform_adapters import linux_forget

            config, _ = settings(options.config)
            return linux_forget.forget(config, options.yes)
        return run(options.config, options.exit_on_reset)
    except Stop as stop:
        return complain(stop.code, stop.line)
    except MisuseError as error:
        return complain(CONFIG, "%s [%s]" % (error.detail, error.code))
    except AgentError as error:
        return complain(UNAVAILABLE, "%s [%s]" % (error.detail, error.code))


def complain(code: int, line: str) -> int:
    print("trueboot-agent: " + line.replace("\n", " "), file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="trueboot-agent", description="Runs a device's app from its slots.")
    top.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    about = {
        "run": "boot the device's app",
        "status": "tell what a device runs, without disturbing it",
        "install": "check a bundle and have the device's agent install it",
        "rollback": "have the device's agent go back to the image that ran before",
        "forget-identity": "drop the device's secret, certificates and keys, so that it can enrol anew",
        "csr": "make the device's key, once, and print a certificate request for it",
        "certificate": "store a certificate that was issued for that request",
        "doctor": "say what is wrong with this device, and what to do about it",
        "install-service": "install the agent as a service of systemd; given again, an upgrade",
        "remove-service": "stop the service and remove it; configuration and state stay",
    }
    for verb, text in about.items():
        one = verbs.add_parser(verb, help=text, description=text)
        if verb == "remove-service":
            one.add_argument("--purge", action="store_true", help="configuration, identity, slots and user, too")
            _add_service_options(one)
            continue
        text = "agent.toml; without it TRUEBOOT_CONFIG names the file"
        if verb == "install-service":
            text = "agent.toml of a device's folder, to begin with; not needed for an upgrade"
        one.add_argument("--config", metavar="FILE", help=text)
        if verb == "run":
            one.add_argument("--exit-on-reset", action="store_true", help="end with code 3 instead of starting again")
        elif verb == "forget-identity":
            one.add_argument("--yes", action="store_true", help="it cannot be undone, and this says that it is meant")
        elif verb in ("install", "rollback"):
            if verb == "install":
                one.add_argument("file", metavar="FILE", help="a bundle, made with `trueboot bundle make`")
            one.add_argument(
                "--timeout", metavar="SECONDS", type=float, default=600, help="how long to wait for the outcome"
            )
            one.add_argument("--no-wait", action="store_true", help="end once it is checked and handed over")
        elif verb == "csr":
            text = 'what EnOS wants before the common name, "C=SG,ST=Singapore,L=Singapore,O=x,OU=y"'
            one.add_argument("--subject", metavar="NAMES", default="", help=text)
        elif verb == "certificate":
            text = "PEM, leaf first; or device.json of `trueboot enos provision`; - for standard input"
            one.add_argument("file", metavar="FILE", help=text)
        elif verb == "install-service":
            kinds = one.add_mutually_exclusive_group()
            kinds.add_argument("--app-slots", action="store_true", help="make sure that the slots are for apps")
            kinds.add_argument("--tryboot", action="store_true", help="make sure that the slots are whole systems")
            one.add_argument("--tpm", action="store_true", help="make sure that the key is in a TPM")
            one.add_argument("--app", metavar="FILE", default="", help="where the slots are systems: the image's app")
            _add_service_options(one)
        elif verb in ("status", "doctor"):
            one.add_argument("--json", action="store_true", help="one JSON object")
    return top


def _add_service_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("--root", metavar="DIR", default="", help="a folder that stands for /, of an image")
    one.add_argument("--dry-run", action="store_true", help="say what would be done")


class Version(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> NoReturn:
        from agent import __version__

        print("trueboot-agent " + __version__)
        sys.exit(0)


def settings(path: str | None) -> tuple[dict[str, Any], str]:
    from platform_adapters import linux_config

    config = linux_config.read(path)
    return config, os.path.abspath(path or os.environ[linux_config.VARIABLE])


def run(path: str | None, exit_on_reset: bool) -> int:
    config, name = settings(path)
    if SYSTEM in config:
        raise Stop(CONFIG, "the system is the slot here, and its firmware chooses it: systemd starts the app")
    state, slots = config["state"], config["slots"]
    lock = take(state)
    slot, on_trial = bootrecord.start(state)
    folder = os.path.join(slots, slot)
    if not on_trial and not os.path.isfile(os.path.join(folder, "main.py")):
        raise Stop(CONFIG, "slot %s has no main.py (%s): install an app image there first" % (slot, folder))
    name_current(slots, slot)
    os.set_inheritable(lock, True)
    os.environ[LOCK_VARIABLE] = str(lock)
    command = [sys.executable, "-P", "-c", AGAIN % ROOT, "run", "--config", name]
    os.environ[linux_reset.TRAMPOLINE] = json.dumps(command)
    os.environ[linux_reset.MODE] = "exit" if exit_on_reset or config.get("reset") == "exit" else "exec"
    name_holder(lock, slot)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-B", GUARD, folder, name, state])  # noqa: S606


def name_holder(lock: int, slot: str) -> None:
    """For people and `status`; a disk that is full keeps no device from running."""
    with contextlib.suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"pid": os.getpid(), "slot": slot}).encode(), 0)


def name_current(slots: str, slot: str) -> None:
    """`current` in the slots' folder is the slot that starts now: for people and other tools, nothing here reads it."""
    link = os.path.join(slots, "current")
    try:
        if os.path.islink(link) and os.readlink(link) == slot:
            return
        if os.path.lexists(link + "~"):
            os.unlink(link + "~")
        os.symlink(slot, link + "~")
        os.rename(link + "~", link)  # one step: there is never none
    except OSError:
        pass  # a file system without links, or a folder that stands there: the device runs all the same


def take(state: str) -> int:
    """The descriptor that holds the lock on `state`; the one that a reset handed down, if it did."""
    name = os.path.join(state, "lock")
    try:
        os.makedirs(state, mode=0o700, exist_ok=True)
        lock = inherited(name)
        if lock is None:
            os.environ.pop(linux_reset.CAUSE, None)
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        check_writable(state)
    except OSError as error:
        text = "cannot write to the state folder %s: %s; change its owner, or set `state`"
        raise Stop(UNAVAILABLE, text % (state, error.strerror)) from None
    for left in reversed(range(LOCK_TRIES)):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if left:
                time.sleep(LOCK_PAUSE_S)
    pid = json.loads(os.pread(lock, 200, 0) or b"{}").get("pid", "?")
    raise Stop(LOCKED, "another agent (PID %s) runs on %s: stop it, or give this one its own `state`" % (pid, state))


def inherited(name: str) -> int | None:
    try:
        number = int(os.environ.pop(LOCK_VARIABLE, ""))
        return number if os.path.samestat(os.fstat(number), os.stat(name)) else None
    except (ValueError, OSError):
        return None


def check_writable(state: str) -> None:
    probe = os.path.join(state, "probe")
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600))
    os.unlink(probe)


def status(path: str | None, as_json: bool) -> int:
    config, _ = settings(path)
    state, slots = config["state"], config["slots"]
    owner = holder(state)
    record = bootrecord.load(state)
    slot = owner.get("slot", record["active"])
    if SYSTEM in config:
        from platform_adapters import raspberry_pi

        system = raspberry_pi.RaspberryPi(config).slots
        slot = system.running()
        confirmed = system.state()["confirmed"]
        record = {"active": slot if confirmed else system.spare(), "trial": None if confirmed else slot, "failure": ""}
    told = journal(state)
    found = {
        "running": bool(owner),
        "pid": owner.get("pid"),
        "slot": slot,
        "confirmed": record["active"] == slot,
        "trial": record["trial"],
        "failure": record["failure"],
        "identity": standing(told),
        "release": note(slots, slot),
        "freshness": told.get("freshness", ""),
        "key": key(config, told),
        "journal": told,
    }
    if as_json:
        print(json.dumps(found, default=str))
    else:
        print("\n".join("%-10s %s" % (name, value) for name, value in found.items()))
    return 0


def standing(told: dict[str, Any]) -> str:
    """The identity's phase, and why it is dead if it is."""
    found = told.get("identity") or {"phase": "blank"}
    return found["phase"] + (" (%s)" % found["reason"] if found.get("reason") else "")


def holder(state: str) -> dict[str, Any]:
    """What the running agent wrote into its lock, or {}."""
    try:
        lock = os.open(os.path.join(state, "lock"), os.O_RDONLY)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return {}
        raise Stop(UNAVAILABLE, "cannot read %s: %s" % (state, error.strerror)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return {}
    except BlockingIOError:
        return json.loads(os.pread(lock, 200, 0) or b'{"pid": null}')
    finally:
        os.close(lock)


def note(slots: str, slot: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(slots, slot, ".release"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def key(config: dict[str, Any], told: dict[str, Any]) -> str:
    """Where the device's key is, in words; no TPM is asked, which an agent may be talking to."""
    identity = told.get("identity") or {}
    label = identity.get("before") or identity.get("label", "a")
    in_tpm = config.get("keys") == "tpm"
    file = os.path.join(config["state"], "keys", label + (".tpm" if in_tpm else ".pem"))
    if not os.path.exists(file):
        return "none yet"
    if in_tpm:
        from platform_adapters.keystores.tpm_link import DEFAULT

        return "in the TPM at %s, which alone can use %s" % (config.get("tpm") or DEFAULT, file)
    return "in the file %s" % file


def journal(state: str) -> dict[str, Any]:
    from agent.journal import load
    from platform_adapters.filestore import FileStore

    told = load(FileStore(state + "/store"))
    source = ((told.get("update") or {}).get("release") or {}).get("source") or {}
    if "url" in source:
        source["url"] = source["url"].partition("?")[0]  # what follows may be a key to the file
    return told
