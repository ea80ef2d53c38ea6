# SPDX-License-Identifier: MIT
"""Each way in which a TPM fails a device: a stable code, what to do, and a device that goes on afterwards if it can."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agent.errors import DeviceError
from platform_adapters.keystores import tpm, tpm_ek, tpm_link
from platform_adapters.keystores.tpm import TpmBackend
from platform_adapters.keystores.tpm_link import Link
from trueboot.codes import CODES
from trueboot.demo.swtpm import Swtpm

DIGEST = bytes(range(32))


@pytest.fixture
def backend(tmp_path, chip):
    made = TpmBackend(tmp_path / "keys", Link(chip.tcti))
    yield made
    made.link.close()


def refused(code, function, *arguments):
    with pytest.raises(DeviceError) as caught:
        function(*arguments)
    assert caught.value.code == code, str(caught.value)
    assert code in CODES
    return caught.value.detail


def test_absent(tmp_path):
    for address, words in (
        ("device:/dev/no-such-tpm", "no /dev/no-such-tpm"),
        ("swtpm:port=1", "1"),
        ("nonsense:", "nonsense"),
    ):
        assert words in refused("tpm_absent", TpmBackend(tmp_path, Link(address)).make, "a")
    assert not list(tmp_path.iterdir())


def test_gone_and_back(backend, chip):
    backend.make("a")
    chip.stop()
    refused("tpm_absent", backend.sign_digest, "a", DIGEST)
    assert backend.has("a") and len(backend.public("a")) == 65
    chip.start()
    assert len(backend.sign_digest("a", DIGEST)) == 64


def test_gone_in_the_middle_of_a_command(backend, chip):
    """Its context is dead for ever; the next call makes a new one."""
    backend.make("a")

    def struck(esapi):
        chip.stop()
        return esapi.get_random(4)

    refused("tpm_absent", backend.link.run, struck)
    chip.start()
    assert len(backend.sign_digest("a", DIGEST)) == 64


def test_no_permission(tmp_path, monkeypatch):
    device = tmp_path / "tpmrm0"
    device.write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(device))  # root may do anything
    assert "group" in refused("tpm_permission", TpmBackend(tmp_path, Link("device:%s" % device)).make, "a")


def test_the_library_is_not_installed(tmp_path):
    script = (
        "import sys\n"
        "sys.modules['tpm2_pytss'] = None\n"
        "from platform_adapters.keystores.tpm_device import TpmKeys\n"
        "from platform_adapters.keystores.tpm_link import Link\n"
        "from agent.errors import DeviceError\n"
        "try: TpmKeys(sys.argv[1], Link('swtpm:')).make('a')\n"
        "except DeviceError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=30)
    assert done.stdout.startswith("tpm_library: ") and "trueboot[tpm]" in done.stdout, done.stderr


def test_swapped(backend, tmp_path):
    backend.make("a")
    other = Swtpm(tmp_path / "other").start()
    try:
        moved = TpmBackend(backend.folder, Link(other.tcti))
        refused("tpm_swapped", moved.sign_digest, "a", DIGEST)
        moved.make("b")  # a new identity is possible there
        assert moved.sign_digest("b", DIGEST)
    finally:
        other.stop()
    assert backend.sign_digest("a", DIGEST), "and at home it goes on"


def test_cleared(backend):
    """TPM2_Clear changes the owner's seed: the key is lost, the endorsement key stays."""
    from tpm2_pytss import ESYS_TR

    backend.make("a")
    backend.link.run(lambda esapi: esapi.clear(ESYS_TR.LOCKOUT))
    refused("tpm_cleared", backend.sign_digest, "a", DIGEST)
    backend.drop("a")
    backend.make("a")
    assert backend.sign_digest("a", DIGEST)


def put_parent(esapi, attributes, password=b""):
    """Somebody else's choice of a storage key, in the agreed place."""
    from tpm2_pytss import (
        ESYS_TR,
        TPM2B_PUBLIC,
        TPM2B_SENSITIVE_CREATE,
        TPMA_OBJECT,
        TPMS_SENSITIVE_CREATE,
        TPMT_PUBLIC,
    )

    template = TPM2B_PUBLIC(
        publicArea=TPMT_PUBLIC.parse(
            "ecc256:aes128cfb" if "decrypt" in attributes else "ecc256", objectAttributes=TPMA_OBJECT.parse(attributes)
        )
    )
    sensitive = TPM2B_SENSITIVE_CREATE(sensitive=TPMS_SENSITIVE_CREATE(userAuth=password))
    with esapi.create_primary(sensitive, template, ESYS_TR.OWNER)[0] as made:
        esapi.evict_control(ESYS_TR.OWNER, made, tpm.PARENT)


