# SPDX-License-Identifier: MIT
"""The answer of esthesis's `find` as an offer.  Pure; an unsigned hint, like every offer."""

import json

from agent.errors import RefusedError

MAX_URL_CHARACTERS = 1024
_HEX = "0123456789abcdef"


def offer(body, content_type, provisioning):
    """The offer, or None for "nothing".  `provisioning`: URL of the service's roads.  RefusedError("find_answer")."""
    if not body.strip():
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise _refused("it is %s" % (kind[:40] or "of no type"))
    try:
        found = json.loads(body)
    except ValueError:
        found = ""
    if found is None:
        return None
    if not isinstance(found, dict):
        raise _refused("it is no JSON object")
    package = _text(found, "id", 64)
    if not package:
        return None
    made = {"package": package, "version": _text(found, "version", 128), "length": None, "digest": None, "method": None}
    if not made["version"]:
        raise _refused("no version")
    size = found.get("length") or found.get("size")
    if type(size) is int and size > 0:
        made["length"] = size
    digest = _text(found, "sha256", 64)
    if digest:  # upper case is another text to the original; here it is the same number
        made["method"], made["digest"] = "sha256", digest.lower()
        if len(digest) != 64 or [c for c in made["digest"] if c not in _HEX]:
            raise _refused("its sha256 is none")
    made["url"] = _url(found, provisioning)
    for name in ("target", "job", "nonce"):
        made[name] = _text(found, name, 128) or None
    for name in ("retry", "downgrade"):
        made[name] = found.get(name) is True
    if made["digest"] is None:
        made["digest"] = made["url"] if made["job"] is None else ""
    return made


def _url(found, provisioning):
    kind = found.get("type")
    if kind == "INTERNAL":
        token = _text(found, "downloadToken", 64)
        if not token or [c for c in token if c not in _HEX]:
            raise _refused("no usable downloadToken")
        return provisioning + "/download?token=" + token
    if kind != "EXTERNAL":
        raise _refused("neither INTERNAL nor EXTERNAL")
    url = _text(found, "downloadUrl", MAX_URL_CHARACTERS)
    if not url.startswith("https://"):
        raise _refused("its downloadUrl is no https URL")
    return url


def _text(found, name, most):
    value = found.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise _refused("no usable " + name)
    return value


def _refused(what):
    return RefusedError("find_answer", "the service's answer to find cannot be used: " + what)
