# SPDX-License-Identifier: MIT
"""The road with less to send, on the memory platform: packed images and patches, and every way back to the plain road.

The codec is a stand-in of a few lines, but for the last tests: the real one has tests of its own.
"""

import sys

import encodings_by_hand as by_hand
from agent.errors import RefusedError
from platform_adapters import memory
from test_downloads import IMAGE, Road, breaks, fails, repo, says, updated
from test_offers import FACTORY, URL, by_url, world
from tuf_repo import digest

HEAP = "6M"
TIMEOUT_S = 120
PACKED, PATCH = "application/vnd.trueboot.deflate", "application/vnd.trueboot.patch"
FRAME = 3000


class Codec:
    """Frames of two bytes of length and so many; packed: each byte with its bits turned over; patch: 0 and a length, of the
    base's start, or 1 and bytes."""

    @staticmethod
    def decoder(content_type, base_read, base_length, left):
        return Decoder(content_type == PATCH, base_read, base_length, left)


class Decoder:
    def __init__(self, patch, base_read, base_length, left):
        self.patch, self.base_read, self.base_length, self.left = patch, base_read, base_length, left
        self.kept = b""

    def feed(self, data):
        self.kept += data
        while len(self.kept) > 1:
            size = self.kept[0] << 8 | self.kept[1]
            if len(self.kept) < 2 + size:
                return
            frame, self.kept = self.kept[2 : 2 + size], self.kept[2 + size :]
            for piece in self.inflated(frame):
                self.left -= len(piece)
                if self.left < 0:
                    raise RefusedError("encoded", "too much")
                yield piece

    def inflated(self, frame):
        if not self.patch:
            frame = bytes([byte ^ 255 for byte in frame])
            for at in range(0, len(frame), 1024):
                yield frame[at : at + 1024]
        elif frame[:1] == b"\0":
            size = frame[1] << 8 | frame[2]
            assert size <= self.base_length
            yield self.base_read(0, size)
        else:
            yield frame[1:]

    def end(self):
        if self.kept or self.left:
            raise RefusedError("encoded", "it ends too early")


def framed(frames):
    return b"".join([bytes([len(frame) >> 8, len(frame) & 255]) + frame for frame in frames])


def packed(image):
    turned = bytes([byte ^ 255 for byte in image])
    return framed([turned[at : at + FRAME] for at in range(0, len(turned), FRAME)])


def patched(image):
    """The part that image and FACTORY begin with alike comes from the slot that runs."""
    same = 0
    while same < len(FACTORY) and image[same] == FACTORY[same]:
        same += 1
    rest = [b"\1" + image[at : at + 1000] for at in range(same, len(image), 1000)]
    return framed(([bytes([0, same >> 8, same & 255])] if same else []) + rest)


class Server(Road):
    """Has packed images; `answers` bends what it says to requests for them, one by one."""

    def __init__(self, the_world, *answers, kind=PACKED, plain=()):
        super().__init__(the_world, *plain)
        self.answers = list(answers)
        self.kind = kind
        self.compact = []  # (query, identity)

    def http(self, device, method, url, headers, body, identity):
        start = "https://cloud:1/images/" + self.world["sha256"] + "?"
        if not url.startswith(start):
            return super().http(device, method, url, headers, body, identity)
        query = dict([pair.split("=") for pair in url[len(start) :].split("&")])
        self.compact.append((query, identity))
        rest = self.world["image"][int(query["offset"]) :]
        data = packed(rest) if self.kind == PACKED else patched(rest) if self.kind == PATCH else rest
        answer = 200, {"content-type": self.kind}, data
        return self.answers.pop(0)(headers, *answer) if self.answers else answer

    def offsets(self):
        return [int(query["offset"]) for query, _ in self.compact]


def install(*answers, **more):
    """A server, after a device with the stand-in took IMAGE from it."""
    real = sys.modules.get("agent.wire.encoded")
    sys.modules["agent.wire.encoded"] = Codec
    try:
        r = repo()
        config = {"encodings": more.pop("encodings", "deflate,patch")}
        cloud = more.pop("cloud", None) or Server(world(r, image=IMAGE), *answers, **more)
        cloud.device = updated(cloud, r, config=config)
        return cloud
    finally:
        del sys.modules["agent.wire.encoded"]
        if real:
            sys.modules["agent.wire.encoded"] = real


def test_a_packed_image():
    cloud = install()
    assert cloud.offsets() == [0] and cloud.asked == []
    query, identity = cloud.compact[0]
    assert query == {"offset": "0", "base": digest(FACTORY), "accept": "deflate,patch"} and identity[0] == "a"


def test_a_patch_of_the_running_image():
    cloud = install(kind=PATCH)
    assert cloud.offsets() == [0] and cloud.asked == []


def test_an_image_as_it_is():
    cloud = install(kind="application/octet-stream")
    assert cloud.offsets() == [0] and cloud.asked == []


