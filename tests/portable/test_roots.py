# SPDX-License-Identifier: MIT
"""Which new root a device takes from its CA, and all that it does not."""

import binascii

import certificates_by_hand as authority
import decada_cloud
import enrolled
import remembered
import test_revocation
from agent import chores
from agent.errors import RefusedError
from agent.runtime import Agent
from agent.wire import roots
from certificates_by_hand import certificate, key, root
from platform_adapters import memory
from test_offers import FACTORY
from test_revocation import events

HEAP = "2M"
TIMEOUT_S = 120
REMEMBERS = True
remembered.signatures_of_file()

OLD, NEW, THIRD, ISSUING, STRANGER = [key(number) for number in (101, 102, 103, 104, 105)]
OLD_ROOT = root("Root 1", OLD)
NEW_ROOT = root("Root 2", NEW)
LINK = certificate("Root 2", NEW, "Root 1", OLD)
BACK = certificate("Root 1", OLD, "Root 2", NEW)
ISSUING_CA = certificate("Issuing", ISSUING, "Root 1", OLD, path=0)
ALL = [OLD_ROOT, BACK, LINK, NEW_ROOT, ISSUING_CA]


def linked(certificates, anchors=(OLD_ROOT,), issuing=(), now=authority.NOW):
    return roots.linked(certificates, list(anchors), list(issuing), now, authority.verify)


def test_a_root_that_the_old_one_signed_for_is_taken():
    assert linked(ALL) == [NEW_ROOT]
    assert linked(ALL[::-1]) == [NEW_ROOT]
    assert linked(ALL, (OLD_ROOT, NEW_ROOT)) == []  # it is known
    assert linked(ALL, (NEW_ROOT,)) == [OLD_ROOT]  # a device of the new root: the old one is linked back


def test_a_root_of_the_same_name():
    """RFC 4210 knows a new key only: the name may stay."""
    new = root("Root 1", NEW)
    link = certificate("Root 1", NEW, "Root 1", OLD)
    assert linked([OLD_ROOT, new, link]) == [new]


def test_a_root_without_its_link_is_nothing():
    assert linked([NEW_ROOT]) == []
    assert linked([OLD_ROOT, NEW_ROOT, BACK, ISSUING_CA]) == []
    assert linked([LINK]) == []  # nor is the link a root


def test_a_link_that_a_stranger_signed():
    strange = root("Root 1", STRANGER)  # by name it is our anchor
    assert linked([NEW_ROOT, certificate("Root 2", NEW, "Root 1", STRANGER), strange]) == []
    assert linked([NEW_ROOT, certificate("Root 2", NEW, "Root 2", NEW, serial=8)]) == []


def test_a_damaged_signature():
    for at in (-1, -9, 40):
        link = bytearray(LINK)
        link[at] ^= 1
        assert linked([NEW_ROOT, bytes(link)]) == []
        new = bytearray(NEW_ROOT)
        new[at] ^= 1
        assert linked([bytes(new), LINK]) == []


def test_tricks_with_names_and_keys():
    assert linked([root("Root 3", NEW), LINK]) == []  # the link's key under another name
    assert linked([root("Root 2", STRANGER), LINK]) == []  # its name with another key
    assert linked([certificate("Root 2", NEW, "Root 2", STRANGER), LINK]) == []  # not signed by itself
    assert linked([certificate("Root 2", NEW, "Root 9", NEW), LINK]) == []  # nor named by itself
    assert linked([NEW_ROOT, certificate("Root 2", NEW, "Root 3", OLD)]) == []  # signed by ours, in another's name
    assert linked([root("Root 2\x00", NEW), LINK]) == []


def test_what_is_no_ca_is_no_root():
    for bad in ({"ca": False}, {"usage": 0x80}, {"path": 0}, {"path": 3}):
        assert linked([root("Root 2", NEW, **bad), LINK]) == []
        assert linked([NEW_ROOT, certificate("Root 2", NEW, "Root 1", OLD, **bad)]) == []
    odd = (authority.extension("2.5.29.30", b"\x30\x00"),)  # name constraints, which a device does not read
    assert linked([root("Root 2", NEW, more=odd), LINK]) == []
    assert linked([NEW_ROOT, certificate("Root 2", NEW, "Root 1", OLD, more=odd)]) == []


def test_an_issuing_ca_cannot_make_itself_a_root():
    """Its key is online.  What the root signed for it is a certificate of a CA, by name and by signature."""
    own = root("Issuing", ISSUING)
    assert linked([own, ISSUING_CA]) == []
    unbounded = certificate("Issuing", ISSUING, "Root 1", OLD)  # of a CA whose root knows no path lengths
    assert linked([own, unbounded], issuing=(unbounded,)) == []
    assert linked([own, unbounded]) == [own]  # only what is known of it tells it from a link


def test_time():
    over = {"end": b"270101000000Z"}
    assert linked([NEW_ROOT, certificate("Root 2", NEW, "Root 1", OLD, **over)]) == []
    assert linked([root("Root 2", NEW, **over), LINK]) == []
    assert linked(ALL, (root("Root 1", OLD, **over),)) == []  # who has expired vouches for nobody
    early = {"begin": b"260201000000Z"}
    # A board's clock may stand before it: that is not what is decided here.
    assert linked([root("Root 2", NEW, **early), LINK], now=1_767_225_600) == [root("Root 2", NEW, **early)]


