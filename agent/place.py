# SPDX-License-Identifier: MIT
"""What an esthesis service told at registration: where its MQTT server is, and whose the device is.

Part of the shell; loaded for that moment.  One record of the store, `place`; what
the configuration says itself counts for more.  Plain `tcp://` is used where
`mqtt_plaintext = "i-accept-unencrypted"` says so, and nowhere else.
"""

import json

from agent.errors import RefusedError

RECORD = "place"
FOREIGN = "foreign"  # the label of a key that a service made
MOST = 512


def read(answer):
    """{"mqtt", "https", "product"} of a registration's answer, each a text."""
    found = {}
    for name, member in (("mqtt", "mqttServer"), ("https", "provisioningUrl"), ("product", "productKey")):
        value = answer.get(member)
        found[name] = value.rstrip("/") if isinstance(value, str) and len(value) <= MOST else ""
    return found


def recall(agent):
    """At boot.  Without a usable record the device registers again, with the key it has."""
    if hasattr(agent.platform, "packages"):  # Linux
        agent.guarded(agent.platform.packages.clean)
    data = agent.platform.store.load(RECORD)
    try:
        found = json.loads(data) if data else None
        if found:
            take(agent, found)
            return
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    if agent.identity["phase"] in ("probation", "enrolled", "renewing", "rekeyed"):
        agent.log_error(RefusedError("not_registered", "what the service told at registration is lost"))
        agent.identity_event(("lost",))


def keep(agent, found):
    usable(agent, found)
    agent.platform.store.save(RECORD, json.dumps(found).encode())
    take(agent, found)


def usable(agent, found):
    """RefusedError for a server that this device may not use."""
    if agent.config["mqtt"] or found["mqtt"][:6] != "tcp://":
        return
    if agent.config["mqtt_plaintext"] != "i-accept-unencrypted":
        raise RefusedError("mqtt_unencrypted", "the service's MQTT server is %s, without TLS" % found["mqtt"])
    if not hasattr(agent.platform.mqtt, "plaintext"):
        raise RefusedError("mqtt_unencrypted", "this platform has no MQTT without TLS")


def take(agent, found):
    config = agent.config
    config["product_key"] = config["product_key"] or found["product"]
    config["mqtt"] = config["mqtt"] or found["mqtt"]
    config["provisioning"] = found["https"] if agent.foreign else config["https"]
    config["audience"] = found["https"] or config["https"]  # what the service calls itself, whoever it is
