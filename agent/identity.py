# SPDX-License-Identifier: MIT
"""The identity of a device, as a pure machine: from nothing to a certificate that a server accepted, and from that to the
next one, for life.

Rules kept:
 * Journal first, act second.  Every act is idempotent: a secret is handed out
   again until its first use, a key is made once per label, a certificate is
   issued again for the same key.  Cut anywhere and repeated: never two devices.
 * A certificate is in use only after a server accepted it in a mutual-TLS
   session; until then the label is on probation, like an image on trial.
 * What works is kept until what follows has worked: a renewal goes into the
   spare label, `before` names the one in use, and a new certificate that servers
   refuse is given up for it.  Old key and old certificate stay until the next renewal begins.
 * A key that was once certified is not thrown away before a later one was accepted: the
   server may have seen it in use when the power went, and then it is the only
   one that may ask for another.  So the next try takes the same key (`kept`).
 * Revocation takes evidence, which the caller has checked: the server's authenticated word on this very certificate, or a
   list that the CA signed.  Refusals and alerts, however many, are none.
 * Who is revoked rests for ever: no phase follows but by records that are dropped from outside.
 * Credentials are never in the journal: the device secret, the key and the
   certificates are records and keys of the store, under `label`.

Phases
 blank       product credentials and trust anchors only
 registered  the cloud knows the device; its secret is stored
 keyed       the key of `label` exists; a CSR can be made any number of times
 probation   the certificate of `label` is stored, and not yet accepted
 enrolled    the certificate of `label` is in use
 renewing    `before` is in use; what the spare `label` holds is old, and gives way to a new key
 rekeyed     `before` is in use; the key of `label` exists; a CSR can be made any number of times
 revoked     the certificate of `label` was revoked, for `reason`

State: phase, label, tries; since renewals: `before`; `since`, the wall clock when the certificate in use came;
 `asked`, a renewal was asked for; `kept`, the spare label's key has been certified and must not be lost

Events: ("started", has_secret): None where no secret is ever given, and the key comes first
 ("registered",) ("key_made",) ("issued", now): and, on the first road, the label of a key that the service made
 ("accepted",) ("failed", code, final)
 ("asked",) ("due",) ("revoked", reason) ("expired",): it was never used
 ("lost",): the certificate in use, or its key, is not there any more
Commands: ("save", state, None) ("register",) ("make_key", label) ("enrol", label) ("renew", label) ("retry", tries)
 ("log", event, fields) ("rest",)
"""

from agent.errors import MisuseError

BLANK = "blank"
REGISTERED = "registered"
KEYED = "keyed"
PROBATION = "probation"
ENROLLED = "enrolled"
RENEWING = "renewing"
REKEYED = "rekeyed"
REVOKED = "revoked"

MAX_PROBATION = 5  # refusals by servers before the certificate is asked for again, or given up for the one before

# phase, event -> the phases it may lead to; see agent/update.py for why this is a text.
TRANSITIONS = """
blank started -> blank registered
blank key_made -> keyed
blank registered -> registered
blank failed -> blank
registered started -> registered
registered key_made -> keyed
registered failed -> registered
keyed started -> keyed
keyed issued -> probation
keyed failed -> keyed
probation started -> probation
probation accepted -> enrolled
probation failed -> probation keyed enrolled
probation lost -> registered probation
probation expired -> keyed enrolled
enrolled started -> enrolled
enrolled accepted -> enrolled
enrolled failed -> enrolled
enrolled asked -> enrolled
enrolled due -> renewing rekeyed
enrolled lost -> registered
renewing started -> renewing
renewing key_made -> rekeyed
renewing failed -> renewing
renewing lost -> registered
rekeyed started -> rekeyed
rekeyed issued -> probation
rekeyed failed -> rekeyed
rekeyed lost -> registered
keyed revoked -> revoked
probation revoked -> revoked
enrolled revoked -> revoked
renewing revoked -> revoked
rekeyed revoked -> revoked
revoked started -> revoked
revoked issued -> revoked
revoked failed -> revoked
revoked revoked -> revoked
"""


def initial():
    return {"phase": BLANK, "label": "a", "tries": 0}


def step(state, event):
    """One event in, the next state and the commands out.  MisuseError for an event that the phase does not know."""
    act = globals().get("_%s_%s" % (state["phase"], event[0]))
    if act is None:
        raise MisuseError("identity_event", "%s in phase %s" % (event[0], state["phase"]))
    return act(state, *event[1:])


def in_use(state):
    """The label whose certificate servers have accepted; on the first road the only one."""
    return state.get("before") or state["label"]


def _enter(state, commands, **changes):
    """A change to None: the member goes."""
    new = dict(state)
    for name in changes:
        new[name] = changes[name]
        if changes[name] is None:
            del new[name]
    return new, [("save", new, None)] + commands


