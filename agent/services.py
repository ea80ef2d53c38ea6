# SPDX-License-Identifier: MIT
"""Commands that are the agent's own, `trueboot.*`; an app never sees them.  Part of the shell; loaded when one comes.

    trueboot.consent  {"job", "sha256", "gate", "expires"}, optional "answer": "yes" (else "no")
    trueboot.check    {}, optional "how": "check", "download" or "install", as the app's `check_for_update`
    trueboot.renew    {}: another key and certificate, as soon as no trial is under way; kept in the journal until then

Consent is an operator's word for a gate.  It counts only where the configuration says
`consent_remote = "accept"`, for the very deployment, image and gate that it
names, and until `expires` (seconds since 1970); it is kept in the journal until
it is used or is over.  What becomes of it is decided at the gate, see
`agent/tasks/consent.py`.
"""

from agent.errors import MisuseError
from agent.talk import NO_HANDLER, OK

BAD_PARAMETER = 460
NOT_ACCEPTED = 1263  # the configuration takes no remote consent
NOTHING_WAITS = 1264  # no such deployment of this image waits, or not at this gate
NOT_VALID_NOW = 1265  # it is over, lasts too long, or the device has no clock to tell

CONSENT = "trueboot.consent"
RENEW = "trueboot.renew"
CHECK = "trueboot.check"
MAX_AHEAD_S = 2_592_000  # 30 days
# The phases in which a gate is still to be passed
AHEAD = {"download": ("offered",), "activate": ("offered", "fetching", "staged")}


def answer(agent, name, params):
    """(code, data) of the reply."""
    if name == CHECK:
        try:
            agent.check_for_update(params.get("how"))
        except MisuseError as error:
            return BAD_PARAMETER, {"reason": error.detail}
        return OK, {}
    if name == RENEW and agent.foreign:
        return NOTHING_WAITS, {"reason": "the service made this device's key, and renews none"}
    if name == RENEW:
        if agent.identity["phase"] == "enrolled":  # else a renewal is under way
            agent.identity_event(("asked",))
            agent.renew_at = 0
        return OK, {}
    if name != CONSENT:
        return NO_HANDLER, {}
    code, reason = _consent(agent, params)
    return code, {"reason": reason} if reason else {}


def _consent(agent, params):
    if agent.config["consent_remote"] != "accept":
        return NOT_ACCEPTED, "consent_remote is not accept"
    gate, expires, word = params.get("gate"), params.get("expires"), params.get("answer", "yes")
    if gate not in ("download", "activate") or type(expires) is not int or word not in ("yes", "no"):
        return BAD_PARAMETER, "gate, expires or answer is not usable"
    state = agent.update_state
    release = state["release"]
    if state["phase"] not in AHEAD[gate] or state["slot"] or (state["tries"] and state["phase"] == "staged"):
        return NOTHING_WAITS, "nothing waits at the gate " + gate
    if not release["job"] or (release["job"], release["sha256"]) != (params.get("job"), params.get("sha256")):
        return NOTHING_WAITS, "another deployment or image is under way"
    if not agent.module("hold").clock_is_set(agent):
        return NOT_VALID_NOW, "the clock is not set"
    left = expires - agent.platform.clock.wall()
    if not 0 < left <= MAX_AHEAD_S:
        return NOT_VALID_NOW, "expired" if left <= 0 else "valid for more than 30 days"
    agent.update_event(("allowed", gate, expires if word == "yes" else 0))
    return OK, ""
