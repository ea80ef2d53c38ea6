# SPDX-License-Identifier: MIT
"""Fetches the revocation list of the CA that certified the server, where the platform can use one (`platform.lists`).

From the path that the server's certificate names, at the configured server.  It counts when an anchor signed it, or a CA
that an anchor has signed; when it is of the CA in question, of today, and not older than the one at hand.
"""

from agent.errors import AgentError, RefusedError
from agent.tasks.body import read_body

MAX_BYTES = 1 << 20
MAX_CERTIFICATE_BYTES = 4096
SLACK_S = 3600  # a list of the near future: clocks differ
RETRY_MS = 3_600_000
LEAST_MS, MOST_MS = 600_000, 21_600_000


def run(agent):
    lists = agent.platform.lists
    uplink = agent.uplink
    uplink.lists_at = agent.platform.clock.ticks_ms() + RETRY_MS
    if not lists.path:
        return  # this CA has none
    try:
        found = yield from _fetch(agent, lists)
    except AgentError as error:
        agent.log_error(error)
        return
    left_ms = (found.next_update - agent.platform.clock.wall()) * 500  # half of it
    left_ms = left_ms * (192 + agent.platform.chance.random(1)[0] // 4) // 256
    uplink.lists_at = agent.platform.clock.ticks_ms() + max(LEAST_MS, min(left_ms, MOST_MS))
    agent.platform.log("crl.fetched", {"until": found.next_update, "number": found.number})


def _fetch(agent, lists):
    from agent.wire import crl

    issuer = lists.issuer
    data = yield from _get(agent, lists, lists.path, MAX_BYTES)
    found = crl.read(data)
    if found.issuer != issuer:
        raise RefusedError("crl", "the list is of another CA than the server's certificate")
    yield from _verify(agent, lists, found)
    now = agent.platform.clock.wall()
    if found.this_update > now + SLACK_S:
        raise RefusedError("crl", "the list is from the future: is this device's clock right?")
    if found.next_update <= now:
        raise RefusedError("crl", "the list is over: the server does not make new ones, or somebody keeps them")
    known = lists.of(issuer)
    if known and found.this_update < known[0].this_update:
        raise RefusedError("crl", "the list is older than the one at hand")
    if not known or found.tbs != known[0].tbs:
        lists.keep(data)
    return found


def _verify(agent, lists, found):
    from agent.wire import ecdsa, x509

    if found.signature_algorithm != ecdsa.ECDSA_WITH_SHA256:
        raise RefusedError("crl", "its kind of signature is not known")
    anchors = [x509.read(der) for der in agent.platform.anchors()]
    for anchor in anchors:
        if _signed(agent, found.issuer, found, anchor):
            return
    if lists.issuer_path:
        issuing = x509.read((yield from _get(agent, lists, lists.issuer_path, MAX_CERTIFICATE_BYTES)))
        if _signed(agent, found.issuer, found, issuing):
            for anchor in anchors:
                if _signed(agent, issuing.issuer, issuing, anchor):
                    return
    raise RefusedError("crl", "no trust anchor signed the list, nor a CA that one has signed")


def _signed(agent, name, what, issuer):
    from agent.crypto.verify import Whole

    if not (issuer.is_ca and issuer.public) or issuer.subject != name:
        return False
    scheme = ("ecdsa", "ecdsa-sha2-nistp256")
    return agent.platform.verify(*scheme, issuer.public, Whole(what.tbs), what.signature)


def _get(agent, lists, path, limit):
    lists.asking = True
    try:
        response = agent.platform.http.open("GET", agent.config["https"] + path, {}, b"", None)
        try:
            if response.status != 200:
                from agent.tasks import answers

                raise answers.unusable(response, path)
            return (yield from read_body(response, limit, agent.platform.clock))
        finally:
            response.close()
    finally:
        lists.asking = False
        lists.forget()  # a connection that was let through for this serves nothing else
