# SPDX-License-Identifier: MIT
"""The TUF repository: python-tuf's own client accepts it, bad metadata do not get in, a cut leaves the old one whole."""

import datetime
import hashlib
import json
import os

import pytest
from securesystemslib.signer import CryptoSigner
from server_client import PATIENCE_S, Operator, Raw, ServerProcess
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from trueboot_server import state as state_module
from trueboot_server.errors import ApiError, StartError
from trueboot_server.repo import dev, paths, signing
from trueboot_server.repo.repository import Repository
from trueboot_server.state import State

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
    assert client.get_targetinfo("app/sim/9.9.9/app.img") is None
    released = {r["target"]: r for r in operator.get("/api/v1/releases")["releases"]}
    assert released[PATH]["sha256"] == hashlib.sha256(IMAGE).hexdigest() and released[PATH]["kind"] == "app"
    assert operator.events()[-1]["event"] == "release.published"


def test_metadata_are_compact_and_sorted_and_consistent(operator):
    data = operator.targets_metadata()
    assert data == json.dumps(json.loads(data), separators=(",", ":"), sort_keys=True).encode()
    root = json.loads(open(operator.first["root_file"], "rb").read())["signed"]
    assert root["consistent_snapshot"] is True
    assert {key["keytype"] for key in root["keys"].values()} == {"ecdsa"}
    assert {key["scheme"] for key in root["keys"].values()} == {"ecdsa-sha2-nistp256"}
    online = root["roles"]["timestamp"]["keyids"]
    assert online == root["roles"]["snapshot"]["keyids"] and set(online).isdisjoint(root["roles"]["targets"]["keyids"])


def test_what_may_be_cached_is_said(operator):
    operator.targets_metadata()
    for name, cache in (("timestamp.json", "no-cache"), ("1.root.json", "public, max-age=31536000, immutable")):
        assert (
            operator.session.get(f"{operator.first['https']}/repo/metadata/{name}", timeout=9).headers["Cache-Control"]
            == cache
        )


