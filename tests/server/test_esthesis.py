# SPDX-License-Identifier: MIT
"""esthesis CORE at our server: registration, MQTT, commands, jobs; with a client as the protocol document describes it."""

import hashlib
import itertools

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from esthesis_client import EsthesisDevice, EsthesisSession
from server_client import Operator, ServerThread, jws

PRODUCT, SECRET = "esthesis-1", "a registration secret"
IMAGE, PATH = b"an image of 1.1.0", "app/sim/1.1.0/app.img"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    operator = Operator(running.first)
    operator.post("/api/v1/products", {"product_key": PRODUCT, "dialect": "esthesis"})
    operator.publish(PATH, IMAGE)
    yield running
    running.stop()


@pytest.fixture
def mode(operator):
    def change(**policy):
        answer = operator.call("POST", f"/api/v1/products/{PRODUCT}/policy", policy)
        assert answer.status_code == 200, answer.text
        return answer.json()

    change(registration="OPEN", pushed_tags=True, generated_keys=True)
    return change


@pytest.fixture
def device(server, tmp_path):
    return EsthesisDevice(server.first, f"dev-{next(_numbers)}", tmp_path)


@pytest.fixture
def session(mode, device):
    assert device.register() == 200
    session = device.connect()
    assert session.code == 0
    yield session
    session.close()


def shown(operator, device):
    return operator.get(f"/api/v1/devices/{PRODUCT}/{device.hardware_id}")


def known(operator):
    return {d["device_key"] for d in operator.get("/api/v1/devices")["devices"]}


# Registration


def test_a_key_born_on_the_device_is_certified_and_no_private_key_travels(mode, device):
    assert device.register() == 200
    reply = device.reply
    leaf, *rest = x509.load_pem_x509_certificates(reply["certificate"].encode())
    assert leaf.public_key() == device.key.public_key() and rest
    assert reply["privateKey"] is None and reply["deviceSecret"] is None and reply["productKey"] == PRODUCT
    assert reply["mqttServer"].startswith("ssl://") and not reply["provisioningUrl"].endswith("/")
    spki = device.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert reply["publicKey"] == spki


def test_a_client_without_a_request_is_given_an_rsa_key_once_and_the_server_keeps_none(server, mode, device):
    assert device.register(csr=False) == 200
    key = load_pem_private_key(device.reply["privateKey"].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey) and key.key_size == 2048
    assert device.reply["privateKey"].startswith("-----BEGIN PRIVATE KEY-----")
    secret = key.private_numbers().p.to_bytes(128, "big")
    lines = [line.encode() for line in device.reply["privateKey"].splitlines()[1:-1]]
    for file in server.server._options.state.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert secret not in content and not any(line in content for line in lines[4:-4]), file
    session = device.connect()
    assert session.code == 0
    session.close()
    assert device.register(csr=False) == 500  # who lost it needs an operator


def test_the_same_request_again_gives_the_same_certificate_and_another_key_none(operator, mode, device):
    assert device.register() == 200
    first = device.reply["certificate"]
    assert device.register() == 200 and device.reply["certificate"] == first
    thief = EsthesisDevice(device.first, device.hardware_id, device.folder)
    assert thief.register() == 500
    answer = thief.post(thief.body())
    assert set(answer.json()) == {"errorMessage", "traceId"} and answer.headers["Content-Type"].startswith(
        "application/json"
    )
    assert operator.call("POST", f"/api/v1/devices/{PRODUCT}/{device.hardware_id}/replace", {}).status_code == 200
    assert thief.register() == 200


@pytest.mark.parametrize(
    "path", ["/api/v1/register", "/api/agent/v1/register", "/api//v1/register", "/api/agent//v1/register"]
)
def test_every_spelling_of_the_road(mode, device, path):
    assert device.post(device.body(), path).status_code == 200


