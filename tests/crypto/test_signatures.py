# SPDX-License-Identifier: MIT
"""Every signature is decided alike: by boards' code on both interpreters, by Linux, and by the package `cryptography`."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import published
import signature_cases
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from signature_cases import Case

from agent.crypto.verify import Whole
from platform_adapters import linux_verify
from trueboot import mpy

PORTABLE = Path(__file__).parents[1] / "portable"
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)  # as python-tuf's verifier


def by_reference(case: Case) -> bool:
    """Without a line of ours."""
    try:
        if case.key_type == "ed25519" and case.scheme == "ed25519":
            Ed25519PublicKey.from_public_bytes(case.public).verify(case.signature, case.message)
        elif case.key_type == "rsa" and case.scheme == "rsassa-pss-sha256":
            key = serialization.load_der_public_key(case.public)
            assert isinstance(key, rsa.RSAPublicKey)
            key.verify(case.signature, case.message, PSS, hashes.SHA256())
        elif case.key_type.startswith("ecdsa") and case.scheme == "ecdsa-sha2-nistp256":
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), case.public)
            key.verify(case.signature, case.message, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except (InvalidSignature, ValueError, UnsupportedAlgorithm, AssertionError):
        return False
    return True


def by_linux(case: Case) -> bool:
    return linux_verify.verify(case.key_type, case.scheme, case.public, Whole(case.message), case.signature)


@pytest.fixture(scope="session")
def cases():
    return signature_cases.build()


@pytest.fixture(scope="session")
def decide(tmp_path_factory):
    """The names of the cases that the code of boards finds good, on one of the interpreters."""
    folder = tmp_path_factory.mktemp("signatures")

    def run(interpreter, cases):
        path = folder / "cases.ndjson"
        with path.open("w") as file:
            for case in cases.values():
                texts = [part.hex() for part in (case.public, case.message, case.signature)]
                file.write(json.dumps([case.key_type, case.scheme, *texts]) + "\n")
        if interpreter == "cpython":
            printed = io.StringIO()
            import signature_driver

            with redirect_stdout(printed):
                signature_driver.main(str(path))
            output = printed.getvalue()
        else:
            reason = mpy.unavailable()
            if reason:
                pytest.skip(reason)
            board = folder / "board"
            if not board.exists():
                mpy.build(board)
                mpy.compile_file(
                    PORTABLE / "signature_driver.py", board / "signature_driver.mpy", "signature_driver.py"
                )
            code = "import signature_driver; signature_driver.main(%r)" % str(path)
            ran = subprocess.run(
                [*mpy.interpreter("256k"), "-c", code], cwd=board, capture_output=True, text=True, timeout=300
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
            output = ran.stdout
        names = list(cases)
        return {names[number] for number in json.loads(output)}

    return run


INTERPRETERS = pytest.mark.parametrize("interpreter", ["cpython", "micropython"])


def good(cases):
    return {name for name, case in cases.items() if case.good}


@INTERPRETERS
def test_edges(decide, interpreter, cases):
    assert len(good(cases)) > 45 and len(cases) > 200
    assert decide(interpreter, cases) == good(cases)


def test_edges_on_linux(cases):
    assert {name for name, case in cases.items() if by_linux(case)} == good(cases)


def test_edges_by_the_reference(cases):
    theirs = {name for name, case in cases.items() if by_reference(case)}
    assert theirs == good(cases) | {name for name, case in cases.items() if case.stricter}


def check_published(cases, decide, interpreter):
    assert cases
    for name, case in cases.items():
        assert by_reference(case) is by_linux(case) is case.good, name
    assert decide(interpreter, cases) == good(cases)


@pytest.mark.parametrize("name", published.WYCHEPROOF)
@INTERPRETERS
def test_wycheproof(decide, interpreter, name):
    folder = os.environ.get("TRUEBOOT_TEST_WYCHEPROOF")
    if not folder:
        pytest.skip("TRUEBOOT_TEST_WYCHEPROOF is not set: the folder testvectors_v1 of Project Wycheproof")
    check_published(dict(published.wycheproof(Path(folder), name)), decide, interpreter)


@pytest.mark.parametrize("read", [published.nist_p256, published.ed25519])
@INTERPRETERS
def test_vectors_of_cryptography(decide, interpreter, read):
    spec = importlib.util.find_spec("cryptography_vectors")
    if spec is None or spec.origin is None:
        pytest.skip("cryptography_vectors is not installed, 56 MB: make vectors")
    cases = list(read(Path(spec.origin).parent))
    if interpreter == "micropython" and len(cases) > 500:
        cases = cases[::4]  # for the time's sake; all of them were run by hand
    check_published(dict(cases), decide, interpreter)
