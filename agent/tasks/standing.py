# SPDX-License-Identifier: MIT
"""How this device's certificate stands, asked of the server: GET /ca/status/<serial>.

The answer counts because of who gives it: the server of the configuration, over TLS that the device's anchors vouch
for.  It counts for the serial that it names; an answer of another form, status or serial is no answer.  "revoked" is
evidence, and the only word that ends the identity.  All others are told in the log, with what they mean.
"""

import json

from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks.body import read_body

MAX_ANSWER_BYTES = 512
REASONS = (
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
)
MEANINGS = {
    "revoked": "",
    "good": "the certificate is not what the server minds: see its log",
    "superseded": "a newer certificate of this device is in use: is this an old copy of its state?",
    "expired": "the certificate has expired: it is renewed",
    "unknown": "the server never issued it: it is another server, or its database is an older one",
}


def run(agent):
    try:
        status, reason = yield from _ask(agent)
    except AgentError as error:
        agent.log_error(error)
        return
    agent.platform.log("identity.standing", {"status": status, "detail": MEANINGS[status] or reason})
    agent.forget()
    if status == "revoked":
        agent.identity_event(("revoked", reason))
    elif status == "expired" and agent.identity["phase"] == "enrolled":
        agent.identity_event(("asked",))  # whatever the device's own clock says
        agent.renew_at = 0


def _ask(agent):
    serial = _serial(agent)
    agent.forget()
    response = agent.platform.http.open("GET", agent.config["https"] + "/ca/status/" + serial, {}, b"", None)
    try:
        if response.status != 200:
            raise UnreachableError("standing", "the server answers %d to the question" % response.status)
        answer = yield from read_body(response, MAX_ANSWER_BYTES, agent.platform.clock)
    finally:
        response.close()
    return read(answer, serial)


def _serial(agent):
    from agent.wire import x509

    return "%x" % x509.read(agent.credentials()[1][0]).serial


def read(answer, serial):
    """(status, reason) of an answer about `serial`, else RefusedError("standing")."""
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("serial") != serial:
        raise RefusedError("standing", "the answer is not about this device's certificate")
    status, reason = found.get("status"), found.get("reason")
    if not isinstance(status, str) or status not in MEANINGS:
        raise RefusedError("standing", "the answer tells no status that is known")
    return status, reason if reason in REASONS else "unspecified"
