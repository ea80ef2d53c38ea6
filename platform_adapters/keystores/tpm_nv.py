# SPDX-License-Identifier: MIT
"""What stays in the TPM's own memory: the security floor's counter, and a copy of the certificate.

Indices in the owner's range (TCG, "Registry of Reserved TPM 2.0 Handles"), so
that `tpm2_clear` and a new owner get rid of them:
  0x01805401       counter, only ever counted up by the TPM
  0x01805402       base, 8 bytes, signed: floor = counter - base.  Written once, then locked
  0x0180540A, ..B  the certificates of the labels a and b: length, SHA-256, bytes

Rules it keeps
  * A counter begins where the last one of this TPM ended, wherever that is: the
    base makes a floor of it.  A cut between counter, base and lock is followed
    by the same steps again; no floor is told before the base is written.
  * A copy that a cut tore does not fit its hash, and counts as none; the file,
    which was there before, is what is used.
  * Memory of this kind wears out: nothing is written that is there already.
Without the owner's password anybody who may use the TPM can remove an index:
the floor holds against a restored disk, not against root (docs/threat-model.md).
"""

from __future__ import annotations

import hashlib
from typing import Any

from agent.errors import DeviceError
from platform_adapters.keystores.tpm_link import HANDLE, Link, passing

COUNTER, BASE = 0x01805401, 0x01805402
CERTIFICATES = {"a": 0x0180540A, "b": 0x0180540B}
MAX_BYTES = 2048  # of an index, as most TPMs have it
_HEAD = 2 + 32
_PIECE = 512  # every TPM takes so much at once
MAX_COUNTS = 64  # in one `raise_to`: each is a write; the next one goes on

_OPEN = "authread|authwrite|no_da"
_ONCE = _OPEN + "|writedefine"


class TpmFloor:
    """The port `floor`."""

    def __init__(self, link: Link):
        self._link = link

    def read(self) -> int:
        return self._link.run(_read_floor)

    def raise_to(self, floor: int) -> None:
        self._link.run(_raise, floor)


def _read_floor(esapi: Any) -> int:
    counter, base = find(esapi, COUNTER), find(esapi, BASE)
    if counter is None or base is None or not (_written(esapi, counter) and _written(esapi, base)):
        return 0
    return max(0, _number(esapi, counter) - _number(esapi, base, signed=True))


def _raise(esapi: Any, floor: int) -> None:
    counter = find(esapi, COUNTER) or define(esapi, COUNTER, 8, _OPEN, counter=True)
    if not _written(esapi, counter):
        esapi.nv_increment(counter)
    base = find(esapi, BASE) or define(esapi, BASE, 8, _ONCE)
    if not _written(esapi, base):
        esapi.nv_write(base, (_number(esapi, counter) - floor).to_bytes(8, "big", signed=True))
    if not _has(esapi, base, "WRITELOCKED"):
        esapi.nv_write_lock(base)
    for _ in range(min(floor - _read_floor(esapi), MAX_COUNTS)):
        esapi.nv_increment(counter)


def keep(esapi: Any, label: str, data: bytes) -> None:
    """Remember `data` for `label`, if it is not there; DeviceError("tpm_full") when it is too long."""
    if recall(esapi, label) == data:
        return
    if len(data) + _HEAD > MAX_BYTES:
        raise DeviceError("tpm_full", "a chain of %d bytes is too long for an index of the TPM" % len(data))
    forget(esapi, label)
    whole = len(data).to_bytes(2, "big") + hashlib.sha256(data).digest() + data
    handle = define(esapi, CERTIFICATES[label], len(whole), _OPEN)
    for at in range(0, len(whole), _PIECE):
        esapi.nv_write(handle, whole[at : at + _PIECE], at)


def recall(esapi: Any, label: str) -> bytes | None:
    handle = find(esapi, CERTIFICATES[label])
    if handle is None or not _written(esapi, handle):
        return None
    public, _ = esapi.nv_read_public(handle)
    left, whole = public.nvPublic.dataSize, b""
    while len(whole) < left:
        whole += bytes(esapi.nv_read(handle, min(_PIECE, left - len(whole)), len(whole)))
    data = whole[_HEAD:]
    good = len(data) == int.from_bytes(whole[:2], "big") and hashlib.sha256(data).digest() == whole[2:_HEAD]
    return data if good else None


def forget(esapi: Any, label: str) -> None:
    handle = find(esapi, CERTIFICATES[label])
    if handle is not None:
        esapi.nv_undefine_space(handle)


def find(esapi: Any, index: int) -> Any:
    """The index's handle; None when it is not defined."""
    with passing(HANDLE):
        return esapi.tr_from_tpmpublic(index)
    return None


def define(esapi: Any, index: int, size: int, attributes: str, counter: bool = False) -> Any:
    from tpm2_pytss import TPM2_ALG, TPM2_NT, TPM2B_NV_PUBLIC, TPMA_NV, TPMS_NV_PUBLIC

    wanted = TPMA_NV.parse(attributes) | (TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT if counter else 0)
    public = TPMS_NV_PUBLIC(nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=wanted, dataSize=size)
    return esapi.nv_define_space(None, TPM2B_NV_PUBLIC(nvPublic=public))


def _written(esapi: Any, handle: Any) -> bool:
    return _has(esapi, handle, "WRITTEN")


def _has(esapi: Any, handle: Any, attribute: str) -> bool:
    from tpm2_pytss import TPMA_NV

    public, _ = esapi.nv_read_public(handle)
    return bool(public.nvPublic.attributes & getattr(TPMA_NV, attribute))


def _number(esapi: Any, handle: Any, signed: bool = False) -> int:
    return int.from_bytes(bytes(esapi.nv_read(handle, 8)), "big", signed=signed)
