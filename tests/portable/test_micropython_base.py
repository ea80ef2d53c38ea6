# SPDX-License-Identifier: MIT
"""The parts that MicroPython's platforms share keep the contract; what needs MicroPython's `time` runs there alone."""

import sys

import contract_device
from agent.errors import DeviceError, MisuseError
from agent.wire import ecdsa
from contract_slots import refused
from platform_adapters import files
from platform_adapters import micropython_base as base
from platform_adapters.filestore import FileStore
from scratch import folder

ON_BOARD = sys.implementation.name == "micropython"


class Parts:
    def __init__(self, path):
        self.store = FileStore(path + "/store")
        self.keys = base.FileKeys(path + "/keys")
        self.chance = base.Chance()
        self.verify = base.Verify(self.store)
        if ON_BOARD:
            self.clock = base.Clock()


def test_device_contract():
    for check in contract_device.CHECKS:
        path = folder("parts")
        if ON_BOARD or check is not contract_device.check_clock:
            check(lambda path=path: Parts(path))


def test_ticks_do_not_go_back_when_the_counter_wraps():
    if not ON_BOARD:
        return
    clock = base.Clock()
    period = 1 << 30
    clock._last = (clock._last - 5000) % period  # as if five seconds had gone by, over the end if need be
    first = clock.ticks_ms()
    assert 5000 <= first < 6000
    assert first <= clock.ticks_ms() < 7000


def put(path, text):
    with open(path, "wb") as file:
        file.write(text)


def test_config():
    path = folder("config")
    refused("config", MisuseError, base.read_config, path)
    for text in (b"", b"[]", b'{"a"', b'{"state": "elsewhere"}', b'{"ca_file": 5}'):
        put(path + "/trueboot.json", text)
        refused("config", MisuseError, base.read_config, path)
    put(path + "/trueboot.json", b'{"hardware": "sim", "ca_file": "trust/ca.der", "root_file": "/r.json"}')
    config = base.read_config(path)
    assert config["hardware"] == "sim"
    assert (config["ca_file"], config["root_file"]) == (path + "/trust/ca.der", "/r.json")
    assert (config["state"], config["slots"]) == (path + "/state", path + "/slots")


def test_log_line():
    assert base.log_line("boot", 12, {}, False) == '{"event": "boot", "t": 12}'
    assert base.log_line("boot", 12, {"x": 'a"\n'}, False) == '{"event": "boot", "t": 12, "x": "a\\"\\n"}'
    assert base.log_line("boot", 1234, {"x": "a\nb"}, True) == "     1.234 boot x=a\\nb"


def test_a_saved_record_leaves_nothing_aside():
    path = folder("store")
    store = FileStore(path)
    put(path + "/x~", b"torn by a cut")
    store.save("x", b"1")
    assert [name for name, _ in files.entries(path)] == ["x"]


def test_a_key_in_another_form_is_read_too():
    path = folder("keys")
    keys = base.FileKeys(path)
    keys.make("a")
    usual = keys.der("a")
    secret, point = usual[36:68], usual[73:]
    assert (keys.public("a"), ecdsa.secret_to_der(secret, point)) == (point, usual)
    # SEC 1, with the curve named and the point in it: a parser is needed for that.
    curve = b"\xa0\x0a\x06\x08*\x86H\xce=\x03\x01\x07"
    FileStore(path).save("b.der", b"0w\x02\x01\x01\x04 " + secret + curve + b"\xa1D\x03B\x00" + point)
    assert keys.public("b") == point
    FileStore(path).save("c.der", usual[:137])
    refused("key_store", DeviceError, keys.public, "c")