def test_what_cannot_be_read_is_passed_over():
    assert linked([b"", b"\x30\x00", OLD_ROOT[:-1], b"x" * 300] + ALL) == [NEW_ROOT]
    long = (authority.extension("1.2.3", bytes(2048), False),)
    assert linked([root("Root 2", NEW, more=long), LINK]) == []


class Cloud(decada_cloud.Cloud):
    def __init__(self, certificates, error=None):
        super().__init__({"silent": True, "version": "", "files": {}, "target": "", "sha256": ""})
        self.certificates, self.error = certificates, error
        self.asked = []

    def connect(self, device, login):
        if self.error:
            raise self.error
        return super().connect(device, login)

    def http(self, device, method, url, headers, body, identity):
        assert (method, url, identity) == ("GET", "https://cloud:1/.well-known/est/pk/cacerts", None)
        self.asked.append(device.now_ms)
        if isinstance(self.certificates, tuple):
            return self.certificates
        return 200, {}, binascii.b2a_base64(authority.pkcs7(self.certificates))


def of(cloud):
    device = enrolled.device(cloud, b"", authority.NOW, FACTORY)
    device.records["cert.a"] = certificate("pk/dk", key(7), "Issuing", ISSUING, ca=False, usage=0x80) + ISSUING_CA
    device.anchors = [OLD_ROOT]
    return device


def live(device, ms=4_000_000):
    return test_revocation.live(device, ms)


def test_a_device_learns_of_a_new_root_while_it_is_online_and_keeps_it():
    cloud = Cloud(ALL)
    device = of(cloud)
    agent = live(device)
    assert len(cloud.asked) == 1 and cloud.asked[0] <= 3_700_000
    assert agent.platform.anchors() == [OLD_ROOT, NEW_ROOT]
    [told] = events(device, "identity.anchor_added")
    assert told["name"] == "Root 2" and told["until"] > authority.NOW
    # A second root, of whom the first one knows nothing: one step after the other.
    third = root("Root 3", THIRD)
    cloud.certificates = [third, certificate("Root 3", THIRD, "Root 2", NEW), NEW_ROOT]
    assert live(device).platform.anchors() == [OLD_ROOT, NEW_ROOT, third]
    # With another ca_file none of it counts.
    device.anchors = [root("Root 9", STRANGER)]
    cloud.certificates = (404, {}, b"")
    assert live(device, 1000).platform.anchors() == device.anchors
    device.anchors = [OLD_ROOT]
    assert live(device, 1000).platform.anchors() == [OLD_ROOT, NEW_ROOT, third]


def test_two_rotations_that_were_slept_through():
    third = root("Root 3", THIRD)
    device = of(Cloud([third, NEW_ROOT, certificate("Root 3", THIRD, "Root 2", NEW), LINK]))
    assert live(device).platform.anchors() == [OLD_ROOT, NEW_ROOT, third]


def test_roots_that_are_over_go_and_their_number_is_bounded():
    device = of(Cloud(ALL))
    live(device)
    many = []
    cloud = device.peer
    for number in range(roots.MAX_ANCHORS):
        many += [
            root("Many %d" % number, key(200 + number)),
            certificate("Many %d" % number, key(200 + number), "Root 1", OLD),
        ]
        cloud.certificates = many[-2:]
        agent = live(device)
    assert len(agent.platform.anchors()) == 1 + roots.MAX_ANCHORS
    assert events(device, "identity.anchors_full")
    short = root("Short", key(300), end=b"280101000000Z")
    device = of(Cloud([short, certificate("Short", key(300), "Root 1", OLD)]))
    assert live(device).platform.anchors() == [OLD_ROOT, short]
    device.epoch_s = 1_850_000_000  # August 2028
    device.peer.certificates = ALL
    assert live(device).platform.anchors() == [OLD_ROOT, NEW_ROOT]


def test_answers_that_are_of_no_use_change_nothing():
    base64 = binascii.b2a_base64
    for answer in (
        (404, {}, b""),
        (500, {}, base64(authority.pkcs7(ALL))),
        (302, {"Location": "https://elsewhere/"}, b""),
        (200, {}, b""),
        (200, {}, b"not base64"),
        (200, {}, base64(ALL[0])),
        (200, {}, base64(authority.pkcs7([LINK] * 9))),
        (200, {}, b"A" * 20_000),
        [LINK, root("Root 2", STRANGER)],
    ):
        device = of(Cloud(answer))
        assert live(device).platform.anchors() == [OLD_ROOT], answer
        assert "anchors" not in device.records
        assert not [e for e in events(device, "error") if e["code"] == "unexpected"], device.events


def test_a_server_that_is_not_vouched_for_makes_it_ask_once_a_day():
    cloud = Cloud((404, {}, b""), RefusedError("tls_untrusted", "not vouched for"))
    device = of(cloud)
    agent = Agent(device.power_on())
    for _ in range(40):
        for _ in range(20):
            agent.step(20)
        agent.platform.clock.sleep_ms(chores.HOUR_MS)
    assert len(cloud.asked) == 2
    cloud.certificates = ALL
    assert live(device, 60_000).platform.anchors() == [OLD_ROOT, NEW_ROOT]


def test_power_cuts():
    clean = of(Cloud(ALL))
    live(clean)
    for at in range(1, clean.effects + 1):
        save = clean.trace[at - 1].startswith("store")
        for way in (memory.BEFORE, memory.AFTER, memory.TORN) if save else (memory.AFTER,):
            device = of(Cloud(ALL))
            device.tears_records = "mixed"
            device.cuts = {at: way}
            assert live(device, 8_000_000).platform.anchors() == [OLD_ROOT, NEW_ROOT], (at, way)
