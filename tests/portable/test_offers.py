# SPDX-License-Identifier: MIT
"""Offers, good and hostile, from the cloud's message to what runs, on the memory platform."""

import json

import decada_cloud
import enrolled
import remembered
import scratch
from agent import journal
from agent.errors import DeviceError, UnreachableError
from agent.runtime import Agent
from agent.wire import appimage
from expect import misuse
from platform_adapters import memory, pinned
from tuf_repo import NOW, PAST, Repo, bin_of, bundle, digest

HEAP = "2M"
TIMEOUT_S = 240
REMEMBERS = True
remembered.signatures_of_file()
PATH = "app/sim/1.1.0/app.img"
URL = "https://cloud:1/files/fw.bin"
FACTORY = appimage.build({"main.py": b"version = 1\n"})
IMAGE = appimage.build({"main.py": b"version = 2\n" * 300, "lib/a.py": b"x = 1\n"})
OTHER = appimage.build({"main.py": b"version = 3\n" * 300, "lib/a.py": b"x = 1\n"})


def repo(**custom):
    return Repo().add(PATH, IMAGE, **custom)


def world(r, offer=None, urls=None, image=IMAGE, version="1.1.0"):
    return {
        "files": r.files,
        "image": image,
        "sha256": digest(image),
        "version": version,
        "target": PATH,
        "offer": offer or {},
        "urls": urls or {},
    }


def by_url(r, data, url=URL, **offer):
    """The world of a cloud that knows no targets: it passes one URL."""
    hints = {"target": None, "fileUrl": url, "fileSize": len(data), "sign": digest(data), "job": None, "nonce": None}
    hints.update(offer)
    return world(r, hints, {url: (200, {}, data)})


def life(the_world, r, healthy=True, cuts=None, now=NOW, **record):
    """(device, cloud, agent) after the offer has come to an end."""
    cloud = decada_cloud.Cloud(the_world)
    device = enrolled.device(cloud, r.files["1.root.json"], now, FACTORY, **record)
    device.cuts = cuts or {}
    agent = enrolled.settle(device, healthy, ended(cloud))
    assert cloud.lies == [], cloud.lies
    return device, cloud, agent


def ended(cloud):
    return lambda agent: cloud.job["state"] not in ("queued", "pushed")


def told(cloud):
    return [entry for entry in cloud.told if entry[0] not in ("step", "version", "running", "trial", "below_floor")]


def installs(the_world, r, image=IMAGE, **more):
    device, cloud, agent = life(the_world, r, **more)
    assert told(cloud) == [("updated", "")], told(cloud)
    assert device.images[device.record()["active"]] == image
    return device, cloud, agent


WORDS = ("does not fit: ", "signature: ", "image: ", "network: ")


def plain(why):
    """A reason without the stable word that it begins with."""
    for word in WORDS:
        if why.startswith(word):
            return why[len(word) :]
    return why


def turned_down(code, the_world, r, outcome="failed", downloads=False, **more):
    device, cloud, agent = life(the_world, r, **more)
    assert [entry[0] for entry in told(cloud)] == [outcome], told(cloud)
    assert plain(told(cloud)[0][1]).startswith(code), told(cloud)
    assert device.images[device.record()["active"]] == FACTORY
    assert device.boots == 2 and agent.status()["version"] == "1.0.0", "it was activated"
    assert downloads or device.images["b"] == b"", "it was downloaded"
    return device, cloud, agent


def test_a_named_target_comes_from_the_repository():
    r = repo()
    device, cloud, agent = installs(world(r), r)
    assert agent.status()["freshness"] == "repository"
    assert not [url for url, _ in cloud.requests if url.split("/")[3] not in ("repo", "images")]


class Outage(decada_cloud.Cloud):
    """From the first request for `at` on all of the cloud is away, until the device has dialled `dials` times in vain."""

    def __init__(self, the_world, at, dials, alone=False):
        """`alone`: nothing but what `at` names is away, for ever."""
        super().__init__(the_world)
        self.at, self.dials, self.alone = at, dials, alone
        self.away = False
        self.failures = 0

    def connect(self, device, login):
        if self.away:
            self.dials -= 1
            self.away = self.dials > 0
            raise UnreachableError("unreachable", "nobody is there")
        return super().connect(device, login)

    def http(self, device, method, url, headers, body, identity):
        if self.at in url and self.dials and not self.away:
            self.away = True
            device.hang_up()
        if self.away or (self.alone and self.at in url):
            self.failures += 1
            raise UnreachableError("unreachable", "nobody is there")
        return super().http(device, method, url, headers, body, identity)


