# SPDX-License-Identifier: MIT
"""`trueboot product` and `trueboot package` for devices that speak esthesis, as they are typed."""

import hashlib
import sys
from pathlib import Path

import pytest
from commandline import Tool

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from server_client import ServerThread  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state")
    yield running
    running.stop()


@pytest.fixture
def tool(server, tmp_path):
    first = server.first
    return Tool(
        tmp_path, TRUEBOOT_SERVER=first["https"], TRUEBOOT_CA=first["ca_file"], TRUEBOOT_TOKEN=first["admin_token"]
    )


def test_a_product_its_policy_and_its_packages(server, tool, tmp_path):
    file = tmp_path / "fw.bin"
    file.write_bytes(b"hello")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    tool.refused("not_found", "package", "add", file, "--version", "1.0.1")  # nobody speaks esthesis yet
    assert tool.ok("product", "create", "thermo", "--dialect", "esthesis")["dialect"] == "esthesis"
    (tmp_path / "secret").write_text("a secret of many\n")
    changed = tool.ok(
        *("product", "set", "--product", "thermo", "--registration", "open-with-secret"),
        *("--registration-secret-file", "secret", "--tokens", "optional", "--pushed-tags", "yes"),
        *("--generated-keys", "no"),
    )
    assert (changed["registration"], changed["tokens"]) == ("OPEN_WITH_SECRET", "optional")
    assert changed["pushed_tags"] is True and changed["generated_keys"] is False
    assert (
        "a secret of many" not in str(changed)
        and "OPEN_WITH_SECRET" in tool.run(*("product", "set", "--product", "thermo", "--tokens", "required")).stdout
    )

    here = tool.ok("package", "add", file, "--version", "1.0.1")
    assert (here["type"], here["sha256"], here["size"], here["product_key"]) == ("INTERNAL", sha256, 5, "thermo")
    away = tool.ok(
        *("package", "add", "https://elsewhere.example/fw2.bin", "--version", "2.0.0", "--copy", file),
        *("--tag", "a", "--tag", "b", "--prerequisite", "1.0.1"),
    )
    assert (away["type"], away["sha256"], away["name"]) == ("EXTERNAL", sha256, "fw2.bin")
    assert [one["id"] for one in tool.ok("package", "ls")] == [here["id"], away["id"]]
    assert tool.ok("package", "set", here["id"], "--available", "no")["available"] is False
    assert "a b" in tool.run("package", "ls").stdout
    for number in (here["id"], away["id"]):
        tool.ok("package", "remove", number)
    assert tool.ok("package", "ls") == []
    tool.refused("not_found", "package", "remove", here["id"])


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("usage", "package add https://elsewhere.example/x --version 1.0.0"),
        ("usage", "package add x --version 1.0.0 --sha256 00"),
        ("file_unusable", "package add absent --version 1.0.0"),
        ("usage", "package remove ../products"),
        ("usage", "package set 000000000000000000000000 --available maybe"),
        ("usage", "product create x --dialect klingon"),
        ("usage", "product set --tokens maybe"),
        ("usage", "product set --registration perhaps"),
        ("file_unusable", "product set --registration-secret-file absent"),
        ("usage", "server --download-life 1s"),
        ("usage", "server --download-life soon"),
    ],
)
def test_what_cannot_be_meant(tool, code, arguments):
    tool.refused(code, *arguments.split())
