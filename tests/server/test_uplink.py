# SPDX-License-Identifier: MIT
"""What a device's message does, over a database in memory: measure points, attributes, tags, and any JSON at all."""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueboot_server.credentials import load_or_make
from trueboot_server.decada import envelope, login, uplink
from trueboot_server.decada.commands import is_service
from trueboot_server.fleet import registry, shadow, telemetry
from trueboot_server.limits import Limits
from trueboot_server.mqtt import codec, topics
from trueboot_server.names import Identity
from trueboot_server.store import Store

NOW = 1_800_000_000_000
LIMITS = Limits(points_per_device=6, points_per_message=4, samples_per_batch=3, tags_per_device=3, attributes_bytes=200)


class World:
    def __init__(self, path):
        self.now = NOW
        self.store = Store(path, clock=lambda: self.now)
        product_key = load_or_make(self.store, path.with_name("none")).product_key
        self.device, self.other = Identity(product_key, "dk"), Identity(product_key, "other")
        with self.store.transaction() as t:
            registry.register(t, self.device)
            registry.register(t, self.other)

    def say(self, path, params, **more):
        """The reply's data, or what `Declined` says as a code."""
        message = envelope.parse(json.dumps({"id": "1", "params": params, **more}).encode())
        try:
            with self.store.transaction() as t:
                return uplink.carry_out(t, self.device, path, message, lambda *_: {"an": "offer"}, LIMITS)
        except uplink.Declined as declined:
            return declined.code

    def read(self, what, identity=None):
        with self.store.transaction() as t:
            return what(t, identity or self.device)

    def points(self):
        return {name: point["value"] for name, point in self.read(telemetry.latest).items()}

    def events(self, name):
        with self.store.transaction() as t:
            from trueboot_server.store.schema import events

            return [row.fields for row in t.rows(events.select().where(events.c.event == name))]


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path / "server.db")
    yield made
    made.store.close()


# Measure points


def test_points_come_with_quality_with_float_times_and_with_none(world):
    assert world.say("thing/measurepoint/post", {"measurepoints": {"t": 1.02, "p": {"value": 1, "quality": 9}}}) == {}
    assert world.say("thing/measurepoint/post", {"measurepoints": {"f": 1}, "time": NOW - 1000.25}) == {}
    assert world.say("thing/measurepoint/post", {"measurepoints": {"s": 1}, "time": NOW / 1000 - 60}) == {}
    kept = world.read(telemetry.latest)
    assert kept["p"]["value"] == {"value": 1, "quality": 9}
    assert [kept[name]["time"] for name in "tfs"] == [
        "2027-01-15T08:00:00.000Z",
        "2027-01-15T07:59:58.999Z",
        "2027-01-15T07:59:00.000Z",
    ]


@pytest.mark.parametrize("time", ["now", -1, 0, True, None, [], 10**30, 2**53, NOW + 10**9])
def test_a_time_that_cannot_be_is_now(world, time):
    world.say("thing/measurepoint/post", {"measurepoints": {"t": 1}, "time": time})
    assert world.read(telemetry.latest)["t"]["time"] == "2027-01-15T08:00:00.000Z"


def test_what_was_stored_replaces_only_what_is_older(world):
    world.say("thing/measurepoint/post", {"measurepoints": {"t": "new", "u": "old"}, "time": NOW - 5000})
    world.say("thing/measurepoint/resume", {"measurepoints": {"t": "stored", "v": 1}, "time": NOW - 9000})
    assert world.points() == {"t": "new", "u": "old", "v": 1}
    world.say("thing/measurepoint/resume", {"measurepoints": {"u": "stored"}, "time": NOW - 1000})
    assert world.points()["u"] == "stored"
    assert [event.get("resumed") for event in world.events("telemetry")] == [None, True, True]
    world.say("thing/measurepoint/post", {"measurepoints": {"u": "live"}, "time": NOW - 9000})
    assert world.points()["u"] == "live"  # a clock may be set back; what is said now is so


