# SPDX-License-Identifier: MIT
"""Beside the original, which makes keys: nothing without a policy, and with one no more than has to be."""

import json

import enrolled
import esthesis_cloud
import rsa_by_hand
import test_esthesis_agent
from agent.crypto import rsa, rsa_sign
from agent.errors import DeviceError
from agent.runtime import Agent
from esthesis_cloud import ID
from expect import refused
from platform_adapters import memory
from tuf_repo import Repo, digest

HEAP = "4M"
TIMEOUT_S = 240
POLICY = {"esthesis_foreign_key": "accept", "mqtt_plaintext": "i-accept-unencrypted"}
FILE = "https://files:1/fw.bundle"
REPO = Repo().add(test_esthesis_agent.PATH, test_esthesis_agent.IMAGE)
BUNDLE = REPO.bundle(test_esthesis_agent.PATH)


class Original(esthesis_cloud.Cloud):
    """As the code of esthesis CORE reads: it makes the key, registers once, and answers 500 to who has the newest."""

    server = "tcp://cloud:1883"

    def connect(self, device, login):
        self.expect(login["plaintext"] and login["identity"] is None, "TLS was not given up, or a certificate shown")
        self.expect((login["client_id"], login["port"]) == (ID, 1883), "who is that?")
        return 0

    def register(self, device, headers, body):
        self.registrations += 1
        if self.registrations > 1:
            return esthesis_cloud.error(500, "already exists")
        answer = {"certificate": None, "rootCaCertificate": None, "mqttServer": self.server}
        answer["privateKey"] = rsa_by_hand.PEM
        answer["provisioningUrl"] = self.world.get("provisioning", esthesis_cloud.URL)
        return 200, {"content-type": "application/json"}, json.dumps(answer).encode()

    def find(self, path, query, headers, identity):
        self.expect("Trueboot-Token" not in headers, "a token that the original does not know")
        if "token=" + rsa_by_hand.TOKEN_QUOTED not in query:
            return 401, {}, b""
        if "version=1.1.0" in query:
            return esthesis_cloud.error(500, "NoSuchElementException")
        answer = {"id": esthesis_cloud.PACKAGE, "version": "1.1.0", "type": "EXTERNAL", "size": 0}
        answer.update({"downloadUrl": FILE, "sha256": digest(BUNDLE), "downloadToken": None, "name": "fw"})
        return 200, {"content-type": "application/json"}, json.dumps(answer).encode()

    def report(self, device, jws):
        self.lies.append("a report by a key that somebody else made")


def start(config, kind=Original, **more):
    world = {"files": REPO.files, "image": test_esthesis_agent.IMAGE, "version": "1.1.0", "urls": {FILE: BUNDLE}}
    cloud = kind(dict(world, sha256=digest(test_esthesis_agent.IMAGE), target=None, **more))
    given = dict(test_esthesis_agent.CONFIG, **config)
    device = memory.Device(peer=cloud, config=given, anchors=[cloud.authority.root], root=REPO.files["1.root.json"])
    device.epoch_s = esthesis_cloud.NOW
    note = {"version": "1.0.0", "sha256": digest(test_esthesis_agent.FACTORY), "security": 0}
    device.install("a", test_esthesis_agent.FACTORY, note)
    return device, cloud


def stuck(config, code, **more):
    device, cloud = start(config, **more)
    platform = device.power_on()
    agent = Agent(platform)
    for _ in range(60):
        platform.clock.sleep_ms(max(1, min(agent.step(20), 5000)))
    assert code in test_esthesis_agent.errors(device), test_esthesis_agent.errors(device)
    assert list(device.secrets) == ["a"] and agent.status()["identity"] == "keyed"


def test_without_a_policy_neither_a_foreign_key_nor_plain_tcp():
    stuck({}, "service_key")
    stuck({"esthesis_foreign_key": "accept"}, "mqtt_unencrypted")
    stuck({"mqtt_plaintext": "i-accept-unencrypted"}, "service_key")


def test_with_both_it_is_commanded_updates_and_says_how_weak_that_is():
    device, cloud = start(POLICY)
    cloud.commands = [test_esthesis_agent.FIND]
    agent = enrolled.settle(device, done=test_esthesis_agent.updated)
    assert cloud.lies == [], cloud.lies
    assert agent.status()["weak"] == "the service made this device's key, which is not renewed; MQTT is not encrypted"
    assert cloud.registrations == 1 and cloud.replies == [(test_esthesis_agent.FIND[:24], "s", "initiated")]
    assert ("metadata", "health firmware='1.1.0'") in cloud.told
    assert sorted(device.secrets) == ["a", "foreign"]
    assert rsa_by_hand.PEM[40:80] not in str(device.records) + str(device.events)


def test_the_newest_is_no_error_where_500_means_that():
    device, cloud = start(POLICY)
    cloud.commands = [test_esthesis_agent.FIND]
    enrolled.settle(device, done=test_esthesis_agent.updated)
    cloud.commands = [test_esthesis_agent.FIND]
    enrolled.settle(device, done=lambda agent: len(cloud.replies) == 2 and agent.uplink.informed)
    assert device.events[-1][0] == "update.none" or "update.none" in [event for event, _ in device.events]
    assert cloud.lies == []


def test_the_replayable_token_goes_to_no_other_origin():
    device, cloud = start(POLICY, provisioning="https://elsewhere:1")
    cloud.commands = [test_esthesis_agent.FIND]
    enrolled.settle(device, done=lambda agent: "another_origin" in test_esthesis_agent.errors(device))
    assert cloud.lies == [] and cloud.finds == []


def test_signatures_by_crt_are_those_of_others_and_a_fault_is_kept_in():
    key = rsa_by_hand.DER
    signed = rsa_sign.sign(key, ID.encode())
    assert signed == rsa_by_hand.SIGNATURE
    n, e, _ = rsa.read_key(rsa_sign.public_to_der(rsa_sign.read(key)))
    assert pow(int.from_bytes(signed, "big"), e, n).to_bytes(256, "big")[:4] == b"\x00\x01\xff\xff"
    read = rsa_sign.read
    rsa_sign.read = lambda private: read(private)[:4] + (read(private)[4] ^ 2,) + read(private)[5:]
    try:
        rsa_sign.sign(key, b"x")
    except DeviceError as error:
        assert error.code == "rsa_fault"
    else:
        raise AssertionError("a faulty signature got out")
    finally:
        rsa_sign.read = read


def test_what_is_no_sound_key_is_refused():
    key = rsa_by_hand.DER
    for wrong in (
        key[:-1],
        key + b"0",
        key[:600] + bytes((key[600] ^ 1,)) + key[601:],
        b"",
        key.replace(b"\x01\x00\x01", b"\x01\x00\x03", 1),
    ):
        refused("rsa_key", rsa_sign.read, wrong)
