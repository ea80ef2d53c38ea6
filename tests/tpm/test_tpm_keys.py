# SPDX-License-Identifier: MIT
"""Keys in a TPM keep the contract of every key store, and what a TPM promises on top of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

import contract_device
from agent.errors import DeviceError, MisuseError
from platform_adapters.keystores import tpm, tpm_link
from platform_adapters.keystores.tpm_link import Link
from platform_adapters.linux import Linux
from trueboot.demo.swtpm import Swtpm


@pytest.fixture
def root(tmp_path, authority, chip):
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "root.json").write_text('{"signed": {}}')
    (tmp_path / "agent.toml").write_text('hardware = "sim"\nkeys = "tpm"\ntpm = "%s"\n' % chip.tcti)
    return tmp_path


@pytest.fixture
def boot(root):
    """A platform a boot; the TPM talks to one at a time."""
    made = []

    def again():
        for old in made:
            old.keys._link.close()
        made.append(Linux(root / "agent.toml"))
        return made[-1]

    yield again
    for old in made:
        old.keys._link.close()


@pytest.mark.parametrize("check", contract_device.CHECKS, ids=lambda check: check.__name__)
def test_device_contract(boot, check):
    check(boot)


def test_the_key_outlives_the_tpms_power_and_moves_nowhere(boot, root, chip, tmp_path):
    keys = boot().keys
    keys.make("a")
    point = keys.public("a")
    chip.stop()
    chip.start()
    assert boot().keys.public("a") == point and boot().keys.sign("a", b"x")
    assert sorted(os.listdir(root / "state" / "keys")) == ["a.tpm"]
    boot().keys._link.close()
    other = Swtpm(tmp_path / "other").start()
    try:
        with pytest.raises(DeviceError, match="tpm_swapped"):
            tpm.TpmBackend(root / "state" / "keys", Link(other.tcti)).sign_digest("a", b"\1" * 32)
    finally:
        other.stop()


def test_the_tpm_says_that_the_key_cannot_leave(boot):
    from tpm2_pytss import TPMA_OBJECT

    keys = boot().keys
    keys.make("a")

    def attributes(esapi):
        with tpm.load(esapi, keys.backend.blob("a"), "a") as handle:
            public, _, _ = esapi.read_public(handle)
            return public.publicArea.objectAttributes

    told = keys._link.run(attributes)
    wanted = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.SENSITIVEDATAORIGIN
    assert told & wanted == wanted
    assert not told & (TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT)


def test_digests_of_any_length(boot):
    """TLS 1.2 servers may ask for SHA-1's to SHA-512's; SEC 1, 4.1.3 says which bits count."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

    keys = boot().keys
    keys.make("a")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), keys.public("a"))
    for kind in (hashes.SHA224(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()):
        hasher = hashes.Hash(kind)
        hasher.update(b"x")
        digest = hasher.finalize()
        raw = keys.backend.sign_digest("a", digest)
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        public.verify(der, digest, ec.ECDSA(Prehashed(kind)))


def test_a_key_is_never_replaced_and_a_cut_leaves_nothing(boot, root):
    keys = boot().keys
    keys.make("a")
    point = keys.public("a")
    keys.backend.has = lambda label: False  # two processes that both saw none
    keys.backend.make("a")
    assert keys.public("a") == point
    (root / "state" / "keys" / "b.new").write_bytes(b"torn by a cut")
    keys = boot().keys
    assert not keys.has("b")
    keys.make("b")
    assert keys.sign("b", b"x") and sorted(os.listdir(root / "state" / "keys")) == ["a.tpm", "b.tpm"]


def test_many_threads_share_one_connection(boot):
    keys = boot().keys
    keys.make("a")
    failures = []

    def work():
        try:
            for _ in range(5):
                keys.sign("a", b"x")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_a_killed_process_left_in_the_tpm_goes(boot, root, chip):
    """A TPM without a resource manager has three slots, one for the parent at work; a process that dies between load and flush leaves one full."""
    keys = boot().keys
    keys.make("a")
    keys._link.close()
    script = (
        "import os, sys\n"
        "from platform_adapters.keystores import tpm, tpm_link\n"
        "backend = tpm.TpmBackend(sys.argv[1], tpm_link.Link(sys.argv[2]))\n"
        "def leave(esapi):\n"
        "    for _ in range(2): tpm.load(esapi, backend.blob('a'), 'a')\n"
        "    os._exit(7)\n"
        "backend.link.run(leave)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, root / "state" / "keys", chip.tcti], timeout=30)
    assert done.returncode == 7
    assert boot().keys.sign("a", b"x")


def test_slots_that_another_object_fills_are_freed(boot):
    keys = boot().keys
    keys.make("a")

    def fill(esapi):
        for _ in range(2):
            tpm.load(esapi, keys.backend.blob("a"), "a")

    keys._link.run(fill)
    assert keys.sign("a", b"x")


def test_no_descriptor_of_the_connection_is_inherited(monkeypatch):
    """A reset is an exec; the C library opens /dev/tpmrm0 without O_CLOEXEC."""

    class Opened:
        def __init__(self, tcti):
            self.descriptor = os.dup(0)
            os.set_inheritable(self.descriptor, True)

        def get_capability(self, *arguments):
            return False, SimpleNamespace(data=SimpleNamespace(handles=[]))

        def close(self):
            os.close(self.descriptor)

    monkeypatch.setattr(tpm_link, "library", lambda: SimpleNamespace(ESAPI=Opened))
    link = Link("swtpm:")
    assert not link.run(lambda esapi: os.get_inheritable(esapi.descriptor))
    link.close()


def test_damage_is_told_from_loss(boot, root):
    keys = boot().keys
    keys.make("a")
    keys.make("b")
    file = root / "state" / "keys" / "a.tpm"
    whole = file.read_text()
    other = (root / "state" / "keys" / "b.tpm").read_text()
    for text in ("", "{", "[]", '{"public": "!"}', whole[:-20], whole.replace('"public": "', '"public": "AAAA')):
        file.write_text(text)
        with pytest.raises(DeviceError, match="key_store"):
            keys.sign("a", b"x")
    import json

    mixed = dict(json.loads(whole), private=json.loads(other)["private"])
    file.write_text(json.dumps(mixed))
    with pytest.raises(DeviceError, match="key_store"):
        keys.sign("a", b"x")
    with pytest.raises(MisuseError, match="key_label"):
        keys.has("../a")
