# SPDX-License-Identifier: MIT
"""Every command in the README and in docs/ is run, and prints what the page shows."""

import os
import re
import shutil
import subprocess

import pytest
from transcripts import ROOT, Shell, commands, differs

from trueboot.demo import swtpm

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += [ROOT / "examples" / "README.md"]
NAME = lambda page: page.relative_to(ROOT).as_posix()  # noqa: E731
FENCES = re.compile(r"^```(\w*)$", re.M)


def target_of(text):
    """The make target that a command runs, if it is one."""
    found = re.fullmatch(r"make ([a-z-]+)", text)
    return found.group(1) if found else None


@pytest.mark.parametrize("page", PAGES, ids=NAME)
def test_page(page, tmp_path, micropython):
    listed = commands(page.read_text())
    if not listed:
        return
    if page.name == "tpm.md" and (lacking := swtpm.lacks()):
        pytest.skip(f"no TPM in software: {lacking}")
    if page.name == "service.md" and shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    shell = Shell(tmp_path)
    try:
        for command in listed:
            text = command.text
            target = target_of(text)
            if target is not None:
                text = recipe(target)
            if text is None:
                continue
            code, said = shell.run(text)
            assert code == command.exit_code, f"{command.text}: exit code {code}\n{said}"
            if command.expected:
                assert not differs(command.expected, said), f"{command.text}: {differs(command.expected, said)}"
    finally:
        shell.close()


def recipe(target):
    """What a make target runs, without making the virtual environment again; None for those that this run is part of."""
    # Without the variables of a make that this run may be part of.
    plain = {
        name: value for name, value in os.environ.items() if name != "ARGS" and not name.startswith(("MAKE", "MFLAGS"))
    }
    done = subprocess.run(["make", "-n", target], cwd=ROOT, env=plain, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if target in ("test", "sweep", "check", "bench", "clean", "install"):
        return None
    return done.stdout.strip().splitlines()[-1].replace(".venv/bin/", "")


@pytest.fixture
def micropython():
    from trueboot.demo.story import micropython_lacks

    lacking = micropython_lacks()
    if lacking:
        pytest.skip(f"no MicroPython for this machine: {lacking}")


@pytest.mark.parametrize("page", PAGES, ids=NAME)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert [page for page in pages if page != "README.md" and f"]({page}" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=NAME)
def test_no_shell_block_escapes_the_test(page):
    kinds = FENCES.findall(page.read_text())[::2]
    assert not {"sh", "bash", "shell", "shell-session"} & set(kinds)


def test_transcripts_are_compared():
    assert differs(["a", "..."], "a\nb\nc") == ""
    assert differs(["a", "b"], "a\nc")
    assert differs(["   0.10  x  hello"], "   0.90  x  hello") == ""
    assert differs(["   0.10  x  hello"], "   0.90  x  good-bye")
    assert differs(["expires  2036-11-19"], "expires  2037-01-02") == ""
    assert differs(["expires  2036-11-19"], "expires  never")
    many = ["   0.10  x  one", "   0.20  y  two", "   0.30  x  three", "end"]
    assert differs(["   0.50  x  one", "...", "   0.60  x  three", "end"], "\n".join(many)) == ""
    assert differs(["   0.50  x  three", "...", "   0.60  x  one", "end"], "\n".join(many))
    assert differs(["   0.50  x  one", "   0.60  x  three", "end"], "\n".join(many))
