# SPDX-License-Identifier: MIT
"""The TUF repository: python-tuf's own client accepts it, bad metadata do not get in, a cut leaves the old one whole."""

import datetime
import hashlib
import json

import pytest
from securesystemslib.signer import CryptoSigner
from server_client import PATIENCE_S, Operator, Raw, ServerProcess, ServerThread
from tuf.api.metadata import DelegatedRole, Delegations, Root
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from trueboot_server.repo import paths, signing
from trueboot_server.repo import repository as repository_module

PATH = "app/sim/1.1.0/app.img"
IMAGE = b"image" * 1000
DIGEST = hashlib.sha256(IMAGE).hexdigest()
CUSTOM = {"kind": "app", "version": "1.1.0", "hardware": ["sim"], "security": 0, "size": 10}


class Fetcher(FetcherInterface):
    """python-tuf's client over the operator's session: the test's own CA and token."""

    def __init__(self, operator):
        self._operator = operator

    def _fetch(self, url):
        answer = self._operator.session.get(url, timeout=PATIENCE_S)
        if answer.status_code != 200:
            from tuf.api.exceptions import DownloadHTTPError

            raise DownloadHTTPError(url, answer.status_code)
        return iter([answer.content])


def updater(operator, folder):
    for name in ("metadata", "targets"):
        (folder / name).mkdir(exist_ok=True)
    root = open(operator.first["root_file"], "rb").read()
    base = operator.first["https"] + "/repo"
    return Updater(
        str(folder / "metadata"),
        base + "/metadata/",
        str(folder / "targets"),
        base + "/targets/",
        Fetcher(operator),
        UpdaterConfig(),
        bootstrap=root,
    )


def role_for(operator, path):
    return signing.role_for(operator.metadata("targets"), path)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerProcess(tmp_path_factory.mktemp("server") / "state")
    yield running
    assert running.stop() == 0


def test_python_tufs_own_client_accepts_the_repository_end_to_end(operator, tmp_path):
    updater(operator, tmp_path).refresh()
    operator.publish(PATH, IMAGE)
    operator.publish("firmware/esp32/2.0.0-rc.1/fw.bin", b"firmware")
    client = updater(operator, tmp_path)
    client.refresh()
    info = client.get_targetinfo(PATH)
    assert (info.length, info.custom["version"]) == (len(IMAGE), "1.1.0")
    assert open(client.download_target(info), "rb").read() == IMAGE
    other = next(
        p for p in (f"app/sim/9.{n}.9/app.img" for n in range(999)) if role_for(operator, p) == role_for(operator, PATH)
    )
    assert client.get_targetinfo(other) is None
    released = {r["target"]: r for r in operator.get("/api/v1/releases")["releases"]}
    assert released[PATH]["sha256"] == hashlib.sha256(IMAGE).hexdigest() and released[PATH]["kind"] == "app"
    assert operator.events()[-1]["event"] == "release.published"


def test_metadata_are_compact_and_sorted_and_consistent(operator):
    data = operator.metadata("targets")
    assert data == json.dumps(json.loads(data), separators=(",", ":"), sort_keys=True).encode()
    root = json.loads(open(operator.first["root_file"], "rb").read())["signed"]
    assert root["consistent_snapshot"] is True
    assert {key["keytype"] for key in root["keys"].values()} == {"ecdsa"}
    assert {key["scheme"] for key in root["keys"].values()} == {"ecdsa-sha2-nistp256"}
    online = root["roles"]["timestamp"]["keyids"]
    assert online == root["roles"]["snapshot"]["keyids"] and set(online).isdisjoint(root["roles"]["targets"]["keyids"])
    delegations = json.loads(data)["signed"]["delegations"]
    assert delegations["succinct_roles"]["bit_length"] == 5 and delegations["succinct_roles"]["name_prefix"] == "bin"
    assert set(delegations["keys"]).isdisjoint({*online, *root["roles"]["targets"]["keyids"]})


