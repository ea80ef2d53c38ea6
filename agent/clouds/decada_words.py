# SPDX-License-Identifier: MIT
"""The words of the `decada` dialect that are needed now and then; `decada` tells of the dialect, and calls these.

`cloud` is a Decada.
"""

import binascii
import hashlib
import json

from agent.errors import RefusedError

MAX_PAYLOAD_BYTES = 8192
MAX_URL_CHARACTERS = 1024  # signed URLs of object stores are long
MAX_OFFERS = 4  # of one answer; one is under way at a time
_OFFERS = "ota/device/getversion_reply"


def login(cloud, mode, secret, stamp):
    """(client id, user name, password) of a CONNECT; `stamp` is opaque to the cloud and only salts the digest."""
    stamp = str(stamp)
    text = "clientId%sdeviceKey%sproductKey%stimestamp%s%s" % (cloud.device, cloud.device, cloud.product, stamp, secret)
    password = binascii.hexlify(hashlib.sha256(text.encode()).digest()).decode()
    client_id = "%s|securemode=%d,signmethod=sha256,timestamp=%s|" % (cloud.device, mode, stamp)
    return client_id, cloud.device + "&" + cloud.product, password


def subscriptions(cloud):
    """Exact topics only; EnOS pushes its commands without a subscription, and wildcards echo replies."""
    names = ("ota/device/inform_reply", "ota/device/progress_reply", "ota/device/upgrade", _OFFERS)
    return [cloud.topics + name for name in names]


def report_version(cloud, version, report):
    """The version that runs, confirmed; `report` is a signed boot report or "".  Gives (id, topic, payload)."""
    params = {"version": version}
    if report:
        params["report"] = report
    return cloud.request("ota/device/inform", "ota.device.inform", params)


def progress(cloud, step, text, job, report):
    """Step 0..100, or a negative outcome, of a job."""
    params = {"step": str(step), "desc": text}
    if job:
        params["job"] = job
    if report:
        params["report"] = report
    return cloud.request("ota/device/progress", "ota.device.progress", params)


def trial(cloud, job, report):
    """On trial: anything but the version.  That it was answered is what counts."""
    return progress(cloud, 90, "on trial", job, report)


def ask_for_update(cloud, params):
    """What does the cloud offer now?  Answered with ("offers", ...).  EnOS knows no params."""
    return cloud.request("ota/device/getversion", "ota.device.getversion", params)


def reply(cloud, topic, identifier, code, data):
    """(topic, payload) that answers a command."""
    message = {"id": identifier, "code": code, "message": "", "data": data}
    return topic + "_reply", json.dumps(message).encode()


def read(cloud, topic, payload):
    """The event that a message means, or None for one that means nothing to a device.

    ("activated", secret, topic, id) ("replied", kind, id, code, text) ("offers", id, code, text, [offer, ...])
    ("offered", offer, topic, id) ("command", name, args, topic, id)
    RefusedError("cloud_message") for a message that breaks the protocol.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise RefusedError("cloud_message", "%d bytes" % len(payload))
    try:
        message = json.loads(payload)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise RefusedError("cloud_message", "not a JSON object")
    if topic == "/ext/session/%s/%s/thing/activate/info" % (cloud.product, cloud.device):
        return "activated", _text(_params(message), "deviceSecret"), topic, _identifier(message)
    if not topic.startswith(cloud.topics):
        return None
    name = topic[len(cloud.topics) :]
    if name.endswith("_reply"):
        # Real services send the code as a number, other people's stand-ins as a text.
        try:
            code = int(message.get("code", 0))
        except (TypeError, ValueError):
            code = 0
        text = str(message.get("message") or "")
        if name == _OFFERS:
            return "offers", _identifier(message), code, text, _offers(message.get("data"))
        return "replied", name[:-6], _identifier(message), code, text
    if name == "ota/device/upgrade":
        return "offered", _offer(_params(message)), topic, _identifier(message)
    if name.startswith("thing/service/"):
        return "command", name[14:], _params(message), topic, _identifier(message)
    return None


def _params(message):
    params = message.get("params")
    if not isinstance(params, dict):
        raise RefusedError("cloud_message", "no params")
    return params


def _identifier(message):
    return str(message.get("id", ""))[:64]


def _text(params, name, most=512):
    value = params.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise RefusedError("cloud_message", "no usable " + name)
    return value


def _offers(data):
    """Those that can be read."""
    found = []
    for params in data[:MAX_OFFERS] if isinstance(data, list) else ():
        try:
            found.append(_offer(params if isinstance(params, dict) else {}))
        except RefusedError:
            pass
    return found


def _offer(params):
    """An unsigned hint: every field that matters is compared with signed metadata later."""
    size = params.get("fileSize")
    if type(size) is not int or size < 1:
        raise RefusedError("cloud_message", "no usable fileSize")
    offer = {"version": _text(params, "version"), "url": _text(params, "fileUrl", MAX_URL_CHARACTERS), "length": size}
    offer["method"] = _text(params, "signMethod").lower()
    offer["digest"] = _text(params, "sign").lower()
    for name in ("target", "job", "nonce"):
        value = params.get(name)
        offer[name] = value if isinstance(value, str) and len(value) <= 128 else None
    for name in ("retry", "downgrade"):
        offer[name] = params.get(name) is True
    return offer
