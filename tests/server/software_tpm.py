# SPDX-License-Identifier: MIT
"""A TPM's side of an attestation, in software: structures, names, and TPM2_ActivateCredential.

Written from the TPM 2.0 Library and not from the server's code, and stricter than it: it opens nothing whose HMAC,
name or lengths are wrong.  `tests/tpm/test_other_device.py` says whether both agree with a TPM that others have written.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import struct

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

FIXED_TPM, FIXED_PARENT, ORIGIN, WITH_AUTH = 0x2, 0x10, 0x20, 0x40
RESTRICTED, DECRYPT, SIGN = 0x10000, 0x20000, 0x40000
BORN_HERE = FIXED_TPM | FIXED_PARENT | ORIGIN
EK_USAGE = "2.23.133.8.1"
AES_128_CFB = struct.pack(">HHH", 6, 128, 0x43)
NOTHING = struct.pack(">H", 0x10)
ECDSA_SHA256 = struct.pack(">HH", 0x18, 0x0B)
DAY = datetime.timedelta(days=1)


def sized(data):
    return struct.pack(">H", len(data)) + data


class Key:
    """A key and its public area."""

    def __init__(self, private, attributes, symmetric=NOTHING, scheme=NOTHING, name_algorithm=0x0B):
        self.private = private
        numbers = private.public_key().public_numbers()
        if isinstance(private, rsa.RSAPrivateKey):
            kind, size = 1, private.key_size
            unique = struct.pack(">HI", size, 0) + sized(numbers.n.to_bytes(size // 8, "big"))
        else:
            kind, size = 0x23, (private.key_size + 7) // 8
            curve = {"secp256r1": 3, "secp384r1": 4, "secp256k1": 0x7F}[private.curve.name]
            unique = struct.pack(">HH", curve, 0x10)
            unique += sized(numbers.x.to_bytes(size, "big")) + sized(numbers.y.to_bytes(size, "big"))
        self.area = struct.pack(">HHI", kind, name_algorithm, attributes) + sized(b"") + symmetric + scheme + unique
        self.name = struct.pack(">H", name_algorithm) + hashlib.sha256(self.area).digest()

    @property
    def public(self):
        return sized(self.area)


def curve_key():
    return ec.generate_private_key(ec.SECP256R1())


class Maker:
    """Who makes TPMs: a root, and the CA below it that certifies endorsement keys."""

    def __init__(self, name="Maker"):
        self.root_key, self.issuing_key = curve_key(), curve_key()
        self.root = self.certify(self.root_key, f"{name} root", None, ca=1)
        self.issuing = self.certify(self.issuing_key, f"{name} issuing", (self.root, self.root_key), ca=0)

    def certify(self, key, name, issuer, ca=None, days=(-1, 30), extra=(), digest=hashes.SHA256):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        above, signer = issuer if issuer else (None, key)
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(above.subject if above else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + days[0] * DAY)
            .not_valid_after(now + days[1] * DAY)
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(True, ca), critical=True)
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, digest())

    def endorse(self, key, usage=EK_USAGE, issuer=None, **more):
        facts = [("2.23.133.2.1", "id:54455354"), ("2.23.133.2.2", "software"), ("2.23.133.2.3", "id:00000001")]
        name = x509.Name([x509.NameAttribute(ObjectIdentifier(oid), value) for oid, value in facts])
        extra = [(x509.SubjectAlternativeName([x509.DirectoryName(name)]), True), *more.pop("extra", ())]
        if usage:
            extra.append((x509.ExtendedKeyUsage([ObjectIdentifier(usage)]), False))
        return self.certify(key, "EK", issuer or (self.issuing, self.issuing_key), extra=extra, **more)


class SoftwareTpm:
    def __init__(self, maker, kind="ecc"):
        private = curve_key() if kind == "ecc" else rsa.generate_private_key(65537, 2048)
        self.ek = Key(private, BORN_HERE | RESTRICTED | DECRYPT, AES_128_CFB)
        self.maker = maker
        self.ek_cert = maker.endorse(private)
        self.ek_chain = [maker.issuing]
        self.ak = Key(curve_key(), BORN_HERE | WITH_AUTH | RESTRICTED | SIGN, scheme=ECDSA_SHA256)
        self.key = self.make()

    def make(self, attributes=BORN_HERE | WITH_AUTH | SIGN):
        return Key(curve_key(), attributes)

    def certify(self, extra, key=None, signer=None, magic=0xFF544347, kind=0x8017):
        """(TPM2B_ATTEST, TPMT_SIGNATURE) of TPM2_Certify."""
        key, signer = key or self.key, signer or self.ak
        attest = struct.pack(">IH", magic, kind) + sized(b"\x00\x0b" + bytes(32)) + sized(extra)
        attest += struct.pack(">QIIB", 1, 2, 3, 1) + bytes(8) + sized(key.name) + sized(b"\x00\x0b" + bytes(32))
        r, s = utils.decode_dss_signature(signer.private.sign(attest, ec.ECDSA(hashes.SHA256())))
        signature = ECDSA_SHA256 + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))
        return sized(attest), signature

    def statement(self, nonce, name, csr, **changed):
        """The body of the first step; `changed` may hold raw members, or what `certify` takes."""
        bound = hashlib.sha256(b"\0".join((nonce.encode(), name.encode(), hashlib.sha256(csr).digest()))).digest()
        taken = {word: changed.pop(word) for word in ("key", "signer", "magic", "kind") if word in changed}
        certify, signature = self.certify(changed.pop("extra", bound), **taken)
        members = {
            "csr": csr,
            "ek_cert": self.ek_cert.public_bytes(Encoding.DER),
            "ek_public": self.ek.public,
            "ak_public": self.ak.public,
            "key_public": taken.get("key", self.key).public,
            "certify": certify,
            "signature": signature,
            **changed,
        }
        chain = members.pop("ek_chain", [one.public_bytes(Encoding.DER) for one in self.ek_chain])
        told = {member: base64.b64encode(value).decode() for member, value in members.items()}
        return {**told, "nonce": nonce, "ek_chain": [base64.b64encode(der).decode() for der in chain]}

    def activate(self, blob, secret):
        """TPM2_ActivateCredential: ValueError where a TPM refuses."""
        (length,) = struct.unpack(">H", blob[:2])
        (mac_length,) = struct.unpack(">H", blob[2:4])
        if length != len(blob) - 2 or mac_length != 32:
            raise ValueError("TPM_RC_SIZE")
        mac, identity = blob[4:36], blob[36:]
        seed = self._seed(secret)
        if not hmac.compare_digest(
            mac, hmac.digest(_kdfa(seed, b"INTEGRITY", b"", 256), identity + self.ak.name, "sha256")
        ):
            raise ValueError("TPM_RC_INTEGRITY")
        cipher = Cipher(algorithms.AES(_kdfa(seed, b"STORAGE", self.ak.name, 128)), CFB(bytes(16))).decryptor()
        opened = cipher.update(identity) + cipher.finalize()
        if struct.unpack(">H", opened[:2])[0] != len(opened) - 2:
            raise ValueError("TPM_RC_SIZE")
        return opened[2:]

    def _seed(self, secret):
        if struct.unpack(">H", secret[:2])[0] != len(secret) - 2:
            raise ValueError("TPM_RC_SIZE")
        private = self.ek.private
        if isinstance(private, rsa.RSAPrivateKey):
            oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
            return private.decrypt(secret[2:], oaep)
        x, y = secret[4:36], secret[38:70]
        sent = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
        shared = private.exchange(ec.ECDH(), sent.public_key())
        own = private.public_key().public_numbers().x.to_bytes(32, "big")
        return hashlib.sha256(struct.pack(">I", 1) + shared + b"IDENTITY\0" + x + own).digest()


def _kdfa(key, label, context, bits):
    data = struct.pack(">I", 1) + label + b"\0" + context + struct.pack(">I", bits)
    return hmac.digest(key, data, "sha256")[: bits // 8]


def mutated(chance, data, count):
    """`count` versions of `data` with a bit changed, cut short, or with bytes added."""
    for number in range(count):
        changed = bytearray(data)
        at = chance.randrange(len(changed))
        if number % 4 == 3:
            changed = changed[:at]
        elif number % 4 == 2:
            changed += chance.randbytes(3)
        else:
            changed[at] ^= 1 << (number % 8)
        yield bytes(changed)
