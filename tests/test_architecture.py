# SPDX-License-Identifier: MIT
"""Who may import whom.  The table is that of the architecture; a file that it does not know fails."""

import ast
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from trueboot.device_files import device_files, is_device_file

ROOT = Path(__file__).parent.parent
OURS = ("agent", "platform_adapters", "trueboot", "trueboot_server", "tests", "tools")
STANDARD = ("struct", "hashlib", "binascii")

# First match counts.  Patterns of files -> modules that they may import; a package stands for all of it.
# None instead of a list of others: whatever does not belong to this project.
RULES = (
    ("agent/__init__.py", ("agent",), ()),
    ("agent/tasks/__init__.py", ("agent.errors",), ()),
    ("agent/*/__init__.py", (), ()),
    ("agent/errors.py", (), ()),
    ("agent/version.py", ("agent.errors",), ()),
    ("agent/wire/encoded.py", ("agent.errors", "agent.wire"), ("io", "sys", "deflate", "zlib")),
    ("agent/wire/*.py", ("agent.errors", "agent.wire"), STANDARD),
    ("agent/crypto/*.py", ("agent.errors", "agent.wire", "agent.crypto"), STANDARD),
    ("agent/journal.py", ("agent.errors",), ("struct", "json", "binascii")),
    (
        "agent/config.py",  # a dialect knows its own keys
        ("agent.errors", "agent.version", "agent.window", "agent.wire", "agent.clouds"),
        ("json",),
    ),
    (
        "agent/trust/artifact.py",  # boards have no SHA-512 of their own
        ("agent.errors", "agent.crypto.sha512"),
        ("hashlib", "binascii"),
    ),
    ("agent/trust/*.py", ("agent.errors", "agent.version", "agent.trust", "agent.wire"), ("hashlib", "binascii")),
    ("agent/clouds/esthesis_unsigned.py", ("agent.errors",), ("os", "stat")),  # on Linux alone
    (
        "agent/clouds/*.py",
        ("agent.errors", "agent.version", "agent.wire", "agent.clouds"),
        ("json", "hashlib", "binascii"),
    ),
    ("agent/token.py", ("agent.errors", "agent.version", "agent.wire"), ("json", "hashlib", "binascii")),
    ("agent/states.py", (), ()),
    ("agent/followed.py", ("agent.errors", "agent.version", "agent.states"), ()),
    ("agent/update.py", ("agent.errors", "agent.states", "agent.followed"), ()),
    ("agent/identity.py", ("agent.errors", "agent.version"), ()),
    ("agent/session.py", ("agent.errors", "agent.version"), ()),
    ("agent/outbox.py", ("agent.errors", "agent.version"), ()),
    # The shell: the only code of the agent that does things.  Never a platform.
    ("agent/runtime.py", ("agent",), ("json", "asyncio")),
    ("agent/loaded.py", (), ("gc", "sys")),
    ("agent/uplink.py", ("agent",), ("json",)),
    ("agent/talk.py", ("agent",), ("gc",)),
    ("agent/acts.py", ("agent",), ("json",)),
    ("agent/begin.py", ("agent",), ("json",)),
    ("agent/ratchet.py", (), ()),
    ("agent/claims.py", (), ()),
    ("agent/rules.py", ("agent.errors", "agent.version"), ()),
    ("agent/request.py", ("agent.errors",), ("json", "binascii")),
    ("agent/auto.py", ("agent",), ()),
    ("agent/orders.py", ("agent",), ("json",)),
    ("agent/place.py", ("agent.errors",), ("json",)),
    ("agent/pulse.py", ("agent",), ("gc", "time")),
    ("agent/tasks/adopt.py", ("agent",), ("binascii", "json")),
    ("agent/tasks/program.py", ("agent",), ("os", "signal", "subprocess", "tempfile")),
    ("agent/tasks/register.py", ("agent",), ("json",)),
    ("agent/blame.py", (), ("io", "sys")),
    ("agent/tasks/stick.py", ("agent",), ("os",)),  # the one task that looks at files
    ("agent/window.py", ("agent.errors",), ()),
    ("agent/hold.py", ("agent",), ()),
    ("agent/doubt.py", ("agent",), ()),
    ("agent/offers.py", (), ()),
    ("agent/life.py", ("agent.wire",), ("binascii", "hashlib")),
    ("agent/signing.py", ("agent",), ()),
    ("agent/chores.py", ("agent",), ()),
    ("agent/services.py", ("agent",), ()),
    ("agent/status.py", (), ()),
    ("agent/auto.py", ("agent",), ()),
    ("agent/orders.py", ("agent",), ("json",)),
    ("agent/place.py", ("agent.errors",), ("json",)),
    ("agent/pulse.py", (), ("gc", "time")),
    ("agent/tasks/adopt.py", ("agent",), ("json", "hashlib", "binascii")),
    ("agent/tasks/register.py", ("agent",), ("json", "hashlib", "binascii")),
    ("agent/tasks/program.py", ("agent",), ("os", "signal", "subprocess", "tempfile")),  # on CPython alone
    ("agent/tasks/script.py", ("agent",), ("hashlib", "json")),
    ("agent/tasks/bench_identity.py", ("agent",), ("json",)),
    ("agent/tasks/standing.py", ("agent",), ("json",)),
    ("agent/tasks/attest.py", ("agent",), ("hashlib", "binascii", "json")),
    ("agent/tasks/*.py", ("agent",), ("hashlib", "binascii")),
    (
        "platform_adapters/linux_service.py",  # it tells a device's version and its journal
        ("agent.errors", "agent.__version__", "agent.journal", "platform_adapters"),
        None,
    ),
    (
        "platform_adapters/raspberry_pi_*.py",  # CPython only: it must not lean on what a board's adapter decides
        ("agent.errors", "platform_adapters.imagewalk", "platform_adapters.slotfiles")
        + tuple("platform_adapters.raspberry_pi_" + part for part in ("boot", "files", "image")),
        None,
    ),
    ("platform_adapters/linux_forget.py", ("agent.identity", "agent.journal", "platform_adapters"), None),
    ("platform_adapters/linux_bench.py", ("agent", "platform_adapters"), None),  # its verbs are the agent's acts
    ("platform_adapters/linux_setup.py", ("agent.config", "platform_adapters"), None),
    ("platform_adapters/linux_doctor.py", ("agent", "platform_adapters"), None),  # it looks as the agent does
    ("platform_adapters/linux_install.py", ("agent", "platform_adapters"), None),  # it decides as the agent does
    ("platform_adapters/*.py", ("agent.errors", "agent.wire", "agent.crypto", "platform_adapters"), None),
    ("micropython/*.py", ("agent", "platform_adapters"), None),
    ("tools/trueboot/demo/board/*.py", ("agent", "platform_adapters"), None),  # links to micropython/
    # The demo's app runs on devices, and is what a user of the agent writes.
    ("tools/trueboot/demo/apps/*.py", ("agent", "platform_adapters"), None),
    ("tools/trueboot/flash/on_board.py", ("agent", "platform_adapters"), None),  # it runs on boards
    (
        "tools/trueboot/flash/plan.py",
        ("agent.config", "agent.errors", "trueboot"),
        None,
    ),  # a bad key is told before a board is touched
    (
        "tools/trueboot/demo/chips.py",
        ("agent.errors", "platform_adapters.keystores", "trueboot"),
        None,
    ),  # it tries blobs
    ("tools/trueboot/doctor.py", ("agent.BUILT", "trueboot"), None),
    (
        "tools/trueboot*/*.py",
        ("agent.errors", "agent.version", "agent.wire", "agent.crypto", "agent.trust", "agent.token", "agent.rules")
        + ("trueboot", "trueboot_server"),
        None,
    ),
)


