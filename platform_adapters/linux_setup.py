# SPDX-License-Identifier: MIT
"""`trueboot-agent install-service` and `remove-service`: the agent as a service of systemd.

    /etc/systemd/system/trueboot-agent.service      and what of .service.d/ is ours: linux_unit.py
    /etc/trueboot/                                  agent.toml, the CA, the root of releases: root's, read by the service
    /var/lib/trueboot/                              state and slots: the service's own, 0700

Where the slots are whole systems only the unit is written: the rest lies on the data partition already.
What the slots are (apps, or systems by tryboot) and where the key is (file or TPM) is in the configuration; the flags
--app-slots, --tryboot and --tpm only make sure that it is what was meant.  Given again it is an upgrade: configuration,
state and slots are kept, the unit is written anew, the service is started again.  All is checked before anything is
written, and what was written is taken back when a later step fails (`linux_plan`).

`--root DIR` does the same to a folder that stands for /, an image's: there nothing is started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from typing import Any

from agent import config as schema
from platform_adapters import linux_config, linux_unit, raspberry_pi
from platform_adapters.linux_plan import Plan, account, call
from platform_adapters.linux_service import CONFIG, SYSTEM, UNAVAILABLE, USAGE, Stop, holder

NOT_PERMITTED = 77
DEFAULT_TPM = "device:/dev/tpmrm0"  # tpm_link.DEFAULT, without loading the library
UNITS = "/etc/systemd/system"
UNIT = UNITS + "/" + linux_unit.NAME
DROPINS = UNIT + ".d"
TRYBOOT, TPM = DROPINS + "/10-tryboot.conf", DROPINS + "/20-tpm.conf"
USERS = "/etc/sysusers.d/trueboot.conf"
FILE = linux_unit.CONFIG + "/agent.toml"
CA, ROOT = linux_unit.CONFIG + "/ca.pem", linux_unit.CONFIG + "/root.json"
STATE, SLOTS = linux_unit.STATE + "/state", linux_unit.STATE + "/slots"
PRIVATE = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - what the unit hides
RUNS = "/run/systemd/system"  # is there where systemd is process 1: sd_booted(3)


def install(options: Any) -> int:
    root = os.path.abspath(options.root) if options.root else ""
    if not options.dry_run:
        _check_surroundings(root)
    command = program(root)
    plan = Plan(root)
    if not root:
        plan.on_failure(["systemctl", "daemon-reload"])
    given = linux_config.read(_source(options.config, root)) if options.config else None
    if given is not None and SYSTEM in given:
        checked = _plan_system(plan, options, given)
    else:
        checked = _plan_apps(plan, options, given)
    plan.write(UNIT, linux_unit.unit([*command, "run", "--config", FILE]), 0o644)
    if checked["keys"] == "tpm":
        plan.write(TPM, linux_unit.tpm(checked["tpm"] or DEFAULT_TPM), 0o644)
    else:
        plan.remove(TPM)
    systemctl = ["systemctl", *(["--root=" + root] if root else ["--quiet"])]
    if not root:
        plan.command(["systemctl", "daemon-reload"])
    plan.command([*systemctl, "enable", linux_unit.NAME], [*systemctl, "disable", linux_unit.NAME])
    if not root:
        plan.command(["systemctl", "restart", "--no-block", linux_unit.NAME])
    if options.dry_run:
        return _say([*plan.told, "nothing was done: this was a dry run"])
    plan.carry_out()
    end = "in the image at %s: it starts at the image's boot" % root if root else "see: systemctl status trueboot-agent"
    return _say([*plan.told, "installed; " + end])


def _plan_apps(plan: Plan, options: Any, given: dict[str, Any] | None) -> dict[str, Any]:
    root, there = plan.root, None
    if os.path.exists(plan.place(FILE)):
        there = linux_config.read(plan.place(FILE))
    if given is None and there is None:
        raise Stop(
            USAGE, "there is no %s yet: give --config FILE of the folder that `trueboot device make` wrote" % FILE
        )
    text = _text(options.config) if given is not None else ""
    if there is not None and given is not None and tomllib.loads(text) != there:
        raise Stop(
            CONFIG,
            "%s is there, and not the same: it is kept; leave --config out, or remove it first" % FILE,
            "service_config",
        )
    checked = schema.check(there if there is not None else tomllib.loads(text))
    in_tpm = checked["keys"] == "tpm"
    _check_flags(options, False, in_tpm)
    plan.write(USERS, linux_unit.sysusers(in_tpm), 0o644)
    plan.command(["systemd-sysusers", *(["--root=" + root] if root else []), plan.place(USERS)])
    owner, reads = _owner(root), _group(root)
    plan.folder(linux_unit.CONFIG, 0o750, reads)
    if given is not None and there is None:
        for path, key in ((CA, "ca_file"), (ROOT, "root_file")):
            plan.write(path, _bytes(given[key]), 0o644)
        plan.write(FILE, text, 0o640, reads)
    else:
        plan.told.append("keep   %s" % FILE)
    _plan_slots(plan, given, owner)
    plan.remove(TRYBOOT)
    return checked


def _plan_system(plan: Plan, options: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The configuration stays on the data partition: a system that is updated must not bring another device's."""
    plain = dict(given)
    table = raspberry_pi.checked(plain.pop(SYSTEM))
    checked = schema.check(plain)
    _check_flags(options, True, checked["keys"] == "tpm")
    app = options.app
    if not os.path.isabs(app) or not os.path.isfile(plan.place(app)):
        raise Stop(
            CONFIG,
            "--app %s: no such file; its path begins with / and is that of the running system" % app,
            "service_config",
        )
    own = [given[key].removeprefix(plan.root) for key in ("state", "slots")]
    writable = [os.path.dirname(table["autoboot"]), *table["mounts"], *own]
    command = [sys.executable, "-P", "-B", app]
    plan.write(
        TRYBOOT, linux_unit.tryboot(command, os.path.abspath(options.config).removeprefix(plan.root), writable), 0o644
    )
    return checked


