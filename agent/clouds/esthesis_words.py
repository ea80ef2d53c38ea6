# SPDX-License-Identifier: MIT
"""The words of the `esthesis` dialect that are needed now and then; `esthesis` tells of the dialect, and calls these.

`cloud` is an Esthesis.
"""

from agent.clouds import elp
from agent.clouds.esthesis import TOPIC
from agent.errors import RefusedError

MAX_PAYLOAD_BYTES = 8192
MAX_REPLY_CHARACTERS = 65_536
MAX_DESCRIPTION_CHARACTERS = 120
_ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"


def login(cloud, mode, secret, stamp):
    """(client id, user name, password) of a CONNECT: the certificate is the proof, the id is all that is said."""
    return cloud.device, "", ""


def subscriptions(cloud):
    return [TOPIC % ("command/request", cloud.device)]


def report_version(cloud, version, report):
    """The version that runs, confirmed; `report` is a signed boot report or ""."""
    return _metadata(cloud, elp.line("health", {"firmware": version}), _report(report))


def progress(cloud, step, text, job, report):
    """Step 0..100, or a negative outcome, of a job.  Without a job there is the report alone."""
    about = ""
    if job:
        about = elp.line("trueboot", {"job": job, "step": step})
        about += ",desc=" + elp.quoted(text[:MAX_DESCRIPTION_CHARACTERS])
    return _metadata(cloud, about, _report(report))


def trial(cloud, job, report):
    """On trial: anything but the version.  That it was acknowledged is what counts."""
    return _metadata(cloud, "" if report else elp.line("trueboot", {"job": job or "", "step": 90}), _report(report))


def metadata(cloud, category, values):
    return _metadata(cloud, elp.line(category, values), "")


def ping(cloud, moment):
    """`moment`: RFC 3339 with its zone."""
    return None, TOPIC % ("ping", cloud.device), ("health ping=" + moment).encode()


def reply(cloud, identifier, done, text):
    """(topic, payload) that answers a command.  The second blank is there, whatever follows: without it nothing counts."""
    text = "%s %s %s" % (identifier, "s" if done else "f", text[:MAX_REPLY_CHARACTERS])
    return TOPIC % ("command/reply", cloud.device), text.encode()


def read(cloud, topic, payload):
    """("order", id, kind, way, words), or None for what is not for this device.

    `kind` and `way` are the two letters of the type, "" for one that is not there.  RefusedError("cloud_message").
    """
    if topic != TOPIC % ("command/request", cloud.device):
        return None
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RefusedError("cloud_message", "%d bytes" % len(payload))
    try:
        words = bytes(payload).decode().split(" ")
    except ValueError:
        raise RefusedError("cloud_message", "not text")
    identifier = words[0]
    if len(words) < 2 or not 0 < len(identifier) <= 64 or [c for c in identifier if c not in _ID]:
        raise RefusedError("cloud_message", "no id or no type")
    kind = words[1]
    if len(kind) > 2:
        return "order", identifier, "", "", []
    return "order", identifier, kind[:1], kind[1:], words[2:]


def _report(jws):
    return "trueboot report='%s'" % jws if jws else ""


def _metadata(cloud, *lines):
    payload = "\n".join([line for line in lines if line])
    return None, TOPIC % ("metadata", cloud.device), payload.encode()
