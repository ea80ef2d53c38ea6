# SPDX-License-Identifier: MIT
"""A TPM 2.0 in software for one device: Debian's swtpm, with an endorsement certificate by a CA of its own.

    Maker(folder)            the maker of TPMs: a small CA (swtpm_localca), whose certificates `roots` gives
    Swtpm(folder, maker)     one TPM; without a maker it has no certificate

Everything lies in the folders that are given; it listens on loopback only.  Not a safe place for keys: whoever reads
the folder has them.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

from ..problem import Problem

APT = "apt-get install swtpm swtpm-tools libtss2-dev pkg-config gcc libc6-dev"
PIP = "pip install 'trueboot[tpm]'"
START_S = 20
START_TRIES = 5
SETUP_S = 60


def lacks() -> str:
    """What this machine lacks for a TPM in software; empty when nothing."""
    for program in ("swtpm", "swtpm_setup", "swtpm_localca"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    try:
        import tpm2_pytss  # noqa: F401
    except (ImportError, NotImplementedError) as error:
        return f"tpm2-pytss is not installed ({error})"
    return ""


class Maker:
    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        files = {"signingkey": "signkey.pem", "issuercert": "issuercert.pem", "certserial": "certserial"}
        lines = [f"statedir = {folder}", *(f"{name} = {folder / file}" for name, file in files.items())]
        (folder / "localca.conf").write_text("\n".join(lines) + "\n")
        (folder / "localca.options").write_text(
            "--platform-manufacturer Trueboot\n--platform-version 1\n--platform-model demo\n"
        )
        self.config = folder / "setup.conf"
        self.config.write_text(
            f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
            f"create_certs_tool_config = {folder / 'localca.conf'}\n"
            f"create_certs_tool_options = {folder / 'localca.options'}\n"
            "active_pcr_banks = sha256\n"
        )

    def roots(self) -> str:
        """PEM: the root, and the CA between it and the endorsement certificates, which swtpm does not put into a TPM."""
        names = ("swtpm-localca-rootca-cert.pem", "issuercert.pem")
        return "".join((self.folder / name).read_text() for name in names)


class Swtpm:
    def __init__(self, folder: Path, maker: Maker | None = None):
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if maker is not None and not any(folder.iterdir()):
            self._make(maker)
        self._started = False
        self._place()

    def _make(self, maker: Maker) -> None:
        command = ["swtpm_setup", "--tpm2", "--tpmstate", str(self.folder), "--create-ek-cert", "--lock-nvram"]
        done = subprocess.run(
            [*command, "--config", str(maker.config), "--not-overwrite"],
            capture_output=True,
            text=True,
            timeout=SETUP_S,
        )
        if done.returncode:
            last = (done.stdout + done.stderr).strip().splitlines()[-1:] or ["it said nothing"]
            raise Problem("demo_failed", "The TPM in software could not be made.", last[0])

    def start(self) -> Swtpm:
        """Its address, `tcti`, is certain from the first start on: until then somebody may take the ports."""
        for left in reversed(range(1 if self._started else START_TRIES)):
            if self._run():
                self._started = True
                return self
            if left:
                self._place()
        raise Problem("demo_failed", "The TPM in software did not start.", f"see {self.folder}")

    def _place(self) -> None:
        self._port = _two_ports()
        self.tcti = f"swtpm:host=127.0.0.1,port={self._port}"

    def _run(self) -> bool:
        ends = [f"type=tcp,port={port},bindaddr=127.0.0.1" for port in (self._port, self._port + 1)]
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.folder}", "--server", ends[0] + ",disconnect"]
        self._process = subprocess.Popen(
            [*command, "--ctrl", ends[1], "--flags", "not-need-init,startup-clear"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if self._answers() and self._process.poll() is None:
                return True
            time.sleep(0.01)
        self.stop()
        return False

    def _answers(self) -> bool:
        """The control port tells, so that the TPM's own, which has room for one, is left alone."""
        try:
            socket.create_connection(("127.0.0.1", self._port + 1), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """As a TPM without power: what is durable stays.  May be called again."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()


def _two_ports() -> int:
    """A free port with a free one behind it: swtpm's own rule for its clients."""
    for _ in range(100):
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise Problem("demo_failed", "No two free ports side by side.")
