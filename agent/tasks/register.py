# SPDX-License-Identifier: MIT
"""A certificate by esthesis's registration: the device's own key is in the CSR that goes with it.

Rules kept:
 * The key is made first, and stays here.  The same registration, sent again after a
   power cut, gives the same certificate; a server that gives none to this key ends the try.
 * A service that makes keys itself (esthesis CORE does) is refused, unless `esthesis_foreign_key = "accept"`: then its
   key has a label of its own, is never this device's word, and nothing is renewed.
 * Anything but 200 is no registration.  What the service's URLs are comes with the certificate (`place`).
"""

import json

from agent.errors import RefusedError, UnreachableError
from agent.tasks.body import read_body

MAX_ANSWER_BYTES = 16_384
TRANSIENT = (408, 425, 429)
CORE = "CORE"


def run(agent):
    """Ends in the identity machine's event "issued", or with an AgentError."""
    from agent import place

    label = agent.identity["label"]
    if label == place.FOREIGN and agent.platform.store.load("cert." + label) is not None:
        agent.identity_event(("issued", agent.platform.clock.wall()))  # a real service registers nobody twice
        return
    answer = yield from _ask(agent, _request(agent, label))
    agent.forget()
    if answer.get("privateKey"):
        agent.module("tasks.adopt").take(agent, answer)
        return
    _own(agent, label, answer)


def _own(agent, label, answer):
    """The certificate is for our key, or it is refused."""
    from agent import place
    from agent.tasks import certificate
    from agent.wire import pem

    chain = answer.get("certificate")
    if not isinstance(chain, str):
        raise RefusedError("certificate", "the service gave none")
    certificate.keep(agent, label, pem.decode_all(chain, "CERTIFICATE"))
    place.keep(agent, place.read(answer))
    agent.identity_event(("issued", agent.platform.clock.wall()))


def _request(agent, label):
    config = agent.config
    body = {"hardwareId": config["device_key"], "tags": config["tags"], "attributes": config["attributes"]}
    body["type"] = CORE
    body["registrationSecret"] = config["registration_secret"]
    if label != "foreign":
        from agent.tasks import certificate
        from agent.wire import pem

        body["csr"] = pem.encode("CERTIFICATE REQUEST", certificate.request(agent, label))
    return json.dumps(body).encode()


def _ask(agent, body):
    """The answer, as a dict."""
    platform = agent.platform
    url = agent.config["https"] + agent.config["esthesis_api"] + "/register"
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    response = platform.http.open("POST", url, headers, body, None)
    try:
        answer = yield from read_body(response, MAX_ANSWER_BYTES, platform.clock)
    finally:
        response.close()
    if response.status != 200:
        text = "the service answered %d to the registration%s" % (response.status, _said(answer))
        if response.status >= 500 or response.status in TRANSIENT or 200 < response.status < 300:
            # A real service says 500 to whatever is wrong, so that is no verdict.
            raise UnreachableError("http_status", text)
        raise RefusedError("registration", text)
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise RefusedError("registration", "the answer is no JSON object")
    return found


def _said(answer):
    try:
        text = json.loads(answer)["errorMessage"]
    except (ValueError, KeyError, TypeError):
        return ""
    from agent.tasks import reason

    return ": " + reason(text) if isinstance(text, str) else ""