def test_a_batch_is_one_message_and_its_newest_sample_stays(world):
    samples = [{"measurepoints": {"t": 3}, "time": NOW - 1}, {"measurepoints": {"t": 1, "u": 1}, "time": NOW - 9000}]
    samples[1] |= {"productKey": world.device.product_key, "deviceKey": "dk"}
    samples[0] |= {"productKey": "", "deviceKey": ""}
    extras = {"allowOfflineSubDevice": "", "skipInvalidMeasurepoints": ""}  # as the Python SDK writes them
    assert world.say("thing/measurepoint/post/batch", samples, **extras) == {}
    assert world.points() == {"t": 3, "u": 1} and len(world.events("telemetry")) == 2
    assert world.say("thing/measurepoint/resume/batch", [{"measurepoints": {"t": 0}, "time": NOW - 2}]) == {}
    assert world.points()["t"] == 3


def test_a_batch_with_something_wrong_changes_nothing_unless_it_says_so(world):
    good, other = {"measurepoints": {"t": 1, "n": None}}, {"measurepoints": {"t": 9}, "deviceKey": "other"}
    for params in ([good, {"measurepoints": {"u": 2}}], [other], [7], [], {}, [good] * 4):
        assert world.say("thing/measurepoint/post/batch", params) == envelope.BAD_PARAMETER
    assert world.points() == {} and world.events("telemetry") == []
    assert world.say("thing/measurepoint/post/batch", [good, other, 7], skipInvalidMeasurepoints=True) == {}
    assert world.points() == {"t": 1} and world.read(telemetry.latest, world.other) == {}


def test_points_are_bounded(world):
    many = {f"p{i}": i for i in range(5)}
    assert world.say("thing/measurepoint/post", {"measurepoints": many}) == envelope.BAD_PARAMETER
    for start in (0, 3):
        assert world.say("thing/measurepoint/post", {"measurepoints": {f"p{start + i}": i for i in range(3)}}) == {}
    assert world.say("thing/measurepoint/post", {"measurepoints": {"one more": 1}}) == envelope.BAD_PARAMETER
    for bad in ({}, {"": 1}, {"x" * 65: 1}, {"\x1b[2J": 1}, {"t": None}, {"t": "x" * 5000}, "t", None):
        assert world.say("thing/measurepoint/post", {"measurepoints": bad}) == envelope.BAD_PARAMETER
    assert len(world.points()) == 6


# Attributes and tags


def test_attributes_are_kept_asked_for_and_forgotten(world):
    assert world.say("thing/attribute/update", {"attributes": {"a": 1, "b": {"c": [1.5]}}}) == {}
    assert world.say("thing/attribute/query", {"attributes": ["a", "none"]}) == {"a": 1}
    for everything in ([], None):
        assert world.say("thing/attribute/query", {"attributes": everything}) == {"a": 1, "b": {"c": [1.5]}}
    assert world.say("thing/attribute/delete", {"attributes": ["b", "none"]}) == {}
    assert world.read(shadow.attributes) == {"a": 1} and world.read(shadow.attributes, world.other) == {}


def test_tags_are_texts_and_numbers_become_such(world):
    tags = [{"tagKey": "site", "tagValue": "north"}, {"tagKey": "floor/2", "tagValue": 30}]
    assert world.say("thing/tag/update", tags) == {}
    assert world.say("thing/tag/query", {"tags": []}) == {"site": "north", "floor/2": "30"}
    assert world.say("thing/tag/delete", {"tags": ["site"]}) == {}
    assert world.read(shadow.tags) == {"floor/2": "30"}