def test_the_four_modes(operator, mode, device):
    mode(registration="DISABLED")
    assert device.register() == 500
    mode(registration="ID")
    assert device.register() == 500 and device.hardware_id not in known(operator)
    operator.post("/api/v1/devices", {"product_key": PRODUCT, "device_key": device.hardware_id})
    assert device.register() == 200
    mode(registration="OPEN_WITH_SECRET", registration_secret=SECRET)
    other = EsthesisDevice(device.first, device.hardware_id + "b", device.folder)
    assert other.register(registrationSecret="wrong one") == 500 and other.hardware_id not in known(operator)
    assert other.register(registrationSecret=SECRET) == 200


def test_a_secret_is_asked_for_before_it_counts_and_is_never_shown(server, operator, mode):
    assert (
        operator.call("POST", f"/api/v1/products/{PRODUCT}/policy", {"registration_secret": "short"}).status_code == 400
    )
    product = mode(registration="OPEN_WITH_SECRET", registration_secret=SECRET)
    assert product["registration_secret"] is True and SECRET not in str(operator.get("/api/v1/products"))
    assert SECRET not in server.log()


def test_tags_and_attributes_of_a_registration(operator, mode, device):
    assert (
        device.register(tags="left,b_1,!bad", attributes="k1=v1,k2=2;INTEGER,k3=2.5,k4=7;STRING,k5=on;boolean") == 500
    )
    assert device.hardware_id not in known(operator)
    assert (
        device.register(tags="left,b_1,!bad", attributes="k1=v1,k2=2;INTEGER,k3=2.5,k4=7;STRING,k5=true;boolean") == 200
    )
    found = shown(operator, device)
    assert found["attributes"] == {"k1": "v1", "k2": 2, "k3": 2.5, "k4": "7", "k5": True}
    assert set(found["tags"]) == {"left", "b_1"}
    mode(pushed_tags=False)
    other = EsthesisDevice(device.first, device.hardware_id + "b", device.folder)
    assert other.register(tags="left") == 200 and shown(operator, other)["tags"] == {}


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"hardwareId": "a/b"}, 400),
        ({"hardwareId": "ab"}, 400),
        ({"hardwareId": 7}, 400),
        ({"hardwareId": "x" * 200}, 400),
        ({"type": "THING"}, 400),
        ({"type": None}, 400),
        ({"tags": ["a"]}, 400),
        ({"attributes": "a=b=c"}, 500),
        ({"attributes": "a"}, 500),
        ({"attributes": "a=b;COLOUR"}, 500),
        ({"attributes": "a=x;INTEGER"}, 500),
        ({"csr": "nothing"}, 400),
        ({"csr": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"}, 400),
        ({"csr": 7}, 400),
    ],
)
def test_registrations_that_cannot_be_change_nothing(operator, mode, device, changed, status):
    before = known(operator)
    answer = device.post({**device.body(), **changed})
    assert answer.status_code == status and set(answer.json()) == {"errorMessage", "traceId"}
    assert known(operator) == before


def test_members_that_nobody_knows_are_ignored_and_null_is_nothing(mode, device):
    assert device.register(capabilities=["PING"], tags=None, attributes=None, whatever={"a": 1}) == 200


def test_a_body_that_is_none(mode, device):
    import requests

    for data, status in ((b"[]", 400), (b"{", 400), (b"x" * 20_000, 413)):
        answer = requests.post(device.first["https"] + "/api/v1/register", data=data, verify=device.first["ca_file"])
        assert answer.status_code == status and "errorMessage" in answer.json()


# MQTT


def test_a_certificate_lets_its_own_hardware_id_in_and_no_other(server, mode, device, tmp_path):
    assert device.register() == 200
    other = EsthesisDevice(server.first, device.hardware_id + "x", tmp_path / "other")
    (tmp_path / "other").mkdir()
    assert other.register() == 200
    stranger = EsthesisSession(device, other.hardware_id, False)
    assert stranger.code not in (0, None)
    stranger.close()


def test_topics_of_others_are_closed(operator, session, device):
    assert session.subscribe("esthesis/command/request/another") >= 128
    assert session.subscribe("esthesis/#") >= 128
    session.say("telemetry", "cpu load=1", qos=0, hardware_id="another")
    assert session.closed.get(timeout=20) == 0