def test_an_outage_of_the_whole_cloud_spends_no_tries():
    """A server that is restarted has not refused a download, however long it takes."""
    r = repo()
    for at in ("/timestamp.json", "/repo/targets/"):
        cloud = Outage(world(r), at, 9)
        device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
        enrolled.settle(device, done=ended(cloud), max_steps=4000)
        assert told(cloud) == [("updated", "")] and cloud.lies == [], (at, told(cloud), cloud.lies)
        assert cloud.failures > 5 and not cloud.dials, (at, cloud.failures)


def test_a_repository_that_alone_is_away_ends_with_a_report():
    r = repo()
    for at in ("/timestamp.json", "/repo/targets/"):
        cloud = Outage(world(r), at, 0, alone=True)
        device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
        enrolled.settle(device, done=ended(cloud), max_steps=4000)
        assert told(cloud) == [("failed", "network: unreachable: nobody is there")], told(cloud)


def test_hints_that_disagree_with_what_is_signed():
    r = repo()
    for offer in (
        {"version": "1.1.1"},
        {"version": "1.1.0 "},
        {"fileSize": len(IMAGE) + 1},
        {"sign": digest(OTHER)},
    ):
        turned_down("offer: ", world(r, offer), r)
    # What EnOS's other digest says is not compared, since it decides nothing.
    installs(world(r, {"sign": "0" * 32, "signMethod": "md5"}), r)


def test_hostile_fields_stop_nothing():
    r = repo()
    hostile = [
        {name: value} for name in ("version", "fileUrl", "sign", "signMethod") for value in (5, [], {}, "", True)
    ]
    hostile += [{"fileSize": value} for value in (0, -1, 1.5, "9", True, [], 1 << 70)]
    hostile += [{"target": value} for value in ("x" * 129, 5, [PATH])]
    hostile += [
        {"version": "9" * 500},
        {"version": "1.1.0\x1b[2J\u2028"},
        {"target": "a\x00b"},
        {"fileUrl": "x" * 1025},
    ]
    cloud = decada_cloud.Cloud(world(r))
    device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
    cloud.job["state"] = "none"
    agent = enrolled.settle(device)
    for offer in hostile:
        cloud.world = world(r, offer)
        device.push(*cloud._push())
        for _ in range(60):
            agent.platform.clock.sleep_ms(max(min(agent.step(20), 100), 1))
        assert agent.status()["phase"] == "idle" and device.images["b"] == b"", offer
    for outcome, why in told(cloud):
        assert outcome == "failed" and not [c for c in why if not " " <= c <= "~"]
    assert len(told(cloud)[-1][1]) < 130 and cloud.lies == []
    assert not [claims for claims in agent.reports() if len(claims["target_version"]) > 120]
    cloud.world, cloud.job = world(r), {"id": "9", "nonce": "n9", "state": "queued"}
    agent.platform.mqtt.close()
    enrolled.settle(device, True, ended(cloud))
    assert told(cloud)[-1] == ("updated", "")


def test_the_url_of_an_offer_that_names_a_target_is_not_followed():
    r = repo()
    for url in ("https://elsewhere/x", "http://cloud:1/x", "file:///etc/passwd", "x"):
        installs(world(r, {"fileUrl": url}), r)


def test_targets_that_nobody_signed():
    r = repo()
    for target in ("app/sim/9.9.9/app.img", "../" + PATH, "/" + PATH, "x" * 128, "app/sim/1.1.0/%2e"):
        turned_down("not_signed", world(r, {"target": target}), r)