def _source(config: str, root: str) -> str:
    """The file to read: the image's, where there is one of that name."""
    return root + config if root and os.path.isabs(config) and os.path.isfile(root + config) else config


def remove(options: Any) -> int:
    root = os.path.abspath(options.root) if options.root else ""
    if not options.dry_run:
        _check_surroundings(root)
    plan = Plan(root)
    there = os.path.exists(plan.place(UNIT))
    if there and root:
        plan.command(["systemctl", "--root=" + root, "disable", linux_unit.NAME])
    elif there:
        plan.command(["systemctl", "--quiet", "disable", "--now", linux_unit.NAME])
    for path in (TRYBOOT, TPM, UNIT):
        plan.remove(path)
    if there and not root:
        plan.command(["systemctl", "daemon-reload"])
    if options.purge:
        plan.remove(USERS)
    if options.dry_run:
        gone = [path for path in (linux_unit.CONFIG, linux_unit.STATE) if os.path.isdir(plan.place(path))]
        return _say(
            [*plan.told, *("remove %s" % path for path in gone if options.purge), "nothing was done: a dry run"]
        )
    plan.carry_out()
    _remove_folder(plan.place(DROPINS))
    told = list(plan.told)
    if options.purge:
        told += _purge(plan, root)
    if not told:
        return _say(["no service was installed"])
    kept = [path for path in (linux_unit.CONFIG, linux_unit.STATE) if os.path.isdir(plan.place(path))]
    return _say([*told, *("keep   %s" % path for path in kept), "removed"])


def _purge(plan: Plan, root: str) -> list[str]:
    """Configuration, identity, slots and user: what no installation would find again."""
    told = []
    for path in (linux_unit.CONFIG, linux_unit.STATE):
        if os.path.isdir(plan.place(path)):
            try:
                shutil.rmtree(plan.place(path))
            except OSError as error:
                raise Stop(
                    UNAVAILABLE, "cannot remove %s: %s" % (error.filename or path, error.strerror), "service_failed"
                ) from None
            told.append("remove %s" % path)
    if account(root, linux_unit.USER) is not None:
        words = ["userdel", *(["--prefix", root] if root else []), linux_unit.USER]
        try:
            gone = call(words).returncode == 0
        except (OSError, subprocess.TimeoutExpired):
            gone = False  # no such program: the user owns nothing any more
        told.append(("remove user %s" if gone else "keep   user %s") % linux_unit.USER)
    return told


# What is looked at before anything is written


def _check_surroundings(root: str) -> None:
    if root:
        if not os.path.isdir(root):
            raise Stop(USAGE, "--root %s is no folder" % root)
        return
    if os.geteuid() != 0:
        raise Stop(NOT_PERMITTED, "a service is installed and removed by root: say sudo before it", "not_root")
    if not os.path.isdir(RUNS):
        text = "systemd does not run here, so there is nothing to install into; for an image give --root DIR, "
        raise Stop(
            UNAVAILABLE, text + "elsewhere start `trueboot-agent run` by what supervises your processes", "no_systemd"
        )


