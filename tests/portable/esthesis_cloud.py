# SPDX-License-Identifier: MIT
"""An esthesis service in RAM: ours, strict, or one that behaves as the original does, weaknesses included.

One device, hardware id `dev1`.  Ours takes a CSR, gives nonces and checks each token to the letter.  The original (see
`Original`) makes keys, says 500 for "nothing newer" and for a second registration, and wants its replayable token.
What must never happen is a lie, and lies are collected.
"""

import binascii
import hashlib
import json

import authority
from agent import token
from agent.crypto import p256, p256_sign
from agent.wire import der, ecdsa, pem, signature
from decada_cloud import _ranged, runs_confirmed, runs_on_trial
from platform_adapters.memory import Peer
from tuf_repo import NOW

ID = "dev1"
URL = "https://cloud:1"
PACKAGE = "665f00000000000000000001"
DOWNLOAD = "a" * 32


class Cloud(Peer):
    def __init__(self, world):
        """`world`: as decada_cloud's; "answers": of find, instead of the offer, each (status, headers, body) or None."""
        self.world = world
        self.authority = authority.Authority(NOW, True)
        self.lies = []
        self.told = []  # (category or topic, text)
        self.replies = []  # of commands
        self.reports = []  # claims
        self.public = None
        self.certificate = None
        self.registrations = 0
        self.registered = None  # body of the last one
        self.nonces = []
        self.made = 0
        self.finds = []  # targets asked for
        self.refuse = []  # (status, headers, body) of the next registrations
        self.refused_downloads = 0
        self.downloads = []
        self.commands = []  # texts, sent at the next subscription
        self.last_seq = 0

    # MQTT

    def connect(self, device, login):
        self.expect(login["identity"] is not None, "a session without a certificate")
        self.expect((login["client_id"], login["username"], login["password"]) == (ID, "", ""), "another login")
        label, chain = login["identity"]
        self.expect(chain[0] == self.certificate, "another certificate")
        self.expect(p256_sign.public(device.secrets[label]) == self.public, "another key")
        return 0

    def on_subscribe(self, device, topics):
        self.expect(topics == ["esthesis/command/request/" + ID], "subscribed to %s" % topics)
        for text in self.commands:
            self.command(device, text)
        self.commands = []
        return [1] * len(topics)

    def command(self, device, text):
        device.push("esthesis/command/request/" + ID, text.encode())

    def on_publish(self, device, topic, payload, qos):
        head, _, last = topic.rpartition("/")
        self.expect(last == ID and head[:9] == "esthesis/", "a message to " + topic)
        text = payload.decode()
        if head == "esthesis/command/reply":
            identifier, verdict, rest = text[:24], text[24:27], text[27:]
            self.expect(verdict in (" s ", " f "), "a reply that is dropped: " + text)
            self.replies.append((identifier, verdict[1], rest))
            return
        for line in text.split("\n"):
            self.measured(device, head[9:], line)

    def measured(self, device, kind, line):
        values = parse(line)
        self.told.append((kind, line))
        if "firmware" in values and values["firmware"] == self.world["version"]:
            self.expect(runs_confirmed(device, self.world["sha256"]), "the version was told before it was confirmed")
        if "report" in values:
            self.report(device, values["report"])

    def report(self, device, jws):
        head, claims, mark = jws.split(".")
        digest = hashlib.sha256((head + "." + claims).encode()).digest()
        self.expect(p256.verify(self.public, digest, from_base64url(mark)), "a report with a bad signature")
        claims = json.loads(from_base64url(claims))
        self.expect((claims["aud"], claims["sub"]) == ("pk", "pk/" + ID), "a report about %s" % claims["sub"])
        self.expect(claims["seq"] >= self.last_seq, "a number that falls")
        self.last_seq = claims["seq"]
        runs = runs_on_trial if claims["outcome"] == "trial" else runs_confirmed
        self.expect(runs(device, claims["image"]), "a report of what does not run: %s" % claims)
        self.reports.append(claims)

    # HTTP

    def http(self, device, method, url, headers, body, identity):
        if url in self.world.get("urls", ()):
            self.expect(identity is None, "a client certificate to another origin")
            return _ranged(headers, self.world["urls"][url])
        if not url.startswith(URL + "/"):
            self.lies.append("a request to " + url)
            return 404, {}, b""
        path, _, query = url[len(URL) :].partition("?")
        if path == "/api/v1/register":
            return self.register(device, headers, body)
        if path == "/api/v1/nonce":
            self.made += 1
            self.nonces.append("nonce-number-%06d" % self.made)
            return 200, {"content-type": "application/json"}, json.dumps({"nonce": self.nonces[-1]}).encode()
        if path in ("/api/v1/provisioning/find", "/api/v1/provisioning/find/by-id"):
            self.finds.append(path[20:] + "?" + query)
            return self.find(path, query, headers, identity)
        if path == "/api/v1/provisioning/download":
            return self.download(query, headers)
        if path.startswith("/repo/metadata/"):
            data = self.world["files"].get(path[15:])
            return (404, {}, b"") if data is None else (200, {}, data)
        return 404, {}, b""

    def register(self, device, headers, body):
        self.registrations += 1
        self.registered = found = json.loads(body)
        if self.refuse:
            return self.refuse.pop(0)
        five = ("hardwareId", "tags", "attributes", "type", "registrationSecret")
        self.expect([1 for name in five if not isinstance(found.get(name), str)] == [], "a member is missing")
        self.expect(found["hardwareId"] == ID and found["type"] == "CORE", "who is that?")
        public = self.csr(pem.decode(found["csr"], "CERTIFICATE REQUEST"))
        if self.public not in (None, public):
            self.lies.append("another first key")
            return error(409, "another key")
        if self.public is None:
            self.public = public
            self.certificate = self.authority.issue(100, "pk/" + ID, public, NOW - 60, NOW + 90 * 86400)
        chain = [self.certificate] + self.authority.between
        answer = {"certificate": "".join([pem.encode("CERTIFICATE", one) for one in chain]), "privateKey": None}
        answer["rootCaCertificate"] = pem.encode("CERTIFICATE", self.authority.root)
        answer.update({"mqttServer": "ssl://cloud:2", "provisioningUrl": URL + "/", "productKey": "pk"})
        return 200, {"content-type": "application/json"}, json.dumps(answer).encode()

    def csr(self, data):
        """The public key of a request that its key has signed."""
        whole = der.Reader(data).enter(der.SEQUENCE)
        information = whole.element()
        whole.element()
        mark = whole.bits()
        fields = der.Reader(information).enter(der.SEQUENCE)
        fields.integer()
        self.expect(fields.element() == authority.name(ID), "a request for somebody else")
        public = ecdsa.read_public(fields)
        good = p256.verify(public, hashlib.sha256(information).digest(), signature.from_der(mark))
        self.expect(good, "a request that its key has not signed")
        return public

    def find(self, path, query, headers, identity):
        self.believe(path, query, headers.get("Trueboot-Token", ".."))
        answers = self.world.get("answers")
        if answers:
            answer = answers.pop(0)
            if answer is not None:
                return answer
        return 200, {"content-type": "application/json;charset=UTF-8"}, json.dumps(self.offer(query)).encode()

    def believe(self, path, query, jws):
        head, claims, mark = jws.split(".")
        header, said = json.loads(from_base64url(head)), json.loads(from_base64url(claims))
        digest = hashlib.sha256((head + "." + claims).encode()).digest()
        self.expect(p256.verify(self.public, digest, from_base64url(mark)), "a token with a bad signature")
        self.expect(
            header == {"alg": "ES256", "typ": "trueboot-query+jwt", "kid": token.thumbprint(self.public)}, "typ"
        )
        self.expect(said["nonce"] in self.nonces, "a nonce that is not good")
        self.nonces = [nonce for nonce in self.nonces if nonce != said["nonce"]]
        known = {"method": "GET", "path": path, "query": query, "aud": URL, "sub": ID}
        self.expect({name: said[name] for name in known} == known, "a token for another query: %s" % said)

    def offer(self, query):
        world = self.world
        if "version=%s&" % world["version"] in query + "&":
            return {"id": None, "size": 0, "sha256": None}
        found = {"id": PACKAGE, "name": "fw", "version": world["version"], "type": "INTERNAL", "downloadUrl": None}
        found.update({"size": len(world["image"]), "sha256": world["sha256"], "downloadToken": DOWNLOAD})
        found.update({"target": world["target"], "job": "7", "nonce": "n7", "length": len(world["image"])})
        found.update(world.get("offer", {}))
        return found

    def download(self, query, headers):
        self.downloads.append(headers.get("Range"))
        if query != "token=" + DOWNLOAD or self.refused_downloads:
            self.refused_downloads = 0
            return 410, {}, b""
        return _ranged(headers, self.world["image"])

    def expect(self, holds, lie):
        if not holds:
            self.lies.append(lie)


def error(status, text):
    body = {"errorMessage": text, "traceId": "0" * 32}
    return status, {"content-type": "application/json"}, json.dumps(body).encode()


def parse(line):
    """The measurements of an eLP line, read as the original reads it; ValueError for what it would drop."""
    parts, quoted = [""], False
    for letter in line:
        quoted ^= letter == "'"
        if letter == " " and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    if len(parts) != 2:
        raise ValueError(line)
    values = {}
    for item in parts[1].split(","):
        name, value = item.split("=")
        if not name or not value:
            raise ValueError(line)
        values[name] = value[1:-1] if value[0] == value[-1] == "'" else value
    return values


def from_base64url(text):
    return binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
