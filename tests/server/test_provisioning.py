# SPDX-License-Identifier: MIT
"""What devices ask in esthesis's language: find, find by id, download; tokens of both forms, used once; limits."""

import base64
import concurrent.futures
import hashlib
import itertools
from urllib.parse import quote

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from esthesis_client import EsthesisDevice
from server_client import Operator, ServerThread, jws

from trueboot_server.limits import Limits

PRODUCT = "esthesis-1"
IMAGE, PATH = b"an image of 1.1.0" * 40_000, "app/sim/1.1.0/app.img"
FIND, BY_ID, DOWNLOAD = "/api/v1/provisioning/find", "/api/v1/provisioning/find/by-id", "/api/v1/provisioning/download"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = Limits(queries=1000, failed_proofs=1000)
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", limits)
    operator = Operator(running.first)
    operator.post("/api/v1/products", {"product_key": PRODUCT, "dialect": "esthesis"})
    operator.publish(PATH, IMAGE)
    yield running
    running.stop()


@pytest.fixture
def policy(operator):
    def change(**values):
        answer = operator.call("POST", f"/api/v1/products/{PRODUCT}/policy", values)
        assert answer.status_code == 200, answer.text

    change(registration="OPEN", pushed_tags=True, tokens="required", auto_update="off")
    yield change
    for package in operator.get("/api/v1/packages")["packages"]:
        assert operator.call("DELETE", f"/api/v1/packages/{package['id']}").status_code == 204


@pytest.fixture
def device(server, policy, tmp_path):
    device = EsthesisDevice(server.first, f"dev-{next(_numbers)}", tmp_path)
    assert device.register(tags="left") == 200
    return device


@pytest.fixture
def rsa_device(server, policy, tmp_path):
    device = EsthesisDevice(server.first, f"rsa-{next(_numbers)}", tmp_path)
    assert device.register(csr=False) == 200
    return device


def get(device, path, query, **headers):
    url = device.first["https"] + path + (f"?{query}" if query else "")
    return requests.get(url, headers=headers, verify=device.first["ca_file"], timeout=20)


def token(device, path, query, /, **changed):
    nonce = requests.post(
        device.first["https"] + "/api/device/v1/nonce", verify=device.first["ca_file"], timeout=20
    ).json()["nonce"]
    claims = {"nonce": nonce, "method": "GET", "path": path, "query": query}
    claims |= {"aud": device.first["https"], "sub": device.hardware_id, "iat": 0, **changed}
    return jws(device.key, claims, {"typ": "trueboot-query+jwt"})


def ask(device, version="1.0.0", path=FIND, more=""):
    query = more or f"hardwareId={device.hardware_id}&version={version}"
    return get(device, path, query, **{"Trueboot-Token": token(device, path, query)})


def rsa_token(device, text=None):
    key = load_pem_private_key(device.reply["privateKey"].encode(), None)
    signature = key.sign((text or device.hardware_id).encode(), padding.PKCS1v15(), hashes.SHA256())
    return quote(base64.b64encode(signature).decode(), safe="")


def order(operator, device):
    return operator.post("/api/v1/jobs", {"target": PATH, "product_key": PRODUCT, "devices": [device.hardware_id]})


def fetch(device, found, **headers):
    return get(device, DOWNLOAD, "token=" + found["downloadToken"], **headers)


def upload(operator, content):
    sha256 = hashlib.sha256(content).hexdigest()
    answer = operator.call("PUT", f"/api/v1/packages/files/{sha256}", data=content)
    assert answer.status_code == 201, answer.text
    return sha256


def package(operator, version, sha256, **more):
    body = {"product_key": PRODUCT, "name": "fw", "version": version, "sha256": sha256, **more}
    answer = operator.call("POST", "/api/v1/packages", body)
    assert answer.status_code == 201, answer.text
    return answer.json()


# What is found


def test_nothing_newer_is_200_and_an_empty_id(device):
    answer = ask(device)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == {
        **dict.fromkeys(("id", "name", "version", "type", "downloadUrl", "sha256", "downloadToken")),
        "size": 0,
    }


