# SPDX-License-Identifier: MIT
"""Canonical JSON by one tokenizer, over the bytes as received.

The same `skip` walks a value to hash it and to find something inside it, so
what was signed and what is used can never be two things.  Nothing is parsed
into objects but the small parts that a caller asks for.

Canonical form (OLPC, as python-tuf and securesystemslib write it): no white
space, keys in ascending order, integers only, in strings only `"` and `\\` are
escaped.  Input may be formatted freely.  Keys that ascend strictly cost
nothing; other documents `ordered` writes anew once.  Duplicate keys are refused.

Limits: depth, digits; the caller bounds the size.  Errors: RefusedError("metadata_json"), "utf8".
"""

from agent.errors import RefusedError
from agent.wire.utf8 import decode

MAX_DEPTH = 12
MAX_DIGITS = 18
OBJECT = 0x7B
ARRAY = 0x5B  # what closes either is two higher
_SPACE = b" \t\r\n"
_ESCAPES = b'""\\\\//b\bf\fn\nr\rt\t'  # letter, meaning, letter, meaning ...


def _bad(what):
    return RefusedError("metadata_json", what)


def _space(data, at):
    size = len(data)
    while at < size:
        if data[at] not in _SPACE:
            return at
        at += 1
    raise _bad("ends too early")


def string(data, at):
    """(text, position after it) of the string that begins at `at`."""
    if data[at] != 0x22:
        raise _bad("a string is missing")
    at += 1
    end = 0
    whole = b""
    while True:
        if end < at:
            end = data.find(b'"', at)
            if end < 0:
                raise _bad("ends in a string")
        stop = data.find(b"\\", at, end)
        raw = data[at : end if stop < 0 else stop]
        if raw and min(raw) < 0x20 and min(raw.replace(b"\n", b" ")) < 0x20:
            raise _bad("a control character in a string")
        if stop < 0:
            whole = whole + raw if whole else raw
            # All of ASCII is well-formed; what else there is, is looked at.
            return (str(whole, "utf-8") if not whole or max(whole) < 0x80 else decode(bytes(whole))), end + 1
        whole = whole or bytearray()
        whole += raw
        letter = data[stop + 1]
        at = stop + 2
        if letter == 0x75:
            code, at = _unicode(data, at)
            whole += chr(code).encode()
            continue
        for known in range(0, len(_ESCAPES), 2):
            if _ESCAPES[known] == letter:
                whole.append(_ESCAPES[known + 1])
                break
        else:
            raise _bad("an unknown escape")


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


def _next(data, at, before, close, in_order=True):
    """(key, position of its value) of the next member or element; (None, position behind) at the end of them.

    `before`: the last key, None at first.  The key of an element is "".
    """
    at = _space(data, at)
    if data[at] == close:
        return None, at + 1
    if before is not None:
        if data[at] != 0x2C:
            raise _bad("a comma is missing")
        at = _space(data, at + 1)
    if close == ARRAY + 2:
        return "", at
    key, at = string(data, at)
    if in_order and before is not None and not before < key:
        raise _bad("keys are not in ascending order at " + repr(key[:32]))
    at = _space(data, at)
    if data[at] != 0x3A:
        raise _bad("a colon is missing")
    return key, _space(data, at + 1)


def skip(data, at, emit, depth=0):
    """Walk over the value at `at`; return the position after it.  `emit`, if given, receives its canonical bytes."""
    at = _space(data, at)
    if depth > MAX_DEPTH:
        raise _bad("nested too deep")
    first = data[at]
    if first == 0x22:
        text, at = string(data, at)
        if emit:
            emit(_quoted(text))
        return at
    if first != OBJECT and first != ARRAY:
        end = _skip_word(data, at)
        if emit:
            emit(data[at:end])
        return end
    if emit:
        emit(data[at : at + 1])
    before = None
    at += 1
    while True:
        key, at = _next(data, at, before, first + 2)
        if key is None:
            if emit:
                emit(data[at - 1 : at])
            return at
        if emit:
            if before is not None:
                emit(b",")
            if first == OBJECT:
                emit(_quoted(key))
                emit(b":")
        at = skip(data, at, emit, depth + 1)
        before = key


def _quoted(text):
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return b'"' + text.encode() + b'"'


def _skip_word(data, at):
    for word in (b"true", b"false", b"null"):
        if data[at : at + len(word)] == word:
            return at + len(word)
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
    return at


def check(data):
    """Refuse what is not exactly one well-formed value with ordered keys."""
    at = skip(data, 0, None)
    if data[at:].strip():
        raise _bad("something follows the document")


def ordered(data):
    """`data` if its keys ascend; else, once and in a bounded way, the same document with keys that do."""
    try:
        check(data)
        return data
    except RefusedError:
        pass
    text, at = _sorted(data, _space(data, 0), 0)
    text += data[at:]
    check(text)  # what is wrong otherwise, or has a key twice, is refused here at the latest
    return text


def _sorted(data, at, depth):
    first = data[at]
    if depth > MAX_DEPTH or first not in (OBJECT, ARRAY):
        end = skip(data, at, None, depth)
        return data[at:end], end
    parts = []
    key = None
    at += 1
    while True:
        start = at
        key, at = _next(data, at, key, first + 2, False)
        if key is None:
            break
        start = data.find(b'"', start)
        name = data[start:at] if first == OBJECT else b""
        value, at = _sorted(data, at, depth + 1)
        parts.append((key, name + value))
    if first == OBJECT:
        parts.sort()
    return bytes((first,)) + b",".join([part for _, part in parts]) + bytes((first + 2,)), at


def items(data, at, opening=OBJECT):
    """Yield (key, position of its value) for each member of the object at `at`; with ARRAY, ("", position) of elements."""
    if at is None or data[_space(data, at)] != opening:
        raise RefusedError("metadata_field", "an object or a list is missing")
    at = _space(data, at)
    key = None
    at += 1
    while True:
        key, at = _next(data, at, key, opening + 2)
        if key is None:
            return
        yield key, at
        at = skip(data, at, None)


def find(data, at, *path):
    """Position of the value under `path` (keys from the object at `at` down), or None."""
    for key in path:
        for name, where in items(data, at):
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
    if first == OBJECT:
        return {key: load(data, where, depth + 1) for key, where in items(data, at)}
    if first == ARRAY:
        return [load(data, where, depth + 1) for _, where in items(data, at, ARRAY)]
    if first == 0x22:
        return string(data, at)[0]
    word = data[at : _skip_word(data, at)]
    if word == b"true":
        return True
    if word == b"false":
        return False
    return None if word == b"null" else int(word)
