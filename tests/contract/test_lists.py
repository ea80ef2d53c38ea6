# SPDX-License-Identifier: MIT
"""Linux looks at its server's certificate in its CA's lists: in real handshakes, whoever dials."""

from __future__ import annotations

import datetime
import time
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from far_end import Authority, HttpEnd, MqttEnd, Server

from agent.errors import RefusedError, UnreachableError
from agent.tasks import lists as task
from agent.wire import appimage, crl
from platform_adapters import memory
from platform_adapters.keystores.software import SoftwareKeys
from platform_adapters.linux_http import RequestsHttp
from platform_adapters.linux_lists import GRACE_S, Lists
from platform_adapters.linux_mqtt import PahoMqtt
from platform_adapters.linux_net import Net

DAY = 86_400


def made(authority, *serials, begins=-DAY, ends=DAY, issuer=None, key=None, critical=False):
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer or authority.name)
        .last_update(now + datetime.timedelta(seconds=begins))
        .next_update(now + datetime.timedelta(seconds=ends))
        .add_extension(x509.CRLNumber(1), critical=critical)
    )
    for serial in serials:
        one = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        one = one.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), False)
        builder = builder.add_revoked_certificate(one.build())
    return builder.sign(key or authority.key, hashes.SHA256()).public_bytes(Encoding.DER)


class Store(dict):
    load = dict.get
    save = dict.__setitem__


class Side:
    """A server, and a device's two ways to it."""

    def __init__(self, folder, authority):
        self.leaf = authority.issue(["localhost"])
        self.serial = self.leaf[1].serial_number
        self.ends = [HttpEnd(), MqttEnd()]
        self.servers = [Server(folder, self.leaf, end) for end in self.ends]
        self.now = time.time()
        self.store = Store()
        self.lists = Lists(self.store, lambda: int(self.now))
        net = Net(lambda: [authority.der], SoftwareKeys(folder), 10, self.lists)
        self.http, self.mqtt = RequestsHttp(net, 10), PahoMqtt(net)

    def get(self):
        self.http.forget()
        response = self.http.open("GET", "https://localhost:%d/hello" % self.servers[0].port, {}, b"", None)
        return response.status

    def dial(self):
        self.mqtt.connect("localhost", self.servers[1].port, "c", "u", "p", 60, None)
        self.mqtt.close()
        return 200

    def both(self):
        return [self.get(), self.dial()]


@pytest.fixture
def side(tmp_path, authority):
    made_side = Side(tmp_path, authority)
    yield made_side
    for server in made_side.servers:
        server.close()


def test_without_a_list_and_with_a_good_one_it_goes_on(side, authority):
    assert side.both() == [200, 200] and side.lists.server == "no list yet"
    side.lists.keep(made(authority, 7, 8))
    assert side.both() == [200, 200] and side.lists.server == "good"


