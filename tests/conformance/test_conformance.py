# SPDX-License-Identifier: MIT
"""Our TUF client, as the executable `tuf-client`: against a local repository always, against the public suite when its folder is given.

TRUEBOOT_TEST_TUF_CONFORMANCE         a checkout of the suite (it is in no package registry)
TRUEBOOT_TEST_TUF_CONFORMANCE_PYTHON  an interpreter that has its requirements; without it a virtual environment is made
"""

from __future__ import annotations

import http.server
import os
import re
import subprocess
import sys
import threading
import venv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile

from trueboot import mpy

HERE = Path(__file__).parent
CLIENT = HERE / "tuf-client"
sys.path.insert(0, str(HERE.parent / "trust"))
from cases import Repository  # noqa: E402

SUITE_TIMEOUT_S = 1800
PATH = "files/a file.txt"
CONTENT = b"content of the target\n" * 500


@pytest.fixture(params=["cpython", "micropython"])
def environment(request, tmp_path_factory):
    if request.param == "micropython" and mpy.unavailable():
        pytest.skip(mpy.unavailable())
    board = tmp_path_factory.getbasetemp() / "conformance-board"
    return os.environ | {
        "TRUEBOOT_RUNTIME": request.param,
        "TRUEBOOT_PYTHON": sys.executable,
        "TRUEBOOT_BOARD": str(board),
    }


@pytest.fixture
def repository():
    repository = Repository()
    repository.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    for signed in (repository.root, repository.timestamp, repository.snapshot, repository.targets):
        signed.expires = repository.expires
    repository.targets.targets = {PATH: TargetFile.from_data(PATH, CONTENT, ["sha256"])}
    return repository.pin()


@pytest.fixture
def site(repository):
    """The repository over plain HTTP; `asked` are the paths."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            data = files.get(self.path.rpartition("/")[2])
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_):
            pass

    asked: list[str] = []
    files = repository.files
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.asked, server.url = asked, "http://127.0.0.1:%d/repo/" % server.server_port
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(environment, repository, site, tmp_path):
    folder = tmp_path / "metadata"
    folder.mkdir()
    (tmp_path / "targets").mkdir()
    (tmp_path / "root.json").write_bytes(repository.pinned)

    def run(*arguments):
        """(exit code, output, paths asked for)"""
        del site.asked[:]
        command = [str(CLIENT), "--metadata-dir", str(folder), "--metadata-url", site.url + "metadata/", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.returncode, done.stdout + done.stderr, [path.removeprefix("/repo/") for path in site.asked]

    assert run("init", str(tmp_path / "root.json")) == (0, "", [])
    return run


def download(client, tmp_path, site, *paths):
    names = [word for path in paths for word in ("--target-name", path)]
    where = ["--target-base-url", site.url + "targets", "--target-dir", str(tmp_path / "targets")]
    return client(*names, *where, "download")


def test_the_runtime_is_the_one_that_was_asked_for(client, environment, repository):
    del repository.files["timestamp.json"]
    code, said, _ = client("refresh")
    assert (code, said) == (1, "tuf-client on %s: metadata_missing: timestamp\n" % environment["TRUEBOOT_RUNTIME"])


def test_refresh_stores_the_files_as_received(client, repository, tmp_path):
    code, said, asked = client("refresh")
    assert (code, said) == (0, "")
    names = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert asked == ["metadata/" + name for name in names]
    for role, name in (("timestamp", names[1]), ("snapshot", names[2]), ("targets", names[3])):
        assert (tmp_path / "metadata" / (role + ".json")).read_bytes() == repository.files[name]
    assert (tmp_path / "metadata" / "root.json").read_bytes() == repository.pinned
    assert client("refresh") == (0, "", ["metadata/2.root.json", "metadata/timestamp.json"])


def test_download_and_then_not_again(client, repository, tmp_path, site):
    name = repository.targets.targets[PATH].hashes["sha256"] + ".a%20file.txt"
    repository.files[name] = CONTENT
    code, said, asked = download(client, tmp_path, site, PATH)
    assert (code, said, asked[-1]) == (0, "", "targets/files/" + name)
    stored = list((tmp_path / "targets").iterdir())
    assert [path.read_bytes() for path in stored] == [CONTENT]
    assert download(client, tmp_path, site, PATH, PATH)[2] == ["metadata/2.root.json", "metadata/timestamp.json"]
    stored[0].write_bytes(CONTENT[1:] + b"x")
    assert download(client, tmp_path, site, PATH)[2][-1] == "targets/files/" + name
    assert [path.read_bytes() for path in (tmp_path / "targets").iterdir()] == [CONTENT]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (CONTENT + b"x", "image_length"),
        (CONTENT[:-1], "image_length"),
        (b"X" + CONTENT[1:], "image_hash"),
        (None, "not_found"),
    ],
)
def test_another_file_than_the_signed_one_is_not_kept(client, repository, tmp_path, site, content, code):
    if content is not None:
        repository.files[repository.targets.targets[PATH].hashes["sha256"] + ".a%20file.txt"] = content
    exit_code, said, _ = download(client, tmp_path, site, PATH)
    assert exit_code == 1 and code in said, said
    assert list((tmp_path / "targets").iterdir()) == []


def test_a_target_that_nobody_signed(client, tmp_path, site):
    code, said, _ = download(client, tmp_path, site, "other")
    assert code == 1 and "not_signed" in said


def test_rollback_between_two_runs(client, repository):
    repository.bump("timestamp")
    assert client("refresh")[0] == 0
    repository.timestamp.version = 1
    repository.publish()
    code, said, _ = client("refresh")
    assert code == 1 and "metadata_version" in said


@pytest.fixture(scope="module")
def suite():
    folder = os.environ.get("TRUEBOOT_TEST_TUF_CONFORMANCE")
    if not folder:
        pytest.skip("TRUEBOOT_TEST_TUF_CONFORMANCE is not set: the public suite is in no package registry")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def suite_python(suite, tmp_path_factory):
    given = os.environ.get("TRUEBOOT_TEST_TUF_CONFORMANCE_PYTHON")
    if given:
        return given
    folder = tmp_path_factory.mktemp("suite") / "venv"
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", str(suite)], check=True, timeout=SUITE_TIMEOUT_S)
    return python


def test_public_suite(suite, suite_python, environment):
    done = subprocess.run(
        [suite_python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tuf_conformance", "--entrypoint=%s" % CLIENT],
        cwd=suite,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SUITE_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    # Nothing skipped, nothing expected to fail: there is no list of such beside the client.
    assert re.fullmatch(r"\d+ passed in .*", done.stdout.strip().splitlines()[-1]), done.stdout[-500:]
