# SPDX-License-Identifier: MIT
"""Canonical JSON by one tokenizer, over the bytes as received.

The same `skip` walks a value to hash it and to find something inside it, so
what was signed and what is used can never be two things.  Nothing is parsed
into objects but the small parts that a caller asks for.

Canonical form (OLPC, as python-tuf and securesystemslib write it): no white
space, keys in ascending order, integers only, in strings only `"` and `\\` are
escaped.  Input may be formatted freely, but keys must be strictly ascending:
a document with other order or with a duplicate key is refused.

Limits: depth, digits; the caller bounds the size.  Errors: RefusedError("metadata_json").
"""

from agent.errors import RefusedError

MAX_DEPTH = 12
MAX_DIGITS = 18
_SPACE = b" \t\r\n"
_ESCAPES = {0x22: '"', 0x5C: "\\", 0x2F: "/", 0x62: "\b", 0x66: "\f", 0x6E: "\n", 0x72: "\r", 0x74: "\t"}


def _bad(what):
    return RefusedError("metadata_json", what)


def _space(data, at):
    size = len(data)
    while at < size and data[at] in _SPACE:
        at += 1
    if at >= size:
        raise _bad("ends too early")
    return at


def string(data, at):
    """(text, position after it) of the string that begins at `at`."""
    if data[at] != 0x22:
        raise _bad("a string is missing")
    start = at = at + 1
    parts = []
    size = len(data)
    while True:
        while at < size and data[at] != 0x22 and data[at] != 0x5C:
            if data[at] < 0x20 and data[at] != 0x0A:
                raise _bad("a control character in a string")
            at += 1
        if at >= size:
            raise _bad("ends in a string")
        parts.append(_text(data[start:at]))
        if data[at] == 0x22:
            return "".join(parts), at + 1
        letter = data[at + 1] if at + 1 < size else 0
        if letter == 0x75:
            code, at = _unicode(data, at + 2)
            parts.append(chr(code))
        elif letter in _ESCAPES:
            parts.append(_ESCAPES[letter])
            at += 2
        else:
            raise _bad("an unknown escape")
        start = at


def _text(raw):
    try:
        return str(raw, "utf-8")
    except ValueError:  # UnicodeError is one, on both interpreters
        pass
    raise _bad("not UTF-8")


def _unicode(data, at):
    code = _hex4(data, at)
    at += 4
    if 0xD800 <= code < 0xDC00 and data[at : at + 2] == b"\\u":
        low = _hex4(data, at + 2)
        if 0xDC00 <= low < 0xE000:
            return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00), at + 6
    if 0xD800 <= code < 0xE000:
        raise _bad("half a surrogate pair")
    return code, at


def _hex4(data, at):
    digits = data[at : at + 4]
    if len(digits) != 4:
        raise _bad("ends in an escape")
    for digit in digits:
        if digit not in b"0123456789abcdefABCDEF":
            raise _bad("a bad escape")
    return int(digits, 16)


def skip(data, at, emit, depth=0):
    """Walk over the value at `at`; return the position after it.  `emit`, if given, receives its canonical bytes."""
    at = _space(data, at)
    if depth > MAX_DEPTH:
        raise _bad("nested too deep")
    first = data[at]
    if first == 0x7B:
        return _skip_object(data, at, emit, depth)
    if first == 0x5B:
        return _skip_array(data, at, emit, depth)
    if first == 0x22:
        text, at = string(data, at)
        if emit:
            _emit_string(text, emit)
        return at
    for word in (b"true", b"false", b"null"):
        if data[at : at + len(word)] == word:
            if emit:
                emit(word)
            return at + len(word)
    return _skip_integer(data, at, emit)


def _emit_string(text, emit):
    emit(b'"')
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    emit(text.encode())
    emit(b'"')


def _skip_integer(data, at, emit):
    start = at
    if data[at] == 0x2D:
        at += 1
    first = at
    while at < len(data) and 0x30 <= data[at] <= 0x39:
        at += 1
    digits = at - first
    if not digits or digits > MAX_DIGITS or (digits > 1 and data[first] == 0x30) or data[start:at] == b"-0":
        raise _bad("a bad number")
    if at < len(data) and data[at] in b".eE":
        raise _bad("a number that is not an integer")
    if emit:
        emit(data[start:at])
    return at


def _next_key(data, at, before):
    """The key after `before` and the position of its value; (None, position after the object) at its end."""
    at = _space(data, at)
    if data[at] == 0x7D:
        return None, at + 1
    if before is not None:
        if data[at] != 0x2C:
            raise _bad("a comma is missing")
        at = _space(data, at + 1)
    key, at = string(data, at)
    if before is not None and not before < key:
        raise _bad("keys are not in ascending order at " + repr(key[:32]))
    at = _space(data, at)
    if data[at] != 0x3A:
        raise _bad("a colon is missing")
    return key, _space(data, at + 1)


def _skip_object(data, at, emit, depth):
    if emit:
        emit(b"{")
    at += 1
    before = None
    while True:
        key, at = _next_key(data, at, before)
        if key is None:
            break
        if emit:
            if before is not None:
                emit(b",")
            _emit_string(key, emit)
            emit(b":")
        at = skip(data, at, emit, depth + 1)
        before = key
    if emit:
        emit(b"}")
    return at


def _skip_array(data, at, emit, depth):
    if emit:
        emit(b"[")
    at = _space(data, at + 1)
    first = True
    while data[at] != 0x5D:
        if not first:
            if data[at] != 0x2C:
                raise _bad("a comma is missing")
            at += 1
            if emit:
                emit(b",")
        at = _space(data, skip(data, at, emit, depth + 1))
        first = False
    if emit:
        emit(b"]")
    return at + 1


def check(data):
    """Refuse what is not exactly one well-formed value."""
    at = skip(data, 0, None)
    if data[at:].strip():
        raise _bad("something follows the document")


def members(data, at):
    """Yield (key, position of its value) for each member of the object at `at`."""
    at = _space(data, at)
    if data[at] != 0x7B:
        raise _bad("an object is missing")
    at += 1
    before = None
    while True:
        key, at = _next_key(data, at, before)
        if key is None:
            return
        yield key, at
        at = skip(data, at, None)
        before = key


def elements(data, at):
    """Yield the position of each element of the array at `at`."""
    at = _space(data, at)
    if data[at] != 0x5B:
        raise _bad("a list is missing")
    at = _space(data, at + 1)
    first = True
    while data[at] != 0x5D:
        if not first:
            at = _space(data, at + 1)
        yield at
        at = _space(data, skip(data, at, None))
        if data[at] not in b",]":
            raise _bad("a comma is missing")
        first = False


def find(data, at, *path):
    """Position of the value under `path` (keys from the object at `at` down), or None."""
    for key in path:
        for name, where in members(data, at):
            if name == key:
                at = where
                break
        else:
            return None
    return at


def load(data, at, depth=0):
    """The value at `at` as Python objects.  For small parts only."""
    at = _space(data, at)
    if depth > MAX_DEPTH:
        raise _bad("nested too deep")
    first = data[at]
    if first == 0x7B:
        return {key: load(data, where, depth + 1) for key, where in members(data, at)}
    if first == 0x5B:
        return [load(data, where, depth + 1) for where in elements(data, at)]
    if first == 0x22:
        return string(data, at)[0]
    end = skip(data, at, None, depth)
    word = data[at:end]
    if word == b"true":
        return True
    if word == b"false":
        return False
    return None if word == b"null" else int(word)