def test_an_ordered_release_is_found_and_downloaded_once(operator, device):
    job = order(operator, device)
    found = ask(device).json()
    assert (found["version"], found["type"], found["size"], found["target"]) == ("1.1.0", "INTERNAL", len(IMAGE), PATH)
    assert found["sha256"] == hashlib.sha256(IMAGE).hexdigest() and len(found["id"]) == 24
    assert len(found["downloadToken"]) == 32 and set(found["downloadToken"]) <= set("0123456789abcdef")
    assert found["job"] == job["attempts"][0]["id"] and found["nonce"]
    again = ask(device, path=BY_ID, more=f"hardwareId={device.hardware_id}&packageId={found['id']}").json()
    assert again["job"] == found["job"] and again["downloadToken"] != found["downloadToken"]
    whole = fetch(device, found)
    assert (
        whole.status_code == 200
        and whole.content == IMAGE
        and whole.headers["Content-Type"] == "application/octet-stream"
    )
    for used in (found, again):
        assert fetch(device, used).status_code == 410


def test_a_download_resumes_until_it_is_whole(operator, device):
    order(operator, device)
    found = ask(device).json()
    first = fetch(device, found, Range="bytes=0-99999")
    assert first.status_code == 206 and first.content == IMAGE[:100_000]
    rest = fetch(device, found, **{"Range": "bytes=100000-", "If-Range": first.headers["ETag"]})
    assert rest.status_code == 206 and first.content + rest.content == IMAGE
    assert fetch(device, found).status_code == 410


def test_of_sixteen_that_race_for_one_token_exactly_one_comes_to_the_end(operator, device):
    order(operator, device)
    found = ask(device).json()

    def one(_):
        try:
            answer = fetch(device, found)
            return answer.status_code == 200 and answer.content == IMAGE
        except requests.exceptions.RequestException:
            return False

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(one, range(16))) == 1


def test_a_device_that_asks_often_ends_no_other_devices_download(server, operator, device, tmp_path):
    patient = EsthesisDevice(server.first, f"dev-{next(_numbers)}", tmp_path)
    assert patient.register() == 200
    for one in (patient, device):
        order(operator, one)
    found = ask(patient).json()
    kept = server.call(lambda s: s.desk.tickets._limits)
    server.call(lambda s: setattr(s.desk.tickets, "_limits", Limits(tickets=4)))
    try:
        for _ in range(5):
            last = ask(device).json()
    finally:
        server.call(lambda s: setattr(s.desk.tickets, "_limits", kept))
    assert fetch(patient, found).content == IMAGE and fetch(device, last).content == IMAGE


def test_a_token_lives_as_long_as_it_is_told(server, operator, device):
    order(operator, device)
    found = ask(device).json()
    clock = server.call(lambda s: s.store._clock)
    server.call(lambda s: setattr(s.store, "_clock", lambda: clock() + 3_600_001))
    try:
        assert fetch(device, found).status_code == 410
        server.call(lambda s: s.desk.expire())
    finally:
        server.call(lambda s: setattr(s.store, "_clock", clock))
    assert fetch(device, found).status_code == 410  # collected


def test_packages_are_found_by_tag_and_version_and_a_prerequisite_is_no_dead_end(operator, device):
    files = [upload(operator, b"package %d" % n) for n in range(4)]
    package(operator, "1.0.9", files[0])
    package(operator, "2.0.0", files[1], prerequisite="1.0.9", tags=["left"])
    package(operator, "3.0.0", files[2], tags=["right"])
    hidden = package(operator, "4.0.0", files[3])
    operator.post(f"/api/v1/packages/{hidden['id']}/available", {"available": False})
    assert ask(device, "1.0.0").json()["version"] == "1.0.9"
    found = ask(device, "1.0.9").json()  # esthesis never comes here
    assert found["version"] == "2.0.0" and "job" not in found
    assert fetch(device, found).content == b"package 1"
    assert ask(device, "2.0.0").json()["id"] is None
    assert ask(device, "nonsense").json()["id"] is None
    by_id = ask(device, path=BY_ID, more=f"hardwareId={device.hardware_id}&packageId={hidden['id']}")
    assert by_id.status_code == 200 and by_id.json()["id"] is None