def test_locked_out(backend):
    """Our keys cannot be locked; a storage key that others have put there without `noda` can."""
    from tpm2_pytss import TSS2_Exception

    backend.link.run(put_parent, tpm._STORAGE.replace("|noda", ""))
    backend.make("a")

    def guess(esapi):
        handle = esapi.tr_from_tpmpublic(tpm.PARENT)
        esapi.tr_set_auth(handle, b"wrong")
        for _ in range(40):
            try:
                esapi.create(handle, None, "ecc256")
            except TSS2_Exception as error:
                if tpm_link.base(error.rc) == 0x921:
                    break
        esapi.tr_set_auth(handle, b"")

    backend.link.run(guess)
    refused("tpm_locked_out", backend.sign_digest, "a", DIGEST)
    from tpm2_pytss import ESYS_TR

    backend.link.run(lambda esapi: esapi.dictionary_attack_lock_reset(ESYS_TR.LOCKOUT))
    assert backend.sign_digest("a", DIGEST)


def test_a_storage_key_of_others_will_do_and_anything_else_is_refused(backend):
    from tpm2_pytss import ESYS_TR

    def remove(esapi):
        esapi.evict_control(ESYS_TR.OWNER, esapi.tr_from_tpmpublic(tpm.PARENT), tpm.PARENT)

    backend.link.run(put_parent, tpm._KEY)
    assert "storage" in refused("tpm_failed", backend.make, "a")
    backend.link.run(remove)
    backend.link.run(put_parent, tpm._STORAGE, b"password")
    refused("tpm_owner", backend.make, "a")
    backend.link.run(remove)
    backend.make("a")
    backend.link.run(remove)
    assert backend.sign_digest("a", DIGEST), "made of the same seed, it is the same"


def test_owned_by_somebody(backend):
    from tpm2_pytss import ESYS_TR

    def own(password):
        backend.link.run(lambda esapi: esapi.hierarchy_change_auth(ESYS_TR.OWNER, password))
        backend.link.close()

    own(b"secret")
    refused("tpm_owner", backend.make, "a")
    assert not backend.has("a")
    backend.link.run(lambda esapi: esapi.tr_set_auth(ESYS_TR.OWNER, b"secret"))
    own(b"")
    backend.make("a")
    own(b"secret")
    assert backend.sign_digest("a", DIGEST), "what was provisioned beforehand is enough"
    backend.make("b")


def test_full(backend):
    """No room for what is to stay: told; with room, it goes on."""
    from tpm2_pytss import ESYS_TR, TPM2B_SENSITIVE_CREATE, TSS2_Exception

    made = []

    def fill(esapi):
        with esapi.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc256", ESYS_TR.OWNER)[0] as one:
            while True:
                try:
                    made.append(esapi.evict_control(ESYS_TR.OWNER, one, 0x81000100 + len(made)))
                except TSS2_Exception as error:
                    assert tpm_link.base(error.rc) == 0x14B
                    return

    backend.link.run(fill)
    refused("tpm_full", backend.make, "a")
    assert not backend.has("a")
    backend.link.run(lambda esapi: [esapi.evict_control(ESYS_TR.OWNER, one, ESYS_TR.NONE) for one in made[:9]])
    backend.make("a")
    assert backend.sign_digest("a", DIGEST)


def test_sessions_that_others_left(backend):
    from tpm2_pytss import ESYS_TR, TPM2_ALG, TPM2_SE

    backend.make("a")

    def leave(esapi):
        for _ in range(3):
            esapi.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, None, TPM2_ALG.SHA256)

    backend.link.run(leave)

    def another(esapi):
        esapi.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, None, TPM2_ALG.SHA256)
        return True

    assert backend.link.run(another)


def test_a_refusal_that_nobody_foresaw_has_its_number(backend):
    assert "0x" in refused("tpm_failed", backend.link.run, lambda esapi: esapi.unseal(tpm.parent(esapi)))


def test_the_endorsement_key_is_the_same_after_it_was_removed(backend):
    from tpm2_pytss import ESYS_TR

    before = backend.link.run(tpm_ek.name)

    def remove(esapi):
        handle = tpm_ek.kind(esapi).handle
        esapi.evict_control(ESYS_TR.OWNER, esapi.tr_from_tpmpublic(handle), handle)

    backend.link.run(remove)
    assert backend.link.run(tpm_ek.name) == before


def test_nothing_of_the_c_library_on_standard_error(tmp_path):
    script = (
        "import sys\n"
        "from platform_adapters.keystores.tpm import TpmBackend\n"
        "from platform_adapters.keystores.tpm_link import Link\n"
        "from agent.errors import DeviceError\n"
        "try: TpmBackend(sys.argv[1], Link('swtpm:port=1')).make('a')\n"
        "except DeviceError as error: print(error.code)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TSS2_LOG"}
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, timeout=30, env=environment
    )
    assert (done.stdout, done.stderr) == ("tpm_absent\n", "")
