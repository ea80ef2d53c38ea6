# SPDX-License-Identifier: MIT
"""Identity at a bench: a request out, a certificate in, and a power cut anywhere between."""

import json

import bench_ca
import remembered
from agent import journal
from agent.config import check
from agent.errors import AgentError
from agent.runtime import Agent
from agent.tasks import bench_identity
from agent.wire import appimage, csr, pem
from platform_adapters import memory
from tuf_repo import digest

CONFIG = {
    "product_key": "pk",
    "device_key": "dk",
    "https": "https://cloud:1",
    "mqtt": "mqtts://cloud:2",
    "hardware": "sim",
}
TIMEOUT_S = 120

REMEMBERS = True
remembered.signatures_of_file()


def device(**config):
    made = memory.Device(config=dict(CONFIG, **config), anchors=[bench_ca.root()])
    image = appimage.build({"main.py": b"print(1)"})
    made.install("a", image, {"version": "1.0.0", "sha256": digest(image), "security": 0})
    return made


def request(made, subject=""):
    platform = made.power_on()
    return bench_identity.csr(platform, check(platform.config), subject)


def accept(made, text):
    platform = made.power_on()
    return bench_identity.accept(platform, check(platform.config), text)


def issue(made, **how):
    """A certificate (PEM) for the device's key."""
    point = made.power_on().keys.public("a")
    return pem.encode("CERTIFICATE", bench_ca.certificate("pk/dk", point, **how))


def document(certificate, **changes):
    found = {
        "product_key": "pk",
        "device_key": "dk",
        "device_secret": "s1",
        "certificate": certificate,
        "asset_id": "x",
    }
    found.update(changes)
    return json.dumps(found)


def code(function, *arguments):
    try:
        function(*arguments)
    except AgentError as error:
        return error.code
    return ""


def phase(made):
    return (journal.load(made.power_on().store).get("identity") or {}).get("phase", "blank")


def test_a_key_is_made_once_and_the_request_names_the_device():
    made = device()
    first, again = request(made), request(made)
    assert first == again and first.startswith("-----BEGIN CERTIFICATE REQUEST-----\n")
    keys = made.power_on().keys
    assert pem.decode(first, "CERTIFICATE REQUEST") == csr.build(
        "pk/dk", keys.public("a"), lambda message: keys.sign("a", message)
    )
    assert phase(made) == "blank"


def test_a_subject_as_enos_wants_it():
    made = device()
    plain = pem.decode(request(made), "CERTIFICATE REQUEST")
    full = pem.decode(request(made, "C=SG, ST=Singapore,L=Singapore,O=DECADA,OU=DECADA CA"), "CERTIFICATE REQUEST")
    assert b"\x06\x03\x55\x04\x06\x13\x02SG" in full and b"\x0c\x09DECADA CA" in full and len(full) > len(plain)
    assert full.find(b"DECADA CA") < full.find(b"pk/dk")
    for subject in ("C=SGP", "X=y", "O=", "O", "CN=x", "O=" + "x" * 65, ",", "C=SG,,"):
        assert code(request, made, subject) == "csr_subject", subject


def test_a_document_brings_secret_and_certificate_and_may_come_again():
    made = device()
    request(made)
    text = document(issue(made))
    assert accept(made, text) == "probation" and accept(made, text) == "probation"
    assert made.records["secret"] == b"s1"
    agent = Agent(made.power_on())
    assert agent.device_secret() == "s1" and agent.identity["phase"] == "probation"
    assert agent.credentials()[1][0] == pem.decode(issue(made), "CERTIFICATE")
    assert agent.update_state["version"] == "1.0.0"  # the rest of the journal is as at a first boot


def test_a_bare_certificate_will_do_where_the_secret_is_known():
    made = device(device_secret="s1")
    request(made)
    assert accept(made, "bag attributes\n" + issue(made)) == "probation"
    assert "secret" not in made.records
    bare = device()
    request(bare)
    assert code(accept, bare, issue(bare)) == "no_secret"
    assert phase(bare) == "blank" and "cert.a" not in bare.records


def test_what_does_not_fit_changes_nothing():
    made = device()
    assert code(accept, made, document("x")) == "no_key"
    request(made)
    other = device(device_key="dk2")
    other.seed = b"another board"
    request(other)
    good = issue(made)
    cases = (
        (document(issue(other)), "certificate"),
        (document(issue(made, secret=bytes(31) + b"\x07")), "certificate"),
        (document(issue(made, issuer="another CA")), "certificate"),
        (document(issue(made, is_ca=True)), "certificate"),
        (document(issue(made, end=b"260201000000Z")), "certificate"),  # over before this agent was built
        (document(""), "certificate"),
        (document(good.replace("M", "!")), "pem"),
        (document(good, device_key="dk2"), "bench_document"),
        (document(good, product_key=None), "bench_document"),
        (document(good, device_secret=5), "bench_document"),
        (document([good]), "bench_document"),
        ("{" + good, "bench_document"),
        (document(good, note="x" * 9000), "bench_document"),
    )
    before = dict(made.records)
    for text, wanted in cases:
        assert code(accept, made, text) == wanted, (text[:60], wanted)
        assert made.records == before
    assert accept(made, document(good)) == "probation"


def test_a_device_in_use_keeps_what_it_has():
    made = device()
    request(made)
    text = document(issue(made))
    accept(made, text)
    agent = Agent(made.power_on())
    agent.save(identity=dict(agent.identity, phase="enrolled"))
    assert accept(made, text) == "enrolled"
    assert code(accept, made, document(issue(made, serial=6))) == "has_certificate"
    assert request(made) and phase(made) == "enrolled"


def test_a_cut_anywhere_and_the_same_acts_again():
    whole = device()
    first = request(whole)
    text = document(issue(whole))
    accept(whole, text)
    effects = whole.effects
    assert effects >= 4  # key, secret, certificate, journal
    for number in range(1, effects + 1):
        for way in (memory.BEFORE, memory.TORN, memory.AFTER):
            made = device()
            made.cuts = {number: way}
            for _ in range(3):
                try:
                    again = request(made)
                    accept(made, document(issue(made)))
                except memory.PowerCut:
                    # What was cut is no identity yet, or the whole of it.
                    assert phase(made) in ("blank", "probation")
                    continue
                break
            assert phase(made) == "probation" and made.records["secret"] == b"s1"
            assert again.startswith(first[:40]) and len(made.secrets) == 1
            agent = Agent(made.power_on())
            assert agent.credentials()[1][0] == pem.decode(issue(made), "CERTIFICATE")
