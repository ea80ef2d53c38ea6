# SPDX-License-Identifier: MIT
"""The command line without a server: help, errors, exit codes, and what goes to which stream."""

import json
import os
import subprocess
import sys
import time

import pytest

VERBS = [
    "server",
    "demo",
    "device ls",
    "device show",
    "device make",
    "release ls",
    "release add",
    "deploy",
    "status",
    *(
        f"keys {verb}"
        for verb in ("init", "make", "show", "add", "remove", "rotate", "renew", "sign", "pull", "publish")
    ),
    *(f"release {verb}" for verb in ("revoke", "sign", "publish")),
    *(f"bundle {verb}" for verb in ("make", "show", "verify")),
]
VERBS += ["image build", "image show", "explain", "board index", "flash", "bench", "labels"]


def trueboot(*arguments, cwd=None, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRUEBOOT_")}
    return subprocess.run(
        [sys.executable, "-m", "trueboot", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=clean | {"COLUMNS": "200"} | environment,
    )


def test_help_lists_every_verb():
    done = trueboot("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert verb.split()[0] in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    done = trueboot(*verb.split(), "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


def test_help_is_quick():
    """Against a bare interpreter of the same run, so that a slow machine does not fail it."""

    def best(*command):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    bare = best(sys.executable, "-c", "pass")
    assert best(sys.executable, "-m", "trueboot", "--help") < max(0.2, 10 * bare)


def test_help_loads_no_heavy_module():
    code = "import sys, trueboot.verbs; print([m for m in ('requests', 'tuf', 'aiohttp', 'rich', 'asyncio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_version():
    done = trueboot("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("trueboot 0.")


def test_unknown_verb_is_wrong_usage():
    assert trueboot("frobnicate").returncode == 2


def test_no_server_is_a_matter_of_configuration(tmp_path):
    done = trueboot("device", "ls", cwd=tmp_path)
    assert done.returncode == 78
    assert done.stdout == ""
    assert "[server_unknown]" in done.stderr and "do:" in done.stderr
    assert len(done.stderr.splitlines()) <= 3


def test_silent_server(tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_bytes(certificate())
    done = trueboot("device", "ls", "--server", "https://127.0.0.1:1", "--ca", str(ca), "--token", "t")
    assert done.returncode == 69
    assert "[server_unreachable]" in done.stderr
    assert "Traceback" not in done.stderr


def test_token_never_goes_over_plain_http(tmp_path):
    done = trueboot("device", "ls", "--server", "http://127.0.0.1:1", "--ca", "x", "--token", "t")
    assert done.returncode == 2
    assert "https" in done.stderr


def test_named_state_without_a_server(tmp_path):
    done = trueboot("release", "ls", "--state", str(tmp_path / "nowhere"))
    assert done.returncode == 78
    assert "nowhere" in done.stderr


def test_broken_operator_file(tmp_path):
    (tmp_path / "operator.json").write_text("{")
    done = trueboot("release", "ls", "--state", str(tmp_path))
    assert done.returncode == 78
    assert "[file_unusable]" in done.stderr


def test_deploy_needs_to_know_where_to():
    done = trueboot("deploy", "1.1.0")
    assert done.returncode == 2
    assert "--device" in done.stderr and "--all" in done.stderr


@pytest.fixture
def online(tmp_path):
    """The public key that a server's first start leaves."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    path = tmp_path / "online.pub"
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    path.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_keys_are_private_and_never_overwritten(tmp_path, online):
    folder = tmp_path / "keys"
    done = trueboot("keys", "init", str(folder), "--online", str(online), "--no-password", "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert len({keyid for keyids in made["keyids"].values() for keyid in keyids}) == 4
    for name in ("root.pem", "targets.pem", "release.pem"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    before = (folder / "root.pem").read_bytes()
    again = trueboot("keys", "init", str(folder), "--online", str(online), "--no-password")
    assert again.returncode == 1
    assert "[keys_exist]" in again.stderr
    assert (folder / "root.pem").read_bytes() == before


def test_first_root_is_valid_tuf(tmp_path, online):
    from tuf.api.metadata import Metadata

    trueboot("keys", "init", str(tmp_path / "keys"), "--online", str(online), "--no-password")
    root = Metadata.from_file(str(tmp_path / "keys" / "1.root.json"))
    root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
    assert {key.scheme for key in root.signed.keys.values()} == {"ecdsa-sha2-nistp256"}
    assert root.signed.roles["root"].keyids != root.signed.roles["targets"].keyids
    assert root.signed.roles["snapshot"].keyids == root.signed.roles["timestamp"].keyids


def test_keys_need_a_usable_online_key(tmp_path):
    (tmp_path / "online.pub").write_text("nonsense")
    done = trueboot("keys", "init", str(tmp_path / "keys"), "--online", str(tmp_path / "online.pub"), "--no-password")
    assert done.returncode == 78
    assert not (tmp_path / "keys").exists()


def test_image_is_built_checked_and_shown(tmp_path):
    app = tmp_path / "app"
    (app / "lib").mkdir(parents=True)
    (app / "main.py").write_text("print('hello')\n")
    (app / "lib" / "part.py").write_text("")
    (app / "__pycache__").mkdir()
    (app / "__pycache__" / "main.pyc").write_bytes(b"x")
    image = tmp_path / "app.img"
    built = trueboot("image", "build", str(app), "-o", str(image), "--json")
    assert built.returncode == 0, built.stderr
    shown = trueboot("image", "show", str(image), "--json")
    assert json.loads(shown.stdout) == json.loads(built.stdout)
    assert [file["path"] for file in json.loads(shown.stdout)["files"]] == ["lib/part.py", "main.py"]

    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    damaged = trueboot("image", "show", str(image))
    assert damaged.returncode == 1
    assert "[image_invalid]" in damaged.stderr


def test_image_without_main_is_refused(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "other.py").write_text("")
    done = trueboot("image", "build", str(tmp_path / "app"), "-o", str(tmp_path / "x"))
    assert done.returncode == 1
    assert "main.py" in done.stderr


def test_release_with_a_wrong_version_is_wrong_usage(tmp_path):
    (tmp_path / "main.py").write_text("")
    done = trueboot("release", "add", str(tmp_path), "--version", "1.1")
    assert done.returncode == 2
    assert "1.1.0" in done.stderr


def test_explain():
    done = trueboot("explain", "server_unreachable", "--json")
    assert json.loads(done.stdout)["exit"] == 69
    assert "do" in trueboot("explain", "[server_unreachable]").stdout
    unknown = trueboot("explain", "server_unreachible")
    assert unknown.returncode == 2
    assert "server_unreachable" in unknown.stderr


def test_demo_refuses_unknown_scripts_and_runtimes():
    assert trueboot("demo", "--script", "tragedy").returncode == 2
    assert trueboot("demo", "--runtime", "jython").returncode == 2


def test_a_bug_is_one_message_not_a_traceback(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import trueboot.tables as t\nt.show_table = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = trueboot("explain", PYTHONPATH=path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    loud = trueboot("explain", PYTHONPATH=path, TRUEBOOT_DEBUG="1")
    assert "Traceback" in loud.stderr


def test_missing_extra_is_named(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = trueboot("--help", PYTHONPATH=path)
    assert done.returncode == 78
    assert "pip install 'trueboot[cli]'" in done.stderr


def certificate() -> bytes:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test CA")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)