@pytest.mark.parametrize(
    "name",
    [
        "2.root.json",
        "root.json",
        "x.root.json",
        "1.other.json",
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


def refused(operator, data):
    before = operator.targets_metadata()
    answer = operator.call("POST", "/api/v1/repo/metadata", data=data)
    assert operator.targets_metadata() == before
    return answer.status_code, answer.json()["error"]["code"]


def changed(operator, change, signers=None):
    metadata = signing.read_targets(operator.targets_metadata())
    metadata.signed.version += 1
    change(metadata.signed)
    return signing.sign(metadata, signers if signers is not None else [operator.targets_signer()])


def nothing(_signed):
    pass


def with_target(path=PATH, length=5000, sha256=DIGEST, custom=CUSTOM):
    def change(signed):
        from tuf.api.metadata import TargetFile

        signed.targets[path] = TargetFile(length, {"sha256": sha256}, path, {"custom": custom} if custom else {})

    return change


def delegate(signed):
    signed.delegations = Delegations({}, {"r": DelegatedRole("r", [], 1, True, paths=["x"])})


def test_bad_metadata_are_not_published(operator):
    stranger = CryptoSigner.generate_ecdsa()
    assert refused(operator, changed(operator, nothing, [stranger])) == (403, "metadata_untrusted")
    assert refused(operator, changed(operator, nothing, [])) == (403, "metadata_untrusted")
    not_newer = changed(operator, lambda s: setattr(s, "version", s.version - 1))
    assert refused(operator, not_newer) == (409, "metadata_version")
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert refused(operator, changed(operator, lambda s: setattr(s, "expires", past))) == (400, "metadata_expired")
    assert refused(
        operator, changed(operator, with_target("app/sim/1.3.0/x", custom={**CUSTOM, "version": "1.3.0"}))
    ) == (409, "target_missing")
    assert refused(operator, changed(operator, delegate)) == (400, "metadata_delegations")
    good = changed(operator, nothing)
    assert refused(operator, json.dumps(json.loads(good)).encode()) == (400, "metadata_form")
    assert refused(operator, good.replace(b'{"signatures"', b'{"signatures":[],"signatures"', 1)) == (
        400,
        "metadata_form",
    )
    assert refused(operator, b"{}") == (400, "metadata_unreadable")
    assert refused(operator, b"[" * 10000) == (400, "metadata_unreadable")
    assert refused(operator, open(operator.first["root_file"], "rb").read())[0] in (400, 403)
    tampered = json.loads(good)
    tampered["signed"]["expires"] = "2999-01-01T00:00:00Z"
    assert refused(operator, json.dumps(tampered, separators=(",", ":"), sort_keys=True).encode()) == (
        403,
        "metadata_untrusted",
    )
    assert refused(operator, b"x" * (5 * 1024 * 1024)) == (413, "body_too_long")


def test_targets_metadata_must_keep_the_rules_of_paths_and_custom(operator):
    for path, custom in (
        ("../../operator.json", CUSTOM),
        ("app/sim/1.1.0/../x", CUSTOM),
        ("app/sim/1.1.0", CUSTOM),
        (PATH, None),
        (PATH, {**CUSTOM, "kind": "firmware"}),
        (PATH, {**CUSTOM, "version": "1.1.1"}),
        (PATH, {**CUSTOM, "hardware": ["esp32"]}),
        (PATH, {**CUSTOM, "hardware": "sim"}),
        (PATH, {**CUSTOM, "security": -1}),
        (PATH, {**CUSTOM, "size": "10"}),
    ):
        assert refused(operator, changed(operator, with_target(path, custom=custom))) == (400, "target_rules"), (
            path,
            custom,
        )
    other_length = with_target("app/sim/1.1.0/other", length=4999)
    operator.call("PUT", "/api/v1/repo/targets/app/sim/1.1.0/other", data=IMAGE)
    assert refused(operator, changed(operator, other_length)) == (409, "target_differs")


def test_an_uploaded_file_that_was_altered_on_disk_is_noticed(operator, server):
    path = "app/sim/1.4.0/app.img"
    digest = operator.call("PUT", f"/api/v1/repo/targets/{path}", data=IMAGE).json()["sha256"]
    stored = server.state / "repo/targets" / paths.stored_name(path, digest)
    stored.write_bytes(b"x" * len(IMAGE))
    change = with_target(path, custom={**CUSTOM, "version": "1.4.0"})
    assert refused(operator, changed(operator, change)) == (409, "target_differs")


def test_publishing_twice_is_publishing_once(operator):
    data = operator.targets_metadata()
    answer = operator.call("POST", "/api/v1/repo/metadata", data=data)
    assert answer.status_code == 200 and answer.json()["changed"] is False


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
    if PATH not in json.loads(operator.targets_metadata())["signed"]["targets"]:
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


# The repository alone


@pytest.fixture
def folder(tmp_path):
    state = State(tmp_path / "state")
    state.open()
    yield state
    state.close()


def next_targets(state, path=PATH, content=IMAGE):
    repository = dev.open_repository(state, dev=True)
    digest = hashlib.sha256(content).hexdigest()
    place = repository.targets / paths.stored_name(path, digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    current = (repository.metadata / f"{repository.version()}.targets.json").read_bytes()
    custom = {**CUSTOM, "version": path.split("/")[2]}
    data = signing.add_target(
        current, path, len(content), digest, custom, [signing.load_signer(state.dev_keys / "targets.pem")]
    )
    return repository, data


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_cut_at_any_write_leaves_the_old_repository_or_the_new_one_whole(folder, monkeypatch, cut, when):
    repository, data = next_targets(folder)
    writes = []

    class Cut(BaseException):
        pass

    def write(path, content, mode=0o644):
        writes.append(path.name)
        if len(writes) == cut and when == "before":
            path.with_name(f".{path.name}.x.tmp").write_bytes(content[: len(content) // 2])
            raise Cut
        state_module.write_atomically(path, content, mode)
        if len(writes) == cut:
            raise Cut

    monkeypatch.setattr("trueboot_server.repo.repository.write_atomically", write)
    with pytest.raises(Cut):
        repository.publish(repository.check(data), data)
    monkeypatch.undo()
    assert writes == ["2.targets.json", "2.snapshot.json", "timestamp.json"][:cut]
    again = dev.open_repository(folder, dev=True)
    complete = cut == 3 and when == "after"
    assert (again.version(), list(again.files())) == ((2, [PATH]) if complete else (1, []))
    assert not list(again.metadata.glob(".*.tmp"))
    if not complete:  # and the operator's second try succeeds
        again.publish(again.check(data), data)
        assert dev.open_repository(folder, dev=True).version() == 2


def test_thresholds_of_the_root_are_honoured(folder):
    online = dev.online_signer(folder)
    repository = Repository(folder.repo, online)
    root = [CryptoSigner.generate_ecdsa() for _ in range(3)]
    targets = [CryptoSigner.generate_ecdsa() for _ in range(3)]
    data = signing.new_root(
        root[:2], [key.public_key for key in targets], online.public_key, root_threshold=2, targets_threshold=2
    )
    repository.root_file.write_bytes(data)
    repository.load()
    one, two = signing.new_targets(targets[:1]), signing.new_targets(targets[1:])
    twice = json.loads(one)
    twice["signatures"] *= 2
    for bad in (one, json.dumps(twice, separators=(",", ":"), sort_keys=True).encode()):
        with pytest.raises(ApiError):
            repository.check(bad)
    repository.publish(repository.check(two), two)
    short = signing.new_root(root[:1], [targets[0].public_key], online.public_key, root_threshold=2)
    repository.root_file.write_bytes(short)
    with pytest.raises(StartError, match="threshold"):
        Repository(folder.repo, online).load()


def test_a_new_root_needs_the_old_ones_signature(folder):
    online = dev.online_signer(folder)
    dev.open_repository(folder, dev=True)
    old = signing.load_signer(folder.dev_keys / "root.pem")
    new = CryptoSigner.generate_ecdsa()

    def second(signers):
        metadata = Metadata.from_bytes(signing.new_root([new], [new.public_key], online.public_key))
        metadata.signed.version = 2
        (folder.repo / "metadata/2.root.json").write_bytes(signing.sign(metadata, signers))
        repository = Repository(folder.repo, online)
        repository._root = repository._load_root()
        return repository

    with pytest.raises(StartError):
        second([new])
    assert second([old, new]).root.signed.version == 2


def test_the_timestamp_is_signed_again_before_it_expires(folder):
    repository = dev.open_repository(folder, dev=True)
    assert repository.keep_fresh() is False
    before = repository._timestamp.signed.version
    repository._timestamp.signed.expires -= datetime.timedelta(hours=40)
    assert repository.keep_fresh() is True
    again = dev.open_repository(folder, dev=True)
    assert again._timestamp.signed.version == before + 1 and again.version() == 1


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.root.json"])
def test_damaged_metadata_are_said_at_start(folder, name):
    dev.open_repository(folder, dev=True)
    path = folder.repo / "metadata" / name
    content = json.loads(path.read_bytes())
    content["signed"]["expires"] = "2999-01-01T00:00:00Z"
    for damaged in (b"", b"{", json.dumps(content).encode()):
        path.write_bytes(damaged)
        with pytest.raises(StartError, match=name.replace(".", r"\.")):
            dev.open_repository(folder, dev=True)


def test_targets_are_added_without_a_server():
    key = CryptoSigner.generate_ecdsa()
    first = signing.new_targets([key])
    second = signing.add_target(first, PATH, 10, "0" * 64, CUSTOM, [key])
    assert Metadata[Targets].from_bytes(second).signed.version == 2
    never_signed = signing.to_bytes(Metadata(Targets()))
    assert (
        Metadata[Targets].from_bytes(signing.add_target(never_signed, PATH, 10, "0" * 64, CUSTOM, [key])).signed.version
        == 1
    )
    with pytest.raises(paths.BadTarget):
        signing.add_target(first, "app/sim/1.1/x", 10, "0" * 64, CUSTOM, [key])


def test_keys_are_made_private_and_never_overwritten(tmp_path):
    path = tmp_path / "key.pem"
    signer = signing.make_key(path)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert signing.load_signer(path).public_key.keyid == signer.public_key.keyid == signing.load_public(path).keyid
    (tmp_path / "pub.pem").write_bytes(signing.public_pem(signer))
    assert signing.load_public(tmp_path / "pub.pem").keyid == signer.public_key.keyid
    with pytest.raises(signing.SigningError):
        signing.make_key(path)
    path.write_bytes(b"junk")
    with pytest.raises(signing.SigningError):
        signing.load_signer(path)


def test_a_client_refuses_what_another_key_signed(operator, tmp_path):
    """The oracle bites: with another root of trust the same repository is refused."""
    stranger = CryptoSigner.generate_ecdsa()
    client = updater(operator, tmp_path)
    other = signing.new_root([stranger], [stranger.public_key], stranger.public_key)
    (tmp_path / "x").mkdir()
    base = operator.first["https"] + "/repo"
    client = Updater(
        str(tmp_path / "x"),
        base + "/metadata/",
        str(tmp_path / "x"),
        base + "/targets/",
        Fetcher(operator),
        UpdaterConfig(),
        bootstrap=other,
    )
    with pytest.raises(RepositoryError):
        client.refresh()