def test_an_answer_that_was_kept_holds_until_something_is_written_and_no_longer(operator, device):
    def found():
        answer = ask(device)
        assert answer.status_code == 200
        return answer.json()["version"]

    assert [found(), found()] == [None, None]
    made = package(operator, "6.0.0", upload(operator, b"kept"), tags=["late"])
    assert found() is None
    operator.call("POST", f"/api/v1/packages/{made['id']}/available", {"available": False})
    other = package(operator, "6.0.1", upload(operator, b"kept"))
    assert found() == "6.0.1"
    operator.call("POST", f"/api/v1/packages/{other['id']}/available", {"available": False})
    assert [found(), found()] == [None, None]
    order(operator, device)
    assert found() == "1.1.0"
    assert operator.call("POST", f"/api/v1/devices/{PRODUCT}/{device.hardware_id}/revoke").status_code in (200, 204)
    assert ask(device).status_code == 401


def test_over_a_connection_that_stays_a_revocation_holds_from_the_next_question(operator, device, policy):
    policy(tokens="off")
    with requests.Session() as session:
        session.trust_env = False
        session.verify, session.cert = device.first["ca_file"], (str(device.chain), str(device.key_file))
        url = f"{device.first['https']}{FIND}?hardwareId={device.hardware_id}&version=1.0.0"
        assert [session.get(url, timeout=20).status_code for _ in range(3)] == [200] * 3
        operator.call("POST", f"/api/v1/devices/{PRODUCT}/{device.hardware_id}/revoke")
        assert session.get(url, timeout=20).status_code == 401


def test_an_external_package_has_an_address_and_no_token(operator, device):
    made = package(operator, "5.0.0", "ab" * 32, url="https://127.0.0.1:9/fw.bin")
    found = ask(device).json()
    assert (found["type"], found["size"], found["downloadToken"]) == ("EXTERNAL", 0, None)
    assert found["downloadUrl"] == made["url"] and found["sha256"] == "ab" * 32


def test_a_product_that_updates_by_itself(operator, policy, device):
    assert ask(device).json()["id"] is None
    policy(auto_update="latest")
    found = ask(device, "1.0.0").json()
    assert found["version"] == "1.1.0" and found["job"]


@pytest.mark.parametrize("prefix", ["/api/agent/v1", "/api//v1", "/api/agent//v1"])
def test_every_spelling_of_the_roads(device, prefix):
    path = FIND.replace("/api/v1", prefix)
    assert ask(device, path=path).status_code == 200
    assert get(device, DOWNLOAD.replace("/api/v1", prefix), "token=0").status_code == 410


# Who asks


def test_the_token_of_the_original_is_verified_and_its_verdict_honoured(rsa_device, device):
    query = f"hardwareId={rsa_device.hardware_id}&version=1.0.0&token="
    assert get(rsa_device, FIND, query + rsa_token(rsa_device)).status_code == 200
    refused = get(rsa_device, FIND, query + rsa_token(rsa_device, "another-id"))
    assert refused.status_code == 401 and refused.content == b""
    for wrong in ("", "%25", "AAAA", quote(base64.b64encode(b"\0" * 256).decode(), safe=""), "A" * 900):
        assert get(rsa_device, FIND, query + wrong).status_code == 401
    other = f"hardwareId={device.hardware_id}&version=1.0.0&token={rsa_token(rsa_device, device.hardware_id)}"
    assert get(rsa_device, FIND, other).status_code == 401