def test_what_is_not_accepted_is_not_asked_for():
    assert install(encodings="").compact == []
    assert [query for query, _ in install(encodings="deflate").compact] == [{"offset": "0", "accept": "deflate"}]
    cloud = install(encodings="deflate", kind=PATCH)
    assert len(cloud.asked) == 1, "a patch that was not asked for"


def test_it_goes_on_where_the_image_durably_is():
    cloud = install(breaks(5000), kind=PATCH)
    assert cloud.asked == [] and cloud.offsets()[0] == 0 and 3000 < cloud.offsets()[1] < 5000
    cloud = install(breaks(9000))
    assert cloud.asked == [] and cloud.offsets() == [0, 2 * FRAME], "the third frame did not come whole"


def test_other_answers_lead_to_the_plain_road():
    for answer in (says(404), says(503, retry_after="60"), says(302, location="https://e/x"), says(206), says(200)):
        cloud = install(answer, plain=[breaks(9000)])
        assert len(cloud.compact) == 1 and cloud.firsts() == [0, 9000]
        assert cloud.device.now_ms < 60_000


def test_a_malformed_answer_is_fetched_anew_by_the_plain_road():
    def cut_short(headers, status, more, data):
        return status, more, data[:9001]

    def too_long(headers, status, more, data):
        return status, more, data + packed(b"x")

    def not_of_this_format(headers, status, more, data):
        return status, more, packed(b"no image" * 900)

    def without_end(headers, status, more, data):
        return status, more, bytes(200_000)

    for answer in (cut_short, too_long, not_of_this_format, without_end):
        cloud = install(answer)
        assert cloud.offsets() == [0] and cloud.firsts() == [0]


def test_a_wrong_hash_is_fetched_anew_by_the_plain_road():
    def other(headers, status, more, data):
        return status, more, packed(IMAGE[:-9] + b"ghi" * 3)

    cloud = install(other)
    assert cloud.offsets() == [0] and cloud.firsts() == [0]
    cloud = install(breaks(9000), other)
    assert cloud.offsets() == [0, 2 * FRAME] and cloud.firsts() == [0]
    bad = IMAGE[:-9] + b"ghi" * 3
    sys.modules["agent.wire.encoded"] = Codec
    try:
        r = repo()
        cloud = Server(world(r, image=IMAGE), other, plain=[lambda headers, status, more, data: (status, more, bad)])
        fails("image: image_hash", cloud, r)
    finally:
        del sys.modules["agent.wire.encoded"]


def test_after_two_fruitless_tries_the_plain_road_is_taken():
    cloud = install(breaks(100), breaks(100), breaks(100))
    assert cloud.offsets() == [0, 0] and cloud.firsts() == [0]


def test_a_power_cut_on_the_compact_road():
    r = repo()
    sys.modules["agent.wire.encoded"] = Codec
    try:
        for way in (memory.BEFORE, memory.AFTER, memory.TORN):
            cloud = Server(world(r, image=IMAGE))
            device = updated(cloud, r)
            sync = [number + 1 for number, name in enumerate(device.trace) if name == "slots.sync"][-1]
            cloud = Server(world(r, image=IMAGE))
            updated(cloud, r, cuts={sync: way})
            assert cloud.asked == [] and len(cloud.compact) == (1 if way == memory.AFTER else 2), (way, cloud.compact)
    finally:
        del sys.modules["agent.wire.encoded"]


def test_bundles_by_url_stay_as_they_are():
    r = repo()
    the_world = by_url(r, r.bundle("app/sim/1.1.0/app.img"), URL)
    the_world["image"], the_world["sha256"] = IMAGE, digest(IMAGE)
    assert install(cloud=Server(the_world)).compact == []


class Real(Server):
    """Speaks the real encodings."""

    def http(self, device, method, url, headers, body, identity):
        status, more, data = super().http(device, method, url, headers, body, identity)
        if self.compact and "/images/" in url and status == 200:
            image, offset = self.world["image"], int(self.compact[-1][0]["offset"])
            data = by_hand.frames(image[offset:])
            if self.kind == PATCH:
                same = min(len(FACTORY), 15)  # the first line of every app image
                text = by_hand.instruction(same - min(offset, same), b"", image[max(offset, same) :], 0)
                data = by_hand.frames(text)
            if len(self.compact) == 1:
                return breaks(len(data) * 3 // 4)(headers, status, more, data)
        return status, more, data


def test_the_real_encodings_with_a_break_in_the_middle():
    r = repo()
    for kind in (PACKED, PATCH):
        cloud = Real(world(r, image=IMAGE), kind=kind)
        updated(cloud, r)
        assert cloud.asked == [] and cloud.offsets()[0] == 0 and cloud.offsets()[1] > len(IMAGE) // 2, cloud.offsets()
