# SPDX-License-Identifier: MIT
"""The classes ESP32 and PicoW: whole agents that update themselves on them, and what hardware tells them.

They import what only MicroPython has, so on CPython there is nothing to run.
"""

import json
import sys

from expect import device_error, misuse

HEAP = "3M"
TIMEOUT_S = 120
ON_BOARD = sys.implementation.name == "micropython"


def life(make, old, new, kind, healthy=True, offered=None):
    """(device, cloud) of a device of class `make` that was offered a release."""
    import decada_cloud
    import enrolled
    from platform_adapters import memory
    from tuf_repo import NOW, Repo, digest

    path = "%s/sim/1.1.0/image" % (offered or kind)
    repo = Repo().add(path, new, kind=offered or kind)
    world = {"files": repo.files, "image": new, "sha256": digest(new), "version": "1.1.0", "target": path}
    cloud = decada_cloud.Cloud(world)
    before, memory.Device = memory.Device, make
    try:
        device = enrolled.device(cloud, repo.files["1.root.json"], NOW, old)
    finally:
        memory.Device = before
    enrolled.settle(device, healthy, lambda agent: cloud.job["state"] not in ("queued", "pushed"))
    assert cloud.lies == [], cloud.lies
    return device, cloud


def apps():
    from agent.wire import appimage

    return [appimage.build({"main.py": b"version = %d\n" % n * 200, "lib/a.py": b"x = 1\n"}) for n in (1, 2)]


def firmwares():
    from platform_adapters.memory_esp32 import image

    return [image(bytes([n]) * 5000) for n in (1, 2)]


def lives(make, images, kind):
    old, new = images
    device, cloud = life(make, old, new, kind)
    assert cloud.job["state"] == "updated" and device.images[device.record()["active"]] == new
    assert device.machine.watchdogs[0].fed > 5 and device.resets
    device, cloud = life(make, old, new, kind, healthy=False)
    assert cloud.job["state"] == "rolled_back" and device.images[device.record()["active"]] == old
    for other in ("app", "firmware", "system"):
        if other != kind:
            device, cloud = life(make, old, new, kind, offered=other)
            reasons = [entry[1] for entry in cloud.told if entry[0] == "failed"]
            assert reasons and reasons[0].startswith("release_kind"), cloud.told
            assert device.images[device.record()["active"]] == old and device.record()["trial"] is None


def test_a_pico_w_updates_its_app():
    if ON_BOARD:
        import boards

        lives(boards.Pico, apps(), "app")


def test_an_esp32_updates_its_firmware():
    if ON_BOARD:
        import boards

        lives(boards.Esp32Firmware, firmwares(), "firmware")


def test_an_esp32_updates_its_app():
    if ON_BOARD:
        import boards

        lives(boards.Esp32Apps, apps(), "app")


def board(make):
    import boards

    device = getattr(boards, make)(config={"hardware": "x"})
    device.install("a", (firmwares() if make == "Esp32Firmware" else apps())[0], {"version": "1.0.0"})
    return device


def test_the_reset_s_cause():
    if not ON_BOARD:
        return
    import boards
    from platform_adapters import esp32, pico_w

    device = board("Pico")
    device.power_on()
    for number, word in ((1, "power"), (2, "reset"), (3, "watchdog"), (4, "reset"), (5, "reset"), (9, "unknown")):
        sys.modules["machine"] = boards.Machine(number)
        assert esp32.ESP32(device.at, "app").power.cause() == word, number
    is_rp2040 = pico_w._is_rp2040
    for number, scratch, known, word in (
        (1, 0, True, "power"),
        (3, 0x6AB73121, True, "watchdog"),
        (3, 0x6AB73121 - (1 << 32), True, "watchdog"),  # as a signed word
        (3, 0, True, "reset"),
        (3, 0x6AB73121, False, "unknown"),
        (7, 0, True, "unknown"),
    ):
        machine = sys.modules["machine"] = boards.Machine(number, pico_w.MOST_WATCHDOG_MS)
        machine.mem32[pico_w._SCRATCH_4] = scratch
        pico_w._is_rp2040 = lambda known=known: known
        try:
            assert pico_w.PicoW(device.at).power.cause() == word, (number, scratch)
        finally:
            pico_w._is_rp2040 = is_rp2040


def test_the_watchdog_waits_for_a_turn_and_no_longer():
    if not ON_BOARD:
        return
    device = board("Pico")
    power = device.power_on().power
    machine = device.machine
    assert machine.watchdogs == []  # it begins with the first turn: before, the guard's runs
    power.feed()
    power.feed()
    hardware, timer = machine.watchdogs[0], machine.timers[0]
    assert (hardware.timeout_ms, timer.period, len(machine.timers)) == (8388, 1000, 1)
    fed = hardware.fed
    for _ in range(100):
        timer.callback(timer)
    assert hardware.fed == fed + 60  # and then it bites
    power.feed()
    timer.callback(timer)
    assert hardware.fed == fed + 62
    device = board("Esp32Firmware")
    device.power_on().power.feed()
    assert device.machine.watchdogs[0].timeout_ms == 60_000 and device.machine.timers == []
    from platform_adapters.pico_w import PicoW

    misuse("config", PicoW, device.at, 8000)


def test_no_key_is_drawn_while_the_radio_is_off():
    if not ON_BOARD:
        return
    device = board("Esp32Firmware")
    platform = device.power_on()
    assert not device.network.on
    platform.keys.make("k")
    assert device.network.on
    device.network.on = False
    assert len(platform.chance.random(20)) == 20 and device.network.on
    device.network.on, device.network.broken = False, True
    device_error("radio", platform.keys.make, "other")
    assert not platform.keys.has("other")
    device_error("radio", platform.chance.random, 1)


def test_one_agent_drives_one_kind():
    if not ON_BOARD:
        return
    from platform_adapters.esp32 import ESP32
    from platform_adapters.pico_w import PicoW

    device = board("Esp32Firmware")
    assert device.power_on().slots.kind == "firmware"
    device.power_on()
    assert ESP32(device.at, "app").slots.kind == "app"
    for kind, make, wanted in (("app", ESP32, "app"), ("firmware", ESP32, "firmware"), ("app", PicoW, "app")):
        put(device, kind)
        assert make(device.at).slots.kind == wanted
    for kind, make in (("system", ESP32), ("firmware", PicoW), ("rom", ESP32)):
        put(device, kind)
        misuse("config", make, device.at)


def put(device, kind):
    with open(device.at + "/trueboot.json", "w") as file:
        json.dump({"slots_kind": kind}, file)
