# SPDX-License-Identifier: MIT
"""The agent updates itself: N gives way to N+1, falls back to N over N+1's journal, and gives way to N+1 for good.

N+1 is this agent with another version number and a journal that writes a key which N does not know.
"""

import shutil
from pathlib import Path

import pytest
from rig import compiled, journal

import agent
from trueboot import mpy

NEXT = "99.0.0"
KEY = "knowledge_of_the_next_agent"
SAVE = '    record["format"] = FORMAT\n'
LEARNT = f'    record["{KEY}"] = {{"since": [9, 9], "boot": record.get("boot", 0)}}\n'


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, path
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def next_agent(tmp_path_factory):
    """runtime -> the files of agent N+1, as they lie in an image."""
    root, out = tmp_path_factory.mktemp("next"), tmp_path_factory.mktemp("next-mpy")
    for package in ("agent", "platform_adapters"):
        shutil.copytree(mpy.source_tree() / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    replaced(root / "agent" / "__init__.py", f'__version__ = "{agent.__version__}"', f'__version__ = "{NEXT}"')
    replaced(root / "agent" / "journal.py", SAVE, SAVE + LEARNT)
    sources = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.py"))}
    made = {"cpython": sources}
    if not mpy.unavailable():
        made["micropython"] = compiled(out, root)
    return made


@pytest.fixture
def device(rig, runtime):
    device = rig.device(runtime, config={"trial_timeout_ms": 1500})
    device.power_on()
    rig.wait(device, "version.reported", version="1.0.0")
    return device


def update(rig, device, outcome, **release):
    since = len(rig.events)
    made = rig.release(rig.next_version(), **release)
    rig.deploy(made, device)
    rig.wait(device, f"attempt.{outcome}", "server", since)
    rig.wait(device, "version.reported", since=since)
    return made.version


def test_back_to_n_over_the_journal_of_the_next(rig, device, runtime, next_agent):
    assert rig.ask(device) == {"agent": agent.__version__, "app": "1.0.0"}
    update(rig, device, "rolled_back", healthy=False, more=next_agent[runtime])
    left = journal(device)[KEY]
    assert left["since"] == [9, 9]
    assert left["boot"] == 2, "the agent that was on trial wrote it"
    # N runs again, has saved since, and kept what it does not know
    assert rig.ask(device) == {"agent": agent.__version__, "app": "1.0.0"}
    assert journal(device)["boot"] > left["boot"]
    # and it goes on working: an update of the old kind, over the same journal
    version = update(rig, device, "updated")
    assert rig.ask(device) == {"agent": agent.__version__, "app": version}
    assert journal(device)[KEY] == left
    assert rig.stored(device)["proven_version"] == version


def test_on_to_the_next_and_home_again(rig, device, runtime, next_agent):
    version = update(rig, device, "updated", more=next_agent[runtime])
    assert rig.ask(device) == {"agent": NEXT, "app": version}
    left = journal(device)[KEY]
    device.pull_power()
    since = len(rig.events)
    rig.wait(device, "version.reported", since=since, version=version)
    # an ordinary release brings N back: it takes over a journal that only N+1 has written since
    home = update(rig, device, "updated")
    assert rig.ask(device) == {"agent": agent.__version__, "app": home}
    kept = journal(device)[KEY]
    assert kept["since"] == left["since"]
    assert rig.stored(device)["proven_version"] == home
    assert rig.said(device, "identity.key_made") == rig.said(device, "identity.key_made")[:1]


def test_next_agent_that_cannot_be_imported(rig, device, runtime, next_agent):
    name = "agent/runtime.py" if runtime == "cpython" else "agent/runtime.mpy"
    broken = {**next_agent[runtime], name: b"M\x06 not code"}
    update(rig, device, "rolled_back", more=broken)
    assert rig.ask(device) == {"agent": agent.__version__, "app": "1.0.0"}
