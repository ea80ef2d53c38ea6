# SPDX-License-Identifier: MIT
"""What the page carries of others is what vendored.toml says, with its licence."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tools/check/vendored.toml"
sys.path.insert(0, str(TABLE.parent))


def test_vendored_files_are_the_very_bytes_of_their_packages():
    ran = subprocess.run([sys.executable, "tools/check/vendored.py"], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (0, "")
    for package in tomllib.loads(TABLE.read_text()).values():
        assert any(file.startswith("LICENSE") for file in package["files"])


def test_a_byte_more_a_file_more_and_one_less_are_told(tmp_path):
    import vendored

    packages = {"x": {"version": "1", "files": {"a.js": {"sha256": "0" * 64}, "b.js": {"sha256": "0" * 64}}}}
    (tmp_path / "a.js").write_bytes(b"changed")
    (tmp_path / "c.js").write_bytes(b"")
    told = "\n".join(vendored.differences(packages, tmp_path))
    assert "a.js has SHA-256" in told and "b.js is missing" in told and "c.js: nothing" in told
