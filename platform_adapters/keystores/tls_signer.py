# SPDX-License-Identifier: MIT
"""Whoever can sign a digest is the private key of an `ssl.SSLContext`: OpenSSL asks, we answer.

Python's `ssl` takes a key from a file and nothing else.  So the EC key that
OpenSSL gets here has the public point only, and a method whose sign function
comes back into Python (EC_KEY_METHOD_set_sign; deprecated since OpenSSL 3.0,
there in 1.1.1 and in all of 3).  No provider, no configuration, no key file.

Rules it keeps
  * The `SSL_CTX *` is read from the object of `ssl.SSLContext`, right behind
    its head: a detail of CPython.  It is done only on interpreters and versions
    of OpenSSL where it was tried, and believed only after the context has told
    through it what Python knows: else `Unsupported`, and nothing was changed.
  * The functions come from the very libraries that `_ssl` is linked with.
  * One callback a process, one key a signer, for ever: a context, which OpenSSL
    may keep longer than Python does, never points to what was freed, and a
    device that connects for years needs no more memory than for its keys.
  * An error of the signer fails the handshake, and is told (`take_failure`), in
    the thread that it happened in.
"""

from __future__ import annotations

import ctypes as c
import ssl
import sys
import sysconfig
import threading
from collections.abc import Callable
from typing import Any

PYTHONS = ((3, 11), (3, 14))  # from the first, and before the second
OPENSSLS = ((1, 1, 1), (4, 0, 0))
_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")  # SubjectPublicKeyInfo, before the point
_MAX_SIGNATURE_BYTES = 72
_ADD_CHAIN = 89  # SSL_CTRL_CHAIN_CERT, of ssl.h
_VERIFY = (0, 1, 3)  # SSL_VERIFY_* of ssl.h, by the number of ssl.VerifyMode

_SIGN = c.CFUNCTYPE(
    c.c_int,
    c.c_int,
    c.POINTER(c.c_ubyte),
    c.c_int,
    c.POINTER(c.c_ubyte),
    c.POINTER(c.c_uint),
    c.c_void_p,
    c.c_void_p,
    c.c_void_p,
)
_signers: dict[int, Signer] = {}  # by the address of the EC_KEY; entries stay, as the keys do
_guard = threading.Lock()
_method: tuple[Any, ...] = ()


class Unsupported(Exception):
    """This road is not to be had on this machine; the text says why."""


class Signer:
    """A key: its public point (65 bytes), and `sign(digest)` -> ECDSA signature in DER, which may raise."""

    def __init__(self, point: bytes, sign: Callable[[bytes], bytes]):
        self.sign = sign
        self._local = threading.local()
        self._lib = library()
        data = _P256 + point
        key = self._lib.d2i_PUBKEY(None, c.byref(c.c_char_p(data)), len(data))
        if not key:
            raise ValueError("not a point of P-256: " + errors(self._lib))
        inner = self._lib.EVP_PKEY_get1_EC_KEY(key)
        self._lib.EVP_PKEY_free(key)
        with _guard:
            if self._lib.EC_KEY_set_method(inner, _signing(self._lib)) != 1:
                raise Unsupported("EC_KEY_set_method: " + errors(self._lib))
            self._key = self._lib.EVP_PKEY_new()
            if self._lib.EVP_PKEY_set1_EC_KEY(self._key, inner) != 1:
                raise Unsupported("EVP_PKEY_set1_EC_KEY: " + errors(self._lib))
            _signers[inner] = self

    def attach(self, context: ssl.SSLContext, chain: list[bytes]) -> None:
        """Certificates (DER, leaf first) and this key become the context's.  ssl.SSLError when they do not fit."""
        lib, pointer = self._lib, address(self._lib, context)
        lib.ERR_clear_error()
        if lib.SSL_CTX_use_certificate_ASN1(pointer, len(chain[0]), chain[0]) != 1:
            raise ssl.SSLError("certificate: " + errors(lib))
        for der in chain[1:]:
            certificate = lib.d2i_X509(None, c.byref(c.c_char_p(der)), len(der))
            if not certificate:
                raise ssl.SSLError("chain: " + errors(lib))
            if lib.SSL_CTX_ctrl(pointer, _ADD_CHAIN, 0, certificate) != 1:  # takes it over
                lib.X509_free(certificate)
                raise ssl.SSLError("chain: " + errors(lib))
        if lib.SSL_CTX_use_PrivateKey(pointer, self._key) != 1 or lib.SSL_CTX_check_private_key(pointer) != 1:
            raise ssl.SSLError("key and certificate do not fit: " + errors(lib))

    def take_failure(self) -> BaseException | None:
        """What the signer raised last in this thread, once."""
        failure = getattr(self._local, "failure", None)
        self._local.failure = None
        return failure

    def answer(self, digest: bytes) -> bytes | None:
        try:
            signature = self.sign(digest)
        except BaseException as error:  # noqa: BLE001 - above us is C, which passes nothing on; `take_failure` does
            self._local.failure = error
            return None
        return signature if len(signature) <= _MAX_SIGNATURE_BYTES else None


def failure_here() -> BaseException | None:
    """What any signer raised last in this thread, once: a failed handshake asks for it."""
    for signer in list(_signers.values()):
        failure = signer.take_failure()
        if failure is not None:
            return failure
    return None