def test_what_may_be_cached_is_said_and_what_is_known_is_not_sent_again(operator):
    for name, cache in (("timestamp.json", "no-cache"), ("1.root.json", "public, max-age=31536000, immutable")):
        url = f"/repo/metadata/{name}"
        first = operator.call("GET", url)
        etag = first.headers["ETag"]
        assert first.headers["Cache-Control"] == cache and etag == f'"{hashlib.sha256(first.content).hexdigest()}"'
        assert first.headers["Content-Type"].startswith("application/json")
        head = operator.call("HEAD", url)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["Content-Length"]) == len(first.content) and head.headers["ETag"] == etag
        for known in (etag, f'"x", {etag}', f"W/{etag}", "*"):
            again = operator.call("GET", url, headers={"If-None-Match": known})
            assert (again.status_code, again.content) == (304, b""), known
            assert (again.headers["ETag"], again.headers["Cache-Control"]) == (etag, cache)
        assert operator.call("GET", url, headers={"If-None-Match": '"x"'}).content == first.content
    etag = operator.call("GET", "/repo/metadata/timestamp.json").headers["ETag"]
    operator.publish("app/sim/1.0.1/app.img", b"1.0.1")
    changed = operator.call("GET", "/repo/metadata/timestamp.json", headers={"If-None-Match": etag})
    assert changed.status_code == 200 and changed.headers["ETag"] != etag


@pytest.mark.parametrize(
    "name",
    [
        "2.root.json",
        "root.json",
        "x.root.json",
        "1.other.json",
        "1.bin-ff.json",
        "9.targets.json",
        "99.snapshot.json",
        "1.timestamp.json",
        "01.targets.json",
        "..%2f..%2foperator.json",
        "%2e%2e",
        "1" * 500 + ".root.json",
        "1.root.json%00",
        ".timestamp.json",
        "٣.root.json",
    ],
)
def test_nothing_but_metadata_is_served_as_metadata(operator, name):
    answer = operator.call("GET", f"/repo/metadata/{name}")
    assert answer.status_code in (400, 404) and "admin_token" not in answer.text


def refused(operator, body):
    before = operator.get("/api/v1/repo")
    answer = operator.call("POST", "/api/v1/repo/metadata", **body)
    assert operator.get("/api/v1/repo") == before
    assert set(answer.json()["error"]) == {"code", "message", "hint"}
    return answer.status_code, answer.json()["error"]["code"]


def test_bad_publications_are_refused_in_the_form_of_all_errors(operator):
    targets = operator.metadata("targets").decode()
    for body, expected in (
        ({"data": b"x"}, (400, "not_json")),
        ({"data": b'{"files":{},"files":{}}'}, (400, "not_json")),
        ({"body": []}, (400, "not_json")),
        ({"body": {}}, (400, "bad_files")),
        ({"body": {"files": {}}}, (400, "bad_files")),
        ({"body": {"files": [targets]}}, (400, "bad_files")),
        ({"body": {"files": {"2.targets.json": 7}}}, (400, "bad_files")),
        ({"body": {"files": {"2.targets.json": targets}, "force": True}}, (400, "unknown_member")),
        ({"body": {"files": {"targets.json": targets}}}, (400, "metadata_name")),
        ({"body": {"files": {"../../x": targets}}}, (400, "metadata_name")),
        ({"body": {"files": {"1.timestamp.json": targets}}}, (400, "metadata_role")),
        ({"body": {"files": {"9.targets.json": "\ud800"}}}, (400, "not_json")),
        ({"body": {"files": {"9.targets.json": "x" * 33_000}}}, (413, "metadata_too_long")),
        ({"data": b"x" * (5 * 1024 * 1024)}, (413, "body_too_long")),
    ):
        assert refused(operator, body) == expected, str(body)[:80]
    stranger = CryptoSigner.generate_ecdsa()
    renewed = {"body": {"files": {"9.targets.json": targets.replace('"version":1', '"version":9')}}}
    assert refused(operator, renewed) == (403, "metadata_untrusted")
    role = signing.role_for(targets.encode(), "app/sim/6.0.0/x")
    unsigned = signing.add_target(
        operator.metadata(role), "app/sim/6.0.0/x", 1, DIGEST, CUSTOM | {"version": "6.0.0"}, [stranger]
    )
    number = json.loads(unsigned)["signed"]["version"]
    body = {"body": {"files": {f"{number}.{role}.json": unsigned.decode()}}}
    assert refused(operator, body) == (403, "metadata_untrusted")


