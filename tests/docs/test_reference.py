# SPDX-License-Identifier: MIT
"""docs/reference is what the code says, and says something of everything that it names."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools" / "check")]

import reference  # noqa: E402
import reference_sources as sources  # noqa: E402


@pytest.fixture(scope="module")
def made():
    return reference.made()


@pytest.mark.parametrize("name", ["cli.md", "config.md", "events.md", "journal.md"])
def test_the_page_is_what_the_code_says(made, name):
    page = (ROOT / "docs" / "reference" / name).read_text("utf-8")
    assert page == made[name], "run: python tools/check/reference.py --write"


def test_everything_has_a_meaning_and_nothing_stale_has_one():
    from agent import config

    told = reference.notes()
    found = {
        "config": set(config.KEYS).union(*(dialect.KEYS for dialect in sources.dialects().values())),
        "agent event": set(sources.agent_events()),
        "server event": set(sources.server_events()),
        "journal": set(sources.journal_members()),
        "update": set(sources.update_members()),
        "identity": set(sources.identity_members()),
        "record": set(sources.store_records()),
    }
    for section, names in found.items():
        assert names == told[section].keys(), "tools/check/reference_notes.txt, [%s]" % section


def test_the_pages_name_what_is_there(made):
    for verb in ("trueboot deploy", "trueboot keys add", "trueboot-agent install-service", "trueboot-agent doctor"):
        assert f"\n## {verb}\n" in made["cli.md"]
    assert "`--follow, -f`" in made["cli.md"] and "`--dry-run`" in made["cli.md"]
    assert (
        "| `trial_boots` | 1 to 10 | `5` |" in made["config.md"]
        and "| `hardware` | text | required |" in made["config.md"]
    )
    assert "| `boot` | `boot`, `cause`, `confirmed`, `slot` |" in made["events.md"]
    for event in ("identity.key_made", "update.rolled_back", "attempt.updated", "job.halted", "repository.refreshed"):
        assert f"| `{event}` |" in made["events.md"]


def test_a_page_that_is_not_as_the_code_is_found(made, tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "made", lambda: made)
    assert reference.main([]) == 0
    monkeypatch.setattr(reference, "PAGES", tmp_path)
    assert reference.main([]) == 1
    assert reference.main(["--write"]) == 0 and reference.main([]) == 0
    assert "tools/check/reference.py" in (ROOT / "tools/check/all.py").read_text(), "make check asks, too"
