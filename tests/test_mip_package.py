# SPDX-License-Identifier: MIT
"""What mip installs is what the tree has, and what a board needs; and the index is of the form that mip reads."""

import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from trueboot import __version__, images, mip, mpy
from trueboot.board_files import needed

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("mip_package", ROOT / "tools" / "check" / "mip_package.py")
mip_package = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mip_package)


@pytest.mark.parametrize("name", mip_package.PLACES)
def test_package_json_is_what_the_tree_says(name):
    text = (ROOT / name).read_text()
    assert text == mip_package.made()[name], "make it again: tools/check/mip_package.py --write"
    about = json.loads(text)
    assert about["version"] == __version__
    for path, url in about["urls"]:
        assert ((ROOT / name).parent / url).resolve() == source_of(path), path
        assert not path.startswith("/") and ".." not in path
    assert {path.removeprefix("lib/") for path, _ in about["urls"] if path.startswith("lib/")} == set(needed(ROOT))
    if name == "package.json":
        assert not any(".." in url for _, url in about["urls"])


def source_of(path):
    if path.startswith("lib/"):
        return ROOT / path.removeprefix("lib/")
    return ROOT / ("platform_adapters" if path == "bootrecord.py" else "micropython") / path


def test_a_new_file_makes_the_package_stale(tmp_path, monkeypatch, capsys):
    (tmp_path / "micropython").mkdir()
    monkeypatch.setattr(mip_package, "ROOT", tmp_path)
    monkeypatch.setattr(mip_package, "made", lambda: dict.fromkeys(mip_package.PLACES, "new"))
    assert mip_package.main([]) == 1 and capsys.readouterr().out.count("--write") == 2
    assert mip_package.main(["--write"]) == 0
    assert mip_package.main([]) == 0
    (tmp_path / "package.json").write_text("old")
    assert mip_package.main([]) == 1


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    return folder, mip.write_index(folder, "some-board", __version__)


def files_of(index, kind, name, label="latest"):
    """path -> contents, as mip finds them."""
    about = json.loads((index / "package" / kind / name / f"{label}.json").read_text())
    assert about["version"] == __version__ and about["deps"] == []
    found = {}
    for path, digest in about["hashes"]:
        found[path] = (index / "file" / digest[:2] / digest).read_bytes()
        assert hashlib.sha256(found[path]).hexdigest().startswith(digest)
    return found


def test_the_index_has_all_that_a_board_needs(index):
    folder, facts = index
    compiled, plain = files_of(folder, "6", "trueboot"), files_of(folder, "py", "trueboot")
    assert compiled == files_of(folder, "6", "trueboot", __version__)
    assert {path.replace(".mpy", ".py") for path in compiled} == set(plain) == set(mip.sources(ROOT))
    for path, data in compiled.items():
        if path.startswith("lib/"):
            assert path.endswith(".mpy") and data[:2] == b"M\x06", path
        else:
            assert data == plain[path] == source_of(path).read_bytes()
    assert facts["files"] == len(compiled) and facts["mpy_bytes"] == sum(map(len, compiled.values()))


def test_the_codec_over_umqtt_comes_alone(index):
    assert list(files_of(index[0], "6", "trueboot-umqtt")) == ["lib/platform_adapters/micropython_umqtt.mpy"]
    assert files_of(index[0], "py", "trueboot-umqtt")["lib/" + mip.UMQTT] == (ROOT / mip.UMQTT).read_bytes()


def test_the_example_is_a_whole_image_with_its_note(index):
    files = files_of(index[0], "6", "trueboot-example")
    assert files == files_of(index[0], "py", "trueboot-example")
    assert list(files)[-1] == "slots/a/.index"
    note = json.loads(files["slots/a/.release"])
    image = images.load(ROOT / "micropython" / "example", "app")
    assert note["sha256"] == hashlib.sha256(image).hexdigest() and note["hardware"] == ["some-board"]
    assert files["slots/a/main.py"] == (ROOT / "micropython" / "example" / "main.py").read_bytes()
    assert image.startswith(files["slots/a/.index"])


def test_an_index_goes_into_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    from trueboot import cli

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    for folder, code in (("full", 78), ("file/below", 78)):
        monkeypatch.setattr(sys, "argv", ["trueboot", "board", "index", str(tmp_path / folder)])
        with pytest.raises(SystemExit) as end:
            sys.exit(cli.main())
        said = capsys.readouterr()
        assert end.value.code == code and "[file_unusable]" in said.err and said.out == ""
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


@pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")
def test_where_mpremote_puts_things_on_littlefs(tmp_path):
    """`--target /` makes paths with two slashes, and `:.` means the root: both must be it."""
    import subprocess

    (tmp_path / "t.py").write_text(LITTLEFS)
    done = subprocess.run([*mpy.interpreter("1M"), "t.py"], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.stdout == "['boot.py', 'ca.der', 'lib']\n", done.stderr


LITTLEFS = """
import os, vfs

class Flash:
    data = bytearray(32 * 4096)
    def readblocks(self, number, buffer, at=0):
        start = number * 4096 + at
        buffer[:] = self.data[start : start + len(buffer)]
    def writeblocks(self, number, buffer, at=0):
        start = number * 4096 + at
        self.data[start : start + len(buffer)] = buffer
    def ioctl(self, op, arg):
        return {4: 32, 5: 4096}.get(op, 0)

vfs.VfsLfs2.mkfs(Flash())
vfs.umount("/")
vfs.mount(vfs.VfsLfs2(Flash()), "/")
assert os.getcwd() == "/"
os.stat("/"), os.stat("//lib") if "lib" in os.listdir() else os.mkdir("//lib"), os.stat("."), os.stat(".//")
for name in ("//boot.py", "//lib/a.mpy", "./ca.der"):
    with open(name, "w") as file:
        file.write("x")
print(sorted(os.listdir("/")))
"""