def test_a_ping_counts_by_our_clock_and_telemetry_is_kept(operator, session, device):
    session.say("ping", "health ping=1999-01-01T00:00:00Z")
    assert shown(operator, device)["last_seen"] > "2020"
    session.say(
        "telemetry", "# a comment\ncpu load=1,temperature=20.5 2022-01-01T01:02:03Z\nnet ip='primary 1.2',up=true"
    )
    found = shown(operator, device)["telemetry"]
    assert {name: point["value"] for name, point in found.items()} == {
        "cpu.load": 1,
        "cpu.temperature": 20.5,
        "net.ip": "primary 1.2",
        "net.up": True,
    }
    assert found["cpu.load"]["time"].startswith("2022-01-01T01:02:03")


def test_a_bad_line_spoils_no_other_and_is_told(operator, session, device):
    session.say("telemetry", "cpu\nmem free=1\ncpu load=,x=2\n")
    assert list(shown(operator, device)["telemetry"]) == ["mem.free"]
    told = operator.wait_for("elp.unusable", device_key=device.hardware_id)
    assert told["lines"] == 2
    session.say("telemetry", b"\xff\xfe\x00 a=1")  # what is no text is a strange name, and hurts nobody
    session.say("telemetry", "mem free=2")
    assert shown(operator, device)["telemetry"]["mem.free"]["value"] == 2


def test_commands_and_replies(operator, session, device):
    road = f"/api/v1/devices/{PRODUCT}/{device.hardware_id}/esthesis-commands"
    sent = operator.call("POST", road, {"type": "execute", "command": "ls", "arguments": "-la /etc", "wait_s": 0})
    assert sent.status_code == 201 and sent.json()["succeeded"] is None
    number, rest = session.hear().split(" ", 1)
    assert number == sent.json()["id"] and rest == "es ls -la /etc"
    session.say("command/reply", f"{number} s total 0\nfile")
    found = operator.get(f"{road}/{number}")
    assert found["succeeded"] is True and found["output"] == "total 0\nfile" and not found["trimmed"]
    session.say("command/reply", f"{number} f a second reply")
    assert operator.get(f"{road}/{number}")["succeeded"] is True
    kinds = {"firmware": "fa", "reboot": "ra", "shutdown": "sa", "ping": "pa", "health": "ha"}
    for kind, letters in kinds.items():
        operator.post(road, {"type": kind, "asynchronous": True, "wait_s": 0})
        assert session.hear().split(" ")[1:] == [letters]
    assert [c["type"] for c in operator.get(road)["commands"]][:2] == ["health", "ping"]


def test_replies_that_are_none_and_of_others_change_nothing(operator, mode, session, device, tmp_path):
    road = f"/api/v1/devices/{PRODUCT}/{device.hardware_id}/esthesis-commands"
    number = operator.post(road, {"type": "ping", "wait_s": 0})["id"]
    session.hear()
    (tmp_path / "other").mkdir()
    other = EsthesisDevice(device.first, device.hardware_id + "x", tmp_path / "other")
    assert other.register() == 200
    stranger = other.connect()
    stranger.say("command/reply", f"{number} s forged")
    stranger.close()
    for wrong in ("", number, f"{number} s", f"{number} x output", f"{'0' * 24} s output", "\xff" * 40):
        session.say("command/reply", wrong)
    assert operator.get(f"{road}/{number}")["replied_at"] is None
    session.say("command/reply", f"{number} s ")
    assert operator.get(f"{road}/{number}")["output"] == ""


def test_a_command_waits_for_its_reply_and_a_device_that_does_not_listen_is_not_there(operator, mode, device):
    road = f"/api/v1/devices/{PRODUCT}/{device.hardware_id}/esthesis-commands"
    assert device.register() == 200
    deaf = device.connect(subscribe=False)
    assert operator.call("POST", road, {"type": "ping"}).json()["error"]["code"] == "device_offline"
    deaf.close()
    for body in (
        {"type": "dance"},
        {"type": "execute"},
        {"type": "execute", "command": "a b"},
        {"type": "ping", "arguments": "x"},
    ):
        assert operator.call("POST", road, body).status_code == 400
    decada = operator.post("/api/v1/devices", {"device_key": "of-decada-" + device.hardware_id})
    wrong = f"/api/v1/devices/{decada['product_key']}/{decada['device_key']}/esthesis-commands"
    assert operator.call("POST", wrong, {"type": "ping"}).json()["error"]["code"] == "wrong_dialect"
    service = operator.call("POST", road.replace("esthesis-commands", "commands"), {"service": "blink"})
    assert service.json()["error"]["code"] == "wrong_dialect"


