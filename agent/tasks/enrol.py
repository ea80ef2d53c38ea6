# SPDX-License-Identifier: MIT
"""From product credentials to a stored certificate: registration, key, CSR, EST.

Carries out what the identity machine orders, one phase at a time; each act is
idempotent, so a cut anywhere is followed by the same act again.  The private
key stays in the key store; what leaves the device is the CSR.
"""

from agent import identity, session
from agent.clouds import decada
from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks.body import read_body

ANSWER_MS = 30_000
CLOSE_MS = 5_000
MAX_ANSWER_BYTES = 8192
MAX_CERTIFICATE_BYTES = 4096


def run(agent):
    """Until the certificate of the machine's label is stored; tries for ever, ever more slowly."""
    while agent.identity["phase"] in (identity.BLANK, identity.REGISTERED, identity.KEYED):
        try:
            phase = agent.identity["phase"]
            if phase == identity.BLANK:
                yield from _register(agent)
            elif phase == identity.REGISTERED:
                agent.platform.keys.make(agent.identity["label"])
                agent.identity_event(("key_made",))
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


def _register(agent):
    """Dynamic activation: the product secret buys the device secret."""
    config, platform = agent.config, agent.platform
    if not config["product_secret"] or not config["mqtt_activate"]:
        raise RefusedError("not_provisioned", "neither a device secret nor a product secret: provision the device")
    from agent.config import address

    host, port = address(config["mqtt_activate"])
    cloud = agent.cloud
    client, user, password = cloud.login(decada.DYNAMIC, config["product_secret"], platform.clock.wall() * 1000)
    platform.mqtt.connect(host, port, client, user, password, config["keepalive_s"], None)
    try:
        secret, topic, identifier = yield from _await_secret(agent)
        platform.store.save("secret", secret.encode())
        acknowledged = platform.mqtt.publish(*(cloud.reply(topic, identifier, decada.OK, None) + (1,)))
        # The reply only tidies up: the server hands the same secret out until its first use.
        yield from _await(agent, CLOSE_MS, lambda event: event[0] == "acked" and event[1] == acknowledged)
    finally:
        platform.mqtt.close()
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
    platform, label = agent.platform, agent.identity["label"]
    request = _request(agent, label)
    agent.forget()
    answer = yield from _post(agent, *request)
    agent.forget()
    certificate = _checked(agent, label, answer)
    platform.store.save("cert." + label, certificate)
    agent.identity_event(("issued",))


def _request(agent, label):
    """(path, headers, body) of the certificate request."""
    from agent.clouds import est
    from agent.wire import csr

    config, keys = agent.config, agent.platform.keys
    name = "%s/%s" % (config["product_key"], config["device_key"])
    request = csr.build(name, keys.public(label), lambda message: keys.sign(label, message))
    agent.platform.log("identity.csr_sent", {"subject": name})
    return est.request(config["product_key"], config["device_key"], agent.device_secret(), request)


def _post(agent, path, headers, body):
    response = agent.platform.http.open("POST", agent.config["https"] + path, headers, body, None)
    try:
        answer = yield from read_body(response, MAX_ANSWER_BYTES, agent.platform.clock)
    finally:
        response.close()
    if response.status != 200:
        text = "the server answered %d to the certificate request" % response.status
        if response.status >= 500 or response.status in (408, 429):
            raise UnreachableError("http_status", text)
        raise RefusedError("enrol_refused", text + ": check device key and secret, or whether it has another key")
    return answer


def _checked(agent, label, answer):
    from agent.clouds import est
    from agent.crypto.verify import Whole

    platform = agent.platform
    public = platform.keys.public(label)

    def verify(key_type, scheme, issuer, data, signature):
        return platform.verify(key_type, scheme, issuer, Whole(data), signature)

    chain = est.check(est.answer(answer), public, platform.anchors(), verify)
    if len(chain[0]) > MAX_CERTIFICATE_BYTES:
        raise RefusedError("certificate", "larger than %d bytes" % MAX_CERTIFICATE_BYTES)
    return chain[0]
