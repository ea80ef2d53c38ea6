# SPDX-License-Identifier: MIT
"""Published signature vectors as cases: Project Wycheproof's files, and those of the package `cryptography_vectors`.

Both are too large to come along: 56 MB for the second.  A test that lacks them says so.  Seen alike on both interpreters, on
Linux and by `cryptography` 50 (OpenSSL 4.0) in November 2026: 1,068 of Wycheproof (commit dac1dd4), 1,039 of the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from signature_cases import Case

ECDSA = ("ecdsa", "ecdsa-sha2-nistp256")
ED25519 = ("ed25519", "ed25519")
RSA = ("rsa", "rsassa-pss-sha256")
WYCHEPROOF = {
    "ecdsa_secp256r1_sha256_test": ECDSA,
    "ed25519_test": ED25519,
    "rsa_pss_2048_sha256_mgf1_0_test": RSA,
    "rsa_pss_2048_sha256_mgf1_32_test": RSA,
    "rsa_pss_3072_sha256_mgf1_32_test": RSA,
    "rsa_pss_4096_sha256_mgf1_32_test": RSA,
    "rsa_pss_misc_test": RSA,
}


def wycheproof(folder: Path, name: str) -> Iterator[tuple[str, Case]]:
    """A file of `testvectors_v1/`.  Groups of other hashes are left out."""
    for group in json.loads((folder / (name + ".json")).read_text())["testGroups"]:
        if group.get("sha", "SHA-256") != "SHA-256" or group.get("mgfSha", "SHA-256") != "SHA-256":
            continue
        key = group["publicKey"]
        if name.startswith("ecdsa"):
            public = bytes.fromhex(key["uncompressed"])
        elif name.startswith("ed25519"):
            public = bytes.fromhex(key["pk"])
        else:
            public = bytes.fromhex(group["publicKeyDer"])
        for test in group["tests"]:
            # These files ask for one length of the salt; we take any, as python-tuf does.
            good = test["result"] == "valid" or test["comment"].startswith("s_len changed to ")
            case = Case(*WYCHEPROOF[name], public, bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]), good)
            label = "%s %d: %s %s" % (name, test["tcId"], test["comment"], " ".join(test["flags"]))
            yield label, case


def nist_p256(folder: Path) -> Iterator[tuple[str, Case]]:
    """SigVer of FIPS 186-3, P-256 with SHA-256."""
    text = (folder / "asymmetric/ECDSA/FIPS_186-3/SigVer.rsp").read_text()
    section = text.split("[P-256,SHA-256]")[1].split("[")[0]
    fields = re.compile(r"Msg = (\w+)\s+Qx = (\w+)\s+Qy = (\w+)\s+R = (\w+)\s+S = (\w+)\s+Result = (\w)")
    from agent.wire import ecdsa

    for number, (message, x, y, r, s, result) in enumerate(fields.findall(section)):
        point = b"\x04" + bytes.fromhex(x.zfill(64) + y.zfill(64))
        signature = ecdsa.signature_to_der(bytes.fromhex(r.zfill(64) + s.zfill(64)))
        yield "FIPS 186-3 %d" % number, Case(*ECDSA, point, bytes.fromhex(message), signature, result == "P")


def ed25519(folder: Path) -> Iterator[tuple[str, Case]]:
    """The 1024 vectors of Ed25519's authors."""
    lines = (folder / "asymmetric/Ed25519/sign.input").read_text().split()
    for number, line in enumerate(lines):
        _, public, message, signed, _ = line.split(":")
        whole = [bytes.fromhex(part) for part in (public, message, signed[:128])]
        yield "sign.input %d" % number, Case(*ED25519, *whole, True)
