# SPDX-License-Identifier: MIT
"""May this device install this release?  Decided from signed data alone.

A target's `custom` object says, in signed metadata:
    kind         what the image is: "app", "firmware" or "system"; a device takes the kind of its slots only
    version      semantic version
    hardware     list of the hardware ids it is made for
    security     unsigned integer, compared with the device's floor (by the update machine)
    size         bytes that it takes on flash; optional, at least its length
    requires     range that the running version must lie in, ">=1.2.0 <2.0.0"; optional
    prerequisite version that must have been reached before; optional

A release must be newer than what runs, unless an operator orders a downgrade.
An image that ran here before, confirmed, need not follow what runs now: that
is no way forward, but a way back.

`prerequisite` is a stepping stone, esthesis's word: the running version must be
that one or a newer one.  A device that left the factory with something newer
never ran the stone itself and must not be stuck for it (the real service sticks
even at the stone).  Who means one version and no other writes requires "=1.0.9".

What an offer says is a hint: it must agree with the file that is offered, and
decides nothing.  Pure.  Errors: RefusedError with the rule's code,
DeviceError("slot_full").
"""

from agent import version
from agent.errors import DeviceError, RefusedError

MAX_PATH_CHARACTERS = 128


def release(path, target, device):
    """The release that `target`, {"length", "hashes", "custom"}, describes, as the update machine keeps it.

    device: {"kind": of its slots, "hardware", "version": the running one, "capacity": bytes of the spare slot}, and where
    they are known "image" and "previous": hashes of what runs, and of what ran before; "downgrade": whether one is ordered.
    """
    custom, hashes = target.get("custom"), target["hashes"]
    if len(path) > MAX_PATH_CHARACTERS or not isinstance(custom, dict) or not isinstance(hashes, dict):
        raise _unusable("its path is too long, or nothing is said of it")
    found = {"target": path, "length": target["length"], "sha256": hashes.get("sha256")}
    for name in ("version", "kind", "security"):
        found[name] = custom.get(name)
    for name in ("length", "security"):
        if type(found[name]) is not int or found[name] < 0:
            raise _unusable("no usable " + name)
    if not _is_digest(found["sha256"]):
        raise _unusable("no SHA-256 in lower-case hex")
    _parsed("version", version.parse, found["version"])
    if found["kind"] != device["kind"]:
        told = _short(found["kind"]), device["kind"]
        raise RefusedError("release_kind", "it is %s, and this device takes %s only" % told)
    hardware = custom.get("hardware")
    if not isinstance(hardware, list) or device["hardware"] not in hardware:
        raise RefusedError("release_hardware", "not made for " + device["hardware"])
    downgrade = device.get("downgrade")
    if found["sha256"] != device.get("image"):  # else the update machine says so
        if not downgrade or found["sha256"] != device.get("previous"):
            _follows(custom, device["version"])
        if not downgrade and not _is_newer(found["version"], device["version"]):
            raise RefusedError("older", "%s is not newer than %s, which runs" % (found["version"], device["version"]))
    size = custom.get("size", 0)
    if type(size) is not int or size < 0:
        raise _unusable("no usable size")
    size = max(size, found["length"])
    if size > device["capacity"]:
        raise DeviceError("slot_full", "%d bytes into a slot that takes %d" % (size, device["capacity"]))
    return found


def agree(offer, **facts):
    """RefusedError("offer") when the offer's hint on one of `facts` is there and is another."""
    for name in facts:
        if offer.get(name) is not None and offer[name] != facts[name]:
            raise RefusedError("offer", "its %s %s is not the signed %s" % (name, _short(offer[name]), facts[name]))


def _follows(custom, running):
    wanted = custom.get("requires")
    if wanted is not None:
        _parsed("requires", version.satisfies, "0.0.0", wanted)
        if not _holds(version.satisfies, running, wanted):
            raise RefusedError("release_requires", "it wants %s, and %s runs" % (wanted, running))
    stone = custom.get("prerequisite")
    if stone is not None:
        _parsed("prerequisite", version.parse, stone)
        if not _holds(version.satisfies, running, ">=" + stone):
            raise RefusedError(
                "release_prerequisite", "it wants %s to be installed first, and %s runs" % (stone, running)
            )


def _is_newer(new, running):
    try:
        return version.compare(new, running) > 0
    except RefusedError:
        return True  # what runs has no semantic version: nothing is older than that


def _parsed(name, function, *arguments):
    try:
        function(*arguments)
    except RefusedError as error:
        raise _unusable("%s: %s" % (name, error.detail))


def _holds(function, *arguments):
    try:
        return function(*arguments)
    except RefusedError:
        return False  # what runs has no semantic version


def _is_digest(text):
    return isinstance(text, str) and len(text) == 64 and not [c for c in text if c not in "0123456789abcdef"]


def _short(value):
    return str(value)[:64]


def _unusable(what):
    return RefusedError("release", "its signed metadata: " + what)
