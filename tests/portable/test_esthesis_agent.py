# SPDX-License-Identifier: MIT
"""The agent in the esthesis dialect: it registers with its own key, is commanded, finds, updates and tells the truth."""

import sys

import enrolled
import esthesis_cloud
from agent.runtime import Agent
from agent.wire import appimage
from esthesis_cloud import ID, PACKAGE, URL
from expect import misuse
from platform_adapters import memory
from tuf_repo import NOW, Repo, digest

HEAP = "2M"
TIMEOUT_S = 240
PATH = "app/sim/1.1.0/app.img"
FACTORY = appimage.build({"main.py": b"version = 1\n"})
IMAGE = appimage.build({"main.py": b"version = 2\n" * 300, "lib/a.py": b"x = 1\n"})
CONFIG = {"cloud": "esthesis", "device_key": ID, "https": URL, "hardware": "sim", "trial_timeout_ms": 5000}
FIND = "6650000000000000000000f1 fs"


def start(config=None, **more):
    """(device, cloud) of a blank device and a service that has a release for it."""
    repo = Repo().add(PATH, IMAGE)
    world = {"files": repo.files, "image": IMAGE, "sha256": digest(IMAGE), "version": "1.1.0", "target": PATH}
    cloud = esthesis_cloud.Cloud(dict(world, **more))
    given = dict(CONFIG, **(config or {}))
    device = memory.Device(peer=cloud, config=given, anchors=[cloud.authority.root], root=repo.files["1.root.json"])
    device.epoch_s = NOW
    device.install("a", FACTORY, {"version": "1.0.0", "sha256": digest(FACTORY), "security": 0})
    return device, cloud


def informed(agent):
    return agent.uplink.informed


def settle(device, cloud, done=informed, **more):
    agent = enrolled.settle(device, done=done, **more)
    assert cloud.lies == [], cloud.lies
    return agent


def updated(agent):
    return agent.status()["version"] == "1.1.0" and agent.uplink.informed


def errors(device):
    return [fields["code"] for event, fields in device.events if event == "error"]


def commanded(*texts, config=None, count=1, **more):
    """The replies to commands that wait for the device."""
    device, cloud = start(config, **more)
    cloud.commands = list(texts)
    agent = settle(device, cloud, lambda agent: agent.uplink.informed and len(cloud.replies) >= count)
    return agent, device, cloud


def test_registers_with_its_own_key_and_tells_what_runs():
    device, cloud = start({"tags": "a,b", "registration_secret": "s3cret"})
    agent = settle(device, cloud)
    assert cloud.registrations == 1 and cloud.registered["tags"] == "a,b"
    assert cloud.registered["registrationSecret"] == "s3cret"
    assert ("metadata", "health firmware='1.0.0'") in cloud.told
    assert [claims["outcome"] for claims in cloud.reports] == ["running"]
    assert agent.status()["device"] == "pk/dev1" and "secret" not in device.records
    assert [line for kind, line in cloud.told if kind == "ping"][0] == "health ping=2026-11-30T00:53:20Z"


def test_a_command_updates_confirms_and_reports():
    device, cloud = start()
    cloud.commands = [FIND]
    settle(device, cloud, updated)
    assert cloud.replies == [(FIND[:24], "s", "initiated")]
    assert [claims["outcome"] for claims in cloud.reports] == ["running", "trial", "updated"]
    assert cloud.reports[-1]["job"] == "7" and cloud.reports[-1]["nonce"] == "n7"
    assert device.images[device.record()["active"]] == IMAGE
    assert ("metadata", "health firmware='1.1.0'") in cloud.told
    assert ("metadata", "trueboot job='7',step=80i,desc='downloading'") in cloud.told
    assert cloud.downloads == [None]


def test_a_package_is_asked_for_by_its_id():
    device, cloud = start()
    cloud.commands = [FIND + " " + PACKAGE]
    settle(device, cloud, updated)
    assert cloud.finds == ["/find/by-id?hardwareId=dev1&packageId=" + PACKAGE]