def test_what_is_published_can_be_asked_for(operator):
    operator.publish("app/sim/1.5.0/app.img", b"1.5.0")
    shown = operator.get("/api/v1/repo")
    assert set(shown) == {"root", "timestamp", "snapshot", "roles", "expires", "expiring"}
    stamp = json.loads(operator.call("GET", "/repo/metadata/timestamp.json").content)["signed"]
    assert (shown["timestamp"], shown["root"]) == (stamp["version"], stamp["trueboot"]["root"]) and shown[
        "snapshot"
    ] > 1
    assert shown["roles"]["targets"] == 1 and len(shown["roles"]) > 1 and shown["expiring"] == []
    assert set(shown["expires"]) == {"root", "timestamp", "snapshot", *shown["roles"]}
    assert shown["expires"]["timestamp"] == stamp["expires"]
    files = {"1.targets.json": operator.metadata("targets").decode()}
    again = operator.call("POST", "/api/v1/repo/metadata", {"files": files})
    assert again.status_code == 200
    assert again.json() == {"changed": False} | {
        name: shown[name] for name in ("root", "timestamp", "snapshot", "roles")
    }


def test_roles_that_expire_soon_are_shown_and_logged_and_health_tells_it(server, operator):
    path = "app/sim/1.6.0/app.img"
    assert operator.get("/healthz") == {"status": "ok"}
    operator.call("PUT", f"/api/v1/repo/targets/{path}", data=IMAGE)
    role = signing.role_for(operator.metadata("targets"), path)
    soon = signing.add_target(
        operator.metadata(role), path, len(IMAGE), DIGEST, {**CUSTOM, "version": "1.6.0"}, [operator.signer("release")],
        datetime.timedelta(days=29),
    )  # fmt: skip
    assert operator.post_metadata({role: soon}).status_code == 201
    assert operator.get("/api/v1/repo")["expiring"] == [role]
    assert operator.get("/healthz") == {"status": "ok", "expiring": [role]}
    renewed = signing.renew(soon, [operator.signer("release")])
    assert operator.post_metadata({role: renewed}).json()["changed"] is True
    assert operator.get("/healthz") == {"status": "ok"}


def test_a_new_online_key_is_asked_for_and_takes_over(tmp_path):
    own = ServerProcess(tmp_path / "state")
    operator = Operator(own.first)
    operator.publish(PATH, IMAGE)
    device = tmp_path / "device"
    device.mkdir()
    updater(operator, device).refresh()
    asked = operator.post("/api/v1/repo/online-key", {})
    assert operator.post("/api/v1/repo/online-key", {}) == asked
    (tmp_path / "next.pub").write_text(asked["public"])
    key = signing.load_public(tmp_path / "next.pub")
    assert key.keyid == asked["keyid"] and (own.state / "online-next.pub").read_text() == asked["public"]
    root = signing.read(own.state.joinpath("repo/metadata/1.root.json").read_bytes(), Root)
    root.signed.version = 2
    for role in ("snapshot", "timestamp"):
        (old,) = root.signed.roles[role].keyids
        root.signed.revoke_key(old, role)
        root.signed.add_key(key, role)
    answer = operator.post_metadata({"root": signing.sign(root, [operator.signer("root")])})
    assert answer.status_code == 201 and answer.json()["root"] == 2, answer.text
    updater(operator, device).refresh()
    assert own.stop() == 0
    again = ServerProcess(tmp_path / "state")
    operator = Operator(again.first)
    operator.publish("app/sim/1.2.0/app.img", IMAGE)
    client = updater(operator, device)
    client.refresh()
    assert client.get_targetinfo("app/sim/1.2.0/app.img").length == len(IMAGE)
    assert again.stop() == 0 and "PRIVATE" not in asked["public"]


