# SPDX-License-Identifier: MIT
"""The tokenizer: canonical bytes, look-ups, and nothing but our own error for whatever else comes."""

from agent.trust import canonical
from agent.trust.metadata import seconds
from expect import refused, value_or_agent_error


def form(data):
    parts = []
    end = canonical.skip(data, 0, lambda piece: parts.append(bytes(piece)))
    assert end <= len(data)
    return b"".join(parts)


def test_canonical_form():
    assert form(b' { "a" : [ 1 , -20 , true , false , null ] , "b" : { } } ') == b'{"a":[1,-20,true,false,null],"b":{}}'
    assert form(b'"\\u00e9 \\n \\/ \\" \\\\ \\ud83d\\ude00"') == b'"\xc3\xa9 \n / \\" \\\\ \xf0\x9f\x98\x80"'
    assert form(b'"raw\nnewline"') == b'"raw\nnewline"'
    assert form(b'{"":0,"B":0,"a":0}') == b'{"":0,"B":0,"a":0}'


def test_what_is_refused():
    for bad in (
        b"", b"{", b"[", b'"', b"tru", b"01", b"-", b"-0", b"1.0", b"1e3", b"+1", b"1" * 19, b'{"a":1,}', b"[1,]", b"[,1]",
        b'{"a" 1}', b"{a:1}", b'{"a":1,"a":1}', b'"\\x41"', b'"\\u12"', b'"\\u12_4"', b'"\\ud800"',
        b'"\\udc00"', b'"\t"', b"[" * 14 + b"]" * 14, b"NaN", b"'a'",
    ):  # fmt: skip
        refused("metadata_json", canonical.check, bad)
    refused("utf8", canonical.check, b'"\xc3"')
    for bad in (b"1 2", b"{}{}", b'""x'):
        refused("metadata_json", canonical.check, bad)


def test_look_ups():
    data = b'{"a":{"b":[10,{"c":"d"}],"e":"f"},"g":2}'
    assert canonical.load(data, canonical.find(data, 0, "a", "b")) == [10, {"c": "d"}]
    assert canonical.load(data, canonical.find(data, 0, "g")) == 2
    assert canonical.find(data, 0, "a", "x") is None
    assert canonical.load(data, 0) == {"a": {"b": [10, {"c": "d"}], "e": "f"}, "g": 2}
    refused("metadata_field", canonical.find, data, 0, "g", "x")


def test_any_bytes_give_a_value_or_our_own_error():
    whole = b'{"signed":{"a":[1,2,{"k":"\\u00e9"}],"b":-7,"c":"x\\"y"},"z":[true,null]}'
    state = 1
    for at in range(len(whole)):
        value_or_agent_error(canonical.check, whole[:at])
        for _ in range(3):
            state = (state * 1103515245 + 12345) & 0x7FFFFFFF
            bad = bytearray(whole)
            bad[at] = state >> 16 & 0xFF
            value_or_agent_error(canonical.check, bytes(bad))
            value_or_agent_error(canonical.load, bytes(bad), 0)


def test_dates():
    assert seconds("1970-01-01T00:00:00Z") == 0
    assert seconds("2000-02-29T12:34:56Z") == 951827696
    assert seconds("2038-01-19T03:14:08Z") == 1 << 31
    assert seconds("2100-03-01T00:00:00Z") == 4107542400
    for bad in ("", "2030-01-01", "2030-13-01T00:00:00Z", "2030-00-01T00:00:00Z", "203x-01-01T00:00:00Z", None, 5):
        refused("metadata_field", seconds, bad)
