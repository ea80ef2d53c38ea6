# SPDX-License-Identifier: MIT
"""Installers that others made, given the same image over the same server: rauc and swupdate as Debian builds them.

Each wraps the image in its own signed form, fetches that by mutual TLS with curl, since neither can present a client
certificate here, and ends with the image in a file, synced.
  * swupdate takes the stream from curl and writes while it comes; its `sha256` and CMS signature are checked.
  * rauc is built without streaming, which would need NBD and dm-verity of the kernel too, so the bundle is a file first; the
    signature covers all of it ("plain" format).  It mounts its bundle, which needs root, and is driven over a D-Bus of its own.
What lacks on a machine is told, and then nothing is measured.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bed import Identity
from measure import BenchError

LIMIT_S = 120
SERVICE_S = 10
CERTIFICATE = "keyUsage=digitalSignature", "extendedKeyUsage=emailProtection"
SW_DESCRIPTION = """software = {
    version = "1.0.0";
    hardware-compatibility: [ "#RE:^.*$" ];
    images: ( { filename = "image.bin"; type = "rawfile"; path = "%s"; installed-directly = true; sha256 = "%s"; } );
}
"""
RAUC_MANIFEST = """[update]
compatible=bench
version=1.0.0
[bundle]
format=plain
[image.rootfs]
filename=rootfs.img
"""
RAUC_SYSTEM = """[system]
compatible=bench
bootloader=noop
statusfile={0}/status
mountprefix={0}/mount
[keyring]
path={0}/certificate.pem
check-purpose=any
[slot.rootfs.0]
device={0}/a.img
type=raw
bootname=A
[slot.rootfs.1]
device={0}/b.img
type=raw
bootname=B
"""


class Installer(Protocol):
    name: str
    package: Path

    def install_s(self, url: str, identity: Identity) -> float: ...


class Swupdate:
    name = "curl | swupdate"

    def __init__(self, folder: Path, image: bytes):
        _need("swupdate", "cpio", "curl", "openssl")
        folder.mkdir()
        self._folder, self._slot = folder, folder / "slot.bin"
        self._digest = hashlib.sha256(image).digest()
        _certificate(folder)
        (folder / "image.bin").write_bytes(image)
        (folder / "sw-description").write_text(SW_DESCRIPTION % (self._slot, self._digest.hex()))
        sign = "cms -sign -in sw-description -out sw-description.sig -signer certificate.pem -inkey key.pem"
        _run(folder, "openssl", *sign.split(), "-outform", "DER", "-nosmimecap", "-binary")
        names = b"sw-description\nsw-description.sig\nimage.bin\n"
        self.package = folder / "package.swu"
        self.package.write_bytes(_run(folder, "cpio", "-o", "-H", "crc", "--quiet", stdin=names))
        (folder / "image.bin").unlink()

    def install_s(self, url: str, identity: Identity) -> float:
        self._slot.touch()  # swupdate opens it, and makes none
        command = ["swupdate", "-H", "bench:1.0", "-k", "certificate.pem", "-l", "3", "-i", "/dev/stdin"]
        start = time.monotonic()
        with subprocess.Popen(curl(url, identity), stdout=subprocess.PIPE) as fetching:
            with subprocess.Popen(
                command, cwd=self._folder, stdin=fetching.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as installing:
                took, said = 0.0, b""
                # What it does after it has said so (it sleeps for a second) is not counted.
                for line in installing.stdout or ():
                    said = line
                    if b"SWUPDATE successful" in line:
                        took = time.monotonic() - start
        if not took:
            raise BenchError(f"swupdate failed: {said.decode(errors='replace').strip()}")
        _must_hold(self._slot, self._digest)
        return took


class Rauc:
    name = "curl, then rauc"

    def __init__(self, folder: Path, image: bytes):
        _need("rauc", "mksquashfs", "curl", "openssl", "dbus-run-session", "dbus-send")
        if os.geteuid():
            raise BenchError("rauc mounts its bundle, which only root may")
        folder.mkdir()
        self._folder, self._digest = folder, hashlib.sha256(image).digest()
        _certificate(folder)
        content = folder / "content"
        content.mkdir()
        (folder / "mount").mkdir()
        (content / "rootfs.img").write_bytes(image)
        (content / "manifest.raucm").write_text(RAUC_MANIFEST)
        (folder / "system.conf").write_text(RAUC_SYSTEM.format(folder))
        for slot in "a.img", "b.img":
            with open(folder / slot, "wb") as file:
                file.truncate(len(image))
        self.package = folder / "package.raucb"
        _run(folder, "rauc", "--cert=certificate.pem", "--key=key.pem", "bundle", "content", self.package.name)
        shutil.rmtree(content)

    def install_s(self, url: str, identity: Identity) -> float:
        fetched = self._folder / "fetched.raucb"
        with self._service() as environment:
            start = time.monotonic()
            _run(self._folder, *curl(url, identity), "-o", str(fetched))
            _run(self._folder, "rauc", "-c", "system.conf", "install", str(fetched), environment=environment)
            took = time.monotonic() - start
        _must_hold(self._folder / "b.img", self._digest)
        fetched.unlink()
        return took

    @contextmanager
    def _service(self) -> Iterator[dict[str, str]]:
        """rauc's service on a bus of its own; the environment in which it is found."""
        script = "export DBUS_STARTER_BUS_TYPE=session; echo $DBUS_SESSION_BUS_ADDRESS; exec rauc -c system.conf service --override-boot-slot=A"
        named = os.environ | {"DBUS_STARTER_BUS_TYPE": "session"}
        with open(self._folder / "service.log", "wb") as log:
            bus = subprocess.Popen(
                ["dbus-run-session", "--", "sh", "-c", script],
                cwd=self._folder,
                env=named,
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            assert bus.stdout is not None
            environment = named | {"DBUS_SESSION_BUS_ADDRESS": bus.stdout.readline().decode().strip()}
            ask = (
                "dbus-send --session --print-reply --dest=de.pengutronix.rauc / org.freedesktop.DBus.Peer.Ping".split()
            )
            end = time.monotonic() + SERVICE_S
            while subprocess.run(ask, env=environment, capture_output=True).returncode:
                if time.monotonic() > end or bus.poll() is not None:
                    lines = (self._folder / "service.log").read_text().strip().splitlines()
                    raise BenchError("rauc's service does not answer: " + (lines or ["it said nothing"])[-1])
                time.sleep(0.05)
            yield environment
        finally:
            _stop(bus)


def curl(url: str, identity: Identity) -> list[str]:
    names = (str(path) for path in identity)
    options = [word for pair in zip(("--cert", "--key", "--cacert"), names, strict=True) for word in pair]
    return ["curl", "--silent", "--show-error", "--fail", *options, url]


def _certificate(folder: Path) -> None:
    _run(folder, "openssl", *"ecparam -name prime256v1 -genkey -noout -out key.pem".split())
    extensions = [word for extension in CERTIFICATE for word in ("-addext", extension)]
    make = "req -x509 -new -key key.pem -subj /CN=bench -days 30 -out certificate.pem".split()
    _run(folder, "openssl", *make, *extensions)


def _need(*programs: str) -> None:
    lacking = [name for name in programs if shutil.which(name) is None]
    if lacking:
        raise BenchError("not installed: %s (debian-packages-bench.txt)" % ", ".join(lacking))


def _run(folder: Path, *command: str, stdin: bytes = b"", environment: dict[str, str] | None = None) -> bytes:
    done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=LIMIT_S, env=environment)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BenchError(f"{command[0]} failed: {said[-1]}")
    return done.stdout


def _must_hold(slot: Path, digest: bytes) -> None:
    with open(slot, "rb") as file:
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise BenchError(f"{slot.name} does not hold the image")


def _stop(bus: subprocess.Popen[bytes]) -> None:
    """The service ends first, by its own command's end; the bus ends with it."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(bus.pid)], capture_output=True, text=True).stdout
    for pid in children.split():
        try:
            os.kill(int(pid), 15)
        except ProcessLookupError:
            pass
    bus.wait(SERVICE_S)
