# SPDX-License-Identifier: MIT
"""umqtt.simple through `micropython_umqtt` against our own codec: the same packets, events and refusals.  For MicroPython."""

from agent.errors import AgentError
from agent.wire import mqtt
from platform_adapters.micropython_umqtt import Codec

UMQTT = Codec()
# Not among them: a user name alone, beside which umqtt sends an empty password.
CALLS = [
    ("connect", ("id", "user", "password", 60)),
    ("connect", ("", "", "", 0)),
    ("connect", ("ger\u00e4t", "us\u00e9r", "pass\u20acword", 65535)),
    ("connect", ("id", "", "password", 60)),
    ("connect", ("id", "user", "password", 65536)),
    ("connect", ("a\x00", "user", "password", 60)),
    ("subscribe", (1, ["a"])),
    ("subscribe", (65535, ["a/b", "x" * 200, "\u00fc" * 300])),
    ("subscribe", (700, ["t" * 20000])),
    ("publish", ("t", b"")),
    ("publish", ("caf\u00e9/\u20ac", b"payload", 1, 65535)),
    ("publish", ("t" * 127, b"x" * 127)),
    ("publish", ("t", b"x" * 20000, 1, 256)),
    ("publish", ("t", b"x" * 70000)),
    ("publish", ("a/#", b"")),
    ("publish", ("+", b"")),
    ("publish", ("", b"")),
    ("publish", ("a\x00", b"")),
    ("puback", (258,)),
]
CONNACK = b"\x20\x02\x00\x00"
# What a server may send after its CONNACK, and what it must not.
SENT = [
    b"\x30\x05\x00\x01thi",
    b"\x31\x03\x00\x01t",
    b"\x32\x07\x00\x01t\x00\x07hi",
    b"\x3a\x07\x00\x01t\xff\xffhi",
    b"\x30\x83\x01\x00\x01t" + b"x" * 128,
    b"\x30\x06\x00\x02\xc3\xa9hi",
    b"\x40\x02\x00\x01",
    b"\x90\x05\x00\x09\x00\x01\x80",
    b"\xd0\x00",
    b"\x30\x05\x00\x01thi\x40\x02\x00\x01\xd0\x00",
    b"",
    b"\x30",
    b"\x30\x85",
    b"\x30\x05\x00\x01t",
    # refused
    b"\x20\x02\x00\x00",
    b"\x30\x02\x00\x00",
    b"\x30\x01\x00",
    b"\x30\x00",
    b"\x30\x05\x00\x09thi",
    b"\x30\x05\x00\x02\xff\xfei",
    b"\x30\x05\x00\x02+ti",
    b"\x30\x05\x00\x02t#i",
    b"\x30\x05\x00\x02t\x00i",
    b"\x32\x07\x00\x01t\x00\x00hi",
    b"\x32\x04\x00\x01t\x00",
    b"\x34\x07\x00\x01t\x00\x07hi",
    b"\x36\x07\x00\x01t\x00\x07hi",
    b"\x38\x05\x00\x01thi",
    b"\x40\x02\x00\x00",
    b"\x40\x03\x00\x01\x00",
    b"\x40\x01\x00",
    b"\x41\x02\x00\x01",
    b"\x90\x02\x00\x09",
    b"\x90\x03\x00\x09\x02",
    b"\x90\x03\x00\x00\x01",
    b"\xd0\x01\x00",
    b"\xd1\x00",
    b"\x10\x02\x00\x00",
    b"\x50\x02\x00\x01",
    b"\xe0\x00",
    b"\xff\x00",
    b"\x30\xff\xff\xff\x7f\x00\x01",
    b"\x30\x81\x80\x80\x80\x01",
    b"\x30\x85\x80\x80\x80\x00\x00\x01thi",
    b"\x30\xff\xff\xff\xff\x7f",
]
FIRST = [b"\x20\x02\x00\x05", b"\x20\x02\x01\x00", b"\x20\x02\x00\x06", b"\x20\x02\x02\x00", b"\x20\x03\x00\x00\x00"]
FIRST += [b"\xd0\x00", b"HTTP/1.1 400", b"\x20\x00"]


def outcome(call, *arguments):
    try:
        return call(*arguments)
    except AgentError as error:
        return type(error).__name__, error.code


def events(codec, data, step):
    decoder = codec.Decoder()
    found = []
    try:
        for at in range(0, len(data), step):
            decoder.feed(data[at : at + step])
            while True:
                event = decoder.event()
                if event is None:
                    break
                found.append(event)
    except AgentError as error:
        found.append((type(error).__name__, error.code))
    return found


for name, arguments in CALLS:
    ours, theirs = (outcome(getattr(codec, name), *arguments) for codec in (mqtt, UMQTT))
    assert ours == theirs, (name, arguments, ours, theirs)
for data in [CONNACK + rest for rest in SENT] + FIRST:
    for step in (1, 3, len(data)):
        ours, theirs = events(mqtt, data, step), events(UMQTT, data, step)
        # One that counts bytes early and one that counts them late refuse it with the same class.
        alike = [event if event[0] != "RefusedError" else event[0] for event in ours]
        assert alike == [event if event[0] != "RefusedError" else event[0] for event in theirs], (data, ours, theirs)
assert (UMQTT.PINGREQ, UMQTT.DISCONNECT) == (mqtt.PINGREQ, mqtt.DISCONNECT)
print("all passed")
