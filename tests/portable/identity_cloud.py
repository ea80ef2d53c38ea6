# SPDX-License-Identifier: MIT
"""A cloud that gives identities, in RAM, stricter than the reference server, and a witness.

One device, `pk/dk`.  It activates it, certifies its key by EST, renews by the certificate or by a statement of the last
key, and lets it in over mutual TLS.  Stricter: the first use of a new certificate ends the one before at once; a key
that was superseded never comes back; nonces are good for one request.

What must never happen is a lie, and lies are collected: two devices, a second first key, a CSR for somebody else, a
session with a certificate whose key is not there.
"""

import binascii
import hashlib
import json

import authority
from agent import token
from agent.crypto import p256, p256_sign
from agent.errors import UnreachableError
from agent.wire import der, ecdsa, pem, signature, x509
from platform_adapters.memory import Peer

START = 1_800_000_000
SECRET = "the device secret"
PRODUCT_SECRET = "the product secret"
NOT_AUTHORISED = 5


class Cloud(Peer):
    def __init__(self, life_s=1000, chained=False, backdate_s=0):
        self.authority = authority.Authority(START, chained)
        self.life_s = life_s
        self.backdate_s = backdate_s
        # durable
        self.lies = []
        self.told = []
        self.activations = 0
        self.proven = False  # the secret was used
        self.certificates = []  # oldest first: {"serial", "public", "begin", "end", "used", "over", "der"}
        self.nonces = []
        self.made = 0
        self.refusals = 0  # sessions under a certificate never used that are turned down from now on
        self.silent = False  # it hangs up instead of saying so
        self.revoked = False
        self.closed = False  # no road to another certificate is open
        self.roads = []  # by which certificates were given

    def now(self, device):
        return START + device.now_ms // 1000

    # MQTT

    def connect(self, device, login):
        if login["port"] == 3:
            return self._activate(device, login)
        if login["identity"] is None:
            self.lies.append("a session without a certificate")
            return NOT_AUTHORISED
        row = self._row(device, login["identity"])
        if row is None or row["end"] <= self.now(device):
            raise UnreachableError("tls_refused", "the certificate is expired, or not ours")
        if not _proves(login, SECRET):
            return NOT_AUTHORISED
        if not row["used"] and self.refusals:
            self.refusals -= 1
            if self.silent:
                raise UnreachableError("closed", "the server closed the connection")
            return NOT_AUTHORISED
        if row["over"] or self.revoked:
            return NOT_AUTHORISED
        self._used(row)
        self.proven = True
        return 0

    def on_subscribe(self, device, topics):
        if device.life.session["port"] == 3:
            self.lies.append("a subscription on the way to a secret")
        return [1] * len(topics)

    def on_publish(self, device, topic, payload, qos):
        if topic.endswith("_reply"):
            return
        message = json.loads(payload)
        if "report" in message.get("params", {}):
            self._report(device, message["params"]["report"])
        device.push(
            topic + "_reply", json.dumps({"id": message["id"], "code": 200, "message": "", "data": {}}).encode()
        )

    def _activate(self, device, login):
        if not _proves(login, PRODUCT_SECRET) or self.proven:
            return NOT_AUTHORISED
        self.activations += 1
        payload = json.dumps({"id": "1", "params": {"deviceSecret": SECRET}}).encode()
        device.life.session = login  # it is pushed before CONNACK has been read
        device.push("/ext/session/pk/dk/thing/activate/info", payload)
        return 0

    def _row(self, device, identity):
        label, chain = identity
        for row in self.certificates:
            if row["der"] == chain[0]:
                if p256_sign.public(device.secrets[label]) != row["public"]:
                    self.lies.append("a certificate with another key")
                if list(chain[1:]) != self.authority.between:
                    self.lies.append("an incomplete chain")
                return row
        return None

    def _used(self, row):
        if not row["used"]:
            row["used"] = True
            for other in self.certificates:
                if other is not row and other["serial"] < row["serial"]:
                    other["over"] = True

    def _report(self, device, jws):
        head = json.loads(_from_base64url(jws.split(".")[0]))
        if head["kid"] not in [token.thumbprint(row["public"]) for row in self.certificates]:
            self.lies.append("a report by a key of nobody")
        self.told.append(head["kid"])

    # HTTP

    def http(self, device, method, url, headers, body, identity):
        path = url[len("https://cloud:1") :]
        if (method, path) == ("POST", "/api/device/v1/nonce"):
            self.made += 1
            self.nonces.append("nonce-number-%06d" % self.made)
            del self.nonces[:-2]
            return 200, {}, json.dumps({"nonce": self.nonces[-1], "expires_s": 300}).encode()
        if (method, path) == ("POST", "/.well-known/est/pk/simpleenroll"):
            return self._first(device, headers, body)
        if (method, path) == ("POST", "/.well-known/est/pk/simplereenroll"):
            if self.closed:
                return 404, {}, b""
            if headers["Content-Type"] == "application/jose":
                if identity is not None:
                    self.lies.append("a statement beside a certificate")
                return self._by_statement(device, body)
            return self._by_certificate(device, body, identity)
        return 404, {}, b""

    def _first(self, device, headers, body):
        basic = binascii.a2b_base64(headers["Authorization"][6:]).decode()
        if basic != "dk:" + SECRET or self.revoked:
            return _refusal(401, "device_unproven")
        self.proven = True
        public = self._csr(pem.from_base64(body))
        last = self._last()
        if last is not None and last["public"] != public:
            self.lies.append("another first key")
            return _refusal(403, "another_key")
        return self._certify(device, public, "secret")

    def _by_certificate(self, device, body, identity):
        row = self._row(device, identity) if identity else None
        if row is None or row["end"] <= self.now(device):
            raise UnreachableError("tls_refused", "the certificate is expired, or not ours")
        if row["over"] or self.revoked:
            return _refusal(403, "device_unproven")
        self._used(row)
        return self._certify(device, self._csr(pem.from_base64(body)), "certificate")

    def _by_statement(self, device, body):
        head, claims, mark = body.decode().split(".")
        last = self._last()
        header = json.loads(_from_base64url(head))
        kid = header["kid"]
        said = json.loads(_from_base64url(claims))
        if self.revoked or last is None or kid != token.thumbprint(last["public"]):
            return _refusal(403, "not_the_last_key")
        digest = hashlib.sha256((head + "." + claims).encode()).digest()
        if not p256.verify(last["public"], digest, _from_base64url(mark)):
            self.lies.append("a statement with a bad signature")
            return _refusal(403, "device_unproven")
        if (said["aud"], said["sub"], header["typ"]) != ("pk", "pk/dk", token.RENEWAL_TYPE):
            self.lies.append("a statement about something else")
        if said["nonce"] not in self.nonces:
            return _refusal(403, "nonce_unknown")
        self.nonces.remove(said["nonce"])
        return self._certify(device, self._csr(pem.from_base64(said["csr"].encode())), "statement")

    def _last(self):
        """The certificate that was used last, or the first of all."""
        used = [row for row in self.certificates if row["used"]]
        return used[-1] if used else self.certificates[-1] if self.certificates else None

    def _csr(self, data):
        """The public key of a request that its key has signed, for this device."""
        whole = der.Reader(data).enter(der.SEQUENCE)
        information = whole.element()
        whole.element()
        mark = whole.bits()
        fields = der.Reader(information).enter(der.SEQUENCE)
        fields.integer()
        if fields.element() != authority.name("pk/dk"):
            self.lies.append("a request for somebody else")
        public = ecdsa.read_public(fields)
        if not p256.verify(public, hashlib.sha256(information).digest(), signature.from_der(mark)):
            self.lies.append("a request that its key has not signed")
        return public

    def _certify(self, device, public, road):
        now = self.now(device)
        for row in self.certificates:
            if row["public"] == public and row["over"] and self._last()["public"] != public:
                self.lies.append("a key that was superseded came back")
        for row in self.certificates[::-1]:
            if row["public"] == public and not row["over"] and (row["end"] - now) * 3 > self.life_s:
                return self._answer(row)
        serial = len(self.certificates) + 100
        begin = now - self.backdate_s
        made = self.authority.issue(serial, "pk/dk", public, begin, now + self.life_s)
        row = {"serial": serial, "public": public, "begin": begin, "end": now + self.life_s}
        row.update({"used": False, "over": False, "der": made})
        if x509.read(made).not_after != row["end"]:
            self.lies.append("the authority cannot tell the time")
        self.certificates.append(row)
        self.roads.append(road)
        return self._answer(row)

    def _answer(self, row):
        return 200, {}, pem.to_base64(authority.pkcs7(*(self.authority.between + [row["der"]])))


def _proves(login, secret):
    stamp = login["client_id"].split("timestamp=")[1].rstrip("|")
    text = "clientIddkdeviceKeydkproductKeypktimestamp%s%s" % (stamp, secret)
    return login["password"] == binascii.hexlify(hashlib.sha256(text.encode()).digest()).decode()


def _refusal(status, code):
    return status, {}, json.dumps({"error": {"code": code, "message": "", "hint": ""}}).encode()


def _from_base64url(text):
    return binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))