def test_a_command_that_comes_again_is_no_other_one():
    device, cloud = start()
    cloud.commands = [FIND + " " + PACKAGE]
    again = []

    class Store:  # the walk has begun, the server asks once more
        def __call__(self, *arguments):
            if not again:
                again.append(cloud.command(device, FIND[:23] + "2 fs " + PACKAGE))
                again.append(cloud.command(device, FIND[:23] + "3 fs " + PACKAGE[:23] + "9"))
            return esthesis_cloud.Cloud.http(cloud, *arguments)

    first = Store()
    cloud.http = lambda *a: first(*a) if "/repo/metadata/" in a[2] else esthesis_cloud.Cloud.http(cloud, *a)
    settle(device, cloud, updated)
    assert [(reply[1], reply[2][:9]) for reply in cloud.replies] == [
        ("s", "initiated"),
        ("s", "under way"),
        ("f", "command: "),
    ]


def test_each_command_gets_one_reply():
    texts = [
        "665f0000000000000000000%d %s" % (i, text)
        for i, text in enumerate(("es ls -la", "rs", "ss", "p", "ps", "hz", "xs"))
    ]
    _, device, cloud = commanded(*(texts + ["noid"]), count=7)
    assert [reply[1] for reply in cloud.replies] == ["f", "f", "f", "f", "s", "f", "f"]
    assert device.resets == [] and "does not take" in cloud.replies[0][2]


def test_a_reset_that_the_configuration_permits_goes_through_the_platform():
    device, cloud = start({"commands": "fphr"})
    cloud.commands = [FIND[:24] + " rs"]
    settle(device, cloud, lambda agent: len(device.resets) == 1 and agent.uplink.informed)
    assert device.resets == ["commanded"] and cloud.replies == [(FIND[:24], "s", "resetting")]


def test_the_agents_own_commands_come_by_e():
    _, _, cloud = commanded(FIND[:24] + ' es trueboot.check {"how": "check"}')
    assert cloud.replies == [(FIND[:24], "s", "{}")]
    _, _, cloud = commanded(FIND[:24] + " es trueboot.consent {}")
    assert cloud.replies[0][1] == "f" and "1263" in cloud.replies[0][2]


NOTHING = (
    (204, {}, b""),
    (200, {}, b""),
    (200, {"content-type": "application/json"}, b"null"),
    (200, {"content-type": "application/json"}, b'{"id": null, "size": 0}'),
    (200, {"content-type": "application/json"}, b"{}"),
)
UNUSABLE = (
    (200, {"content-type": "text/plain"}, b'{"id": "1"}'),
    (200, {"content-type": "application/json"}, b"[]"),
    (200, {"content-type": "application/json"}, b'{"id": "1", "version": "2.0.0", "type": "OTHER"}'),
    (200, {"content-type": "application/json"}, b'{"id": "1", "version": 2}'),
    (401, {}, b""),
)


def test_what_a_service_may_answer_to_find():
    for answer in NOTHING + UNUSABLE:
        agent, device, cloud = commanded(FIND, answers=[answer])
        assert agent.status()["version"] == "1.0.0" and len(cloud.finds) == 1
        codes = [code for code in errors(device) if code != "url_refused"]  # it has no /cacerts
        assert len(codes) == (answer in UNUSABLE), (answer, codes)
        assert [event for event, _ in device.events].count("update.none") == (answer in NOTHING)


def test_an_offer_that_disagrees_with_what_is_signed_is_turned_down():
    for lie in ({"sha256": "0" * 64}, {"length": 5}, {"version": "9.0.0"}):
        turned_down(lie)


def turned_down(lie):
    device, cloud = start(offer=lie)
    cloud.commands = [FIND]
    agent = settle(device, cloud, lambda agent: "failed" in [claims["outcome"] for claims in cloud.reports])
    assert agent.status()["version"] == "1.0.0" and cloud.downloads == []


