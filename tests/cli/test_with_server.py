# SPDX-License-Identifier: MIT
"""The command line against the real server."""

import json
import os
import subprocess
import sys

import pytest

from live_server import live_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with live_server(tmp_path_factory.mktemp("server") / "state") as first_line:
        yield first_line


@pytest.fixture
def trueboot(server, tmp_path):
    def run(*arguments, **environment):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("TRUEBOOT_")}
        return subprocess.run(
            [sys.executable, "-m", "trueboot", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env=clean | {"TRUEBOOT_STATE": server["state"]} | environment,
        )

    return run


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "main.py").write_text("print('hello')\n")
    return folder


def test_the_first_line_holds_what_other_tools_rely_on(server):
    wanted = "https mqtt mqtt_activate ca_file org_id product_key product_secret access_key secret_key registration_secret admin_token"
    assert set(wanted.split()) <= set(server)


def test_release_is_signed_published_and_listed(trueboot, app):
    added = trueboot("release", "add", str(app), "--version", "2.0.0", "--security", "3", "--json")
    assert added.returncode == 0, added.stderr
    target = json.loads(added.stdout)["target"]
    assert target == "app/sim/2.0.0/app.img"
    listed = json.loads(trueboot("release", "ls", "--json").stdout)
    assert next(r for r in listed if r["target"] == target)["security"] == 3
    again = trueboot("release", "add", str(app), "--version", "2.0.0", "--security", "3", "--json")
    assert json.loads(again.stdout) == json.loads(added.stdout)


def test_a_version_never_names_two_images(trueboot, app):
    assert trueboot("release", "add", str(app), "--version", "2.1.0").returncode == 0
    (app / "main.py").write_text("print('other')\n")
    done = trueboot("release", "add", str(app), "--version", "2.1.0")
    assert done.returncode == 1
    assert "[release_exists]" in done.stderr


def test_foreign_keys_sign_nothing(trueboot, app, server, tmp_path):
    online = os.path.join(server["state"], "online.pub")
    assert trueboot("keys", "init", str(tmp_path / "mine"), "--online", online, "--no-password").returncode == 0
    done = trueboot("release", "add", str(app), "--version", "2.2.0", "--keys", str(tmp_path / "mine"))
    assert done.returncode == 77
    assert "[key_not_authorised]" in done.stderr
    assert "2.2.0" not in trueboot("release", "ls").stdout


def test_deploy_to_nobody_and_nothing(trueboot):
    done = trueboot("deploy", "9.9.9", "--all")
    assert (done.returncode, "[release_unknown]" in done.stderr) == (1, True)
    done = trueboot("deploy", "9.9.9", "--device", "nobody")
    assert done.returncode == 1


def test_unknown_device_and_job(trueboot):
    assert "[not_found]" in trueboot("device", "show", "nobody").stderr
    assert "[not_found]" in trueboot("status", "12345").stderr


def test_wrong_token_is_not_permitted(trueboot):
    done = trueboot("device", "ls", TRUEBOOT_TOKEN="wrong")
    assert done.returncode == 77
    assert "[not_permitted]" in done.stderr


def test_foreign_ca_is_not_trusted_whatever_the_environment_says(trueboot, server, tmp_path):
    from test_cli import certificate

    ca = tmp_path / "foreign.pem"
    ca.write_bytes(certificate())
    done = trueboot(
        "device", "ls", "--ca", str(ca), REQUESTS_CA_BUNDLE=server["ca_file"], SSL_CERT_FILE=server["ca_file"]
    )
    assert done.returncode == 69
    assert "[server_untrusted]" in done.stderr
    good = trueboot(
        "device", "ls", REQUESTS_CA_BUNDLE=str(ca), CURL_CA_BUNDLE=str(ca), HTTPS_PROXY="http://127.0.0.1:1"
    )
    assert good.returncode == 0, good.stderr


def test_second_server_on_one_state(server, trueboot):
    done = trueboot("server", "--dev", "--state", server["state"], "--port", "0", "--mqtt-port", "0")
    assert done.returncode == 75
    assert "Traceback" not in done.stderr


def test_port_in_use(server, trueboot, tmp_path):
    port = server["https"].rpartition(":")[2]
    done = trueboot("server", "--dev", "--state", str(tmp_path / "other"), "--port", port, "--mqtt-port", "0")
    assert done.returncode == 69
    assert port in done.stderr and "Traceback" not in done.stderr


def test_state_that_cannot_be_written(trueboot, tmp_path):
    (tmp_path / "file").write_text("")
    done = trueboot("server", "--dev", "--state", str(tmp_path / "file"), "--port", "0", "--mqtt-port", "0")
    assert done.returncode in (73, 78)
    assert "Traceback" not in done.stderr


def test_without_dev_the_developer_brings_the_root(trueboot, app, tmp_path):
    """The whole road of docs/signing: first start leaves online.pub, `keys init` names it, the second start serves."""
    state = tmp_path / "fleet"
    first = trueboot("server", "--state", str(state), "--port", "0", "--mqtt-port", "0")
    assert first.returncode == 78
    assert "1.root.json" in first.stderr
    keys = tmp_path / "ours"
    assert trueboot("keys", "init", str(keys), "--online", str(state / "online.pub"), "--no-password").returncode == 0
    (state / "repo" / "metadata" / "1.root.json").write_bytes((keys / "1.root.json").read_bytes())
    with live_server(state, dev=False):
        own = {"TRUEBOOT_STATE": str(state)}
        without = trueboot("release", "add", str(app), "--version", "1.0.0", **own)
        assert "[keys_missing]" in without.stderr
        for version in ("1.0.0", "1.1.0"):
            (app / "main.py").write_text(f"# {version}\n")
            done = trueboot("release", "add", str(app), "--version", version, "--keys", str(keys), **own)
            assert done.returncode == 0, done.stderr
        assert [r["version"] for r in json.loads(trueboot("release", "ls", "--json", **own).stdout)] == [
            "1.0.0",
            "1.1.0",
        ]