@pytest.mark.parametrize(
    "path, params",
    [
        ("attribute/update", {"attributes": []}), ("attribute/update", []), ("attribute/update", {"attributes": {"": 1}}),
        ("attribute/update", {"attributes": {"a\n": 1}}), ("attribute/update", {"attributes": {"a": "x" * 300}}),
        ("attribute/query", {"attributes": "a"}), ("attribute/query", {"attributes": [1]}), ("attribute/delete", {"attributes": None}),
        ("attribute/delete", {"attributes": {"a": 1}}), ("tag/update", {"site": "x"}), ("tag/update", [1]), ("tag/update", [{}]),
        ("tag/update", [{"tagKey": "a b", "tagValue": "x"}]), ("tag/update", [{"tagKey": "a", "tagValue": "x" * 201}]),
        ("tag/update", [{"tagKey": "a", "tagValue": "\x1b"}]), ("tag/update", [{"tagKey": "a", "tagValue": True}]), ("tag/update", [{"tagKey": "a"}]),
        ("tag/update", [{"tagKey": str(i), "tagValue": "x"} for i in range(4)]), ("tag/query", []), ("tag/delete", {"tags": [{}]}),
    ],
)  # fmt: skip
def test_what_cannot_be_noted_changes_nothing(world, path, params):
    world.say("thing/attribute/update", {"attributes": {"kept": 1}})
    world.say("thing/tag/update", [{"tagKey": "kept", "tagValue": "1"}])
    assert world.say("thing/" + path, params) == envelope.BAD_PARAMETER
    assert (world.read(shadow.attributes), world.read(shadow.tags)) == ({"kept": 1}, {"kept": "1"})


# The rest of what SDKs say


def test_what_nothing_here_depends_on_is_told_and_acknowledged(world):
    assert world.say("thing/log/post", {"logs": {"level": "ERROR", "content": "x"}, "time": 1}) == {}
    assert world.say("network/status/report", {"rssi": -70, "networkType": "4G"}) == {}
    assert world.say("connection/state/post", {"isFull": True, "nodes": []}) == {}
    assert world.events("device.log") == [{"told": {"level": "ERROR", "content": "x"}}]
    assert world.events("device.network") == [{"told": {"rssi": -70, "networkType": "4G"}}]
    for path in ("thing/log/post", "network/status/report", "connection/state/post"):
        for params in (None, [], "x", {"logs": {"x": "y" * 5000}, "x": "y" * 5000}):
            assert world.say(path, params) == envelope.BAD_PARAMETER
    assert world.say("thing/tsltemplate/get", {}) == {
        "tslAttributeMap": {}, "tslMeasurepointMap": {}, "tslEventMap": {}, "tslServiceMap": {},
    }  # fmt: skip
    assert world.say("thing/topo/get", {}) == []


@pytest.mark.parametrize(
    "path", ["thing/topo/add", "thing/device/register", "ota/device/request", "", "/", "thing/event//post", "thing/x"]
)
def test_what_is_not_done_here_is_said_so(world, path):
    assert world.say(path, {"events": {}}) in (envelope.NO_SUCH_TOPIC, envelope.BAD_PARAMETER)


# Anything at all

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    "measurepoints",
    "attributes",
    "tags",
    "events",
    "logs",
    "version",
    "step",
    "desc",
    "job",
    "report",
    "time",
    "deviceKey",
    "tagKey",
    "tagValue",
)
SHAPED = st.dictionaries(st.sampled_from(MEMBERS), ANYTHING, max_size=4)
PATHS = st.sampled_from(
    [f"thing/{what}/{verb}" for what in ("attribute", "tag") for verb in ("update", "query", "delete")]
    + [f"thing/measurepoint/{verb}" for verb in ("post", "resume", "post/batch", "resume/batch")]
    + [f"ota/device/{verb}" for verb in ("inform", "progress", "getversion")]
    + ["thing/event/x/post", "thing/log/post", "network/status/report", "thing/tsltemplate/get"]
)  # fmt: skip


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("fuzz") / "server.db")
    yield made
    made.store.close()


