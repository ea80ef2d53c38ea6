# SPDX-License-Identifier: MIT
"""The operator's side of the server's REST interface: where the server is, and one bounded, verified request at a time.

TLS is always verified against the CA file; the environment never adds or removes trust (`trust_env=False`: otherwise
REQUESTS_CA_BUNDLE overrides the pinned CA, and a proxy would see the token).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from .problem import Problem

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
DEFAULT_STATE = "trueboot-state"


class Server(NamedTuple):
    url: str
    ca_file: str
    token: str
    info: dict[str, Any] = {}  # what operator.json says: addresses, secrets, files

    @property
    def keys_dir(self) -> str:
        return self.info.get("keys_dir") or ""

    @property
    def root_file(self) -> str:
        return self.info.get("root_file") or ""


def find_server(server: str = "", ca: str = "", token: str = "", state: str = "") -> Server:
    """Flag over environment over STATE/operator.json (--state, TRUEBOOT_STATE, ./trueboot-state)."""
    server = server or os.environ.get("TRUEBOOT_SERVER", "")
    ca = ca or os.environ.get("TRUEBOOT_CA", "")
    token = token or os.environ.get("TRUEBOOT_TOKEN", "")
    named = state or os.environ.get("TRUEBOOT_STATE", "")
    path = Path(named or DEFAULT_STATE) / "operator.json"
    known: dict[str, Any] = {}
    if named or not (server and ca and token):
        known = read_operator_file(path, wanted=bool(named))
    url = server or known.get("https", "")
    if not url:
        raise Problem("server_unknown", why=f"neither --server nor TRUEBOOT_SERVER was given, and there is no {path}")
    if not url.startswith("https://"):
        raise Problem("usage", f"{url}: the server's address must begin with https://", why="a token is sent to it")
    return Server(
        url.rstrip("/"),
        ca or known.get("ca_file", ""),
        token or known.get("admin_token", ""),
        known,
    )


def read_operator_file(path: Path, wanted: bool) -> dict[str, Any]:
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if wanted:
            raise Problem("server_unknown", f"No server has run in {path.parent}.", f"{path} does not exist") from None
        return {}
    except (OSError, ValueError) as error:
        raise Problem("file_unusable", f"{path} cannot be used.", str(error)) from None


class Api:
    """One session with the server.  Every method raises Problem, and nothing else, when the server does not do it."""

    def __init__(self, server: Server):
        import requests

        self.server = server
        self._session = requests.Session()
        self._session.trust_env = False
        if not server.ca_file:
            raise Problem(
                "server_unknown", "The server's CA file is not known.", todo="Give it with --ca or TRUEBOOT_CA."
            )
        if not Path(server.ca_file).is_file():
            raise Problem("file_unusable", f"The CA file {server.ca_file} does not exist.")
        self._session.verify = server.ca_file
        if server.token:
            self._session.headers["Authorization"] = f"Bearer {server.token}"

    def request(
        self, method: str, path: str, *, body: Any = None, timeout_s: float = READ_TIMEOUT_S, **named: Any
    ) -> bytes:
        """`body` is bytes, an open file (streamed) or None; `named` goes to requests (params, json)."""
        import requests

        try:
            answer = self._session.request(
                method,
                self.server.url + path,
                data=body,
                timeout=(CONNECT_TIMEOUT_S, timeout_s),
                allow_redirects=False,
                **named,
            )
        except requests.exceptions.SSLError as error:
            raise Problem("server_untrusted", f"{self.server.url} is not trusted.", _reason(error)) from None
        except requests.exceptions.Timeout:
            raise Problem("server_unreachable", f"{self.server.url} did not answer in time.") from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise Problem("server_unreachable", f"{self.server.url} does not answer.", _reason(error)) from None
        if answer.status_code >= 300:
            raise problem_of(answer.status_code, answer.content)
        return answer.content

    def get(self, path: str, **named: Any) -> Any:
        return json.loads(self.request("GET", path, **named))

    def post(self, path: str, value: Any = None, **named: Any) -> Any:
        return json.loads(self.request("POST", path, json=value, **named) or b"{}")

    def events(self, after: int, wait_s: float) -> tuple[list[dict[str, Any]], int]:
        answer = self.get("/api/v1/events", params={"after": after, "wait": wait_s}, timeout_s=wait_s + 10)
        return answer["events"], answer["last"]

    def close(self) -> None:
        self._session.close()


def problem_of(status: int, body: bytes) -> Problem:
    """The server's own words when it sent some: {"error": {"code", "message", "hint"}}."""
    try:
        error = json.loads(body)["error"]
        message, hint = str(error.get("message", "")), str(error.get("hint", ""))
        server_code = str(error.get("code", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        message, hint, server_code = f"it answered with status {status}", "", ""
    code = {401: "not_permitted", 403: "not_permitted", 404: "not_found", 429: "server_busy", 504: "device_silent"}.get(
        status
    )
    if code is None:
        code = "server_failed" if status >= 500 else "server_refused"
    problem = Problem(code, why=f"{message} ({server_code})" if server_code else message, todo=hint)
    problem.server_code = server_code
    return problem


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line; the outer ones are the library's own names."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if inner is None and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if not isinstance(inner, BaseException) or inner is error:
            break
        error = inner
    text = getattr(error, "verify_message", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(text.split())[:200]
