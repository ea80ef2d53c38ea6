# SPDX-License-Identifier: MIT
"""The `decada` dialect: what the agent means, in the words of EnOS / DECADA, and back.

Pure: intents in, (topic, payload) out; messages in, events out.  Source: the
EnOS device protocol over MQTT (login signature, message envelope, OTA topics
`ota/device/inform|upgrade|progress`, measure points, services, dynamic
activation).  Our additions ride along as extra members, which EnOS's decoders
ignore: `report` in inform and progress, `job`, `nonce` and `target` in upgrade.

The cloud's version field is a promise here: EnOS ends a job as successful on
the first inform of the target version, so the caller never informs on trial.
"""

import binascii
import hashlib
import json

from agent.errors import RefusedError

STATIC = 2  # securemode: proof by the device secret; also on connections with a certificate
DYNAMIC = 3  # securemode: proof by the product secret, to be activated
OK = 200
NO_HANDLER = 1101
HANDLER_FAILED = 1102
MAX_PAYLOAD_BYTES = 8192


class Decada:
    def __init__(self, product_key, device_key):
        self._pk = product_key
        self._dk = device_key
        self._sys = "/sys/%s/%s/" % (product_key, device_key)
        self._activate = "/ext/session/%s/%s/thing/activate/info" % (product_key, device_key)
        self._count = 0

    def login(self, mode, secret, stamp):
        """(client id, user name, password) of a CONNECT; `stamp` is opaque to the cloud and only salts the digest."""
        stamp = str(stamp)
        text = "clientId%sdeviceKey%sproductKey%stimestamp%s%s" % (self._dk, self._dk, self._pk, stamp, secret)
        password = binascii.hexlify(hashlib.sha256(text.encode()).digest()).decode()
        client_id = "%s|securemode=%d,signmethod=sha256,timestamp=%s|" % (self._dk, mode, stamp)
        return client_id, self._dk + "&" + self._pk, password

    def subscriptions(self):
        """Exact topics only; EnOS pushes its commands without a subscription, and wildcards echo replies."""
        names = ("ota/device/inform_reply", "ota/device/progress_reply", "ota/device/upgrade")
        return [self._sys + name for name in names]

    def report_version(self, version, report):
        """The version that runs, confirmed; `report` is a signed boot report or "".  Gives (id, topic, payload)."""
        params = {"version": version}
        if report:
            params["report"] = report
        return self._request("ota/device/inform", "ota.device.inform", params)

    def progress(self, step, text, job, report):
        """Step 0..100, or a negative outcome, of a job."""
        params = {"step": str(step), "desc": text}
        if job:
            params["job"] = job
        if report:
            params["report"] = report
        return self._request("ota/device/progress", "ota.device.progress", params)

    def telemetry(self, values):
        return self._request("thing/measurepoint/post", "thing.measurepoint.post", {"measurepoints": values})

    def _request(self, topic, method, params):
        self._count = self._count % 65535 + 1
        message = {"id": str(self._count), "version": "1.0", "method": method, "params": params}
        return message["id"], self._sys + topic, json.dumps(message).encode()

    def reply(self, topic, identifier, code, data):
        """(topic, payload) that answers a command."""
        message = {"id": identifier, "code": code, "message": "", "data": data}
        return topic + "_reply", json.dumps(message).encode()

    def read(self, topic, payload):
        """The event that a message means, or None for one that means nothing to a device.

        ("activated", secret, topic, id) ("replied", kind, id, code, text)
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
        if topic == self._activate:
            return "activated", _text(_params(message), "deviceSecret"), topic, _identifier(message)
        if not topic.startswith(self._sys):
            return None
        name = topic[len(self._sys) :]
        if name.endswith("_reply"):
            # Real services send the code as a number, other people's stand-ins as a text.
            try:
                code = int(message.get("code", 0))
            except (TypeError, ValueError):
                code = 0
            return "replied", name[:-6], _identifier(message), code, str(message.get("message") or "")
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


def _text(params, name):
    value = params.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise RefusedError("cloud_message", "no usable " + name)
    return value


def _offer(params):
    """An unsigned hint: every field that matters is compared with signed metadata later."""
    size = params.get("fileSize")
    if type(size) is not int or size < 1:
        raise RefusedError("cloud_message", "no usable fileSize")
    offer = {"version": _text(params, "version"), "url": _text(params, "fileUrl"), "length": size}
    offer["method"] = _text(params, "signMethod").lower()
    offer["digest"] = _text(params, "sign").lower()
    for name in ("target", "job", "nonce"):
        value = params.get(name)
        offer[name] = value if isinstance(value, str) and len(value) <= 128 else None
    return offer