@_SIGN
def _asked(_kind, digest, size, out, out_size, _kinv, _r, key):
    signer = _signers.get(key)
    signature = signer.answer(c.string_at(digest, size)) if signer else None
    if signature is None:
        return 0
    c.memmove(out, signature, len(signature))
    out_size[0] = len(signature)
    return 1


def _signing(lib: Any) -> Any:
    """OpenSSL's own method, but for whom it asks to sign; made once."""
    global _method
    if not _method:
        method = lib.EC_KEY_METHOD_new(lib.EC_KEY_OpenSSL())
        setup, raw = c.c_void_p(), c.c_void_p()
        lib.EC_KEY_METHOD_get_sign(method, None, c.byref(setup), c.byref(raw))
        lib.EC_KEY_METHOD_set_sign(method, _asked, setup, raw)
        _method = (method, _asked)
    return _method[0]


def address(lib: Any, context: ssl.SSLContext) -> int:
    """Where the context's SSL_CTX is, checked against what Python knows of the context; or Unsupported."""
    pointer = c.c_void_p.from_address(id(context) + _head()).value
    if not pointer:
        raise Unsupported("the layout of ssl.SSLContext is not the known one")
    mask = 0xFFFFFFFF
    known = context.options
    told = (lib.SSL_CTX_get_options(pointer), lib.SSL_CTX_get_verify_mode(pointer))
    if (told[0] & mask, told[1]) != (known & mask, _VERIFY[context.verify_mode]):
        raise Unsupported("the layout of ssl.SSLContext is not the known one")
    context.options = known ^ ssl.OP_NO_TICKET
    try:
        if lib.SSL_CTX_get_options(pointer) & mask != (known ^ ssl.OP_NO_TICKET) & mask:
            raise Unsupported("the layout of ssl.SSLContext is not the known one")
    finally:
        context.options = known
    return pointer


def _head() -> int:
    """Bytes before the first member of an object."""
    return object.__basicsize__


def library() -> Any:
    """The functions of the libraries behind `ssl`, or Unsupported."""
    if sys.implementation.name != "cpython" or not PYTHONS[0] <= sys.version_info[:2] < PYTHONS[1]:
        raise Unsupported("tried on CPython from 3.11 to 3.13 only")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise Unsupported("not tried on free-threaded Python")
    if not OPENSSLS[0] <= ssl.OPENSSL_VERSION_INFO[:3] < OPENSSLS[1] or "OpenSSL" not in ssl.OPENSSL_VERSION:
        raise Unsupported("tried with OpenSSL 1.1.1 and 3 only, not with %s" % ssl.OPENSSL_VERSION)
    import _ssl

    return bind(getattr(_ssl, "__file__", None))


def bind(name: str | None) -> Any:
    """The functions by the symbols that this file, or what it is linked with, has."""
    lib, pointer = c.CDLL(name), c.c_void_p
    text = c.POINTER(c.c_char_p)
    table = {
        "d2i_PUBKEY": (pointer, pointer, text, c.c_long),
        "d2i_X509": (pointer, pointer, text, c.c_long),
        "X509_free": (None, pointer),
        "EVP_PKEY_get1_EC_KEY": (pointer, pointer),
        "EVP_PKEY_new": (pointer,),
        "EVP_PKEY_free": (None, pointer),
        "EVP_PKEY_set1_EC_KEY": (c.c_int, pointer, pointer),
        "EC_KEY_OpenSSL": (pointer,),
        "EC_KEY_METHOD_new": (pointer, pointer),
        "EC_KEY_METHOD_get_sign": (None, pointer, pointer, pointer, pointer),
        "EC_KEY_METHOD_set_sign": (None, pointer, _SIGN, pointer, pointer),
        "EC_KEY_set_method": (c.c_int, pointer, pointer),
        "SSL_CTX_use_certificate_ASN1": (c.c_int, pointer, c.c_int, c.c_char_p),
        "SSL_CTX_ctrl": (c.c_long, pointer, c.c_int, c.c_long, pointer),
        "SSL_CTX_use_PrivateKey": (c.c_int, pointer, pointer),
        "SSL_CTX_check_private_key": (c.c_int, pointer),
        "SSL_CTX_get_options": (c.c_uint64, pointer),
        "SSL_CTX_get_verify_mode": (c.c_int, pointer),
        "OpenSSL_version_num": (c.c_ulong,),
        "ERR_get_error": (c.c_ulong,),
        "ERR_error_string_n": (None, c.c_ulong, c.c_char_p, c.c_size_t),
        "ERR_clear_error": (None,),
    }
    for function, (result, *arguments) in table.items():
        try:
            found = getattr(lib, function)
        except AttributeError:
            raise Unsupported("the OpenSSL behind Python's ssl shows no %s" % function) from None
        found.restype, found.argtypes = result, arguments
    if lib.OpenSSL_version_num() != ssl.OPENSSL_VERSION_NUMBER:
        raise Unsupported("another OpenSSL than that of Python's ssl was found")
    return lib


def errors(lib: Any) -> str:
    """What OpenSSL says went wrong; emptied."""
    found = []
    while number := lib.ERR_get_error():
        text = c.create_string_buffer(256)
        lib.ERR_error_string_n(number, text, 256)
        found.append(text.value.decode("ascii", "replace"))
    return "; ".join(found)
