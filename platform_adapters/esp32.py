# SPDX-License-Identifier: MIT
"""The ESP32 family with MicroPython's firmware for OTA.

    ESP32()                     images are firmware, in the two OTA partitions
    ESP32(slots_kind="app")     images are apps, in two folders, as on a Pico W; the configuration's slots_kind says the same

One agent drives one kind.  Rules it keeps
  * Keys and what else must be random are drawn with the radio on: without it
    the chip's generator has no entropy.  Joining a network is the app's.

Source: MicroPython, ports/esp32/modmachine.c; ESP-IDF, "Random Number Generation".
"""

from agent.errors import DeviceError
from platform_adapters import micropython_base as base
from platform_adapters.micropython_board import Board
from platform_adapters.micropython_machine import WATCHDOG_MS, Power, Watchdog


class ESP32(Board):
    kinds = ("firmware", "app")

    def __init__(self, root=None, slots_kind=None, watchdog_ms=WATCHDOG_MS, mqtt_codec=None):
        import machine

        causes = {machine.PWRON_RESET: "power", machine.WDT_RESET: "watchdog"}
        for word in (machine.HARD_RESET, machine.SOFT_RESET, machine.DEEPSLEEP_RESET):
            causes[word] = "reset"
        power = Power(machine, causes.get(machine.reset_cause(), "unknown"), Watchdog(machine, watchdog_ms))
        super().__init__(power, root, slots_kind, mqtt_codec)
        self.chance = RadioChance()

    def _make_slots(self):
        if self._kind == "app":
            return super()._make_slots()
        import esp32

        from platform_adapters.esp32_slots import Esp32Slots

        return Esp32Slots(esp32.Partition, self.store)

    def _make_keys(self):
        return base.FileKeys(self.config["state"] + "/keys", self.chance.random)


class RadioChance:
    """The chip's generator, with the radio on."""

    def random(self, size):
        radio_on()
        return base.Chance().random(size)


def radio_on():
    """DeviceError("radio") when it stays off."""
    import network

    try:
        station = network.WLAN(network.STA_IF)
        if not station.active():
            station.active(True)
        on = station.active()
    except OSError as error:
        raise DeviceError("radio", "the radio cannot be turned on: %s" % error)
    if not on:
        raise DeviceError("radio", "the radio does not turn on, and without it nothing is random")
