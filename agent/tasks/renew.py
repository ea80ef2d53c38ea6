# SPDX-License-Identifier: MIT
"""The certificate in use is looked at, and the next one fetched: at two thirds of its life, on request, after its end.

Rules kept:
 * Nothing happens on trial or between activation and reset (the turn sees to it), and
   beside a download only when the certificate is about to end.
 * While the certificate is good it is the proof, in mutual TLS.  After its end, or
   when servers refuse it, the proof is a statement that its key has signed over a
   nonce of the server's.  Whichever is turned down, the next try takes the other.
 * What the server last saw in use it alone believes, and a power cut may have kept
   that from us: a key that was certified already (`kept`) may speak for itself.
 * A try that failed ends the task; the turn begins it again, ever more slowly.  What
   has worked stays in use meanwhile.
"""

from agent import identity, life, session
from agent.errors import AgentError, RefusedError
from agent.tasks import certificate

BLAMED = 3  # dials in a row that servers refused us: then the certificate is taken for over, whatever our clock says
URGENT = 10  # a download waits once no more than one part in so many of the life is left
LEAST_MS = 1000
NONCE_PATH = "/api/device/v1/nonce"


def run(agent):
    state = agent.identity
    left_ms = 0
    if agent.foreign:
        return  # its service renews nothing
    try:
        if state["phase"] == identity.PROBATION:
            _again(agent)
            return
        left_ms, is_due = _look(agent)
        if state["phase"] == identity.ENROLLED:
            if not is_due:
                return
            agent.identity_event(("due",))
        yield from _renew(agent, left_ms)
    except AgentError as error:
        _failed(agent, error, left_ms)


def later(agent, tries, refused, left_ms=0):
    """When it is tried again."""
    wait_ms = session.wait_ms(tries, agent.platform.chance.random(1)[0], refused)
    agent.renew_at = agent.platform.clock.ticks_ms() + life.pause_ms(tries, wait_ms, left_ms)


def given_up(agent):
    """Servers refused the new certificate, for good: each such renewal wears the flash, so they are ever rarer while there is time."""
    uplink, platform = agent.uplink, agent.platform
    uplink.given_up += 1
    left_ms = _look(agent)[0]
    wait_ms = session.wait_ms(3 * uplink.given_up, platform.chance.random(1)[0], True)
    long_ms = min(60_000 << min(2 * uplink.given_up, 12), life.MAX_PAUSE_MS, left_ms // 4)
    agent.renew_at = platform.clock.ticks_ms() + max(wait_ms, long_ms)


def _again(agent):
    """On probation: a certificate that ended before it was used; or what is in use was dialled for once, now the new one."""
    state, platform = agent.identity, agent.platform
    chain = agent.credentials(state["label"])[1]
    now_s = platform.clock.wall()
    why, _, end_ms = life.plan(chain[0], state.get("since", 0), now_s, agent.config["renew_percent"])
    if not why and now_s * 1000 >= end_ms:
        agent.renew_at = 0
        agent.identity_event(("expired",))
        return
    if not why:
        agent.renew_at = min(agent.renew_at, platform.clock.ticks_ms() + max(LEAST_MS, end_ms - now_s * 1000))
    if agent.uplink.online and agent.uplink.label == agent.label() != agent.identity["label"]:
        agent.module("talk").redial(agent)


def _look(agent):
    """(ms that are left of the certificate in use, whether to renew).  Says what it found, once."""
    state, platform = agent.identity, agent.platform
    now_s = platform.clock.wall()
    label, chain = agent.credentials()
    since = state.get("since", 0)  # of what is in use, but on probation
    try:
        why, due_ms, end_ms = life.plan(chain[0], since, now_s, agent.config["renew_percent"])
    except RefusedError as error:
        why, due_ms, end_ms = error.detail, 0, 0
    left_ms = 0 if why else end_ms - now_s * 1000
    asked = state.get("asked") or state.get("kept") or agent.uplink.refusals >= BLAMED
    if agent.update_state["phase"] == "fetching" and not why:
        due_ms = end_ms - (end_ms - due_ms) // URGENT
        asked = False
    is_due = asked or not why and now_s * 1000 >= due_ms
    said = why or "until %d" % (end_ms // 1000)
    if said != agent.uplink.life:
        agent.uplink.life = said
        if why:
            platform.log("identity.clock", {"label": label, "why": why})
        else:
            platform.log("identity.life", {"label": label, "renew": due_ms // 1000, "end": end_ms // 1000})
    if not is_due and not why:
        agent.renew_at = min(agent.renew_at, platform.clock.ticks_ms() + max(LEAST_MS, due_ms - now_s * 1000))
    return left_ms, is_due


def _renew(agent, left_ms):
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
    by_session = left_ms > 0 and agent.uplink.refusals < BLAMED
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


def _failed(agent, error, left_ms):
    refused = isinstance(error, RefusedError)
    agent.log_error(error)
    if agent.identity["phase"] in (identity.ENROLLED, identity.PROBATION):
        return  # nothing was begun
    agent.identity_event(("failed", error.code, refused))
    agent.module("chores").trouble(agent, error)
    later(agent, agent.identity["tries"], refused, left_ms)