def _log(event, label):
    return ("log", "identity." + event, {"label": label})


def _blank_started(state, has_secret):
    if has_secret is None:  # who registers with a CSR has its key before anybody knows it
        return state, [("make_key", state["label"])]
    if has_secret:  # provisioned on a bench, or cut right after the secret was stored
        return _blank_registered(state)
    return state, [("register",)]


def _blank_registered(state):
    log = ("log", "identity.registered", {})
    return _enter(state, [log, ("make_key", state["label"])], phase=REGISTERED, tries=0)


def _registered_started(state, has_secret):
    return state, [("make_key", state["label"])]


def _registered_key_made(state):
    commands = [_log("key_made", state["label"]), ("enrol", state["label"])]
    return _enter(state, commands, phase=KEYED, tries=0)


def _keyed_started(state, has_secret):
    return state, [("enrol", state["label"])]


def _keyed_issued(state, now=0, label=None):
    label = label or state["label"]
    return _enter(state, [_log("certificate_stored", label)], phase=PROBATION, label=label, tries=0, since=now)


def _probation_started(state, has_secret):
    return state, []


def _probation_accepted(state):
    log = _log("renewed" if "before" in state else "enrolled", state["label"])
    return _enter(state, [log], phase=ENROLLED, tries=0, before=None, kept=None, asked=None)


def _probation_failed(state, code, final):
    if not final:
        return state, []
    if state["tries"] + 1 < MAX_PROBATION:
        return _enter(state, [], tries=state["tries"] + 1)
    return _probation_expired(state, code)


def _probation_expired(state, code="expired"):
    if "before" in state:
        return _give_up(state, code)
    return _enter(state, [("enrol", state["label"])], phase=KEYED, tries=0)


def _give_up(state, code):
    """The one that worked works still, as far as we know."""
    log = ("log", "identity.renewal_refused", {"label": state["label"], "code": code})
    return _enter(state, [log], phase=ENROLLED, label=state["before"], tries=0, before=None, since=None, kept=True)


def _probation_lost(state):
    if "before" in state:  # there is nothing to go back to
        return _enter(state, [_log("lost", state["before"])], before=None)
    return _enrolled_lost(state)


def _enrolled_accepted(state):
    return state, []


def _enrolled_failed(state, code, final):
    return state, []


def _enrolled_asked(state):
    if state.get("asked"):
        return state, []
    return _enter(state, [("log", "identity.renewal_asked", {})], asked=True)


def _enrolled_due(state):
    spare = "b" if state["label"] == "a" else "a"
    phase = REKEYED if state.get("kept") else RENEWING
    commands = [_log("renewing", spare), ("renew", spare)]
    return _enter(state, commands, phase=phase, label=spare, before=state["label"], tries=0)


def _enrolled_lost(state):
    """The first road again: the same key, if it is there, gets the same certificate; else an operator has to agree."""
    label = in_use(state)
    commands = [_log("lost", label), ("make_key", label)]
    return _enter(state, commands, phase=REGISTERED, label=label, tries=0, before=None, kept=None, asked=None)


def _renewing_started(state, has_secret):
    return state, [("renew", state["label"])]


def _renewing_key_made(state):
    return _enter(state, [_log("key_made", state["label"])], phase=REKEYED, tries=0)


def _rekeyed_issued(state, now=0):
    return _enter(state, [_log("certificate_stored", state["label"])], phase=PROBATION, tries=0, since=now, kept=True)


def _blank_failed(state, code, final):
    # The count is in RAM on purpose: a board that cannot reach its server must not wear its flash out.
    new = dict(state)
    new["tries"] = state["tries"] + 1
    return new, [("retry", new["tries"])]


def _enrolled_revoked(state, reason):
    rest = {"phase": REVOKED, "label": in_use(state), "tries": 0, "reason": reason}
    return rest, [("save", rest, None), ("log", "identity.revoked", {"reason": reason}), ("rest",)]


def _revoked_started(state, has_secret):
    return state, [("log", "identity.revoked", {"reason": state["reason"]})]


def _revoked_failed(state, *what):
    return state, []  # of something that was still under way


# Edges that another edge's function serves as well
_blank_key_made = _registered_key_made
_registered_failed = _keyed_failed = _renewing_failed = _rekeyed_failed = _blank_failed
_enrolled_started = _probation_started
_rekeyed_started = _renewing_started
_renewing_lost = _rekeyed_lost = _enrolled_lost
_keyed_revoked = _probation_revoked = _renewing_revoked = _rekeyed_revoked = _enrolled_revoked
_revoked_issued = _revoked_revoked = _revoked_failed
