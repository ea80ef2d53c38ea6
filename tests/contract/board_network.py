# SPDX-License-Identifier: MIT
"""Runs checks of the network contract on MicroPython: argv is a JSON file, then the checks' names; first among them may be
"umqtt", with umqtt.simple on the path."""

import json
import sys
import time

import contract_network
from platform_adapters import files
from platform_adapters.micropython_base import FileKeys
from platform_adapters.micropython_http import Http
from platform_adapters.micropython_mqtt import Mqtt


class Net:
    def __init__(self, about):
        folder = about["folder"]
        keys = FileKeys(folder)
        anchors = [files.read(folder + "/ca.der", 9999)]
        self.mqtt = Mqtt(lambda: anchors, keys.credentials, contract_network.LIMIT_MS, about.get("codec"))
        self.http = Http(lambda: anchors, keys.credentials, contract_network.LIMIT_MS)
        self.identity = ("dev", [files.read(folder + "/certificate.der", 9999)])
        self.ports = about["ports"]

    def now_ms(self):
        return time.ticks_ms()


with open(sys.argv[1]) as file:
    ABOUT = json.load(file)
NAMES = sys.argv[2:]
if NAMES[0] == "umqtt":
    from platform_adapters.micropython_umqtt import Codec

    ABOUT["codec"] = Codec()
    NAMES = NAMES[1:]
for name in NAMES:
    print("begin", name)
    getattr(contract_network, name)(Net(ABOUT))
if "codec" in ABOUT and "agent.wire.mqtt" in sys.modules:
    raise AssertionError("our own codec was loaded, too")
print("all passed")