def program(root: str) -> list[str]:
    """What starts the agent: the command of this very installation, where the service can get at it."""
    if root and os.access(root + sys.executable, os.X_OK):
        return [os.path.join(os.path.dirname(sys.executable), "trueboot-agent")]  # this runs inside the image's own
    found = os.path.join(os.path.dirname(sys.executable), "trueboot-agent")
    if not os.access(found, os.X_OK):
        raise Stop(
            UNAVAILABLE,
            "%s is not there: install the package trueboot first, with pipx or pip" % found,
            "service_hidden",
        )
    if root:
        return [found]
    for place in (found, os.path.realpath(sys.executable)):
        if place.startswith(tuple(folder + "/" for folder in PRIVATE)):
            text = "%s is in a folder that a service does not see: install trueboot for all users, "
            raise Stop(
                CONFIG, (text + "`pipx install --global trueboot`, or into a venv below /opt") % place, "service_hidden"
            )
        _check_reach(place)
    return [found]


def _check_reach(place: str) -> None:
    """Whether another user may go there."""
    above = os.path.dirname(place)
    while True:
        if not os.stat(above).st_mode & 0o001:
            text = "the service's user may not enter %s, on the way to %s: chmod o+x, or install trueboot elsewhere"
            raise Stop(CONFIG, text % (above, place), "service_hidden")
        if above == "/":
            return
        above = os.path.dirname(above)


def _check_flags(options: Any, system: bool, in_tpm: bool) -> None:
    if options.app_slots and system:
        raise Stop(USAGE, "--app-slots: the configuration has a table [%s], so its slots are systems" % SYSTEM)
    if options.tryboot and not system:
        raise Stop(USAGE, "--tryboot: the configuration has no table [%s]" % SYSTEM)
    if options.tpm and not in_tpm:
        raise Stop(USAGE, '--tpm: the configuration does not say keys = "tpm"')
    if system and not options.app:
        raise Stop(USAGE, "slots that are systems need --app FILE: the app of the image, which makes the agent")
    if options.app and not system:
        raise Stop(USAGE, "--app is for slots that are systems; an app slot holds its own main.py")


# The configuration at its place


def _text(source: str) -> str:
    """The file's text, comments and all, with the paths of an installation."""
    with open(source, encoding="utf-8") as file:
        lines = file.read().splitlines()
    paths = {"ca_file": CA, "root_file": ROOT, "state": STATE, "slots": SLOTS}
    table = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    kept = [line for line in lines[:table] if line.partition("=")[0].strip() not in paths]
    text = "\n".join([*kept, *('%s = "%s"' % one for one in paths.items()), *lines[table:]]) + "\n"
    wanted = {**tomllib.loads("\n".join(lines)), **paths}
    try:
        if tomllib.loads(text) == wanted:
            return text
    except tomllib.TOMLDecodeError:
        pass
    raise Stop(
        CONFIG,
        "%s: write ca_file, root_file, state and slots as one line each, before any table" % source,
        "service_config",
    )


def _bytes(name: str) -> bytes:
    try:
        with open(name, "rb") as file:
            return file.read()
    except OSError as error:
        raise Stop(CONFIG, "cannot read %s: %s" % (name, error.strerror)) from None


def _plan_slots(plan: Plan, given: dict[str, Any] | None, owner: Any) -> None:
    plan.folder(linux_unit.STATE, 0o700, owner)
    if not os.path.isdir(plan.place(SLOTS)):
        source = given["slots"] if given is not None else ""
        if not any(os.path.isfile(os.path.join(source, slot, "main.py")) for slot in "ab"):
            text = "no slot has a main.py (%s): an app image belongs there first, see `trueboot device make --image`"
            raise Stop(CONFIG, text % (source or plan.place(SLOTS)), "service_config")
        plan.tree(SLOTS, source, owner)
    else:
        plan.told.append("keep   %s" % SLOTS)
    if given is not None and os.path.isdir(given["state"]) and not os.path.isdir(plan.place(STATE)):
        if holder(given["state"]):
            raise Stop(
                CONFIG,
                "an agent runs on %s: stop it first, its identity moves along" % given["state"],
                "service_config",
            )
        plan.tree(STATE, given["state"], owner)
    else:
        plan.folder(STATE, 0o700, owner)


# Who owns it


def _owner(root: str) -> Any:
    def found() -> tuple[int, int]:
        user = account(root, linux_unit.USER)
        if user is None:
            raise Stop(
                UNAVAILABLE, "systemd-sysusers made no user %s; nothing was changed" % linux_unit.USER, "service_failed"
            )
        return user

    return found


def _group(root: str) -> Any:
    return lambda: (0, _owner(root)()[1])


def _remove_folder(place: str) -> None:
    try:
        os.rmdir(place)
    except OSError:
        pass  # it holds drop-ins of others, or is not there


def _say(lines: list[str]) -> int:
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return 0
