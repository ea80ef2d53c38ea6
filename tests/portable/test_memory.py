# SPDX-License-Identifier: MIT
"""The memory platform keeps the contract, and is as strict as it says."""

import contract_device
import contract_slots
from agent.errors import DeviceError, MisuseError, RefusedError, UnreachableError
from agent.wire import appimage
from contract_slots import IMAGE, fill, raises, refused
from platform_adapters import memory
from platform_adapters.memory import AFTER, BEFORE, TORN, Device, Illegal, Peer, PowerCut, Reset

OLD = appimage.build({"main.py": b"old"})


class World:
    illegal = (MisuseError, Illegal)

    def __init__(self):
        self.device = new_device()

    def boot(self):
        return self.device.power_on().slots

    def limit(self, size):
        self.device.slot_bytes = size


def new_device(peer=None):
    device = Device(peer)
    device.install("a", OLD, {"version": "1.0.0"})
    return device


def test_slots_contract():
    for check in contract_slots.CHECKS:
        check(World())


def test_device_contract():
    for check in contract_device.CHECKS:
        check(new_device().power_on)


def life(device, act):
    """`act` on each boot until it comes through; the number of boots."""
    for boots in range(1, 20):
        try:
            act(device.power_on())
            return boots
        except (PowerCut, Reset):
            continue
    raise AssertionError("no rest")


def one_update(platform):
    slots = platform.slots
    if slots.running() == "b":
        slots.confirm()
        return
    if platform.store.load("phase") != b"written":
        fill(slots, step=300)
        platform.store.save("phase", b"written")
    slots.activate()
    platform.power.reboot("update")


def test_a_cut_at_every_effect_of_an_update_is_survived():
    clean = new_device()
    life(clean, one_update)
    assert clean.record()["active"] == "b"
    for number in range(1, clean.effects + 1):
        for mode in (BEFORE, TORN, AFTER):
            device = new_device()
            device.cuts = {number: mode, number + 2: mode}
            life(device, one_update)
            assert device.record()["active"] == "b", (number, mode, device.trace)
            assert device.images["b"] == IMAGE


def test_effects_are_counted_and_named():
    device = new_device()
    life(device, one_update)
    writes = (len(IMAGE) + 299) // 300
    assert device.trace == ["slots.begin"] + ["slots.write"] * writes + [
        "slots.sync",
        "store.save phase",
        "boot",  # activate
        "boot",  # the trial's boot is counted
        "boot",  # confirm
    ]
    assert device.effects == len(device.trace)
    assert device.resets == ["update"]


def test_a_torn_boot_record_leaves_the_one_before():
    device = new_device()
    slots = device.power_on().slots
    fill(slots)
    slots.activate()
    device.cuts = {device.effects + 1: TORN}
    raises(PowerCut, device.power_on)
    assert device.record()["boots"] == 3
    assert device.power_on().slots.running() == "b"
    assert device.record()["boots"] == 2


def test_after_a_cut_every_port_is_dead():
    device = new_device()
    device.cuts = {1: BEFORE}
    old = device.power_on()
    raises(PowerCut, old.store.save, "x", b"1")
    for call in (
        lambda: old.store.load("x"),
        lambda: old.store.save("x", b"2"),
        lambda: old.slots.running(),
        lambda: old.keys.make("k"),
        lambda: old.clock.ticks_ms(),
        lambda: old.mqtt.close(),
        lambda: old.log("boot", {}),
        lambda: old.power.reboot("again"),
    ):
        raises(PowerCut, call)
    device.power_on().store.save("x", b"3")
    raises(PowerCut, old.store.save, "x", b"4")
    assert device.records == {"x": b"3"}


def test_torn_records_are_old_or_if_asked_for_half_new():
    for tears, left in ((False, b"old!"), (True, b"ne")):
        device = new_device()
        device.tears_records = tears
        device.records["x"] = b"old!"
        device.cuts = {1: TORN}
        raises(PowerCut, device.power_on().store.save, "x", b"new!")
        assert device.records["x"] == left


def test_an_effect_can_fail_without_a_cut():
    device = new_device()
    device.failures = {1: DeviceError("store", "EIO")}
    store = device.power_on().store
    refused("store", DeviceError, store.save, "x", b"1")
    assert store.load("x") is None
    store.save("x", b"1")


