# SPDX-License-Identifier: MIT
"""A certificate for the key of a label: the CSR, what is sent with it, the answer checked and stored.

Used for the first certificate (`enrol`) and for all later ones (`renew`), which
differ in the proof alone.  The private key stays in the key store.
"""

from agent.errors import RefusedError, UnreachableError
from agent.tasks.body import read_body

MAX_ANSWER_BYTES = 12288
MAX_CHAIN_BYTES = 6144
TRANSIENT = (202, 408, 429)  # 202: an operator has to agree first (RFC 7030, 4.2.3)


def request(agent, label):
    """The CSR, DER."""
    from agent.wire import csr

    config, keys = agent.config, agent.platform.keys
    name = config["device_key"]
    if agent.cloud.name != "esthesis":  # whose devices are known by their hardware id alone
        name = config["product_key"] + "/" + name
    made = csr.build(name, keys.public(label), lambda message: keys.sign(label, message))
    agent.platform.log("identity.csr_sent", {"subject": name})
    return made


def fetch(agent, label, path, headers, body, credentials=None):
    """The body of the server's answer to a certificate request; where the key can be attested, by that road first."""
    if hasattr(agent.platform.keys, "attest_begin"):
        answer = yield from agent.module("tasks.attest").run(agent, label, headers, body, credentials)
        if answer:
            return answer
    return (yield from post(agent, path, headers, body, credentials))


def post(agent, path, headers, body, credentials=None):
    """The body of the server's answer."""
    response = agent.platform.http.open("POST", agent.config["https"] + path, headers, body, credentials)
    try:
        answer = yield from read_body(response, MAX_ANSWER_BYTES, agent.platform.clock)
    finally:
        response.close()
    if response.status != 200:
        text = "the server answered %d%s to the certificate request" % (response.status, _code(answer))
        if response.status >= 500 or response.status in TRANSIENT:
            raise UnreachableError("http_status", text)
        if response.status == 401 and "Authorization" in headers:
            raise RefusedError("secret_refused", text)
        raise RefusedError("enrol_refused", text + ": check device key and secret, or whether it has another key")
    return answer


def _code(answer):
    """The stable word in an error's body, of what a word may consist of."""
    _, _, rest = answer.partition(b'"code": "')
    word = rest.split(b'"')[0][:40]
    good = word and not [c for c in word if not (97 <= c <= 122 or c == 95)]
    return " (%s)" % word.decode() if good else ""


def store(agent, label, answer):
    """Check the certificate in the answer of EST against our key and anchors, and store its chain under the label."""
    from agent.clouds import est

    keep(agent, label, est.answer(answer))


def keep(agent, label, certificates):
    """The same for certificates in DER."""
    from agent import BUILT, life
    from agent.clouds import est
    from agent.crypto.verify import Whole

    platform = agent.platform
    public = platform.keys.public(label)

    def verify(key_type, scheme, issuer, data, signature):
        return platform.verify(key_type, scheme, issuer, Whole(data), signature)

    floor = max(BUILT, agent.record.get("clock", 0))
    chain = est.check(certificates, public, platform.anchors(), verify, floor)
    dates = life.dates(chain[0])
    chain = b"".join(chain)
    if len(chain) > MAX_CHAIN_BYTES:
        raise RefusedError("certificate", "its chain is larger than %d bytes" % MAX_CHAIN_BYTES)
    platform.store.save("cert." + label, chain)
    agent.record["life"] = dates  # saved with the event that follows
