# SPDX-License-Identifier: MIT
"""The Linux platform keeps the device contract; what it writes is private, and its configuration is strict."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

import contract_device
from agent.errors import DeviceError, MisuseError
from platform_adapters import linux_config
from platform_adapters.linux import Linux


@pytest.fixture
def root(tmp_path, authority):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "root.json").write_text('{"signed": {}}')
    (tmp_path / "agent.toml").write_text('hardware = "sim"\n')
    return tmp_path


@pytest.mark.parametrize("check", contract_device.CHECKS, ids=lambda check: check.__name__)
def test_device_contract(root, check):
    check(lambda: Linux(root / "agent.toml"))


def test_secrets_are_private_whatever_the_umask(root):
    before = os.umask(0)
    try:
        platform = Linux(root / "agent.toml")
        platform.store.save("secret", b"x")
        platform.keys.make("dev")
    finally:
        os.umask(before)
    state = root / "state"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "store" / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((state / "keys" / "dev.pem").stat().st_mode) == 0o600
    assert sorted(os.listdir(state / "keys")) == ["dev.pem"]


def test_a_key_is_never_replaced(root):
    first, second = Linux(root / "agent.toml").keys, Linux(root / "agent.toml").keys
    second.has = lambda label: False  # two processes that both saw none
    first.make("dev")
    point = first.public("dev")
    second.make("dev")
    assert first.public("dev") == second.public("dev") == point


def test_a_damaged_key_is_the_devices_fault(root):
    keys = Linux(root / "agent.toml").keys
    keys.make("dev")
    keys.file("dev").write_text("junk")
    with pytest.raises(DeviceError, match="key_store"):
        keys.sign("dev", b"x")
    with pytest.raises(MisuseError, match="key_label"):
        keys.has("../dev")


def test_a_key_that_others_can_read_is_not_used(root):
    keys = Linux(root / "agent.toml").keys
    keys.make("dev")
    for mode in (0o640, 0o604, 0o620):
        keys.file("dev").chmod(mode)
        for use in (lambda: keys.sign("dev", b"x"), lambda: keys.attach(None, "dev", [])):
            with pytest.raises(DeviceError, match="key_exposed"):
                use()
    keys.file("dev").chmod(0o400)
    assert keys.sign("dev", b"x")


def test_config_paths_and_errors(root, monkeypatch):
    (root / "agent.toml").write_text('state = "/var/x"\nca_file = "trust/ca.pem"\n')
    config = linux_config.read(root / "agent.toml")
    assert config["state"] == "/var/x"
    assert config["ca_file"] == str(root / "trust" / "ca.pem")
    assert config["slots"] == str(root / "slots")
    monkeypatch.setenv("TRUEBOOT_CONFIG", str(root / "agent.toml"))
    assert linux_config.read() == config
    monkeypatch.delenv("TRUEBOOT_CONFIG")
    for text in ("state = 1\n", "state = \n", "a = 'x", "\xff"):
        (root / "agent.toml").write_bytes(text.encode("latin-1"))
        with pytest.raises(MisuseError, match="config"):
            linux_config.read(root / "agent.toml")
    with pytest.raises(MisuseError, match="--config"):
        linux_config.read()


def test_trust_that_cannot_be_read(root, authority):
    from cryptography.hazmat.primitives.serialization import Encoding

    (root / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.DER))
    assert Linux(root / "agent.toml").anchors() == [authority.der]
    (root / "ca.pem").write_bytes(authority.pem * 2)
    assert Linux(root / "agent.toml").anchors() == [authority.der] * 2
    for text in ("", "-----BEGIN CERTIFICATE-----\n"):
        (root / "ca.pem").write_text(text)
        with pytest.raises(MisuseError, match="ca_file"):
            Linux(root / "agent.toml")
    (root / "ca.pem").unlink()
    with pytest.raises(MisuseError, match="ca_file"):
        Linux(root / "agent.toml")


def test_a_state_folder_that_cannot_be_made(root):
    (root / "state").write_text("a file")
    with pytest.raises(DeviceError, match="state"):
        Linux(root / "agent.toml")


def test_log_is_one_object_a_line_and_outlives_its_reader(root):
    script = (
        "import os, sys\n"
        "from platform_adapters.linux import Linux\n"
        "log = Linux(sys.argv[1]).log\n"
        "log('boot', {'detail': 'two\\nlines', 'raw': b'x'})\n"
        "os.close(1)\n"
        "log('lost', {})\n"
        "sys.stderr.write('alive')\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, root / "agent.toml"], capture_output=True, text=True, timeout=30
    )
    assert done.stderr == "alive"
    line = json.loads(done.stdout)
    assert line["event"] == "boot" and line["detail"] == "two\nlines" and isinstance(line["t"], int)
    (root / "agent.toml").write_text('log = "text"\n')
    done = subprocess.run(
        [sys.executable, "-c", script, root / "agent.toml"], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.rstrip("\n").count("\n") == 0 and "boot detail=two" in done.stdout
