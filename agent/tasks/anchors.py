# SPDX-License-Identifier: MIT
"""Asks the CA whether it has another root by now: EST's cacerts (RFC 7030, 4.1), over TLS that is verified as ever.

What counts is in `agent/wire/roots.py`; how the server is asked decides nothing.  A root that a root of ours has
signed for is kept (`keep_anchors`), until it is over.  What is provisioned stays.
"""

from agent.errors import AgentError
from agent.tasks.body import read_body

MAX_ANSWER_BYTES = 16_384
MAX_STEPS = 3  # of one root to the next, in one answer


def run(agent):
    try:
        certificates = yield from _fetch(agent)
        agent.forget()
        _keep(agent, certificates)
    except AgentError as error:
        agent.log_error(error)


def _fetch(agent):
    from agent.clouds import est

    path = "/.well-known/est/%s/cacerts" % agent.config["product_key"]
    response = agent.platform.http.open("GET", agent.config["https"] + path, {}, b"", None)
    try:
        if response.status != 200:
            from agent.tasks import answers

            raise answers.unusable(response, "cacerts")
        body = yield from read_body(response, MAX_ANSWER_BYTES, agent.platform.clock)
    finally:
        response.close()
    return est.answer(body)


def _keep(agent, certificates):
    from agent.crypto.verify import Whole
    from agent.wire import roots, x509

    platform = agent.platform

    def verify(key_type, scheme, public, data, signature):
        return platform.verify(key_type, scheme, public, Whole(data), signature)

    try:
        issuing = agent.credentials()[1][1:]
    except AgentError:
        issuing = []
    now = platform.clock.wall()
    trusted = platform.anchors()
    added = []
    for _ in range(MAX_STEPS):
        found = roots.linked(certificates, trusted + added, issuing, now, verify)
        if not found:
            break
        added += found
    if not added:
        return
    kept = [der for der in platform.anchors_kept() if x509.read(der).not_after > now] + added
    if len(kept) > roots.MAX_ANCHORS:
        platform.log("identity.anchors_full", {"kept": roots.MAX_ANCHORS})
        kept = kept[: roots.MAX_ANCHORS]
    platform.keep_anchors(kept)
    for der in added:
        if der in kept:
            read = x509.read(der)
            platform.log("identity.anchor_added", {"name": read.common_name, "until": read.not_after})
