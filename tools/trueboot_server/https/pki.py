# SPDX-License-Identifier: MIT
"""What the CA tells everybody (its certificates, its CRLs, OCSP: no secrets, no proof), and what it does for its operator."""

from __future__ import annotations

from email.utils import formatdate

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from .. import csr
from ..ca import book, lists, ocsp, profiles
from ..ca.files import Issuer
from ..clock import iso
from ..errors import ApiError
from ..names import is_host
from . import schemas as s
from .operations import OPERATE, READ, operation
from .parts import PARTS
from .request import only, read_body, read_object, require_admin

_CRL, _CERTIFICATE, _OCSP = "application/pkix-crl", "application/pkix-cert", "application/ocsp-response"
_MAX_NAMES = 16
_PEM = ("application/x-pem-file", "application/pem-certificate-chain")


def routes() -> list[web.RouteDef]:
    return [
        web.get("/ca/crl", crl_of),
        web.get("/ca/crl.pem", crl_pem),
        web.get("/ca/crl/{issuer}", crl_of),
        web.get("/ca/root.crl", root_crl),
        web.get("/ca/ca.pem", anchors),
        web.get("/ca/issuing.der", certificate_of),
        web.get("/ca/issuing/{issuer}.der", certificate_of),
        web.get("/api/v1/ca", facts),
        web.post("/api/v1/ca/servers", certify_server),
        web.post("/ca/ocsp", post_ocsp),
        web.get("/ca/ocsp/{request:.+}", get_ocsp),
    ]


async def crl_of(request: web.Request) -> web.Response:
    """DER, or PEM for whoever says so (Accept)."""
    der = _crl(request)
    accepted = request.headers.get("Accept", "")
    wanted = next((kind for kind in _PEM if kind in accepted), None)
    if wanted:
        return web.Response(body=lists.pem(der), content_type=wanted)
    return web.Response(body=der, content_type=_CRL)


async def crl_pem(request: web.Request) -> web.Response:
    return web.Response(body=lists.pem(_crl(request)), content_type=_PEM[0])


async def root_crl(request: web.Request) -> web.Response:
    """PEM: the root's own list, of CAs; as old as the root's key has been away."""
    return web.Response(body=request.app[PARTS].authority.root_crl(), content_type=_PEM[0])


async def anchors(request: web.Request) -> web.Response:
    body = b"".join(map(profiles.pem, request.app[PARTS].authority.roots))
    return web.Response(body=body, content_type=_PEM[0])


async def certificate_of(request: web.Request) -> web.Response:
    return web.Response(body=profiles.der(_issuer(request).certificate), content_type=_CERTIFICATE)


async def post_ocsp(request: web.Request) -> web.Response:
    parts = request.app[PARTS]
    return _answer(request, await read_body(request, parts.limits.ocsp_body_bytes))


async def get_ocsp(request: web.Request) -> web.Response:
    # The path as it was sent: base64 holds slashes, and some clients encode what they need not.
    return _answer(request, ocsp.from_path(request.raw_path.partition("/ca/ocsp/")[2].partition("?")[0]))


@operation(READ, "Show the CA", s.FREE)
async def facts(request: web.Request) -> web.Response:
    return web.json_response(require_admin(request).authority.facts())


@operation(
    OPERATE,
    "Certify another server",
    s.obj(serial=s.text(), not_after=s.TIME, chain=s.text("PEM"), trusted=s.text("PEM")),
    status=201,
    body=s.obj("names csr", names=s.array(s.text()), csr=s.text("PKCS#10 in PEM")),
)
async def certify_server(request: web.Request) -> web.Response:
    """A certificate for another server of the operator's: {"names": [...], "csr": PEM} -> its chain, and whom it trusts, in PEM."""
    parts = require_admin(request)
    body = await read_object(request)
    only(body, "names", "csr")
    names, text = body.get("names"), body.get("csr")
    if not isinstance(names, list) or not 0 < len(names) <= _MAX_NAMES or not all(is_host(name) for name in names):
        raise ApiError(400, "bad_names", f"names must be 1 to {_MAX_NAMES} host names or addresses")
    try:
        der = x509.load_pem_x509_csr(str(text).encode()).public_bytes(Encoding.DER)
    except ValueError as error:
        raise ApiError(400, "csr_refused", "not a PKCS#10 request", "Send it in PEM, signed by its own key.") from error
    issued = parts.authority.issue_server(names, csr.read(der).key, parts.base_url)
    with parts.store.transaction() as t:
        book.note_own(t, issued, "other")
        t.event("certificate.issued", serial=issued.serial, names=names)
    chain = [issued.der, *parts.authority.chain_der()]
    text = "".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode() for der in chain)
    trusted = parts.authority.client_anchors()
    answer = {"serial": issued.serial, "not_after": iso(issued.not_after_ms), "chain": text, "trusted": trusted}
    return web.json_response(answer, status=201)


def _answer(request: web.Request, der: bytes) -> web.Response:
    parts = request.app[PARTS]
    with parts.store.transaction() as t:
        answer = parts.responder.answer(t, der)
        now_s = t.now // 1000
    headers = {"Cache-Control": "no-store"}
    if answer.cacheable:  # RFC 5019, 6.2
        life_s = parts.limits.ocsp_life_s
        headers = {
            "Cache-Control": f"max-age={life_s}, public, no-transform, must-revalidate",
            "Last-Modified": formatdate(now_s, usegmt=True),
            "Expires": formatdate(now_s + life_s, usegmt=True),
        }
    return web.Response(body=answer.der, content_type=_OCSP, headers=headers)


def _crl(request: web.Request) -> bytes:
    parts, issuer = request.app[PARTS], _issuer(request)
    with parts.store.transaction() as t:
        return parts.crls.der(t, issuer)


def _issuer(request: web.Request) -> Issuer:
    issuers = request.app[PARTS].authority.issuers
    wanted = request.match_info.get("issuer")
    for issuer in issuers:
        if wanted in (None, issuer.id):
            return issuer
    raise ApiError(404, "no_such_issuer", "this server has no such CA", "GET /ca/issuing.der is the one that issues.")
