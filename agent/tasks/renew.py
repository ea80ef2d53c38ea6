# SPDX-License-Identifier: MIT
"""The next certificate is fetched: at two thirds of the life of what is in use, on request, after its end.  `look` says when.

Rules kept:
 * While the certificate is good it is the proof, in mutual TLS.  After its end, or
   when servers refuse it, the proof is a statement that its key has signed over a
   nonce of the server's.  Whichever is turned down, the next try takes the other.
 * What the server last saw in use it alone believes, and a power cut may have kept
   that from us: a key that was certified already (`kept`) may speak for itself.
 * A try that failed ends the task; the turn begins it again, ever more slowly.  What
   has worked stays in use meanwhile.
"""

from agent import identity
from agent.errors import RefusedError
from agent.tasks import certificate, look

NONCE_PATH = "/api/device/v1/nonce"


def run(agent, left_ms):
    platform, label = agent.platform, agent.identity["label"]
    keys = platform.keys
    if agent.identity["phase"] == identity.RENEWING:
        platform.store.drop("cert." + label)
        keys.drop(label)
        keys.make(label)
        agent.identity_event(("key_made",))
    keys.make(label)  # unless it is there
    yield 0
    path, headers, body, credentials = yield from _proof(agent, label, left_ms)
    answer = yield from certificate.fetch(agent, label, path, headers, body, credentials)
    certificate.store(agent, label, answer)
    agent.identity_event(("issued", platform.clock.wall()))
    agent.module("talk").redial(agent)


def _proof(agent, label, left_ms):
    """(path, headers, body, credentials) of this try's request."""
    from agent.clouds import est

    state, product = agent.identity, agent.config["product_key"]
    roads = [agent.label(), label] if state.get("kept") else [agent.label()]
    by_session = left_ms > 0 and agent.uplink.refusals < look.BLAMED
    roads.insert(0 if by_session else len(roads), "")
    road = roads[state["tries"] % len(roads)]
    if not road:
        return est.renewal(product, certificate.request(agent, label)) + (agent.credentials(),)
    answer = yield from certificate.post(agent, NONCE_PATH, {"Content-Type": "application/json"}, b"{}")
    return est.renewal_by_statement(product, _statement(agent, label, road, est.nonce(answer))) + (None,)


def _statement(agent, label, by, nonce):
    from agent import token
    from agent.wire import pem

    config, keys = agent.config, agent.platform.keys
    subject = "%s/%s" % (config["product_key"], config["device_key"])
    claims = {"aud": config["product_key"], "sub": subject, "nonce": nonce}
    claims["csr"] = pem.to_base64(certificate.request(agent, label)).decode()
    return token.renewal(claims, keys.public(by), lambda message: keys.sign(by, message))


def failed(agent, error, left_ms):
    refused = isinstance(error, RefusedError)
    agent.log_error(error)
    if agent.identity["phase"] in (identity.ENROLLED, identity.PROBATION):
        return  # nothing was begun
    agent.identity_event(("failed", error.code, refused))
    agent.module("chores").trouble(agent, error)
    look.later(agent, agent.identity["tries"], refused, left_ms)