def test_a_download_token_that_is_over_is_asked_for_again():
    device, cloud = start()
    cloud.commands = [FIND]
    cloud.refused_downloads = 1
    settle(device, cloud, updated)
    assert len(cloud.finds) == 2 and cloud.finds[1].startswith("/find/by-id") and len(cloud.downloads) == 2, (
        cloud.finds,
        cloud.downloads,
    )


def test_patience_that_a_service_asks_for_is_kept():
    agent, device, cloud = commanded(FIND, answers=[(429, {"Retry-After": "400"}, b"")])
    began = device.now_ms
    platform = device.power_on()
    agent = Agent(platform)
    for _ in range(200):
        platform.clock.sleep_ms(max(1, min(agent.step(20), 100)))
    cloud.world["answers"] = [(429, {"Retry-After": "400"}, b"")]
    agent.check_for_update("install")
    asked = len(cloud.finds)
    for _ in range(1200):
        platform.clock.sleep_ms(max(1, min(agent.step(20), 1000)))
        if len(cloud.finds) > asked:
            break
    first, asked = device.now_ms, len(cloud.finds)
    agent.check_for_update("install")
    while len(cloud.finds) == asked:
        platform.clock.sleep_ms(max(1, min(agent.step(20), 1000)))
        assert device.now_ms < first + 600_000
    assert device.now_ms - first >= 400_000 and began < first


def test_a_service_that_refuses_is_asked_again_and_again():
    device, cloud = start()
    cloud.refuse = [esthesis_cloud.error(500, "disabled"), (201, {}, b"{}"), esthesis_cloud.error(400, "no")]
    settle(device, cloud)
    assert cloud.registrations == 4
    assert "disabled" in str([fields for event, fields in device.events if event == "error"])


def test_a_key_that_a_service_made_is_refused():
    device, cloud = start()
    answer = b'{"privateKey": "-----BEGIN PRIVATE KEY-----", "certificate": "x"}'
    cloud.refuse = [(200, {"content-type": "application/json"}, answer)]
    settle(device, cloud)
    assert "service_key" in errors(device)


def test_telemetry_is_typed_and_quoted():
    device, cloud = start()
    platform = device.power_on()
    agent = Agent(platform)
    agent.publish("climate", {"t": 21.5, "n": 3, "ok": True, "big": 1 << 40, "where": "a, b='c'", "in": {"x": 1}})
    agent.publish("level", "half")
    agent.publish("empty", None)
    for _ in range(400):
        platform.clock.sleep_ms(max(1, min(agent.step(20), 100)))
    said = [line for kind, line in cloud.told if kind == "telemetry" and line[:7] != "health "]
    values = esthesis_cloud.parse(said[0])
    assert said[0][:8] == "climate " and said[1:] == ["telemetry level='half'"] and not len(agent.uplink.telemetry)
    assert values == {
        "t": "21.5d", "n": "3i", "ok": "true", "big": "1099511627776l", "where": 'a; b:"c"', "in.x": "1i",
    }  # fmt: skip
    assert cloud.lies == []


def test_keys_of_the_other_dialect_and_unsafe_values_are_refused():
    from agent import config

    misuse("config", config.check, dict(CONFIG, cloud="decada"))
    misuse("config", config.check, dict(CONFIG, cloud="decada", product_key="p", mqtt="mqtts://h:1", commands="f"))
    for name, value in (("device_key", "a.b"), ("commands", "x"), ("programs", "ls"), ("mqtt_plaintext", "yes")):
        misuse("config", config.check, dict(CONFIG, **{name: value}))
    assert config.check(CONFIG)["commands"] == "fph"
    for value in ("unsigned", "unsigned-by-script"):  # of the latter: no script is named
        misuse("config", config.check, dict(CONFIG, esthesis_packages=value))
    if sys.implementation.name == "micropython":
        by_script = dict(CONFIG, esthesis_packages="unsigned-by-script", esthesis_script="/bin/true")
        misuse("config", config.check, by_script)  # though it is there
