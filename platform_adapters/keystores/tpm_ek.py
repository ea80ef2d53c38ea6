# SPDX-License-Identifier: MIT
"""The endorsement key: which TPM this is, and its maker's certificate for it.

It is made of the TPM's endorsement seed, which no owner can change, so it is
the same after the TPM was cleared.  Of those that a TPM has certificates for,
the first of `KINDS` counts.  It is made persistent, since a TPM without a
resource manager has room for three objects.
Source: TCG EK Credential Profile for TPM Family 2.0, 2.2.1 (indices) and B.4, B.6 (templates).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from platform_adapters.keystores.tpm_link import HANDLE, passing

CHAIN = range(0x01C00100, 0x01C00104)  # where a maker may have put the certificates above the EK's
CERTIFICATE_BYTES = 4096


class Kind(NamedTuple):
    name: str
    certificate: int  # NV index
    handle: int  # where it stays


KINDS = (
    Kind("EK-ECC256", 0x01C0000A, 0x81010002),
    Kind("EK-HIGH-ECC256", 0x01C00014, 0x81010014),
    Kind("EK-HIGH-ECC384", 0x01C00016, 0x81010016),
    Kind("EK-RSA2048", 0x01C00002, 0x81010001),
)


def kind(esapi: Any) -> Kind:
    """The first kind for which the TPM has a certificate; without any, the first."""
    for one in KINDS:
        with passing(HANDLE):
            esapi.tr_from_tpmpublic(one.certificate)
            return one
    return KINDS[0]


def load(esapi: Any) -> Any:
    """The handle of the persistent endorsement key, made if it is not there."""
    from tpm2_pytss import ESYS_TR, TPM2B_SENSITIVE_CREATE
    from tpm2_pytss.utils import NVReadEK, create_ek_template

    one = kind(esapi)
    with passing(HANDLE):
        return esapi.tr_from_tpmpublic(one.handle)
    _, template = create_ek_template(one.name, NVReadEK(esapi))
    with esapi.create_primary(TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.ENDORSEMENT)[0] as made:
        return esapi.evict_control(ESYS_TR.OWNER, made, one.handle)


def name(esapi: Any) -> bytes:
    """The TPM's name of its endorsement key: a hash of its public area."""
    return name_of(esapi, load(esapi))


def name_of(esapi: Any, handle: Any) -> bytes:
    named = esapi.tr_get_name(handle)  # in a variable: what is inside does not keep it alive
    return bytes(named.name)


def certificate(esapi: Any) -> bytes:
    """DER; b"" when the maker left none."""
    return read(esapi, kind(esapi).certificate)


def chain(esapi: Any) -> list[bytes]:
    """What the maker left of the certificates above, in DER."""
    data = b"".join(read(esapi, index) for index in CHAIN)
    found = []
    while len(one := cut(data)) > 0:
        found.append(one)
        data = data[len(one) :]
    return found


def read(esapi: Any, index: int) -> bytes:
    """What is in an NV index, without padding behind a DER structure; b"" when it is not there."""
    from tpm2_pytss.utils import NoSuchIndex, NVReadEK

    try:
        data = NVReadEK(esapi)(index)
    except NoSuchIndex:
        return b""
    return cut(data) if index not in CHAIN else data


def cut(data: bytes) -> bytes:
    """The first DER SEQUENCE of `data`; b"" when it does not begin with a whole one."""
    if len(data) < 4 or data[0] != 0x30:
        return b""
    width = data[1] & 0x7F if data[1] & 0x80 else 0
    if width > 2:
        return b""
    size = 2 + width + (int.from_bytes(data[2 : 2 + width], "big") if width else data[1])
    return data[:size] if size <= min(len(data), CERTIFICATE_BYTES) else b""