def test_a_disk_that_fails_behind_the_commit_point_leaves_no_release_that_nobody_lists(tmp_path, monkeypatch):
    own = ServerThread(tmp_path / "state")
    operator = Operator(own.first)
    write = repository_module.write_atomically

    def fail(path, data, mode=0o644):
        write(path, data, mode)
        if path.name == "timestamp.json":
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(repository_module, "write_atomically", fail)
    with pytest.raises(AssertionError, match="internal"):
        operator.publish(PATH, IMAGE)
    monkeypatch.undo()
    assert [release["target"] for release in operator.get("/api/v1/releases")["releases"]] == [PATH]
    own.stop()


def test_a_role_with_an_odd_name_is_asked_for_by_its_quoted_name(tmp_path):
    own = ServerProcess(tmp_path / "state")
    operator = Operator(own.first)
    signer = operator.signer("release")
    targets = signing.read_targets(operator.metadata("targets"))
    targets.signed.version = 2
    role = DelegatedRole("a/ü b", [signer.public_key.keyid], 1, True, paths=["app/*/*/*"])
    targets.signed.delegations = Delegations({signer.public_key.keyid: signer.public_key}, {role.name: role})
    operator.call("PUT", f"/api/v1/repo/targets/{PATH}", data=IMAGE)
    by_hand = {
        "targets": signing.sign(targets, [operator.signer("targets")]),
        role.name: signing.add_target(None, PATH, len(IMAGE), DIGEST, CUSTOM, [signer]),
    }
    assert operator.post_metadata(by_hand).status_code == 201
    assert operator.call("GET", "/repo/metadata/1.a%2F%C3%BC%20b.json").content == by_hand[role.name]
    client = updater(operator, tmp_path)
    client.refresh()
    assert client.get_targetinfo(PATH).length == len(IMAGE)
    assert own.stop() == 0


def test_a_withdrawn_release_is_gone_from_every_list(operator):
    path = "app/sim/1.9.0/app.img"
    operator.publish(path, b"bad")
    stored = "/repo/targets/" + paths.stored_name(path, hashlib.sha256(b"bad").hexdigest())
    assert operator.call("GET", stored).status_code == 200
    operator.withdraw(path)
    assert operator.wait_for("release.withdrawn")["target"] == path
    assert path not in {release["target"] for release in operator.get("/api/v1/releases")["releases"]}
    assert operator.call("GET", stored).status_code == 404


@pytest.mark.parametrize(
    "path", ["../x", "app/sim/1.1.0/..", "app//1.1.0/x", "app/sim/1.1.0/.x", "app/sim/v1/x", "other/sim/1.1.0/x", "app/sim/1.1.0/x/y", "app/sim/1.1.0/x%00", "app/sim/1.1.0/%2e%2e%2f%2e%2e", "app/sim/1.1.0/x%0a", "app/sim/1.1.0/" + "x" * 65]
)  # fmt: skip
def test_upload_paths_are_checked(operator, server, path):
    before = sorted(p for p in server.state.rglob("*"))
    answer = operator.call("PUT", f"/api/v1/repo/targets/{path}", data=b"x")
    assert answer.status_code in (400, 404, 405)
    assert sorted(p for p in server.state.rglob("*")) == before


def test_an_upload_needs_the_token_and_a_body(operator):
    assert (
        Operator(operator.first, token="wrong").call("PUT", f"/api/v1/repo/targets/{PATH}", data=b"x").status_code
        == 401
    )
    assert operator.call("PUT", f"/api/v1/repo/targets/{PATH}", data=b"").json()["error"]["code"] == "empty_target"


