# SPDX-License-Identifier: MIT
"""The size report compiles the very files that boards get, and notices when they grow."""

import importlib.util
from pathlib import Path

from trueboot import mpy
from trueboot.device_files import device_files, is_device_file

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("size_report", ROOT / "tools" / "check" / "size_report.py")
size_report = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(size_report)

BUDGET = {"total": {"agent": 250}, "file": {"default": 100, "agent/big.py": 200}}


def test_within_budget():
    assert size_report.over_budget({"agent/big.py": 200, "agent/small.py": 50}, BUDGET) == []


def test_a_large_file_a_large_package_and_a_stale_budget_are_told():
    assert size_report.over_budget({"agent/small.py": 101, "agent/other.py": 151}, BUDGET) == [
        "agent/small.py: 101 bytes where 100 are its budget",
        "agent/other.py: 151 bytes where 100 are its budget",
        "agent: 252 bytes in total where 250 are its budget",
        "agent/big.py: has a budget, but is no device file",
    ]


def test_a_package_without_a_budget_has_none():
    assert size_report.over_budget({"other/a.py": 1}, {"total": {}, "file": {"default": 100}}) == [
        "other: 1 bytes in total where 0 are its budget"
    ]


def test_the_tree_is_within_budget(capsys):
    assert size_report.main([]) == 0
    assert "agent in total" in capsys.readouterr().out


def test_host_files_stay_off_boards():
    for path in ("platform_adapters/ports.py", "platform_adapters/linux.py", "platform_adapters/keystores/tpm.py"):
        assert not is_device_file(path)
    for path in ("tools/trueboot/mpy.py", "tests/conftest.py", "micropython/boot.py", "agent/data.json"):
        assert not is_device_file(path)
    assert is_device_file("agent/wire/der.py") and is_device_file("platform_adapters/esp32.py")


def test_what_is_built_is_what_is_listed(tmp_path):
    sizes = mpy.build(tmp_path)
    assert list(sizes) == device_files(ROOT)
    built = {path.relative_to(tmp_path).as_posix(): path.stat().st_size for path in tmp_path.rglob("*.mpy")}
    assert built == {path.replace(".py", ".mpy"): size for path, size in sizes.items()}


def test_a_selection_can_be_built(tmp_path):
    assert list(mpy.build(tmp_path, files=["agent/errors.py"], root=ROOT)) == ["agent/errors.py"]
    assert [path.name for path in tmp_path.rglob("*.mpy")] == ["errors.mpy"]
