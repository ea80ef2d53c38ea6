# SPDX-License-Identifier: MIT
"""`trueboot demo --tpm`: that what it looks for on the disk would be found.  docs/tpm.md is where it is run."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from platform_adapters.keystores.software import SoftwareKeys
from platform_adapters.keystores.tpm import TpmBackend
from platform_adapters.keystores.tpm_link import Link
from trueboot.demo import chips, story
from trueboot.problem import Problem


def demo(*arguments, **environment):
    command = [sys.executable, "-m", "trueboot", "demo", "--tpm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, env=os.environ | environment)


def test_without_a_tpm_in_software_it_says_what_to_install(tmp_path):
    done = demo(PATH=str(tmp_path))
    assert done.returncode == 78 and "tpm_missing" in done.stderr
    assert "apt-get install swtpm swtpm-tools" in done.stderr and "Traceback" not in done.stderr


def test_boards_of_micropython_have_none():
    with pytest.raises(Problem, match="usage"):
        story.run("happy", 1, "micropython", False, 10, True, tpm=True)


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8),
        (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL),
        (serialization.Encoding.DER, serialization.PrivateFormat.PKCS8),
        (serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL),
    ],
)
def test_a_private_key_on_the_disk_is_found(tmp_path, encoding, form):
    key = ec.generate_private_key(ec.SECP256R1())
    data = key.private_bytes(encoding, form, serialization.NoEncryption())
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"before" + data + b"after")
    (tmp_path / "public").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert [path.name for path, _ in chips.private_keys(tmp_path)] == ["file"]


def test_the_number_itself_is_found(tmp_path, chip):
    backend = TpmBackend(tmp_path / "keys", Link(chip.tcti))
    backend.make("a")
    assert not chips.holds_secret(backend.file("a"), backend.public("a"))
    software = SoftwareKeys(tmp_path / "software")
    software.make("a")
    number = software._key("a").private_numbers().private_value.to_bytes(32, "big")
    for planted in (number, b"x" + number):
        blob = {"public": "", "private": base64.b64encode(planted).decode()}
        (tmp_path / "planted").write_text(json.dumps(blob))
        assert chips.holds_secret(tmp_path / "planted", software.public("a"))