# Jobs


def job(operator, device):
    return operator.post("/api/v1/jobs", {"target": PATH, "product_key": PRODUCT, "devices": [device.hardware_id]})


def attempt(operator, started):
    return operator.get(f"/api/v1/jobs/{started['id']}")["attempts"][0]


def report(device, **changed):
    device.seq = getattr(device, "seq", 0) + 1
    claims = {
        "aud": PRODUCT,
        "sub": f"{PRODUCT}/{device.hardware_id}",
        "outcome": "running",
        "version": "1.1.0",
        "image": hashlib.sha256(IMAGE).hexdigest(),
        "slot": "b",
        "boot": 1,
        "seq": device.seq,
        "job": None,
        "nonce": None,
        "target_version": None,
        "reason": "",
        "floor": 0,
        "measured": "boot",
    }
    return jws(device.key, {**claims, **changed})


def test_a_job_is_a_firmware_command_and_only_a_report_makes_it_updated(server, operator, session, device):
    started = job(operator, device)
    number, letters, package = session.hear().split(" ")
    assert (
        letters == "fs"
        and len(number) == len(package) == 24
        and int(number, 16) == int(attempt(operator, started)["id"])
    )
    session.say("command/reply", f"{number} s initiated")
    assert attempt(operator, started)["state"] == "pushed"
    named = attempt(operator, started)["id"]
    session.say("metadata", f"trueboot job='{named}',step=40i,desc='downloading'")
    assert attempt(operator, started)["state"] == "in_progress" and attempt(operator, started)["step"] == 40
    nonce = server.call(lambda s: _nonce(s, named))
    mine = {"job": named, "nonce": nonce, "target_version": "1.1.0"}
    session.say("metadata", f"trueboot report='{report(device, outcome='trial', **mine)}'")
    assert attempt(operator, started)["state"] == "on_trial"
    session.say("metadata", "health firmware='1.1.0'")
    assert attempt(operator, started)["state"] == "claimed"
    told = report(device, outcome="updated", boot=2, **mine)
    session.say("metadata", f"health firmware='1.1.0'\ntrueboot report='{told}'")
    assert attempt(operator, started)["state"] == "updated" and shown(operator, device)["proven_version"] == "1.1.0"


def _nonce(server, attempt_id):
    from trueboot_server.store.schema import attempts

    with server.store.transaction() as t:
        return t.row(attempts.select().where(attempts.c.id == int(attempt_id))).nonce


def test_a_forged_report_and_one_of_another_version_change_nothing(operator, session, device):
    forger = ec.generate_private_key(ec.SECP256R1())
    device.key, mine = forger, device.key
    session.say("metadata", f"health firmware='9.9.9'\ntrueboot report='{report(device, version='9.9.9')}'")
    device.key = mine
    session.say("metadata", f"health firmware='9.9.9'\ntrueboot report='{report(device, version='1.0.0')}'")
    session.say("metadata", "trueboot report='nonsense'")
    assert operator.wait_for("report.rejected", device_key=device.hardware_id)
    found = shown(operator, device)
    assert found["claimed_version"] is None and found["proven_version"] is None


def test_a_device_that_refuses_the_command_ends_its_part_and_one_that_was_away_is_told_when_it_listens(
    operator, mode, device
):
    assert device.register() == 200
    started = job(operator, device)
    session = device.connect()
    number = session.hear().split(" ")[0]
    session.close()
    session = device.connect()
    assert session.hear().split(" ")[0] == number
    session.say("command/reply", f"{number} f current version unknown")
    found = attempt(operator, started)
    assert found["state"] == "failed" and "current version unknown" in found["reason"]
    session.say("metadata", "trueboot job='999999',step=5i,desc='of nobody'")
    assert operator.wait_for("elp.unusable", device_key=device.hardware_id)
    session.close()
