# SPDX-License-Identifier: MIT
"""The connection to a TPM 2.0, by tpm2-pytss: one at a time, made again when it broke, errors in our words.

Rules it keeps
  * One lock: an ESAPI context takes one call at a time (others get
    TSS2_ESYS_RC_BAD_SEQUENCE).
  * `run(work)` does `work(esapi)` whole or raises DeviceError; after a lost
    connection, or slots that somebody left full, once more.  So work may be
    done twice, and has to bear it.
  * What a killed process left in the TPM's few slots is removed when we connect.
    With a resource manager only our own is seen, without one we are alone.
  * No descriptor survives an exec: a swtpm talks to one client only.
The library is loaded at the first use; a device without a TPM needs none of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from agent.errors import DeviceError

DEFAULT = "device:/dev/tpmrm0"
T = TypeVar("T")

_TPM_LAYERS = (0, 11)  # the TPM itself, and a resource manager that speaks for it
_TCTI_LAYER = 0xA
_BAD_SEQUENCE = 0x70007  # what a context says for ever after its connection broke
INTEGRITY = 0x9F  # of format-one codes (TPM 2.0, part 2, 6.6), without parameter and handle
HANDLE = 0x8B
NV_UNINITIALISED = 0x14A
_WORDS = {  # code -> (ours, what to say)
    0x921: ("tpm_locked_out", "the TPM is locked after too many wrong passwords"),
    0x902: ("tpm_full", "the TPM has no slot left for an object"),
    0x903: ("tpm_full", "the TPM has no slot left for a session"),
    0x904: ("tpm_full", "the TPM is out of memory"),
    0x905: ("tpm_full", "the TPM has no handle left for a session"),
    0x906: ("tpm_full", "the TPM has no handle left for an object"),
    0x14B: ("tpm_full", "the TPM has no room left for what is to stay in it"),
    0x8E: ("tpm_owner", "the TPM asks for a password"),
    0xA2: ("tpm_owner", "the TPM asks for a password"),
    0x12F: ("tpm_owner", "the TPM's owner hierarchy is closed"),
}
_SLOTS = (0x902, 0x903, 0x904)


class Link:
    def __init__(self, tcti: str = ""):
        self.tcti = tcti or DEFAULT
        self._lock = threading.RLock()
        self._esapi: Any = None

    def run(self, work: Callable[..., T], *arguments: Any) -> T:
        with self._lock:
            try:
                return self._once(work, arguments)
            except _Again:
                pass
            try:
                return self._once(work, arguments)
            except _Again as again:
                raise again.error from None

    def close(self) -> None:
        with self._lock:
            esapi, self._esapi = self._esapi, None
            if esapi is not None:
                esapi.close()

    def _once(self, work: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        esapi = self._open()
        from tpm2_pytss import TSS2_Exception

        try:
            return work(esapi, *arguments)
        except TSS2_Exception as error:
            rc = int(error.rc)
            ours = self._translated(rc)
            if rc == _BAD_SEQUENCE or rc >> 16 == _TCTI_LAYER or base(rc) == HANDLE:
                self.close()  # or what the connection knows of the TPM is no longer so
                raise _Again(ours) from None
            if base(rc) in _SLOTS:
                tidy(esapi)
                raise _Again(ours) from None
            raise ours from None

    def _open(self) -> Any:
        if self._esapi is None:
            self._may_open()
            esapi_class = library().ESAPI
            before = _descriptors()
            try:
                esapi = esapi_class(self.tcti)
            except (RuntimeError, ValueError) as error:  # of the TPM, or for a name that no TCTI has
                raise self._absent(error) from None
            for descriptor in _descriptors() - before:
                try:
                    os.set_inheritable(descriptor, False)
                except OSError:
                    pass  # it was somebody's who has closed it since
            self._esapi = esapi
            try:
                tidy(esapi)
            except RuntimeError as error:
                self.close()
                raise self._absent(error) from None
        return self._esapi

    def _may_open(self) -> None:
        kind, _, name = self.tcti.partition(":")
        if kind != "device" or not name:
            return
        if not os.path.exists(name):
            raise DeviceError("tpm_absent", "there is no %s: no TPM 2.0, or it is switched off in the firmware" % name)
        if not os.access(name, os.R_OK | os.W_OK):
            text = "this user may not use %s: add it to the group that owns the file (tss, mostly)"
            raise DeviceError("tpm_permission", text % name)

    def _absent(self, error: Exception) -> DeviceError:
        return DeviceError("tpm_absent", "no TPM answers at %r (%s)" % (self.tcti, error))

    def _translated(self, rc: int) -> DeviceError:
        if rc == _BAD_SEQUENCE or rc >> 16 == _TCTI_LAYER:
            return DeviceError("tpm_absent", "the connection to the TPM at %r is lost (0x%x)" % (self.tcti, rc))
        code, text = _WORDS.get(base(rc), ("tpm_failed", "the TPM refuses"))
        return DeviceError(code, "%s (0x%x)" % (text, rc))


class _Again(Exception):
    def __init__(self, error: DeviceError):
        super().__init__(error)
        self.error = error


def library() -> Any:
    os.environ.setdefault("TSS2_LOG", "all+none")  # the C library writes to standard error otherwise
    try:
        import tpm2_pytss
    except (ImportError, NotImplementedError) as error:
        text = (
            "tpm2-pytss cannot be loaded (%s): apt-get install libtss2-dev pkg-config gcc; pip install 'trueboot[tpm]'"
        )
        raise DeviceError("tpm_library", text % error) from None
    return tpm2_pytss


def base(rc: int) -> int:
    """The TPM's response code without parameter, handle or session (part 2, 6.6.2); what a library says stays as it is."""
    if rc >> 16 not in _TPM_LAYERS:
        return rc
    rc &= 0xFFFF
    return rc & 0xBF if rc & 0x80 else rc


@contextmanager
def passing(code: int) -> Iterator[None]:
    """`with passing(HANDLE):` goes on after this one error of the TPM."""
    from tpm2_pytss import TSS2_Exception

    try:
        yield
    except TSS2_Exception as error:
        if base(int(error.rc)) != code:
            raise


def tidy(esapi: Any) -> None:
    """Remove loaded objects and sessions that nobody can be using."""
    from tpm2_pytss import TPM2_CAP, TSS2_Exception

    for first in (0x80000000, 0x02000000, 0x03000000):  # objects, loaded sessions, saved sessions
        more, found = esapi.get_capability(TPM2_CAP.HANDLES, first, 64)
        for handle in list(found.data.handles):
            if handle >> 24 == first >> 24 or first < 0x80000000:
                try:
                    esapi.flush_context(esapi.tr_from_tpmpublic(handle))
                except TSS2_Exception:
                    pass  # it went by itself


def _descriptors() -> set[int]:
    found: set[int] = set()
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return found
    for name in names:
        try:
            os.fstat(int(name))
            found.add(int(name))
        except OSError:
            pass  # the one of the listing itself, whose number the next file gets
    return found
