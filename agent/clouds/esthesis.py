# SPDX-License-Identifier: MIT
"""The `esthesis` dialect: what the agent means, in the words of esthesis CORE, and back.

Pure: intents in, (acknowledged by, topic, payload) out; messages in, events out.  Source: the device protocol of
esthesis CORE over MQTT (topics `esthesis/ping|telemetry|metadata|command/...`, eLP lines, one-line commands).
Nothing up is answered: what is acknowledged is the packet itself, so the first member is None.  Our additions ride
along as measurements of the category `trueboot` on the metadata topic, which the original merely stores.

What is said and heard now and then is in `esthesis_words`, which a board loads for that while.
"""

from agent.clouds import elp

TOPIC = "esthesis/%s/%s"


class Esthesis:
    name = "esthesis"
    keeps_names = True  # of what is published: they are eLP's categories

    def __init__(self, _, device_key):
        self.device = device_key

    def telemetry(self, values):
        return None, TOPIC % ("telemetry", self.device), elp.lines(values)

    def __getattr__(self, name):
        """login, subscriptions, report_version, progress, trial, reply, read: see esthesis_words."""
        from agent.clouds import esthesis_words

        word = getattr(esthesis_words, name)
        return lambda *arguments: word(self, *arguments)
