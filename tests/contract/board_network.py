# SPDX-License-Identifier: MIT
"""Runs checks of the network contract on MicroPython: argv is a JSON file, then the checks' names."""

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
        self.mqtt = Mqtt(lambda: anchors, keys.credentials, contract_network.LIMIT_MS)
        self.http = Http(lambda: anchors, keys.credentials, contract_network.LIMIT_MS)
        self.identity = ("dev", [files.read(folder + "/certificate.der", 9999)])
        self.ports = about["ports"]

    def now_ms(self):
        return time.ticks_ms()


with open(sys.argv[1]) as file:
    ABOUT = json.load(file)
for name in sys.argv[2:]:
    print("begin", name)
    getattr(contract_network, name)(Net(ABOUT))
print("all passed")
