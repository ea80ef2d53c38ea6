# SPDX-License-Identifier: MIT
"""A dial failed, or came through with a certificate on probation: is it the certificate?  Part of the shell; loaded then.

A server that refuses says so in TLS or in its CONNACK; one that merely is not
there says nothing about us.  Some do not say it, they hang up (and of an alert in TLS 1.3 a
reset of the connection may leave no more): every fourth such time in a row counts.
While a certificate is on probation every fourth dial takes the one before, and when
that gets through, the new one is to blame.
"""

from agent.errors import RefusedError, UnreachableError
from agent.uplink import ENROLLED, PROBATION, TRIAL

BLAMED = 3  # see agent/tasks/look.py
HANGS_UP = 4
LOST = ("certificate_lost", "no_key")


def refused(agent, label, error):
    state, trouble = agent.identity, agent.module("chores").trouble
    if error.code == "closed" and agent.uplink.session["failures"] % HANGS_UP == 0:
        error = UnreachableError("tls_refused", "the server hangs up, again and again")
    if error.code in LOST and label == agent.label():
        agent.identity_event(("lost",))
    elif state["phase"] != PROBATION or label != state["label"]:
        trouble(agent, error)
        if agent.uplink.refusals == BLAMED:
            agent.renew_at = 0
    else:
        final = error.code == "tls_refused" or (error.code == "mqtt_refused" and isinstance(error, RefusedError))
        agent.identity_event(("failed", error.code, final or error.code in LOST))
        _rest(agent)
        if "before" not in state:
            trouble(agent, error)


def accepted(agent, label):
    if label == agent.identity["label"]:
        agent.identity_event(("accepted",))
        agent.renew_at = agent.uplink.given_up = 0  # its life is to be looked at
    elif agent.update_state["phase"] != TRIAL:
        agent.identity_event(("failed", "other_accepted", True))
        _rest(agent)


def _rest(agent):
    """Before the next try: of the same certificate while there is a session with the other, or of a renewal."""
    if agent.identity["phase"] == ENROLLED:
        agent.module("tasks.look").given_up(agent)
    elif agent.uplink.online:
        agent.module("tasks.look").later(agent, max(1, agent.identity["tries"]), True)
