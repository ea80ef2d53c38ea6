# SPDX-License-Identifier: MIT
"""Identity at a bench: the board makes its key and a request, and is handed the certificate.  Two acts, no network.

    csr(platform, config, subject)     the request (PEM), any number of times, for one key; `subject`: "", or what EnOS
                                       wants in front of the common name, "C=SG,ST=Singapore,L=Singapore,O=x,OU=y"
    accept(platform, config, text)     a certificate (PEM, leaf first), or the JSON document of `trueboot enos provision`,
                                       which holds the device secret as well

Rules kept: the private key stays where it was made; a certificate is stored only
when it fits that key and chains to a trust anchor; secret and certificate are
stored before the identity machine hears of them, so that a cut anywhere is
followed by the same act again.  What is accepted is on probation, as if the
device had enrolled by itself.  No agent may run meanwhile.
"""

import json

from agent import BUILT, identity, journal
from agent.clouds import est
from agent.errors import MisuseError, RefusedError
from agent.tasks.certificate import MAX_CHAIN_BYTES
from agent.wire import pem

MAX_CHARS = 8 * 1024
_NEXT = {identity.BLANK: ("started", True), identity.REGISTERED: ("key_made",), identity.KEYED: ("issued",)}


def csr(platform, config, subject=""):
    from agent.wire import csr

    before = []
    for part in subject.split(",") if subject else ():
        kind, _, text = part.partition("=")
        before.append((kind.strip(), text.strip()))

    state = _state(journal.load(platform.store))
    label, keys = state["label"], platform.keys
    if state["phase"] in _NEXT:
        keys.make(label)
    name = "%s/%s" % (config["product_key"], config["device_key"])
    request = csr.build(name, keys.public(label), lambda message: keys.sign(label, message), before)
    platform.log("identity.csr_made", {"subject": name})
    return pem.encode("CERTIFICATE REQUEST", request)


def accept(platform, config, text):
    """The phase that the identity is in now.  RefusedError("certificate") or ("bench_document"), MisuseError: nothing has
    changed then."""
    secret, text = _read(config, text)
    store = platform.store
    record = journal.load(store)
    state = _state(record)
    label = state["label"]
    data = _checked(platform, record, label, text)
    if state["phase"] not in _NEXT:
        if store.load("cert." + label) != data:
            raise MisuseError("has_certificate", "the device has another certificate, and renews it by itself")
        return state["phase"]
    if secret:
        store.save("secret", secret.encode())
    elif not (store.load("secret") or config["device_secret"]):
        raise MisuseError(
            "no_secret", "the device has no secret: give the document that holds it, or set device_secret"
        )
    store.save("cert." + label, data)
    while state["phase"] in _NEXT:
        event = _NEXT[state["phase"]]
        if event[0] == "issued":
            event = ("issued", platform.clock.wall())
        state, commands = identity.step(state, event)
        for command in commands:
            if command[0] == "log":
                platform.log(command[1], command[2])
    record["identity"] = state
    journal.save(store, record)
    return state["phase"]


def _state(record):
    return record.get("identity") or identity.initial()


def _read(config, text):
    """(secret or "", PEM)."""
    if len(text) > MAX_CHARS:
        raise RefusedError("bench_document", "longer than %d characters" % MAX_CHARS)
    if not text.lstrip().startswith("{"):
        return "", text
    try:
        document = json.loads(text)
    except ValueError:
        raise RefusedError("bench_document", "it is neither PEM nor JSON")
    for name in ("product_key", "device_key"):
        if document.get(name) != config[name]:
            raise RefusedError("bench_document", "it is for another device: its %s is not this one's" % name)
    secret, certificate = document.get("device_secret", ""), document.get("certificate")
    if not isinstance(secret, str) or not isinstance(certificate, str):
        raise RefusedError("bench_document", "certificate or device_secret is not a text")
    return secret, certificate


def _checked(platform, record, label, text):
    """The chain, as a record holds it."""
    from agent.crypto.verify import Whole

    def verify(key_type, scheme, issuer, data, signature):
        return platform.verify(key_type, scheme, issuer, Whole(data), signature)

    public = platform.keys.public(label)
    floor = max(BUILT, record.get("clock", 0))
    data = b"".join(est.check(pem.decode_all(text, "CERTIFICATE"), public, platform.anchors(), verify, floor))
    if len(data) > MAX_CHAIN_BYTES:
        raise RefusedError("certificate", "its chain is larger than %d bytes" % MAX_CHAIN_BYTES)
    return data