def test_an_upload_that_breaks_off_leaves_nothing(operator, server):
    caller = Raw(operator.first["https"], operator.first["ca_file"])
    caller.send(
        f"PUT /api/v1/repo/targets/{PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {operator.first['admin_token']}\r\n"
        "Content-Length: 100000\r\n\r\npartial".encode()
    )
    caller.close()
    # The next upload is answered after the broken one was seen, on the same loop.
    assert operator.call("PUT", f"/api/v1/repo/targets/{PATH}", data=IMAGE).status_code == 201
    assert operator.call("GET", "/healthz").status_code == 200
    assert list((server.state / "repo/incoming").iterdir()) == []


# Targets over HTTP


@pytest.fixture
def target(operator):
    if PATH not in {release["target"] for release in operator.get("/api/v1/releases")["releases"]}:
        operator.publish(PATH, IMAGE)
    return "/repo/targets/" + paths.stored_name(PATH, hashlib.sha256(IMAGE).hexdigest())


def test_a_target_needs_a_live_device_or_the_token(operator, device, target):
    import requests

    device.activate()
    device.enrol()
    url = operator.first["https"] + target
    assert requests.get(url, verify=device.ca_file, timeout=9).status_code == 401
    assert requests.get(url, verify=device.ca_file, headers={"Authorization": "Bearer x"}, timeout=9).status_code == 401
    assert requests.get(url, verify=device.ca_file, cert=device.identity, timeout=9).content == IMAGE
    assert operator.call("GET", target).content == IMAGE


@pytest.mark.parametrize(
    "asked, status, start, end",
    [
        ("bytes=0-", 206, 0, 5000), ("bytes=10-19", 206, 10, 20), ("bytes=4999-", 206, 4999, 5000), ("bytes=-5", 206, 4995, 5000),
        ("bytes=-9999", 206, 0, 5000), ("bytes=4000-99999", 206, 4000, 5000), ("bytes=5000-", 416, 0, 0), ("bytes=9999-10000", 416, 0, 0),
        ("bytes=-0", 416, 0, 0), ("bytes=5-4", 200, 0, 5000), ("bytes=0-1,3-4", 200, 0, 5000), ("bytes=x-", 200, 0, 5000),
        ("items=0-1", 200, 0, 5000), ("bytes=-", 200, 0, 5000), ("bytes=99999999999999999999-", 200, 0, 5000),
    ],
)  # fmt: skip
def test_ranges(operator, target, asked, status, start, end):
    answer = operator.call("GET", target, headers={"Range": asked})
    assert answer.status_code == status
    if status == 416:
        assert answer.headers["Content-Range"] == "bytes */5000"
        return
    assert answer.content == IMAGE[start:end] and answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers.get("Content-Range") == (f"bytes {start}-{end - 1}/5000" if status == 206 else None)


def test_etags_are_strong_and_conditional_requests_work(operator, target):
    etag = operator.call("GET", target).headers["ETag"]
    assert etag == f'"{hashlib.sha256(IMAGE).hexdigest()}"'
    assert operator.call("GET", target, headers={"If-None-Match": f'"x", {etag}'}).status_code == 304
    assert operator.call("GET", target, headers={"Range": "bytes=1-2", "If-Range": etag}).status_code == 206
    assert operator.call("GET", target, headers={"Range": "bytes=1-2", "If-Range": '"other"'}).status_code == 200
    head = operator.call("HEAD", target)
    assert (head.headers["Content-Length"], head.content) == ("5000", b"")


def test_what_is_uploaded_and_not_signed_for_is_not_served(operator):
    digest = operator.call("PUT", "/api/v1/repo/targets/app/sim/7.0.0/x", data=b"unsigned").json()["sha256"]
    assert operator.call("GET", f"/repo/targets/app/sim/7.0.0/{digest}.x").status_code == 404
    for path in ("app/sim/1.1.0/app.img", "..%2f..%2foperator.json", "%2e%2e/%2e%2e/operator.json", "x"):
        assert operator.call("GET", "/repo/targets/" + path).status_code == 404
