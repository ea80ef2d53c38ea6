# SPDX-License-Identifier: MIT
"""Downloads over a network that lies, breaks and crawls, and over power cuts, on the memory platform.

The names of the tests are those of the lies.
"""

import json

import decada_cloud
import enrolled
import remembered
from agent.errors import UnreachableError
from agent.runtime import Agent
from agent.tasks.redirect import follow
from agent.wire import appimage
from expect import refused
from platform_adapters import memory
from test_offers import FACTORY, PATH, URL, by_url, ended, told, world
from tuf_repo import NOW, Repo, digest

HEAP = "6M"
TIMEOUT_S = 240
REMEMBERS = True
remembered.signatures_of_file()
IMAGE = appimage.build({"main.py": b"version = 2\n" * 300, "data": bytes(range(250)) * 80})
LENGTH = len(IMAGE)
BIG = appimage.build({"main.py": b"version = 2\n" * 300, "data": bytes(range(250)) * 400})  # more than SYNC_BYTES


def repo(image=IMAGE):
    return Repo().add(PATH, image)


class Road(decada_cloud.Cloud):
    """A cloud whose answers with the image, or a part of it, a test bends: `bends` are used up one by one, then all is well.

    A bend gets (headers, status, more, body) and gives (status, headers, body), or raises.
    """

    def __init__(self, the_world, *bends, only=None):
        super().__init__(the_world)
        self.bends = list(bends)
        self.only = only or (lambda url: "/targets/" in url)
        self.asked = []  # (Range, If-Range) of each request for the image

    def http(self, device, method, url, headers, body, identity):
        status, more, data = super().http(device, method, url, headers, body, identity)
        if not self.only(url):
            return status, more, data
        self.asked.append((headers.get("Range"), headers.get("If-Range")))
        if self.bends:
            return self.bends.pop(0)(headers, status, more, data)
        return status, more, data

    def firsts(self):
        """From which byte on it was asked for."""
        return [int(asked[6:-1]) if asked else 0 for asked, _ in self.asked]


def breaks(at):
    """The connection breaks after `at` bytes of the answer."""

    def bend(headers, status, more, data):
        return status, dict(more, **{"content-length": str(len(data))}), data[:at]

    return bend


def says(status, **more):
    headers = {name.replace("_", "-"): more[name] for name in more}
    return lambda *asked: (status, headers, b"")


def life(cloud, r, config=None, **more):
    """(device, outcome as the server was told it) at the end of the offer."""
    device = device_for(cloud, r, config)
    device.cuts = more.pop("cuts", {})
    enrolled.settle(device, True, ended(cloud), max_steps=40_000, **more)
    assert cloud.lies == [], cloud.lies
    return device, told(cloud)


def device_for(cloud, r, config=None):
    device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
    device.config = dict(device.config, **(config or {}))
    return device


def updated(cloud, r, **more):
    device, outcome = life(cloud, r, **more)
    assert outcome == [("updated", "")], outcome
    assert device.images[device.record()["active"]] == cloud.world["image"]
    return device


def fails(reason, cloud, r, **more):
    device, outcome = life(cloud, r, **more)
    assert [name for name, _ in outcome] == ["failed"] and reason in outcome[0][1], outcome
    assert device.images[device.record()["active"]] == FACTORY and device.boots == 2
    return device


# Over resets


def syncs(device):
    """The numbers of the effects that make a part of the image durable."""
    return [number + 1 for number, name in enumerate(device.trace) if name == "slots.sync"]


def slow(cloud):
    cloud.read_ms = 20  # so that 64 KB take longer than a second
    return cloud


def test_a_power_cut_in_mid_download_costs_little_of_it():
    """What is durable by then is not asked for again."""
    r = repo(BIG)
    whole = updated(slow(Road(world(r, image=BIG))), r)
    assert len(syncs(whole)) > 1, "nothing is durable before the end"
    first = syncs(whole)[0]
    for cut in (first + 1, first + 30):
        cloud = slow(Road(world(r, image=BIG)))
        device = updated(cloud, r, cuts={cut: memory.AFTER})
        begun, resumed = cloud.firsts()
        assert begun == 0 and 64 * 1024 <= resumed < len(BIG), cloud.firsts()
        assert device.boots == 4


def test_a_torn_sync_in_mid_download_counts_for_what_it_left():
    r = repo(BIG)
    first = syncs(updated(Road(world(r, image=BIG)), r))[0]
    cloud = Road(world(r, image=BIG))
    updated(cloud, r, cuts={first: memory.TORN})
    assert 0 < cloud.firsts()[1] < 64 * 1024