def test_release_rules():
    for code, custom in (
        ("release_kind", {"kind": "firmware"}),
        ("release_hardware", {"hardware": ["esp32"]}),
        ("slot_full", {"size": 2 << 20}),
        ("release_requires", {"requires": ">=1.0.1"}),
        ("release_prerequisite", {"prerequisite": "1.0.5"}),
        ("release: ", {"requires": "1.x"}),
        ("release: ", {"version": 7}),
    ):
        r = repo(**custom)
        turned_down(code, world(r), r)
        turned_down(code, by_url(r, r.bundle(PATH)), r)
    r = repo(requires=">=1.0.0 <2.0.0", prerequisite="1.0.0")
    installs(world(r), r)


def test_nothing_below_the_floor():
    r = repo(security=4)
    state = {"phase": "idle", "version": "1.0.0", "image": "", "floor": 5, "slot": "", "release": None}
    state.update({"tries": 0, "failure": "", "refused": []})
    ours, passed_on = dict(world(r), fallback=True), dict(by_url(r, r.bundle(PATH)), fallback=True)
    turned_down("security 4 is below the floor 5", ours, r, "refused", update=dict(state))
    turned_down("security 4 is below the floor 5", passed_on, r, "refused", update=dict(state))
    installs(ours, r, update=dict(state, floor=4))


def test_a_bundle_by_url():
    r = repo()
    data = r.bundle(PATH)
    device, cloud, agent = installs(by_url(r, data), r)
    assert agent.status()["freshness"] == "bundle"
    assert [url for url, _ in cloud.requests] == [URL, URL]
    assert {identity[0] for _, identity in cloud.requests} == {"a"}


def test_a_bundle_from_another_origin_gets_no_credentials():
    r = repo()
    for url in ("https://files.example/fw.bin", "https://cloud:2/fw.bin", "https://cloud/fw.bin"):
        _, cloud, _ = installs(by_url(r, r.bundle(PATH), url), r)
        assert [identity for _, identity in cloud.requests] == [None, None]
    for url in ("http://cloud:1/fw.bin", "enos-connect://fw.bin", "/ou/ota/fw.bin", "https://user@cloud:1/x"):
        _, cloud, _ = turned_down("url: ", by_url(r, r.bundle(PATH), url), r)
        assert cloud.requests == []


def test_an_offer_without_target_whose_file_is_no_bundle():
    r = repo()
    for data in (IMAGE, b"", b"<html>not here</html>", b"trueboot-bundle 2\n" + bytes(100)):
        turned_down("no_bundle: the offer names no signed target", by_url(r, data, fileSize=len(data) or 1), r)


def test_what_the_offer_says_of_a_bundle_must_agree_with_the_file():
    r = repo()
    data = r.bundle(PATH)
    turned_down("offer: ", by_url(r, data, version="1.1.1"), r)
    turned_down("bundle_length", by_url(r, data, fileSize=len(data) + 1), r)
    turned_down("bundle_length", by_url(r, data, fileSize=len(IMAGE)), r)
    turned_down("offer: its digest", by_url(r, data, sign=digest(IMAGE)), r, downloads=True)
    installs(by_url(r, data, sign="0" * 32, signMethod="md5"), r)


def test_a_bundle_with_a_swapped_image():
    r = repo()
    assert len(OTHER) == len(IMAGE)
    r.images[PATH] = OTHER
    turned_down("image_", by_url(r, r.bundle(PATH)), r, downloads=True)


def test_a_bundle_with_an_image_larger_than_signed():
    r = repo()
    r.images[PATH] = IMAGE + b"x"
    turned_down("bundle_length", by_url(r, r.bundle(PATH)), r)


