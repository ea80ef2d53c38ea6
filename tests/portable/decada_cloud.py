# SPDX-License-Identifier: MIT
"""A DECADA cloud in RAM for the memory platform: one device, one release, one upgrade job.

It plays the peer of MQTT and HTTPS with the messages that the reference server
sends, keeps what a server would keep durably, and is a strict witness: a version
told before the boot loader's confirm, a report that does not verify, or a number
that does not rise is a lie, and lies are collected.  So is a trial's report of
anything but the release on trial, for this very job, and one that tells a
version in the cloud's own field; or word of a fallback that never was.  Enrolment is not played:
the device starts enrolled (see `sweep.py`).
"""

import binascii
import hashlib
import json

from agent.crypto import p256_sign
from agent.crypto.verify import Whole, verify
from agent.wire import ecdsa
from platform_adapters.memory import Peer

SYS = "/sys/pk/dk/"
DECIDING = ("updated", "rolled_back", "failed", "refused")


class Cloud(Peer):
    def __init__(self, world):
        """`world`: files {name: bytes}, image, sha256, version and target of the release, see `sweep.py`.

        "offer": members of the pushed offer that differ, None for one that is not there
        "urls": {url: (status, headers, body)} beside the repository; a body is served with Range, too
        "fallback": whether another image may have come to run without an update
        """
        self.world = world
        self.lies = []
        self.told = []  # what the server was told, in order: (kind, value)
        self.job = {"id": "7", "nonce": "n7", "state": "queued"}
        self.last_seq = 0
        self.last_claims = None
        self.pushes = 0
        self.requests = []  # (url, identity)

    # The peer of the memory platform

    def connect(self, device, login):
        if login["identity"] is None:
            self.lies.append("a session without a certificate")
        return 0

    def on_subscribe(self, device, topics):
        if self.job["state"] in ("queued", "pushed") and not self.world.get(
            "silent"
        ):  # a server pushes again at every connect
            device.push(*self._push())
        return [1] * len(topics)

    def on_publish(self, device, topic, payload, qos):
        if not topic.startswith(SYS) or topic.endswith("_reply"):
            return
        message = json.loads(payload)
        name = topic[len(SYS) :]
        code = 200
        if name == "ota/device/inform":
            code = self._inform(device, message["params"])
        elif name == "ota/device/progress":
            code = self._progress(device, message["params"])
        reply = {"id": message["id"], "code": code, "message": "", "data": {}}
        device.push(topic + "_reply", json.dumps(reply).encode())

    def http(self, device, method, url, headers, body, identity):
        self.requests.append((url, identity))
        if url in self.world.get("urls", ()):
            status, more, body = self.world["urls"][url]
            return _ranged(headers, body) if status == 200 else (status, more, body)
        if not url.startswith("https://cloud:1/"):
            self.lies.append("a request to " + url)
            return 404, {}, b""
        path = url.split("/", 3)[3]
        if path.startswith("repo/metadata/"):
            data = self.world["files"].get(path[14:])
            return (404, {}, b"") if data is None else (200, {}, data)
        folder, _, name = self.world["target"].rpartition("/")
        if path == "repo/targets/%s/%s.%s" % (folder, self.world["sha256"], name):
            return _ranged(headers, self.world["image"])
        return 404, {}, b""

    # What a server would do

    def _push(self):
        self.pushes += 1
        self.job["state"] = "pushed"
        world = self.world
        params = {"version": world["version"], "sign": world["sha256"], "signMethod": "sha256"}
        params["fileUrl"] = "https://cloud:1/x"
        params["fileSize"] = len(world["image"])
        params.update({"target": world["target"], "job": self.job["id"], "nonce": self.job["nonce"]})
        params.update(world.get("offer", {}))
        params = {name: params[name] for name in params if params[name] is not None}
        self.job["pushed"] = (params.get("job"), params.get("nonce"))
        return SYS + "ota/device/upgrade", json.dumps({"id": "901", "params": params}).encode()

    def _inform(self, device, params):
        self.told.append(("version", params["version"]))
        if params["version"] == self.world["version"] and not runs_confirmed(device, self.world["sha256"]):
            self.lies.append("the new version was told before it was confirmed")
        return self._report(device, params["report"], params["version"]) if "report" in params else 200

    def _progress(self, device, params):
        self.told.append(("step", int(params["step"])))
        if int(params["step"]) == 90 and device.record()["trial"] is None:
            self.lies.append("on trial, it says, and it is not")
        return self._report(device, params["report"]) if "report" in params else 200

    def _report(self, device, jws, informed=None):
        """`informed`: the version in the cloud's own field, beside which the report came."""
        head, claims, signature = jws.split(".")
        signed = Whole((head + "." + claims).encode())
        der = ecdsa.signature_to_der(_from_base64url(signature))
        if not verify("ecdsa", "ecdsa-sha2-nistp256", p256_sign.public(device.secrets["a"]), signed, der):
            self.lies.append("a report with a bad signature")
            return 400
        claims = json.loads(_from_base64url(claims))
        if claims["seq"] == self.last_seq:
            if claims != self.last_claims:
                self.lies.append("one number for two reports: %s and %s" % (claims, self.last_claims))
            return 200
        if claims["seq"] < self.last_seq:
            self.lies.append("report %d after %d" % (claims["seq"], self.last_seq))
            return 400
        self.last_seq, self.last_claims = claims["seq"], claims
        self.told.append((claims["outcome"], claims["reason"]))
        outcome, version = claims["outcome"], claims["version"]
        of_job = (claims["job"], claims["nonce"]) == self.job.get("pushed")
        if informed not in (None, version):
            self.lies.append("the report beside %s is of %s" % (informed, version))
        if outcome == "trial":
            self._trial(device, claims, informed, of_job or ("pushed" not in self.job and claims["job"] is None))
            return 200
        if not runs_confirmed(device, claims["image"]):
            self.lies.append("a report of an image that does not run confirmed: " + outcome)
        if outcome in ("fell_back", "below_floor") and not self.world.get("fallback"):
            self.lies.append("a fallback that never was: " + claims["reason"])
        mine = of_job and outcome in DECIDING
        if mine and self.job["state"] != "updated":
            self.job["state"] = claims["outcome"]
            if claims["outcome"] == "updated" and claims["image"] != self.world["sha256"]:
                self.lies.append("updated to another image")
        return 200

    def _trial(self, device, claims, informed, of_job):
        if informed is not None:
            self.lies.append("the version of a trial in the cloud's own field")
        if not runs_on_trial(device, claims["image"]) or claims["image"] != self.world["sha256"]:
            self.lies.append("a trial of an image that is not on trial")
        if not of_job or claims["version"] != self.world["version"] or claims["reason"]:
            self.lies.append("a trial of another job: %s" % claims)


def _ranged(headers, body):
    if "Range" not in headers:
        return 200, {}, body
    first, _, last = headers["Range"][6:].partition("-")
    first, last = int(first), min(int(last or len(body)), len(body) - 1)
    if first >= len(body):
        return 416, {}, b""
    return 206, {"content-range": "bytes %d-%d/%d" % (first, last, len(body))}, body[first : last + 1]


def runs_confirmed(device, sha256):
    """Does the device run, confirmed, the image of that hash?  Seen from above, not asked."""
    slot = device.record()["active"]
    return binascii.hexlify(hashlib.sha256(device.images[slot]).digest()).decode() == sha256


def runs_on_trial(device, sha256):
    """Does the device run, on trial, the image of that hash?"""
    slot = device.record()["trial"]
    return slot is not None and binascii.hexlify(hashlib.sha256(device.images[slot]).digest()).decode() == sha256


def _from_base64url(text):
    return binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
