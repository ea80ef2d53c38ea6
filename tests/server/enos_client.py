# SPDX-License-Identifier: MIT
"""A client of EnOS's REST as its documentation describes it: requests and hashlib, no code of ours.

`sent` is what the last call put on the wire, so that a test can send it again or change it.
"""

from __future__ import annotations

import hashlib
import json
import time
import urllib.parse

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

CERTIFICATES = "/connect-service/v2.0/certificates"
DEVICES = "/connect-service/v2.1/devices"
TOKENS = "/apim-token-service/v2.0/token/"
_last_ms = [0]


def now_ms():
    """Never the same twice: an `encryption` counts once."""
    _last_ms[0] = max(_last_ms[0] + 1, int(time.time() * 1000))
    return _last_ms[0]


def sha256(text):
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


def signature(token, pairs, body, timestamp, secret_key):
    params = "".join(name + value for name, value in sorted(pairs))
    return sha256(f"{token}{params}".encode() + body + f"{timestamp}{secret_key}".encode())


def csr_pem(key, name="dk11574657485000", old_header=False, more=0):
    subject = [(NameOID.COUNTRY_NAME, "SG"), (NameOID.ORGANIZATION_NAME, "DECADA"), (NameOID.COMMON_NAME, name)]
    subject += [(NameOID.STREET_ADDRESS, f"number {number}") for number in range(more)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    )
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    return pem.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST") if old_header else pem


class Enos:
    def __init__(self, first):
        self.first, self.url = first, first["https"]
        self.access_key, self.secret_key, self.org_id = first["access_key"], first["secret_key"], first["org_id"]
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = first["ca_file"]
        self._token = None

    def post(self, path, body, **more):
        return self.session.post(self.url + path, data=body, timeout=20, **more)

    def token_body(self, timestamp=None, **more):
        timestamp = now_ms() if timestamp is None else timestamp
        proof = sha256(f"{self.access_key}{timestamp}{self.secret_key}")
        return {"appKey": self.access_key, "encryption": proof, "timestamp": timestamp, **more}

    def ask_token(self, verb="get", body=None, **more):
        return self.post(TOKENS + verb, json.dumps(body or self.token_body(**more))).json()

    @property
    def token(self):
        if self._token is None:
            answer = self.ask_token()
            assert answer["status"] == 0, answer
            self._token = answer["data"]["accessToken"]
        return self._token

    def call(self, method, path, query, body=None, sign_raw=False, headers=None):
        """The answer, a requests.Response."""
        query = {"orgId": self.org_id, **query}
        data = b"" if body is None else json.dumps(body).encode()
        encoded = {name: urllib.parse.quote(value, safe="") for name, value in query.items()}
        timestamp = str(now_ms())
        pairs = list((encoded if sign_raw else query).items())
        given = {
            "apim-accesstoken": self.token,
            "apim-signature": signature(self.token, pairs, data, timestamp, self.secret_key),
            "apim-timestamp": timestamp,
            "Content-Type": "application/json;charset=UTF-8",
            **(headers or {}),
        }
        url = self.url + path + "?" + "&".join(f"{name}={value}" for name, value in encoded.items())
        self.sent = (method, url, data, given)
        return self.send(*self.sent)

    def send(self, method, url, data, headers):
        return self.session.request(method, url, data=data or None, headers=headers, timeout=20)

    def certificates(self, action, device, body=None, method="POST"):
        return self.call(method, CERTIFICATES, {"action": action, **_names(device)}, body).json()

    def apply(self, device, key, **more):
        return self.certificates("apply", device, {"csr": csr_pem(key), **more})

    def list(self, device):
        return self.certificates("list", device, method="GET")

    def create(self, **body):
        body = {
            "productKey": self.first["product_key"],
            "timezone": "+08:00",
            "deviceName": {"defaultValue": "zephyr-x", "i18nValue": None},
            **body,
        }
        return self.call("POST", DEVICES, {"action": "create"}, body).json()

    def get(self, device):
        return self.call("GET", DEVICES, {"action": "get", **_names(device)}).json()


def _names(device):
    """A device key (of the first product's) is not enough for EnOS: a dict of query parameters."""
    return dict(device)