def test_what_a_slot_holds_after_a_reset_is_hashed_and_not_believed():
    """A part that was durable, and rotted: the download begins again instead of failing, or of booting it."""
    r = repo(BIG)
    first = syncs(updated(Road(world(r, image=BIG)), r))[0]
    for place in (-3, 20):  # within a file, and within the index
        cloud = Road(world(r, image=BIG))
        device = device_for(cloud, r)
        device.cuts = {first + 5: memory.BEFORE}
        agent = Agent(device.power_on())
        try:
            while True:
                agent.platform.clock.sleep_ms(max(min(agent.step(20), 100), 1))
        except memory.PowerCut:
            pass
        there = bytearray(device.images["b"])
        assert len(there) >= 64 * 1024
        there[place] ^= 1
        device.images["b"] = bytes(there)
        enrolled.settle(device, True, ended(cloud), max_steps=40_000)
        assert cloud.lies == [] and told(cloud) == [("updated", "")], told(cloud)
        assert cloud.firsts() == [0, len(there), 0]


def test_progress_is_made_durable_seldom_enough_for_flash():
    for read_ms, least, most in ((0, 2, 2), (1000, 3, 6), (9000, 12, 30)):
        r = repo(BIG)
        cloud = Road(world(r, image=BIG))
        cloud.read_ms = read_ms
        done = len(syncs(updated(cloud, r)))
        assert least <= done <= most, (read_ms, done)


# Tries


def test_a_try_that_makes_progress_is_no_fruitless_one():
    r = repo(BIG)
    step = len(BIG) // 20
    cloud = Road(world(r, image=BIG), *[breaks(step) for _ in range(19)])
    updated(cloud, r)
    assert cloud.firsts() == [number * step for number in range(20)]


