# SPDX-License-Identifier: MIT
"""A client of EnOS's REST, as EnOS documents it: who we are, a token, and one bounded, verified, signed call at a time.

Written to the documents, not to our server: what it says fits EnOS and DECADA (enos-decada, 8.1 to 8.4).  Credentials come
from a file or from the environment, never from the command line, where every user of the machine can read them:

    TRUEBOOT_ENOS_URL, _ORG, _ACCESS_KEY, _SECRET_KEY, _CA      or
    a JSON file with url, org_id, access_key, secret_key, ca_file, or
    operator.json of a Trueboot server's state folder, which holds the same

TLS is always verified: against `ca_file`, or, when there is none, against what this machine trusts, as DECADA's gateway
needs.  Values that would have to be encoded in an address are refused: how EnOS signs those is not documented.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

from .api import CONNECT_TIMEOUT_S, DEFAULT_STATE, _reason
from .problem import Problem

READ_TIMEOUT_S = 60
MAX_ANSWER_BYTES = 1024 * 1024
TOKENS = "/apim-token-service/v2.0/token/get"
DEVICES = "/connect-service/v2.1/devices"
CERTIFICATES = "/connect-service/v2.0/certificates"

REPEATED, TOKEN_EXPIRED, NO_DEVICE, KEY_EXISTS = 1001, 1203, 11404, 11702
_OF_THE_KEY = (1002, 1003)
TOKEN_TRIES = 3
_NEEDS_NO_ENCODING = re.compile(r"[A-Za-z0-9._~-]*\Z")
_VARIABLES = {
    "url": "TRUEBOOT_ENOS_URL",
    "org_id": "TRUEBOOT_ENOS_ORG",
    "access_key": "TRUEBOOT_ENOS_ACCESS_KEY",
    "secret_key": "TRUEBOOT_ENOS_SECRET_KEY",
    "ca_file": "TRUEBOOT_ENOS_CA",
}
_NEEDED = ("url", "org_id", "access_key", "secret_key")


class Account(NamedTuple):
    url: str
    org_id: str
    access_key: str
    secret_key: str
    ca_file: str = ""
    product_key: str = ""  # the default product, where operator.json names one


def find_account(file: Path | None, state: str = "") -> Account:
    """A file that is named, over the environment, over operator.json of the state folder."""
    given = {name: os.environ.get(variable, "") for name, variable in _VARIABLES.items()}
    if file is not None:
        given = _read(file)
    elif state or not any(given.values()):
        path = Path(state or os.environ.get("TRUEBOOT_STATE") or DEFAULT_STATE) / "operator.json"
        given = _read(path) if path.is_file() else {}
    known = {name: given.get(name, "") for name in Account._fields}
    known["url"] = known["url"] or given.get("https", "")
    missing = [name for name in _NEEDED if not known[name]]
    if missing:
        raise Problem("enos_account", why=f"missing: {', '.join(missing)}")
    if any(not isinstance(value, str) for value in known.values()):
        raise Problem("enos_account", why="its members are texts")
    if not known["url"].startswith("https://"):
        raise Problem("usage", f"{known['url']}: the address must begin with https://", why="a secret is proven to it")
    return Account(**known | {"url": known["url"].rstrip("/")})


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_mode & 0o077:
            raise Problem("file_unusable", f"{path} is not private.", "others can read it", f"chmod 600 {path}")
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(
            "file_unusable", f"{path} cannot be used.", getattr(error, "strerror", "") or str(error)
        ) from None
    if not isinstance(found, dict):
        raise Problem("file_unusable", f"{path} cannot be used.", "it is no JSON object")
    return found


def signature(token: str, query: dict[str, str], body: bytes, timestamp: str, secret_key: str) -> str:
    params = "".join(name + query[name] for name in sorted(query))
    return hashlib.sha256(f"{token}{params}".encode() + body + f"{timestamp}{secret_key}".encode()).hexdigest()


class Enos:
    """One session.  Every method raises Problem, and nothing else, when EnOS does not do it."""

    def __init__(self, account: Account):
        import requests

        self.account = account
        self._session = requests.Session()
        self._session.trust_env = False  # the environment neither adds nor removes trust, and gets no secret to see
        if account.ca_file and not Path(account.ca_file).is_file():
            raise Problem("file_unusable", f"The CA file {account.ca_file} does not exist.")
        self._session.verify = account.ca_file or True
        self._token = ""
        self._last_ms = 0

    def token(self) -> tuple[str, int]:
        """(access token, seconds that it has left)."""
        for tries_left in reversed(range(TOKEN_TRIES)):
            timestamp = self._now_ms()
            account = self.account
            proof = hashlib.sha256(f"{account.access_key}{timestamp}{account.secret_key}".encode()).hexdigest()
            body = {"appKey": account.access_key, "encryption": proof, "timestamp": timestamp}
            answer = self._send("POST", TOKENS, {}, json.dumps(body).encode(), {})
            if answer.get("status") != REPEATED or not tries_left:
                break
        if answer.get("status") != 0:
            raise _refusal(answer)
        data = answer.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("accessToken"), str):
            raise Problem("enos_answer", why="it gave no access token")
        self._token = data["accessToken"]
        return self._token, int(data.get("expire") or 0)

    def call(self, method: str, path: str, query: dict[str, str], body: dict[str, Any] | None = None) -> Any:
        """The answer's `data`.  A token that has expired is replaced once."""
        query = {"orgId": self.account.org_id, **{name: value for name, value in query.items() if value}}
        for name, value in query.items():
            if not _NEEDS_NO_ENCODING.match(value):
                raise Problem(
                    "usage", f"{name} cannot be used.", "letters, digits, '.', '_', '~' and '-' can be signed"
                )
        sent = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        for tries_left in (1, 0):
            if not self._token:
                self.token()
            timestamp = str(self._now_ms())
            headers = {
                "apim-accesstoken": self._token,
                "apim-signature": signature(self._token, query, sent, timestamp, self.account.secret_key),
                "apim-timestamp": timestamp,
            }
            answer = self._send(method, path, query, sent, headers)
            code = answer.get("code", answer.get("status"))
            if code == 0:
                return answer.get("data")
            if code != TOKEN_EXPIRED or not tries_left:
                raise _refusal(answer)
            self._token = ""
        raise AssertionError("unreachable")

    def get_device(self, device: dict[str, str]) -> dict[str, Any] | None:
        """None when there is no such device."""
        try:
            found = self.call("GET", DEVICES, {"action": "get", **device})
        except Problem as problem:
            if problem.server_code == str(NO_DEVICE):
                return None
            raise
        return found if isinstance(found, dict) and found.get("deviceKey") else None

    def create_device(self, body: dict[str, Any]) -> dict[str, Any]:
        return _object(self.call("POST", DEVICES, {"action": "create"}, body))

    def certificates(self, action: str, device: dict[str, str], body: dict[str, Any] | None = None) -> Any:
        return self.call("GET" if action == "list" else "POST", CERTIFICATES, {"action": action, **device}, body)

    def _now_ms(self) -> int:
        # Never the same twice: a proof counts once.
        self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
        return self._last_ms

    def _send(
        self, method: str, path: str, query: dict[str, str], body: bytes, headers: dict[str, str]
    ) -> dict[str, Any]:
        import requests

        url = self.account.url
        # By hand, so that it is what was signed.
        address = url + path + ("?" + "&".join(f"{name}={value}" for name, value in query.items()) if query else "")
        headers = {"Content-Type": "application/json;charset=UTF-8", **headers}
        try:
            with self._session.request(
                method,
                address,
                data=body or None,
                headers=headers,
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
                allow_redirects=False,
                stream=True,
            ) as answer:
                content = answer.raw.read(MAX_ANSWER_BYTES + 1, decode_content=True)
                status = answer.status_code
        except requests.exceptions.SSLError as error:
            raise Problem("server_untrusted", f"{url} is not trusted.", _reason(error)) from None
        except requests.exceptions.Timeout:
            raise Problem("server_unreachable", f"{url} did not answer in time.") from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise Problem("server_unreachable", f"{url} does not answer.", _reason(error)) from None
        except Exception as error:  # noqa: BLE001 - urllib3's own errors, which the raw body may raise
            raise Problem("server_unreachable", f"{url} broke off.", _reason(error)) from None
        if status == 429:
            raise Problem("server_busy", why="too many calls, or too many failed proofs")
        try:
            found = json.loads(content) if len(content) <= MAX_ANSWER_BYTES else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Problem("enos_answer", why=f"status {status}, and no JSON object of at most {MAX_ANSWER_BYTES} bytes")
        return found


def _object(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Problem("enos_answer", why="its data are no object")
    return data


def _refusal(answer: dict[str, Any]) -> Problem:
    code = answer.get("code", answer.get("status"))
    text = str(answer.get("msg") or "it gave no reason")[:400]
    named = {NO_DEVICE: "not_found", TOKEN_EXPIRED: "server_busy"}.get(code if type(code) is int else 0)
    if code in _OF_THE_KEY:
        named = "not_permitted"
    problem = Problem(
        named or "enos_refused",
        "EnOS refuses this.",
        f"{text} ({code})",
        "Compare access key, secret key and organisation." if named == "not_permitted" else "",
    )
    problem.server_code = str(code)
    return problem