def test_a_token_of_ours_is_good_for_one_question_once(device):
    query = f"hardwareId={device.hardware_id}&version=1.0.0"
    good = token(device, FIND, query)
    assert get(device, FIND, query, **{"Trueboot-Token": good}).status_code == 200
    assert get(device, FIND, query, **{"Trueboot-Token": good}).status_code == 401  # replayed


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "POST"},
        {"path": BY_ID},
        {"query": "hardwareId=x"},
        {"aud": "https://elsewhere"},
        {"sub": "another"},
        {"nonce": "AAAA"},
        {"nonce": None},
        {"more": 1},
    ],
)
def test_a_token_for_anything_else_is_refused(device, changed):
    query = f"hardwareId={device.hardware_id}&version=1.0.0"
    refused = get(device, FIND, query, **{"Trueboot-Token": token(device, FIND, query, **changed)})
    assert refused.status_code == 401 and refused.content == b""


def test_nobody_asks_in_anothers_name_and_an_unknown_id_looks_the_same(server, operator, device, tmp_path):
    query = f"hardwareId={device.hardware_id}&version=1.0.0"
    thief = EsthesisDevice(server.first, device.hardware_id, tmp_path)
    thief.key = ec.generate_private_key(ec.SECP256R1())
    forged = get(device, FIND, query, **{"Trueboot-Token": token(thief, FIND, query)})
    unknown = get(device, FIND, "hardwareId=nobody&version=1.0.0")
    without = get(device, FIND, query)
    absent = get(device, FIND, "")
    for refused in (forged, unknown, without, absent):
        assert (refused.status_code, refused.content) == (401, b"")
    operator.post(f"/api/v1/devices/{PRODUCT}/{device.hardware_id}/revoke", {})
    assert ask(device).status_code == 401


def test_a_product_may_do_without_tokens(operator, policy, device):
    query = f"hardwareId={device.hardware_id}&version=1.0.0"
    policy(tokens="optional")
    seen = operator.get(f"/api/v1/devices/{PRODUCT}/{device.hardware_id}")["last_seen"]
    assert get(device, FIND, query).status_code == 200
    assert (
        operator.get(f"/api/v1/devices/{PRODUCT}/{device.hardware_id}")["last_seen"] == seen
    )  # anybody may have asked
    assert get(device, FIND, query, **{"Trueboot-Token": "nonsense"}).status_code == 401
    policy(tokens="off")
    assert get(device, FIND, query, **{"Trueboot-Token": "nonsense"}).status_code == 200


# How often


def test_five_questions_in_five_minutes_and_nobody_uses_up_anothers(server, policy, device):
    from trueboot_server.proofs import FailedProofs

    kept = server.call(lambda s: s.desk.queries)
    now = [0.0]
    server.call(lambda s: setattr(s.desk, "queries", FailedProofs(5, 300, 100, lambda: now[0])))
    try:
        query = f"hardwareId={device.hardware_id}&version=1.0.0"
        policy(tokens="optional")
        assert [get(device, FIND, query).status_code for _ in range(6)] == [200] * 5 + [429]
        policy(tokens="required")
        assert [ask(device).status_code for _ in range(5)] == [200] * 5  # its own are left
        limited = ask(device)
        assert (limited.status_code, limited.content) == (429, b"") and 0 < int(limited.headers["Retry-After"]) <= 301
        now[0] = 301.0
        assert ask(device).status_code == 200
    finally:
        server.call(lambda s: setattr(s.desk, "queries", kept))


def test_failed_proofs_wait_for_their_address(server, device):
    from trueboot_server.proofs import FailedProofs

    kept = server.call(lambda s: [p for p in [s.app] for k, p in p.items() if k.__class__.__name__ == "AppKey"])
    parts = next(part for part in kept if hasattr(part, "proofs"))
    before = parts.proofs
    server.call(lambda s: setattr(parts, "proofs", FailedProofs(3, 300, 100)))
    try:
        codes = [get(device, FIND, "hardwareId=nobody").status_code for _ in range(4)]
        assert codes == [401] * 3 + [429]
    finally:
        server.call(lambda s: setattr(parts, "proofs", before))


# Bad input


@pytest.mark.parametrize(
    "wanted", ["", "token=", "token=" + "0" * 32, "token=..%2F..%2Fserver.db", "token=" + "x" * 5000, "nothing=1"]
)
def test_downloads_that_are_none(device, wanted):
    answer = get(device, DOWNLOAD, wanted)
    assert answer.status_code == 410 and set(answer.json()) == {"errorMessage", "traceId"}


