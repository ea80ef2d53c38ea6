# SPDX-License-Identifier: MIT
"""The `decada` dialect: what the agent means, in the words of EnOS / DECADA, and back.

Pure: intents in, (topic, payload) out; messages in, events out.  Source: the
EnOS device protocol over MQTT (login signature, message envelope, OTA topics
`ota/device/inform|upgrade|progress`, measure points, services, dynamic
activation).  Our additions ride along as extra members, which EnOS's decoders
ignore: `report` in inform and progress, `job`, `nonce`, `target`, `retry` and
`downgrade` in upgrade, and the services `trueboot.*`, which are the agent's.

What is said and heard now and then is in `decada_words`, which a board loads
for that while; telemetry, which may come often, is here.

The cloud's version field is a promise here: EnOS ends a job as successful on
the first inform of the target version, so the caller never informs on trial.
"""

import json

STATIC = 2  # securemode: proof by the device secret; also on connections with a certificate
DYNAMIC = 3  # securemode: proof by the product secret, to be activated
OK = 200
NO_HANDLER = 1101
HANDLER_FAILED = 1102
RESERVED = "trueboot."  # services whose name begins so are the agent's own, never the app's


class Decada:
    name = "decada"
    keeps_names = False

    def __init__(self, product_key, device_key):
        self.product = product_key
        self.device = device_key
        self.topics = "/sys/%s/%s/" % (product_key, device_key)
        self._count = 0

    def telemetry(self, values):
        return self.request("thing/measurepoint/post", "thing.measurepoint.post", {"measurepoints": values})

    def request(self, topic, method, params):
        self._count = self._count % 65535 + 1
        message = {"id": str(self._count), "version": "1.0", "method": method, "params": params}
        return message["id"], self.topics + topic, json.dumps(message).encode()

    def __getattr__(self, name):
        """login, subscriptions, report_version, progress, trial, ask_for_update, reply, read: see decada_words."""
        from agent.clouds import decada_words

        word = getattr(decada_words, name)
        return lambda *arguments: word(self, *arguments)
