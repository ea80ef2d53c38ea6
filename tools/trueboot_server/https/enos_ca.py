# SPDX-License-Identifier: MIT
"""EnOS's public files of the CA: its certificate and its CRL (enos-decada, 8.5).  PEM, or DER for who accepts only that.

/enos/CA/cacert[/ECC]   the root, first if there are several: what a client trusts
/enos/CA/crl[/ECC]      the CRL of the CA that issues to devices
/enos/CA/chain[/ECC]    what follows a device's certificate, and the root

There is no RSA CA here; its addresses say so.
"""

from __future__ import annotations

import base64

from aiohttp import web

from ..errors import ApiError
from .parts import PARTS

_DER = ("application/pkix-cert", "application/pkix-crl", "application/octet-stream")


def routes() -> list[web.RouteDef]:
    found = []
    for name, handler in (("cacert", cacert), ("crl", crl), ("chain", chain)):
        found += [web.get(f"/enos/CA/{name}", handler), web.get(f"/enos/CA/{name}/{{kind}}", handler)]
    return found


async def cacert(request: web.Request) -> web.Response:
    roots = request.app[PARTS].authority.roots_der()
    return _answer(request, "CERTIFICATE", roots, "application/pkix-cert")


async def chain(request: web.Request) -> web.Response:
    authority = request.app[PARTS].authority
    return _answer(request, "CERTIFICATE", [*authority.chain_der(), *authority.roots_der()], "application/pkix-cert")


async def crl(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    with parts.store.transaction() as t:
        der = parts.crls.der(t, parts.authority.issuers[0])
    return _answer(request, "X509 CRL", [der], "application/pkix-crl")


def _answer(request: web.Request, label: str, ders: list[bytes], der_type: str) -> web.Response:
    kind = request.match_info.get("kind", "ECC")
    if kind.upper() != "ECC":
        raise ApiError(
            404, "no_such_ca", "this server's CA is ECC", "Leave the last part of the address out, or say ECC."
        )
    if any(accepted.strip().partition(";")[0] in _DER for accepted in request.headers.get("Accept", "").split(",")):
        return web.Response(body=ders[0], content_type=der_type)
    text = "".join(_pem(label, der) for der in ders)
    return web.Response(text=text, content_type="application/x-pem-file")


def _pem(label: str, der: bytes) -> str:
    lines = base64.b64encode(der).decode()
    body = "\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"