def test_what_hardware_would_punish_is_illegal():
    device = new_device()
    platform = device.power_on()
    slots = platform.slots
    fill(slots)
    slots.activate()
    raises(Illegal, slots.activate)
    raises(Illegal, slots.write, len(IMAGE), b"x")
    raises(Illegal, platform.store.save, "x", "text")
    raises(Illegal, platform.mqtt.poll, 10)
    raises(Illegal, platform.mqtt.publish, "t", b"", 0)
    raises(Illegal, platform.mqtt.connect, "h", 1, "id", "u", "p", 60, ("nokey", [b"x"]))
    device.images["b"] = IMAGE[:-1]
    raises(Illegal, device.power_on)  # a brick


def test_ends_of_life_are_told_apart():
    device = new_device()
    platform = device.power_on()
    assert platform.power.cause() == "power"
    assert isinstance(raises(BaseException, platform.power.reboot, "why"), Reset)
    assert device.power_on().power.cause() == "reset"
    assert device.power_on().power.cause() == "power"


class Cloud(Peer):
    def __init__(self):
        self.heard = []
        self.code = 0

    def connect(self, device, login):
        self.heard.append(login["client_id"])
        return self.code

    def on_publish(self, device, topic, payload, qos):
        self.heard.append((topic, payload))
        if topic == "ask":
            device.push("answer", payload)
        return topic != "deaf"

    def on_idle(self, device):
        self.heard.append("idle")

    def http(self, device, method, url, headers, body, identity):
        self.heard.append((method, url, body))
        if url.endswith("/cut"):
            return 200, {"Content-Length": "5000"}, bytes(4000)
        return 200, {"ETag": "x"}, bytes(range(250)) * 10


def test_mqtt_is_driven_by_the_peer():
    device = new_device(Cloud())
    platform = device.power_on()
    mqtt = platform.mqtt
    device.peer.code = 5
    refused("mqtt_refused", RefusedError, mqtt.connect, "h", 8883, "id", "u", "p", 60, None)
    device.peer.code = 0
    assert not device.push("early", b"")
    mqtt.connect("h", 8883, "id", "u", "p", 60, None)
    assert mqtt.poll(1) is None
    first = mqtt.subscribe(["a", "b"])
    assert mqtt.poll(1) == ("subscribed", first, [1, 1])
    assert mqtt.publish("ask", b"1", 0) == 0
    assert mqtt.poll(1) == ("message", "answer", b"1")
    number = mqtt.publish("ask", b"2", 1)
    assert mqtt.poll(1) == ("message", "answer", b"2")
    assert mqtt.poll(1) == ("acked", number)
    mqtt.publish("deaf", b"3", 1)
    before = platform.clock.ticks_ms()
    assert mqtt.poll(700) is None
    assert platform.clock.ticks_ms() == before + 700
    assert device.hang_up()
    assert mqtt.poll(1)[:2] == ("closed", "closed")
    raises(Illegal, mqtt.publish, "t", b"", 0)
    mqtt.connect("h", 8883, "id", "u", "p", 60, None)
    assert device.peer.heard.count("id") == 3


def test_a_cut_before_and_after_sending():
    for mode, heard in ((BEFORE, False), (AFTER, True)):
        device = new_device(Cloud())
        platform = device.power_on()
        platform.mqtt.connect("h", 8883, "id", "u", "p", 60, None)
        device.cuts = {device.effects + 1: mode}
        raises(PowerCut, platform.mqtt.publish, "t", b"x", 1)
        assert (("t", b"x") in device.peer.heard) == heard


def test_http_comes_in_pieces_with_pauses():
    device = new_device(Cloud())
    response = device.power_on().http.open("GET", "https://h/x", {}, b"", None)
    assert (response.status, response.headers) == (200, {"etag": "x", "content-length": "2500"})
    pieces = []
    while b"" not in pieces:
        pieces.append(response.read(4096))
    assert None in pieces
    assert b"".join([piece for piece in pieces if piece]) == bytes(range(250)) * 10
    response = device.power_on().http.open("GET", "https://h/cut", {}, b"", None)

    def drain():
        while response.read(4096) != b"":
            pass

    refused("http_truncated", UnreachableError, drain)


def test_two_runs_are_alike():
    def run():
        device = new_device()
        platform = device.power_on()
        platform.keys.make("dev")
        return platform.keys.public("dev"), platform.chance.random(9), device.power_on().chance.random(9)

    first = run()
    assert first == run() and first[1] != first[2]


def test_everything_public_is_there():
    for name in memory.__all__:
        assert hasattr(memory, name)
