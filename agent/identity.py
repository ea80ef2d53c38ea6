# SPDX-License-Identifier: MIT
"""The identity of a device, as a pure machine: from nothing to a certificate that a server accepted.

Rules kept:
 * Journal first, act second.  Every act is idempotent: a secret is handed out
   again until its first use, a key is made once per label, a certificate is
   issued again for the same key.  Cut anywhere and repeated: never two devices.
 * A certificate is in use only after a server accepted it in a mutual-TLS
   session; until then the label is on probation, like an image on trial.
 * Revocation takes evidence, which the caller has checked: the server's authenticated word on this very certificate, or a
   list that the CA signed.  Refusals and alerts, however many, are none.
 * Who is revoked rests for ever: no phase follows but by records that are dropped from outside.
 * Credentials are never in the journal: the device secret, the key and the
   certificate are records and keys of the store, under `label`.

Phases
 blank       product credentials and trust anchors only
 registered  the cloud knows the device; its secret is stored
 keyed       the key of `label` exists; a CSR can be made any number of times
 probation   the certificate of `label` is stored, and not yet accepted
 enrolled    the certificate of `label` is in use
 revoked     the certificate of `label` was revoked, for `reason`

Events: ("started", has_secret) ("registered",) ("key_made",) ("issued",) ("accepted",) ("failed", code, final)
 ("revoked", reason)
Commands: ("save", state, None) ("register",) ("make_key", label) ("enrol", label) ("retry", tries)
 ("log", event, fields) ("rest",)
"""

from agent.errors import MisuseError

BLANK = "blank"
REGISTERED = "registered"
KEYED = "keyed"
PROBATION = "probation"
ENROLLED = "enrolled"
REVOKED = "revoked"

MAX_PROBATION = 5  # refusals by servers before the certificate is asked for again

# phase, event -> the phases it may lead to; see agent/update.py for why this is a text.
TRANSITIONS = """
blank started -> blank registered
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
probation failed -> probation keyed
enrolled started -> enrolled
enrolled accepted -> enrolled
enrolled failed -> enrolled
keyed revoked -> revoked
probation revoked -> revoked
enrolled revoked -> revoked
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


def _enter(state, commands, **changes):
    new = dict(state)
    new.update(changes)
    return new, [("save", new, None)] + commands


def _blank_started(state, has_secret):
    if has_secret:  # provisioned on a bench, or cut right after the secret was stored
        return _blank_registered(state)
    return state, [("register",)]


def _blank_registered(state):
    log = ("log", "identity.registered", {})
    return _enter(state, [log, ("make_key", state["label"])], phase=REGISTERED, tries=0)


def _registered_started(state, has_secret):
    return state, [("make_key", state["label"])]


def _registered_key_made(state):
    log = ("log", "identity.key_made", {"label": state["label"]})
    return _enter(state, [log, ("enrol", state["label"])], phase=KEYED, tries=0)


def _keyed_started(state, has_secret):
    return state, [("enrol", state["label"])]


def _keyed_issued(state):
    log = ("log", "identity.certificate_stored", {"label": state["label"]})
    return _enter(state, [log], phase=PROBATION, tries=0)


def _probation_started(state, has_secret):
    return state, []


def _probation_accepted(state):
    log = ("log", "identity.enrolled", {"label": state["label"]})
    return _enter(state, [log], phase=ENROLLED, tries=0)


def _enrolled_accepted(state):
    return state, []


def _blank_failed(state, code, final):
    # The count is in RAM on purpose: a board that cannot reach its server must not wear its flash out.
    new = dict(state)
    new["tries"] = state["tries"] + 1
    return new, [("retry", new["tries"])]


def _probation_failed(state, code, final):
    if not final:
        return state, []
    if state["tries"] + 1 < MAX_PROBATION:
        return _enter(state, [], tries=state["tries"] + 1)
    return _enter(state, [("enrol", state["label"])], phase=KEYED, tries=0)


def _enrolled_failed(state, code, final):
    return state, []


def _enrolled_revoked(state, reason):
    rest = {"phase": REVOKED, "label": state.get("before") or state["label"], "tries": 0, "reason": reason}
    return rest, [("save", rest, None), ("log", "identity.revoked", {"reason": reason}), ("rest",)]


def _revoked_started(state, has_secret):
    return state, [("log", "identity.revoked", {"reason": state["reason"]})]


def _revoked_failed(state, *what):
    return state, []  # of something that was still under way


# Edges that another edge's function serves as well
_registered_failed = _keyed_failed = _blank_failed
_enrolled_started = _probation_started
_keyed_revoked = _probation_revoked = _enrolled_revoked
_revoked_issued = _revoked_revoked = _revoked_failed