def test_a_truncated_bundle():
    r = repo()
    data = r.bundle(PATH)
    prefix = len(data) - len(IMAGE)
    for size in (prefix - 1, prefix // 2, 30):
        turned_down("bundle_length", by_url(r, data[:size], fileSize=len(data)), r)
    # A server that ends early gives as much each time: what is there is kept, and the rest never comes.
    turned_down("http_", by_url(r, data[:-1], fileSize=len(data), sign=digest(data)), r, downloads=True)


def test_trailing_bytes():
    r = repo()
    data = r.bundle(PATH)
    turned_down("bundle_length", by_url(r, data + b"x"), r)
    turned_down("image_length", by_url(r, data + b"x", fileSize=len(data)), r, downloads=True)


def test_oversized_metadata():
    r = repo()
    data = bundle([("1.root.json", bytes(60_000)), ("timestamp.json", bytes(9000))], PATH, IMAGE)
    turned_down("metadata_limit", by_url(r, data), r)
    r.files["timestamp.json"] += b" " * 5000
    turned_down("too_large", world(r), r)


def test_an_older_bundle_replayed():
    r = repo()
    old = r.bundle(PATH)
    r.bins[bin_of(PATH)][PATH]["custom"]["note"] = "the second time"
    r.resign(bin_of(PATH))
    new = r.bundle(PATH)
    device, cloud, agent = installs(by_url(r, new), r)
    records = dict(device.records)
    cloud.world = by_url(r, old)
    cloud.job = {"id": "8", "nonce": "n8", "state": "queued"}
    enrolled.settle(device, True, ended(cloud))
    assert told(cloud)[-1][0] == "failed" and plain(told(cloud)[-1][1]).startswith("metadata_version")
    for name in ("timestamp", "snapshot", "targets"):
        assert device.records[name] == records[name]


def test_an_older_bundle_whose_release_still_stands():
    """It is installed, and what the device knows of newer metadata stays."""
    r = repo()
    old = r.bundle(PATH)
    other = "app/sim/1.0.5/app.img"
    r.add(other, OTHER, version="1.0.5")
    assert bin_of(other) != bin_of(PATH)
    device, cloud, _ = installs(dict(world(r, image=OTHER, version="1.0.5"), target=other), r, OTHER)
    records = dict(device.records)
    cloud.world = by_url(r, old)
    cloud.job = {"id": "8", "nonce": "n8", "state": "queued"}
    agent = enrolled.settle(device, True, ended(cloud))
    assert told(cloud)[-1] == ("updated", "") and agent.status()["version"] == "1.1.0"
    assert agent.status()["freshness"] == "repository"
    for name in ("timestamp", "snapshot", "targets"):
        assert device.records[name] == records[name]


def test_an_expired_bundle_is_refused_and_an_expired_timestamp_in_it_is_not():
    r = repo()
    r.expires = {"timestamp": PAST, "snapshot": PAST}
    r.publish()
    installs(by_url(r, r.bundle(PATH)), r)
    turned_down("metadata_expired", world(r), r)
    r = repo()
    r.expires = {"targets": PAST}
    r.resign("targets")
    turned_down("metadata_expired", by_url(r, r.bundle(PATH)), r)


def test_expiry_stops_no_trial_and_no_rollback():
    r = repo()
    for healthy in (True, False):
        cloud = decada_cloud.Cloud(world(r))
        device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
        agent = Agent(device.power_on(), healthy=lambda: True)
        try:
            while True:
                agent.platform.clock.sleep_ms(max(agent.step(20), 1))
        except memory.Reset:
            device.epoch_s += 20 * 365 * 86_400  # everything is long expired
        enrolled.settle(device, healthy, ended(cloud))
        assert told(cloud)[-1][0] == ("updated" if healthy else "rolled_back")


class Shaky(decada_cloud.Cloud):
    """Its first answer with an image ends early; `then`: what it does with the Range that follows."""

    def __init__(self, the_world, then):
        super().__init__(the_world)
        self.then = then
        self.asked = []

    def http(self, device, method, url, headers, body, identity):
        status, more, data = super().http(device, method, url, headers, body, identity)
        if url == URL:
            self.asked.append(headers.get("Range"))
            if len(self.asked) == 2:
                return status, {"content-length": str(len(data))}, data[:-500]
            if "Range" in headers:
                return self.then(status, more, data)
        return status, more, data


def test_a_resumed_bundle():
    r = repo()
    data = r.bundle(PATH)
    prefix = len(data) - len(IMAGE)
    there = len(IMAGE) - 500

    def keeps(status, more, rest):
        assert rest == IMAGE[there:]
        return status, more, rest

    def ignores(status, more, rest):
        return 200, {}, data

    def another(status, more, rest):
        return 206, {"content-range": "bytes %d-%d/%d" % (prefix, len(data) - 1, len(data))}, IMAGE

    for then in (keeps, ignores, another):
        cloud = Shaky(by_url(r, data), then)
        device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
        enrolled.settle(device, True, ended(cloud))
        assert cloud.asked[:3] == [None, None, "bytes=%d-" % (prefix + there)]
        assert told(cloud) == [("updated", "")] and cloud.lies == []


def test_after_a_resume_the_signed_hash_alone_decides():
    r = repo()
    r.images[PATH] = IMAGE[:-20] + bytes(20)
    data = r.bundle(PATH)
    cloud = Shaky(by_url(r, data), lambda status, more, rest: (status, more, rest))
    device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
    enrolled.settle(device, True, ended(cloud))
    assert told(cloud)[0][0] == "failed" and told(cloud)[0][1].startswith("image: image_"), told(cloud)


def test_a_refresh_with_nothing_new_is_one_request_and_writes_nothing():
    r = repo()
    device, cloud, agent = installs(world(r), r)
    records = {
        name: device.records[name] for name in ("root", "timestamp", "snapshot", "targets") if name in device.records
    }
    assert sorted(records) == ["snapshot", "targets", "timestamp"]
    del cloud.requests[:]
    cloud.job = {"id": "8", "nonce": "n8", "state": "queued"}
    verify, checks = pinned.verify, []
    pinned.verify = lambda *arguments: checks.append(1) or verify(*arguments)
    try:
        enrolled.settle(device, True, ended(cloud))
    finally:
        pinned.verify = verify
    assert len(checks) == 1, checks  # of the bin; the timestamp is the one that is known
    names = [url.split("/repo/metadata/")[1] for url, _ in cloud.requests]
    assert names == ["timestamp.json", "1.%s.json" % bin_of(PATH)]
    assert records == {name: device.records[name] for name in records}


# Files on the device


def stick(name, data):
    path = scratch.folder("stick") + "/" + name
    with open(path, "wb") as file:
        file.write(data)
    return path


def plugged(r, data, **more):
    """(device, cloud, agent) of a device without offers, and the path of a file."""
    cloud = decada_cloud.Cloud(world(r))
    cloud.job["state"] = "none"
    device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY, **more)
    return device, cloud, stick("fw.bundle", data)