@pytest.mark.parametrize("road", [FIND, BY_ID])
@pytest.mark.parametrize(
    "query",
    [
        "hardwareId",
        "hardwareId=%00",
        "hardwareId=%ff%fe",
        "hardwareId=" + "x" * 6000,
        "hardwareId=ID&hardwareId=ID",
        "hardwareId=ID&version=" + "9" * 3000,
        "hardwareId=ID&version=1.0.0&token=%F0%9F%98%80",
        "hardwareId=ID&version=1.0.0&token=" + "A" * 344,
        "hardwareId=ID%2F..&packageId=..%2F..%2Fserver.db",
        "hardwareId=*",
        "hardwareId=%25",
        "hardwareId=ID'%20OR%201=1--",
    ],
)
def test_questions_that_prove_nobody_are_refused_in_silence(device, road, query):
    answer = get(device, road, query.replace("ID", device.hardware_id))
    assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "A" * 5000, "eyJhbGciOiJub25lIn0.e30.", "\xe9\xff", "a.b.c.d", '{"alg":"none"}']
)
def test_tokens_that_are_none(device, text):
    answer = get(
        device, FIND, f"hardwareId={device.hardware_id}&version=1.0.0", **{"Trueboot-Token": text.encode("latin-1")}
    )
    assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.parametrize(
    "version", ["", "1", "1.0", "v1.0.0", "1.0.0\n", "%00", "9" * 400 + ".0.0", "1.0.0-%F0%9F%98%80", "-1.0.0"]
)
def test_a_version_that_is_none_finds_nothing(operator, device, version):
    package(operator, "9.9.9", upload(operator, b"nine"))
    answer = ask(device, more=f"hardwareId={device.hardware_id}&version={quote(version, safe='%')}")
    assert answer.status_code == 200 and answer.json()["id"] is None


@pytest.mark.parametrize("wanted", ["", "0", "f" * 24, "F" * 24, "..%2F..", "%00", "x" * 500])
def test_a_package_that_is_none_is_nothing(device, wanted):
    answer = ask(device, path=BY_ID, more=f"hardwareId={device.hardware_id}&packageId={wanted}")
    assert answer.status_code == 200 and answer.json()["id"] is None


def test_another_products_package_is_as_unknown_as_none(operator, device):
    operator.call("POST", "/api/v1/products", {"product_key": "esthesis-2", "dialect": "esthesis"})
    operator.call("POST", "/api/v1/products/esthesis-2/policy", {"registration": "DISABLED"})
    made = package(operator, "8.0.0", upload(operator, b"eight"), product_key="esthesis-2")
    by_id = ask(device, path=BY_ID, more=f"hardwareId={device.hardware_id}&packageId={made['id']}")
    assert by_id.status_code == 200 and by_id.json()["id"] is None
    assert ask(device).json()["id"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"version": "1"},
        {"version": "1.0.0", "name": ""},
        {"sha256": "AB" * 32},
        {"url": "ftp://x/y"},
        {"tags": ["a b"]},
        {"tags": "a"},
        {"prerequisite": "x"},
        {"product_key": "nobody"},
        {"more": 1},
        {},
    ],
)
def test_packages_that_cannot_be(operator, policy, body):
    whole = {"product_key": PRODUCT, "name": "fw", "version": "1.0.0", "sha256": "cd" * 32, **body}
    answer = operator.call("POST", "/api/v1/packages", whole)
    assert answer.status_code in (400, 404, 409) and operator.get("/api/v1/packages")["packages"] == []


def test_a_file_is_what_its_address_says(operator, policy):
    wrong = operator.call("PUT", f"/api/v1/packages/files/{'0' * 64}", data=b"something")
    assert wrong.status_code == 400 and wrong.json()["error"]["code"] == "wrong_hash"
    assert operator.call("PUT", "/api/v1/packages/files/..%2F..%2Fx", data=b"x").status_code in (400, 404)
