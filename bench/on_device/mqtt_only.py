# SPDX-License-Identifier: MIT
"""The peer for the heap: an MQTT session by mutual TLS with our codec and nothing else of the agent; one telemetry message."""

import json
import time

from platform_adapters.micropython_mqtt import Mqtt


def contents(name):
    with open(name, "rb") as file:
        return file.read()


def main():
    config = json.loads(contents("bench.json"))
    credentials = (contents(config["key"]), [contents(config["certificate"])])
    mqtt = Mqtt(lambda: [contents(config["ca"])], lambda identity: credentials)
    mqtt.connect(config["host"], config["port"], config["client"], config["user"], config["password"], 60, True)
    mqtt.subscribe([config["listen"]])
    number = mqtt.publish(config["topic"], config["payload"].encode(), 1)
    end = time.ticks_add(time.ticks_ms(), 5000)
    done = False
    while not done and time.ticks_diff(end, time.ticks_ms()) > 0:
        event = mqtt.poll(100)
        done = event is not None and event[:2] == ("acked", number)
    mqtt.close()
    print(json.dumps({"acked": done}))


main()