def outcome(device):
    return record(device).get("last")


def record(device):
    copies = [journal.decode(device.records.get(name)) for name in journal.COPIES]
    return max([copy for copy in copies if copy], key=lambda copy: copy[1])[0]


def install(device, path, approve=None):
    """Ask the first boot for it, then live on until there is an outcome."""
    agent = Agent(device.power_on(), approve=approve)
    agent.install(path)
    try:
        for _ in range(2000):
            agent.platform.clock.sleep_ms(max(min(agent.step(20), 100), 1))
            if outcome(device):
                break
    except (memory.PowerCut, memory.Reset):
        pass
    return enrolled.settle(device, done=lambda agent: outcome(device) is not None, approve=approve)


def test_a_file_is_installed_without_a_repository():
    r = repo()
    device, cloud, path = plugged(r, r.bundle(PATH))
    agent = install(device, path)
    assert told(cloud) == [("updated", "")] and cloud.lies == []
    assert device.images[device.record()["active"]] == IMAGE
    assert cloud.requests == [] and "install" not in device.records
    assert agent.status()["freshness"] == "bundle"
    assert outcome(device)["outcome"] == "updated" and len(outcome(device)["request"]) == 16


def test_only_a_plain_file_is_opened():
    """A pipe would block for ever; a folder stands for all that is not plain."""
    device, cloud, path = plugged(repo(), b"")
    install(device, path.rpartition("/")[0])
    assert outcome(device)["outcome"] == "failed" and "no plain file" in outcome(device)["reason"]


def test_a_bad_file_is_reported():
    r = repo()
    data = r.bundle(PATH)
    for code, bad in (
        ("no_bundle", IMAGE),
        ("no_bundle", b""),
        ("bundle_length", data[:-1]),
        ("bundle_length", data + b"x"),
        ("bundle_length", data[:500]),
        ("image_", data[:-1] + b"?"),
    ):
        device, cloud, path = plugged(r, bad)
        install(device, path)
        assert [entry[0] for entry in told(cloud)] == ["failed"] and plain(told(cloud)[0][1]).startswith(code), told(
            cloud
        )
        assert outcome(device)["reason"] == told(cloud)[0][1] and "install" not in device.records