@given(PATHS, ANYTHING | SHAPED | st.lists(SHAPED, max_size=3))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_answered_or_declined_and_stays_within_the_limits(fuzzed, path, params):
    try:
        answer = fuzzed.say(path, params)
    except envelope.BadEnvelope:
        return  # NaN, lone surrogates: not JSON
    assert answer in (460, 1009, 1261, 1262) if isinstance(answer, int) else isinstance(answer, dict | list)
    json.dumps(answer)
    kept = fuzzed.points(), fuzzed.read(shadow.attributes), fuzzed.read(shadow.tags)
    assert len(kept[0]) <= LIMITS.points_per_device and len(json.dumps(kept[1])) <= LIMITS.attributes_bytes
    assert len(kept[2]) <= LIMITS.tags_per_device and all(isinstance(value, str) for value in kept[2].values())
    assert fuzzed.read(telemetry.latest, fuzzed.other) == {}


@given(
    st.text(max_size=80) | st.from_regex(r"[a-z.&%]{0,9}\{?[a-z=,.]{0,9}\}?\|[a-z0-9=, ]{0,60}\|?", fullmatch=True),
    st.none() | st.text(max_size=20),
)
@settings(max_examples=80, deadline=None)
def test_any_login_is_read_or_refused(client_id, user):
    try:
        found = login.parse(client_id, user)
    except login.BadLogin:
        return
    assert found.secure_mode in (2, 3) and found.identity.device_key in found.client
    assert not found.proven_by(b"\xff" * 64, "s") and not found.proven_by(None, "s")


@given(ANYTHING, ANYTHING, ANYTHING)
@settings(max_examples=60, deadline=None)
def test_any_reply_has_a_code_that_is_a_number(number, code, data):
    try:
        found = envelope.parse(json.dumps({"id": number, "code": code, "data": data}).encode())
    except (envelope.BadEnvelope, ValueError):
        return
    assert found.code is None if code is None else isinstance(found.code, int)
    assert json.loads(envelope.reply(found.id, data=found.data))["id"] == found.id


@pytest.mark.parametrize(
    "code, read",
    [("1101", 1101), ("200", 200), (0, 0), ("0", 0), (200.0, 200), (None, None), ("ok", -1), ([], -1), (True, -1)],
)
def test_codes_of_replies(code, read):
    assert envelope.parse(json.dumps({"id": "1", "code": code}).encode()).code == read


@given(st.text(max_size=30))
def test_a_service_never_has_the_topic_of_an_answer(name):
    if is_service(name):
        topic = f"/sys/pk/dk/thing/service/{name}"
        assert not topics.is_reply(topic) and topics.is_own(Identity("pk", "dk"), topic) and codec.is_filter(topic)
        assert re.fullmatch(r"[A-Za-z0-9_.-]+|measurepoint/[sg]et", name)


def test_services_are_named_so(world):
    assert is_service("measurepoint/set") and is_service("multiply")
    assert not any(map(is_service, ("x_reply", "a/b", "", "+", "#", None, "measurepoint/delete", "x" * 65)))


@pytest.mark.parametrize(
    "step, state, reason",
    [("-1", "failed", "the upgrade failed"), (-2, "failed", "the download failed"), ("-5", "refused", "the device refused the upgrade"), (-77, "failed", "step -77")],
)  # fmt: skip
def test_negative_steps_end_the_attempt_in_words(world, step, state, reason):
    from trueboot_server.fleet import jobs
    from trueboot_server.store.schema import releases

    release = {
        "target": "app/x/2/y",
        "version": "2",
        "sha256": "0" * 64,
        "length": 1,
        "custom": {},
        "published_at": NOW,
    }
    with world.store.transaction() as t:
        t.execute(releases.insert().values(**release))
        job_id = jobs.create(t, t.row(releases.select()), world.device.product_key, ["dk"], 5)
    world.say("ota/device/progress", {"step": "30"})
    assert world.say("ota/device/progress", {"step": step}) == {}
    with world.store.transaction() as t:
        [row] = jobs.attempts_of(t, job_id)
    assert (row.state, row.reason, bool(row.settled)) == (state, reason, True)
