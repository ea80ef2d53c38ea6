# SPDX-License-Identifier: MIT
"""The OpenSSL provider road: the provider itself talks to the device that holds the key.

For machines where `tls_signer` does not work.  Source: tpm2-openssl, whose
1.2.0 lists the fixes that mutual TLS needs; Debian 12's 1.1.1 loads the key
and fails in every handshake, so versions before 1.3 are refused here.

Rules it keeps
  * `default` is loaded first, and no property query is set: with the provider
    first, or asked for by name, the server's certificate would be verified by
    the TPM, which fails.
  * What is given to OpenSSL as a key file holds no key that another TPM, or
    nobody's, could use: a blob of this TPM.
"""

from __future__ import annotations

import ctypes as c
import os
import re
import ssl
import tempfile
from typing import Any, NamedTuple

from platform_adapters.keystores.tls_signer import Unsupported

LEAST = (1, 3)
_UTF8_PTR = 6  # OSSL_PARAM_UTF8_PTR, of core.h
_loaded: dict[str, Any] = {}


class Provider(NamedTuple):
    name: str  # of the provider, or the path of its module
    environment: dict[str, str]  # what it reads
    key_pem: str  # a reference, not a key


class _Param(c.Structure):
    _fields_ = [
        ("key", c.c_char_p),
        ("data_type", c.c_uint),
        ("data", c.c_void_p),
        ("data_size", c.c_size_t),
        ("return_size", c.c_size_t),
    ]


def attach(context: ssl.SSLContext, provider: Provider, chain: list[bytes]) -> None:
    load(provider)
    with tempfile.TemporaryDirectory(prefix="trueboot-tls-") as folder:
        names = folder + "/chain.pem", folder + "/key.pem"
        for name, text in zip(names, ("".join(map(ssl.DER_cert_to_PEM_cert, chain)), provider.key_pem), strict=True):
            with open(name, "w", encoding="ascii") as file:
                file.write(text)
        try:
            context.load_cert_chain(*names)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise  # it took the key well enough to see that the certificate is for another
            raise Unsupported("the provider %s does not take the key: %s" % (provider.name, error)) from None


def load(provider: Provider) -> None:
    """Both providers in the OpenSSL behind `ssl`, once a process; or Unsupported."""
    if provider.name in _loaded:
        return
    if ssl.OPENSSL_VERSION_INFO < (3,) or "OpenSSL" not in ssl.OPENSSL_VERSION:
        raise Unsupported("%s knows no providers" % ssl.OPENSSL_VERSION)
    import _ssl

    lib = c.CDLL(getattr(_ssl, "__file__", None))
    try:
        lib.OSSL_PROVIDER_load.restype = lib.OSSL_PROVIDER_get_params.restype = c.c_void_p
        lib.OSSL_PROVIDER_load.argtypes = [c.c_void_p, c.c_char_p]
        lib.OSSL_PROVIDER_get_params.restype = c.c_int
        lib.OSSL_PROVIDER_get_params.argtypes = [c.c_void_p, c.POINTER(_Param)]
        lib.OSSL_PROVIDER_unload.argtypes = [c.c_void_p]
    except AttributeError as error:
        raise Unsupported("the OpenSSL behind Python's ssl shows no providers (%s)" % error) from None
    os.environ.update(provider.environment)
    if not lib.OSSL_PROVIDER_load(None, b"default"):
        raise Unsupported("OpenSSL's own provider cannot be loaded")
    handle = lib.OSSL_PROVIDER_load(None, provider.name.encode())
    if not handle:
        raise Unsupported("no OpenSSL provider %s on this machine, or no TPM for it" % provider.name)
    version = _version(lib, handle)
    if version < LEAST:
        lib.OSSL_PROVIDER_unload(handle)
        text = ".".join(map(str, version)) or "unknown"
        raise Unsupported("the OpenSSL provider %s %s fails in handshakes: 1.3 is wanted" % (provider.name, text))
    _loaded[provider.name] = handle


def _version(lib: Any, handle: int) -> tuple[int, ...]:
    told = c.c_char_p()
    wanted = (_Param * 2)(
        _Param(b"version", _UTF8_PTR, c.cast(c.pointer(told), c.c_void_p), c.sizeof(told), 0),
        _Param(None, 0, None, 0, 0),
    )
    if lib.OSSL_PROVIDER_get_params(handle, wanted) != 1 or not told.value:
        return ()
    return tuple(int(digits) for digits in re.findall(rb"\d+", told.value)[:3])
