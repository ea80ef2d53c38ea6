# SPDX-License-Identifier: MIT
"""From product credentials to a stored certificate: registration, key, CSR, EST.

Carries out what the identity machine orders, one phase at a time; each act is
idempotent, so a cut anywhere is followed by the same act again.  The private
key stays in the key store; what leaves the device is the CSR.
"""

from agent import identity, session
from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks import certificate

DYNAMIC = 3  # a login with the product's proof
ANSWER_MS = 30_000
CLOSE_MS = 5_000


def run(agent):
    """Until the certificate of the machine's label is stored; tries for ever, ever more slowly."""
    while agent.identity["phase"] in (identity.BLANK, identity.REGISTERED, identity.KEYED):
        try:
            phase = agent.identity["phase"]
            by_csr = agent.cloud.name == "esthesis"  # which registers with the key at hand, and gives no secret
            if phase == identity.BLANK and not by_csr:
                yield from _register(agent)
            elif phase != identity.KEYED:
                agent.platform.keys.make(agent.identity["label"])
                agent.identity_event(("key_made",))
            elif by_csr:
                yield from agent.module("tasks.register").run(agent)
            else:
                yield from _certify(agent)
            agent.forget()
            yield 0
        except AgentError as error:
            refused = isinstance(error, RefusedError)
            agent.log_error(error)
            agent.identity_event(("failed", error.code, refused))
            agent.module("chores").trouble(agent, error)
            yield session.wait_ms(agent.identity["tries"], agent.platform.chance.random(1)[0], refused)


def _register_again(agent):
    """The stored secret is none: a power cut tore it, or an operator gave the device another.  Gives no answer."""
    yield session.wait_ms(1, agent.platform.chance.random(1)[0], True)
    yield from _register(agent)


def _register(agent):
    """Dynamic activation: the product secret buys the device secret."""
    config, platform = agent.config, agent.platform
    if not config["product_secret"] or not config["mqtt_activate"]:
        raise RefusedError("not_provisioned", "neither a device secret nor a product secret: provision the device")
    from agent.wire.address import address

    host, port = address(config["mqtt_activate"])
    cloud = agent.cloud
    client, user, password = cloud.login(DYNAMIC, config["product_secret"], platform.clock.wall() * 1000)
    platform.mqtt.connect(host, port, client, user, password, config["keepalive_s"], None)
    try:
        secret, topic, identifier = yield from _await_secret(agent)
        platform.store.save("secret", secret.encode())
        acknowledged = platform.mqtt.publish(*(cloud.reply(topic, identifier, 200, None) + (1,)))
        # The reply only tidies up: the server hands the same secret out until its first use.
        yield from _await(agent, CLOSE_MS, lambda event: event[0] == "acked" and event[1] == acknowledged)
    finally:
        platform.mqtt.close()
    if agent.identity["phase"] == identity.BLANK:
        agent.identity_event(("registered",))


def _await_secret(agent):
    found = []

    def is_secret(event):
        if event[0] != "message":
            return False
        read = agent.cloud.read(event[1], event[2])
        if read and read[0] == "activated":
            found.append(read[1:])
        return bool(found)

    if not (yield from _await(agent, ANSWER_MS, is_secret)):
        raise UnreachableError("timeout", "the server accepted the product secret but sent no device secret")
    return found[0]


def _await(agent, limit_ms, wanted):
    clock, mqtt = agent.platform.clock, agent.platform.mqtt
    end = clock.ticks_ms() + limit_ms
    while clock.ticks_ms() < end:
        event = mqtt.poll(0)
        if event is None:
            yield 20
        elif event[0] == "closed":
            raise UnreachableError(event[1], event[2])
        elif wanted(event):
            return True
    return False


def _certify(agent):
    """CSR out, certificate in, checked against our key and anchors before it is stored.

    What one step has loaded is forgotten before the next.
    """
    label = agent.identity["label"]
    request = _request(agent, label)
    agent.forget()
    try:
        answer = yield from certificate.fetch(agent, label, *request)
    except RefusedError as error:
        if error.code != "secret_refused" or not agent.config["product_secret"]:
            raise
        agent.log_error(error)
        answer = yield from _register_again(agent)
    agent.forget()
    if answer is None:
        return
    certificate.store(agent, label, answer)
    agent.identity_event(("issued", agent.platform.clock.wall()))


def _request(agent, label):
    """(path, headers, body) of the certificate request."""
    from agent.clouds import est

    config = agent.config
    csr = certificate.request(agent, label)
    return est.request(config["product_key"], config["device_key"], agent.device_secret(), csr)