def test_a_stick_that_is_pulled_and_comes_back():
    import os

    r = repo()
    device, cloud, path = plugged(r, r.bundle(PATH))
    os.rename(path, path + ".away")
    tries = []

    def back(agent, event, fields):
        if event == "error" and fields["code"] == "bundle_gone":
            tries.append(fields)
            if len(tries) == 2:
                os.rename(path + ".away", path)

    agent = Agent(device.power_on())
    log = agent.platform.log
    agent.platform.log = lambda event, fields: (log(event, fields), back(agent, event, fields))
    agent.install(path)
    try:
        for _ in range(4000):
            agent.platform.clock.sleep_ms(max(min(agent.step(20), 1000), 1))
    except memory.Reset:
        pass
    enrolled.settle(device, done=lambda agent: outcome(device) is not None)
    assert len(tries) == 2 and outcome(device)["outcome"] == "updated"


def test_a_stick_that_stays_away_ends_with_a_report():
    r = repo()
    device, cloud, _ = plugged(r, b"")
    install(device, "/nowhere/fw.bundle")
    assert told(cloud)[0][0] == "failed" and told(cloud)[0][1].startswith(
        "network: bundle_gone: cannot read /nowhere/fw.bundle"
    )


def test_only_a_usable_path_is_taken_and_only_when_idle():
    r = repo()
    device, cloud, path = plugged(r, r.bundle(PATH))
    agent = Agent(device.power_on())
    for wrong in (None, 5, "", "x" * 513, b"path"):
        misuse("install_path", agent.install, wrong)
    assert "install" not in device.records
    agent.record["update"]["phase"] = "fetching"
    misuse("install_busy", agent.install, path)


def test_a_request_that_cannot_be_read_stops_nothing():
    r = repo()
    cloud = decada_cloud.Cloud(world(r))
    device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
    power_on = device.power_on

    def locked():
        platform = power_on()
        load = platform.store.load

        def refusing(name):
            if name == "install":
                raise DeviceError("store", "cannot read it")
            return load(name)

        platform.store.load = refusing
        platform.requested = lambda: True
        return platform

    device.power_on = locked
    enrolled.settle(device, True, ended(cloud))
    assert told(cloud) == [("updated", "")]


def test_a_fresh_url_of_the_same_bundle_is_taken_up():
    """Signed URLs expire; the cloud then offers another of the same file."""
    r = repo()
    data = r.bundle(PATH)
    fresh = URL + "?sig=2"
    cloud = Shaky(by_url(r, data), lambda status, more, rest: (403, {}, b""))

    def offers_again(device):
        if len(cloud.asked) == 4 and fresh not in cloud.world["urls"]:
            cloud.world = by_url(r, data, fresh)
            device.push(*cloud._push())

    cloud.on_idle = offers_again
    device = enrolled.device(cloud, r.files["1.root.json"], NOW, FACTORY)
    enrolled.settle(device, True, ended(cloud))
    assert told(cloud) == [("updated", "")], told(cloud)
    assert [url for url, _ in cloud.requests][-1] == fresh


def test_reasons_are_printable():
    r = repo()
    device, cloud, _ = plugged(r, b"")
    install(device, "/no\nwhere/\x1b[2J\u2028")
    assert told(cloud)[0][1].startswith("network: bundle_gone: cannot read /no?where/?[2J?")


def test_a_spoilt_request_is_dropped():
    r = repo()
    for data in (b"", b"{", b"[]", b'{"file": 5, "id": "x"}', b'{"id": "x"}', b"null", b"\xff"):
        device, cloud, path = plugged(r, r.bundle(PATH))
        device.records["install"] = data
        enrolled.settle(device)
        assert device.records.get("install", b"") == b"" and told(cloud) == []


def test_a_request_is_done_once_though_the_power_goes():
    r = repo()
    device, cloud, path = plugged(r, r.bundle(PATH))
    device.records["install"] = json.dumps({"file": path, "id": "one"}).encode()
    enrolled.settle(device, done=lambda agent: outcome(device) is not None)
    assert told(cloud) == [("updated", "")]
    device.records["install"] = json.dumps({"file": path, "id": "one"}).encode()
    enrolled.settle(device)
    assert told(cloud) == [("updated", "")] and "install" not in device.records
