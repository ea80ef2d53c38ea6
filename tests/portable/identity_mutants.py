# SPDX-License-Identifier: MIT
"""Planted defects of enrolment and renewal, for `identity_sweep` to catch: name -> (plant, the kind of life that shows it)."""

from agent import doubt, identity, life
from agent.runtime import Agent
from agent.tasks import enrol, register, renew


def plant(name):
    DEFECTS[name][0]()


def _a_key_at_every_boot():
    certify = enrol._certify

    def careless(agent):
        agent.platform.keys.drop(agent.identity["label"])
        agent.platform.keys.make(agent.identity["label"])
        yield from certify(agent)

    enrol._certify = careless


def _a_key_for_every_registration():
    request = register._request

    def careless(agent, label):
        agent.platform.keys.drop(label)
        agent.platform.keys.make(label)
        return request(agent, label)

    register._request = careless


def _a_torn_secret_is_kept():
    def stubborn(agent):
        raise identity.MisuseError("x")
        yield

    enrol._register_again = stubborn


def _tls_says_nothing():
    refused = doubt.refused
    doubt.refused = lambda agent, label, error: None if error.code == "tls_refused" else refused(agent, label, error)


def _promoted_when_it_is_stored():
    def hasty(state, now=0):
        return identity._enter(state, [], phase="enrolled", before=None, since=now)

    identity._rekeyed_issued = hasty


def _used_before_it_is_certified():
    Agent.label = lambda agent: agent.identity["label"]


def _a_certified_key_is_thrown_away():
    due = identity._enrolled_due

    def forgetful(state):
        without = dict(state)
        without.pop("kept", None)
        return due(without)

    identity._enrolled_due = forgetful


def _only_the_old_key_speaks():
    proof = renew._proof

    def _proof(agent, label, left_ms):
        kept = agent.identity.pop("kept", None)
        try:
            return (yield from proof(agent, label, left_ms))
        finally:
            if kept:
                agent.identity["kept"] = kept

    renew._proof = _proof


def _no_road_after_the_end():
    proof = renew._proof
    renew._proof = lambda agent, label, left_ms: proof(agent, label, 1 << 40)
    statement = renew._statement
    renew._statement = lambda agent, label, by, nonce: statement(agent, label, by, "none")


def _the_spare_key_stays():
    run = renew.run

    def lazy(agent, left_ms):
        if agent.identity["phase"] == "renewing":
            agent.identity_event(("key_made",))
        yield from run(agent, left_ms)

    renew.run = lazy


def _dated_back_and_believed():
    plan = life.plan
    life.plan = lambda dates, since, now_s, percent: plan(dates, 0, now_s, percent)


DEFECTS = {
    "a new key at every boot": (_a_key_at_every_boot, "first"),
    "a key for every registration": (_a_key_for_every_registration, "registered"),
    "a torn secret is kept": (_a_torn_secret_is_kept, "first"),
    "a refusal in TLS says nothing": (_tls_says_nothing, "late"),
    "promoted when it is stored": (_promoted_when_it_is_stored, "refused"),
    "used before it is certified": (_used_before_it_is_certified, "renewed"),
    "a certified key is thrown away": (_a_certified_key_is_thrown_away, "asleep"),
    "only the old key speaks": (_only_the_old_key_speaks, "asleep"),
    "no road after the end": (_no_road_after_the_end, "expired"),
    "the spare key stays": (_the_spare_key_stays, "renewed"),
    "dated back and believed": (_dated_back_and_believed, "renewed"),
}