def imports(source):
    """(line, module) of every import anywhere in the text; `from a import b` counts as a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, module + "." + alias.name) for alias in node.names)


def violations(path, source):
    rule = next((rule for rule in RULES if fnmatchcase(path, rule[0])), None)
    if rule is None:
        return ["%s: no rule of the architecture covers it" % path]
    _, ours, others = rule
    found = []
    for line, module in imports(source):
        package = module.split(".")[0]
        if package in OURS:
            allowed = any((module + ".").startswith(one + ".") for one in ours)
        else:
            allowed = others is None or package in others
        if not allowed:
            found.append("%s:%d: must not import %s" % (path, line, module))
    return found


def test_imports_go_in_one_direction():
    files = [
        path.relative_to(ROOT).as_posix()
        for folder in ("agent", "platform_adapters", "micropython", "tools/trueboot", "tools/trueboot_server")
        for path in (ROOT / folder).rglob("*.py")
    ]
    assert "agent/errors.py" in files
    found = [line for path in sorted(files) for line in violations(path, (ROOT / path).read_text(encoding="utf-8"))]
    assert found == []


def test_what_runs_on_boards_imports_nothing_that_does_not():
    found = [
        "%s:%d: %s is for CPython only" % (path, line, module)
        for path in device_files(ROOT)
        for line, module in imports((ROOT / path).read_text(encoding="utf-8"))
        if module.split(".")[0] in ("agent", "platform_adapters") and is_host_only(module)
    ]
    assert found == []
    assert is_host_only("platform_adapters.raspberry_pi_slots") and is_host_only("platform_adapters.linux.Linux")
    assert not is_host_only("platform_adapters.dirslots.DirSlots")


def is_host_only(module):
    """Of a module, or of a name in one."""
    return any(
        (ROOT / (name.replace(".", "/") + ".py")).exists() and not is_device_file(name.replace(".", "/") + ".py")
        for name in (module, module.rpartition(".")[0])
    )


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("agent/errors.py", "import sys"),
        ("agent/wire/http.py", "import socket"),
        ("agent/wire/http.py", "from agent.crypto import p256"),
        ("agent/wire/http.py", "from agent import crypto"),
        ("agent/wire/http.py", "from . import der"),
        ("agent/crypto/p256.py", "import os"),
        ("agent/crypto/p256.py", "def f():\n    import os"),
        ("agent/update.py", "import json"),
        ("agent/update.py", "from agent.clouds import decada"),
        ("agent/runtime.py", "from platform_adapters import linux"),
        ("agent/runtime.py", "import time"),
        ("agent/trust/client.py", "from agent.crypto import verify"),
        ("agent/journal.py", "from agent.trust import client"),
        ("platform_adapters/linux.py", "from agent import runtime"),
        ("platform_adapters/linux.py", "from agent.trust import client"),
        ("platform_adapters/linux.py", "import trueboot.mpy"),
        ("platform_adapters/raspberry_pi_slots.py", "from platform_adapters import dirslots"),
        ("tools/trueboot/demo.py", "from tests import runtimes"),
        ("tools/trueboot_server/app.py", "from agent.runtime import Agent"),
        ("agent/nobody_knows.py", ""),
    ],
)
def test_a_wrong_import_is_found(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "agent/crypto/verify.py",
            "import hashlib\nfrom agent.wire import ecdsa\nfrom agent.errors import AgentError",
        ),
        ("agent/runtime.py", "from agent import update, journal\nfrom agent.clouds import decada"),
        ("platform_adapters/linux.py", "import ssl\nfrom agent.errors import DeviceError\nfrom agent.wire import http"),
        ("tools/trueboot_server/app.py", "import sqlalchemy\nfrom agent import version\nfrom agent.wire import mqtt"),
    ],
)
def test_a_right_import_passes(path, source):
    assert violations(path, source) == []