def test_a_trickle_of_progress_is_an_end():
    """Less than 4 KB a try, or than a 64th of the image, is none; five of those are the end."""
    r = repo()
    cloud = Road(world(r, image=IMAGE), breaks(LENGTH // 2), *[breaks(100) for _ in range(30)])
    fails("network: http_truncated", cloud, r)
    assert len(cloud.asked) == 6, cloud.firsts()


def test_short_body():
    r = repo()
    cloud = Road(world(r, image=IMAGE), breaks(LENGTH - 1), lambda headers, status, more, data: (206, more, b""))
    updated(cloud, r)
    assert cloud.firsts() == [0, LENGTH - 1, LENGTH - 1]


def test_extra_body():
    r = repo()
    extra = lambda headers, status, more, data: (status, more, data + b"x")  # noqa: E731
    fails("image: image_length", Road(world(r, image=IMAGE), extra), r)
    cloud = Road(world(r, image=IMAGE), breaks(5000), extra)
    updated(cloud, r)
    assert cloud.firsts() == [0, 5000, 0]


def test_200_for_a_range_request():
    r = repo()
    cloud = Road(world(r, image=IMAGE), breaks(LENGTH // 2), lambda *asked: (200, {}, IMAGE))
    updated(cloud, r)
    assert len(cloud.asked) == 2
    # A server that never gives a part, over a network that always breaks at the same place, makes no progress.
    cloud = Road(world(r, image=IMAGE), *[lambda *asked: breaks(LENGTH // 2)(None, 200, {}, IMAGE) for _ in range(30)])
    fails("network: http_truncated", cloud, r)
    assert len(cloud.asked) == 6


def other_range(headers, status, more, data):
    return 206, {"content-range": "bytes 0-%d/%d" % (LENGTH - 1, LENGTH)}, IMAGE


def test_wrong_content_range():
    r = repo()
    for bend in (other_range, lambda *asked: (206, {}, IMAGE), says(206, content_range="bytes x")):
        cloud = Road(world(r, image=IMAGE), breaks(9000), bend, bend)
        updated(cloud, r)
        assert cloud.firsts() == [0, 9000, 9000, 0], "after two of them no part is asked for any more"


def test_416():
    r = repo()
    cloud = Road(world(r, image=IMAGE), breaks(9000), says(416), says(416))
    updated(cloud, r)
    assert cloud.firsts() == [0, 9000, 9000, 0]
    # No part is to be had, and the whole never comes: that is no progress for ever.
    no_part = lambda headers, *more: says(416)() if "Range" in headers else breaks(9000)(headers, *more)  # noqa: E731
    cloud = Road(world(r, image=IMAGE), *[no_part] * 60)
    fails("network: http_", cloud, r)
    assert len(cloud.asked) < 20


def tagged(etag, data, at=None):
    def bend(headers, status, more, body):
        if headers.get("If-Range", etag) != etag:
            return 200, {"etag": etag}, data
        return breaks(at)(headers, status, dict(more, etag=etag), body) if at else (status, dict(more, etag=etag), body)

    return bend


def test_etag_change():
    """The part that is asked for must be of the file that was begun."""
    r = repo()
    cloud = Road(world(r, image=IMAGE), tagged('"1"', IMAGE, 9000), tagged('"2"', IMAGE))
    updated(cloud, r)
    assert cloud.asked == [(None, None), ("bytes=9000-", '"1"')]
    # A server that gives a part of another file all the same
    other = lambda headers, status, more, data: (status, dict(more, etag='"2"'), data)  # noqa: E731
    cloud = Road(world(r, image=IMAGE), tagged('"1"', IMAGE, 9000), other, other)
    updated(cloud, r)
    assert cloud.firsts() == [0, 9000, 9000, 0]
    # A weak tag is not compared
    cloud = Road(world(r, image=IMAGE), tagged('W/"1"', IMAGE, 9000))
    updated(cloud, r)
    assert cloud.asked[1] == ("bytes=9000-", None)


def test_another_file_behind_the_same_address():
    """What was resumed and has another hash is fetched anew; what came whole is the end."""
    r = repo()
    bad = IMAGE[:-5] + b"wrong"
    cloud = Road(
        world(r, image=IMAGE), lambda *asked: breaks(9000)(None, 200, {}, bad), lambda h, s, m, d: (s, m, bad[9000:])
    )
    updated(cloud, r)
    assert cloud.firsts() == [0, 9000, 0]
    cloud = Road(world(r, image=IMAGE), lambda *asked: (200, {}, bad))
    fails("image: image_hash", cloud, r)
    assert len(cloud.asked) == 1


def test_slow_drip():
    """A byte now and then, so that the server is never silent: given up, though it would go on for days."""
    r = repo()

    class Drip(Road):
        def http(self, *asked):
            self.piece_bytes, self.read_ms = (5, 900) if self.only(asked[2]) else (1000, 0)
            return super().http(*asked)

    for only in (None, lambda url: url.endswith("timestamp.json")):
        cloud = Drip(world(r, image=IMAGE), only=only)
        device = fails("network: too_slow", cloud, r)
        assert 120_000 < device.now_ms < 600_000 and len(cloud.asked) in (3, 5)


def test_a_deliberate_limit_of_bandwidth():
    r = repo()
    for limit in (20_000, 2000):
        cloud = Road(world(r, image=IMAGE))
        cloud.silences, cloud.piece_bytes = 0, 1 << 20
        device = device_for(cloud, r, {"bandwidth_bytes_s": limit})
        enrolled.settle(device, True, ended(cloud), max_steps=40_000)
        assert told(cloud) == [("updated", "")]
        expected = LENGTH * 1000 // limit
        assert expected - 1500 < device.now_ms < expected + 12_000, (limit, device.now_ms, expected)


def test_an_app_that_seldom_steps_is_no_slow_server():
    r = repo()
    cloud = Road(world(r, image=IMAGE))
    device = device_for(cloud, r)
    agent = Agent(device.power_on())
    try:
        for _ in range(3000):
            agent.step(5)
            agent.platform.clock.sleep_ms(5000)
    except memory.Reset:
        pass
    assert not [fields for event, fields in device.events if event == "error"], device.events[-5:]
    assert len(cloud.asked) == 1


# Servers that are asked too much


def test_429_with_retry_after():
    r = repo()
    cloud = Road(world(r, image=IMAGE), *[says(429, retry_after="100") for _ in range(12)])
    device = updated(cloud, r)
    assert len(cloud.asked) == 13 and device.now_ms > 1_200_000, "it does not wait as long as it was asked to"
    for after in ("0", "Wed, 21 Oct 2026 07:28:00 GMT", ""):
        cloud = Road(world(r, image=IMAGE), *[says(503, retry_after=after) for _ in range(12)])
        fails("network: http_status: 503", cloud, r)
        assert len(cloud.asked) == 5, "without a time it is a fault like others"


def test_retry_after_is_bounded():
    r = repo()
    cloud = Road(world(r, image=IMAGE), says(503, retry_after="999999999"))
    device = updated(cloud, r)
    assert 1_800_000 < device.now_ms < 4_000_000
    cloud = Road(world(r, image=IMAGE), *[says(429, retry_after="1") for _ in range(500)])
    fails("network: http_status: 429", cloud, r, rest_ms=60_000)
    assert len(cloud.asked) < 100


def test_429_for_metadata():
    r = repo()
    bends = [says(429, retry_after="60") for _ in range(6)]
    cloud = Road(world(r, image=IMAGE), *bends, only=lambda url: url.endswith("timestamp.json"))
    assert updated(cloud, r).now_ms > 360_000


# Addresses that expire


class Expiring(Road):
    """A cloud that passes a signed URL, which `spoilt` says is refused; asked for offers, it gives the next one."""

    def __init__(self, r, data, *bends, more=10):
        super().__init__(
            by_url(r, data, URL + "?sig=0", job="7", nonce="n7"), *bends, only=lambda url: url.startswith(URL)
        )
        self.world["image"], self.world["sha256"] = IMAGE, digest(IMAGE)
        self.data = data
        self.number = 0
        self.more = more
        self.questions = 0

    def on_publish(self, device, topic, payload, qos):
        if not topic.endswith("ota/device/getversion"):
            return super().on_publish(device, topic, payload, qos)
        self.questions += 1
        offers = []
        if self.number < self.more:
            self.number += 1
            fresh = URL + "?sig=%d" % self.number
            self.world["urls"][fresh] = (200, {}, self.data)
            self.world["offer"]["fileUrl"] = fresh
            offers = [json.loads(self._push()[1])["params"]]
        reply = {"id": json.loads(payload)["id"], "code": 200, "message": "", "data": self.bent(offers)}
        device.push(topic + "_reply", json.dumps(reply).encode())

    def bent(self, offers):
        return offers


def test_token_expired_in_mid_download():
    r = repo()
    data = r.bundle(PATH)
    prefix = len(data) - LENGTH
    for status in (401, 410):
        # the bundle's metadata; the image, broken off; refused; then the fresh address: metadata, the rest
        well = lambda headers, status, more, body: (status, more, body)  # noqa: E731
        cloud = Expiring(r, data, well, breaks(prefix + 9000), says(status))
        updated(cloud, r)
        assert cloud.questions == 1 and cloud.firsts() == [0, 0, prefix + 9000, 0, prefix + 9000]
        assert [url for url, _ in cloud.requests if url.startswith(URL)][-1] == URL + "?sig=1"


def test_url_refused_and_no_fresh_offer():
    r = repo()
    data = r.bundle(PATH)
    well = lambda headers, status, more, body: (status, more, body)  # noqa: E731
    cloud = Expiring(r, data, well, *[says(403) for _ in range(30)], more=0)
    fails("network: url_refused: 403", cloud, r)
    assert cloud.questions == 4, "one question a try"


def test_fresh_offers_are_bounded():
    """A cloud whose addresses are all refused."""
    r = repo()
    data = r.bundle(PATH)
    well = lambda headers, status, more, body: (status, more, body)  # noqa: E731
    cloud = Expiring(r, data, well, *[bend for _ in range(30) for bend in (says(410), well)], more=99)
    fails("network: url_refused: 410", cloud, r)
    assert cloud.questions == 4


def test_fresh_offers_of_something_else_are_left_alone():
    r = repo()
    data = r.bundle(PATH)
    well = lambda headers, status, more, body: (status, more, body)  # noqa: E731
    changes = ({"job": "8"}, {"version": "1.2.0"}, {"fileUrl": 5}, {"fileUrl": "http://cloud:1/x"})
    for change in changes:
        cloud = Expiring(r, data, well, says(403))
        cloud.bent = lambda offers, change=change: [dict(offers[0], **change), 7, None]
        updated(cloud, r)
        assert cloud.questions == 1, change
        assert cloud.requests[-1][0] == URL + "?sig=0", change


def test_a_target_that_is_not_there_is_asked_for_again():
    """In the repository addresses do not expire; the cloud is asked all the same."""
    r = repo()
    cloud = Road(world(r, image=IMAGE), says(404))
    updated(cloud, r)
    assert cloud.firsts() == [0, 0]


# Redirects


def redirected(r, *steps, status=302):
    """A cloud whose bundle lies at the last of `steps`; each leads to the next."""
    data = r.bundle(PATH)
    pairs = [steps[at : at + 2] for at in range(len(steps) - 1)]
    urls = {step: (status, {"Location": to}, b"") for step, to in pairs}
    cloud = decada_cloud.Cloud(by_url(r, data, steps[0]))
    cloud.world["image"], cloud.world["sha256"] = IMAGE, digest(IMAGE)
    cloud.world["urls"] = urls
    urls[steps[-1]] = urls.get(steps[-1]) or (200, {}, data)
    return cloud


def test_redirects_of_an_offered_url_are_followed():
    r = repo()
    for status in (301, 307):
        cloud = redirected(r, URL, "https://cdn.example/a", "https://cdn.example/b", status=status)
        updated(cloud, r)
    cloud = redirected(r, URL, "https://cdn.example/1/a?x=/y", "https://b.example/1", "https://b.example/2")
    updated(cloud, r)


def test_relative_redirects():
    for base, location, url in (
        ("https://a/b/c?q=/x", "/d", "https://a/d"),
        ("https://a/b/c?q=/x", "d?e", "https://a/b/d?e"),
        ("https://a:5", "d", "https://a:5/d"),
        ("https://a?b=/c", "d", "https://a/d"),
        ("https://a/b", "//c/d#e", "https://c/d"),
    ):
        assert follow([base], location) == url


def test_credentials_never_go_along_a_redirect():
    """Nor back again to the configured server: who is elsewhere must not decide what is asked there in the device's name."""
    r = repo()
    cloud = redirected(r, URL, "https://cdn.example/a", "https://cloud:1/files/b")
    updated(cloud, r)
    assert [(url, identity and identity[0]) for url, identity in cloud.requests] == 2 * [
        (URL, "a"),
        ("https://cdn.example/a", None),
        ("https://cloud:1/files/b", None),
    ]
    cloud = redirected(r, URL, "https://cloud:1/files/b")
    updated(cloud, r)
    assert {identity[0] for _, identity in cloud.requests} == {"a"}


def test_redirect_loops():
    r = repo()
    cloud = redirected(r, URL, "https://a.example/1", URL)
    fails("http_redirect: the server of the file sends the device elsewhere in a circle", cloud, r)
    assert len(cloud.requests) == 2
    steps = ["https://a.example/%d" % number for number in range(9)]
    cloud = redirected(r, URL, *steps)
    fails("http_redirect: the server of the file sends the device elsewhere more than 3 times", cloud, r)
    assert len(cloud.requests) == 4


def test_redirects_to_other_schemes():
    r = repo()
    for location in ("http://cloud:1/x", "file:///etc/passwd", "", "https://user@cloud/x", "https://", "https:x"):
        refused("http_redirect", follow, [URL], location)
    cloud = redirected(r, URL, "http://cloud:1/x")
    fails("http_redirect", cloud, r)
    assert len(cloud.requests) == 1


def test_the_configured_server_answers_itself():
    """Neither metadata nor images of its repository are redirected."""
    r = repo()
    cloud = Road(world(r, image=IMAGE), says(302, location="https://elsewhere/x"))
    fails("http_redirect: the configured server", cloud, r)
    cloud = Road(world(r, image=IMAGE), *[says(302, location="https://e/x")] * 5, only=lambda url: "timestamp" in url)
    fails("http_redirect: the configured server", cloud, r)


# Space


def test_what_does_not_fit_is_said_before_anything_is_written():
    r = repo()
    cloud = Road(world(r, image=IMAGE))
    device = device_for(cloud, r)
    device.slot_bytes = LENGTH - 1
    enrolled.settle(device, True, ended(cloud))
    assert told(cloud)[0][0] == "failed" and told(cloud)[0][1].startswith("does not fit: "), told(cloud)
    assert cloud.asked == [] and "slots.begin" not in device.trace


def test_what_does_not_fit_any_more_when_a_download_goes_on():
    r = repo()
    cloud = Road(world(r, image=IMAGE), breaks(LENGTH // 2))
    device = device_for(cloud, r)

    def fill_up(device):
        if [fields for event, fields in device.events if event == "error"]:
            device.slot_bytes = LENGTH - 1

    cloud.on_idle = fill_up
    enrolled.settle(device, True, ended(cloud), max_steps=4000)
    assert told(cloud)[0][1].startswith("does not fit: "), told(cloud)
    assert len(cloud.asked) == 1


def unreachable(*asked):
    raise UnreachableError("unreachable", "nobody is there")


def test_waits_between_tries_grow_and_differ():
    r = repo()
    seen = []
    for seed in (b"one", b"two", b"three"):
        cloud = Road(world(r, image=IMAGE), *[unreachable for _ in range(4)])
        device = device_for(cloud, r)
        device.seed = seed
        enrolled.settle(device, True, ended(cloud), max_steps=4000)
        assert told(cloud) == [("updated", "")]
        seen.append(device.now_ms)
    assert len(set(seen)) == 3 and min(seen) > 7000, seen