def test_a_server_whose_certificate_was_revoked_is_told_nothing(side, authority):
    for ends in (DAY, -DAY // 2):  # of a list that is late, too
        side.lists.keep(made(authority, 7, side.serial, ends=ends))
        for way in (side.get, side.dial):
            with pytest.raises(RefusedError) as caught:
                way()
            assert caught.value.code == "tls_revoked" and "keyCompromise" in caught.value.detail
    assert not getattr(side.ends[1], "logins", [])
    # Nor does a restart forget it.
    side.lists = Lists(side.store, lambda: int(side.now))
    assert side.lists.of(crl.read(made(authority)).issuer)[1] == {7: "keyCompromise", side.serial: "keyCompromise"}


def test_a_list_that_is_late_is_overlooked_for_so_long(side, authority):
    side.lists.keep(made(authority, 7))
    side.now += DAY + GRACE_S - 60
    assert side.both() == [200, 200] and side.lists.server == "good by an old list"
    side.now += 120
    for way in (side.get, side.dial):
        with pytest.raises(UnreachableError) as caught:
            way()
        assert caught.value.code == "crl_stale"
    side.lists.asking = True  # for a new one
    assert side.get() == 200
    side.lists.asking = False
    side.lists.keep(made(authority, 7, ends=10 * DAY))
    assert side.both() == [200, 200]


def test_lists_of_other_cas_say_nothing_of_this_one(side, authority, foreign):
    side.lists.keep(made(foreign, side.serial, ends=-DAY // 2))
    side.now += 2 * GRACE_S
    assert side.both() == [200, 200]
    # A CA's list takes the place of its own, and the last few CAs are remembered.
    for number in range(1, 6):
        side.lists.keep(made(Authority("Other %d" % number), number))
        side.lists.keep(made(authority, 100 + number))
    known = side.lists.known()
    assert len(known) == 3 and list(known[0][1]) == [105] and list(known[1][1]) == [5] and list(known[2][1]) == [4]


def test_a_record_that_was_spoilt_is_no_list(side, authority):
    side.lists.keep(made(authority, side.serial))
    for data in (b"", b"\x00", side.store["crl"][:-1], b"\xff" * 40, bytes(40)):
        side.store["crl"] = data
        assert Lists(side.store, lambda: 0).known() == []


# The agent's task: which list counts


class Cloud(memory.Peer):
    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def http(self, device, method, url, headers, body, identity):
        self.asked.append(url)
        assert identity is None and device.life.lists.asking
        answer = self.answers.get(url, b"")
        return (200, {}, answer) if answer else (404, {}, b"")


def kept(authority, answers, before=None, issuer=None):
    """(errors, lists) after the task had these files."""
    cloud = Cloud({"https://cloud:1" + path: data for path, data in answers.items()})
    device = memory.Device(peer=cloud, anchors=[authority.der])
    device.install("a", appimage.build({"main.py": b""}), {})
    device.epoch_s = int(time.time())
    platform = device.power_on()
    platform.lists = device.life.lists = lists = Lists(platform.store, platform.clock.wall)
    if before:
        lists.keep(before)
    lists.issuer = issuer or crl.read(made(authority)).issuer
    lists.path, lists.issuer_path = "/ca/crl", "/ca/issuing.der"
    errors = []
    agent = SimpleNamespace(
        platform=platform,
        config={"https": "https://cloud:1"},
        uplink=SimpleNamespace(lists_at=0),
        log_error=lambda error: errors.append(error.code),
    )
    for _ in task.run(agent):
        pass
    assert agent.uplink.lists_at >= 600_000 and not lists.asking
    return errors, lists


def test_a_genuine_list_is_kept(authority):
    errors, lists = kept(authority, {"/ca/crl": made(authority, 5)})
    assert errors == [] and list(lists.known()[0][1]) == [5]


def test_a_list_of_an_issuing_ca_that_an_anchor_signed(authority):
    issuing = Authority("Issuing")
    builder = authority._builder(issuing.name, issuing.key.public_key(), (-1, 30))
    of_root = builder.add_extension(x509.BasicConstraints(True, 0), True).sign(authority.key, hashes.SHA256())
    name = crl.read(made(issuing)).issuer
    answers = {"/ca/crl": made(issuing, 5), "/ca/issuing.der": of_root.public_bytes(Encoding.DER)}
    errors, lists = kept(authority, answers, issuer=name)
    assert errors == [] and list(lists.known()[0][1]) == [5]
    leaf = builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER)  # of no CA
    for wrong in (b"", issuing.der, leaf, of_root.public_bytes(Encoding.DER)[:-1]):
        assert kept(authority, {**answers, "/ca/issuing.der": wrong}, issuer=name)[0] != []


@pytest.mark.parametrize(
    "case", ["forged", "another name", "over", "from the future", "older", "critical", "junk", "none", "too long"]
)
def test_what_is_no_list_of_today(case, authority, foreign):
    before = made(authority, 1, begins=-60)
    answer = {
        "forged": made(authority, 5, key=foreign.key),
        "another name": made(foreign, 5),
        "over": made(authority, 5, begins=-50, ends=-1),
        "from the future": made(authority, 5, begins=2 * 3600),
        "older": made(authority, 5, begins=-120),
        "critical": made(authority, 5, begins=-10, critical=True),
        "junk": b"junk",
        "none": b"",
        "too long": bytes((1 << 20) + 1),
    }[case]
    errors, lists = kept(authority, {"/ca/crl": answer}, before)
    assert errors in (["crl"], ["url_refused"], ["too_large"]), errors
    assert list(lists.known()[0][1]) == [1]
