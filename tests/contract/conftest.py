# SPDX-License-Identifier: MIT
"""Contract tests of adapters that are not portable, or that need a far end; shared checks lie in tests/portable."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PORTABLE = Path(__file__).parent.parent / "portable"
if str(PORTABLE) not in sys.path:
    sys.path.insert(0, str(PORTABLE))

from far_end import Authority, HttpEnd, MqttEnd, Server, SilentEnd  # noqa: E402


@pytest.fixture(scope="session")
def authority():
    return Authority("Contract CA")


@pytest.fixture(scope="session")
def foreign():
    return Authority("Foreign CA")


@pytest.fixture(scope="session")
def far_end(authority, foreign, tmp_path_factory):
    """Every server that a check may want, by name."""
    folder = tmp_path_factory.mktemp("far_end")
    good = authority.issue(["localhost"])
    servers = {
        "http": Server(folder, good, HttpEnd()),
        "mqtt": Server(folder, good, MqttEnd()),
        "mutual": Server(folder, good, MqttEnd(), client_anchor=authority),
        "mutual_http": Server(folder, good, HttpEnd(), client_anchor=authority),
        "foreign": Server(folder, foreign.issue(["localhost"]), HttpEnd()),
        "misnamed": Server(folder, authority.issue(["elsewhere.example"]), HttpEnd()),
        "expired": Server(folder, authority.issue(["localhost"], days=(-20, -10)), HttpEnd()),
        "early": Server(folder, authority.issue(["localhost"], days=(10, 20)), HttpEnd()),
        "silent": Server(folder, None, SilentEnd()),
    }
    yield servers
    for server in servers.values():
        server.close()
