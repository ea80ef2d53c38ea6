# SPDX-License-Identifier: MIT
"""The file system that is flashed is one that MicroPython mounts, reads and goes on writing."""

import json
import subprocess

import pytest

from trueboot import mpy
from trueboot.flash import filesystem
from trueboot.problem import Problem

SIZE = 64 * 4096
ON_MICROPYTHON = """
import json, sys, vfs
class Flash:
    def __init__(self, data): self.data = bytearray(data)
    def readblocks(self, n, buf, off=0): buf[:] = self.data[n * 4096 + off:n * 4096 + off + len(buf)]
    def writeblocks(self, n, buf, off=None):
        at = n * 4096 + (off or 0)
        self.data[at:at + len(buf)] = buf
    def ioctl(self, op, arg):
        if op == 4: return len(self.data) // 4096
        if op == 5: return 4096
        if op == 6: self.data[arg * 4096:arg * 4096 + 4096] = b"\\xff" * 4096; return 0
        return 0
flash = Flash(open("image", "rb").read())
fs = vfs.VfsLfs2(flash)
vfs.mount(fs, "/f")
found = {}
def walk(path):
    for name, kind, *_ in fs.ilistdir(path):
        inner = path.rstrip("/") + "/" + name
        if kind == 0x4000: walk(inner)
        else: found[inner] = len(open("/f" + inner, "rb").read())
walk("/")
with open("/f/lib/more", "w") as file: file.write("x" * 9000)
vfs.umount("/f")
vfs.mount(vfs.VfsLfs2(flash), "/f")
found["more"] = len(open("/f/lib/more").read())
print(json.dumps(found))
"""


@pytest.mark.skipif(bool(mpy.unavailable()), reason=mpy.unavailable() or "-")
def test_micropython_mounts_it(tmp_path):
    files = {"boot.py": b"1", "lib/agent/deep/x.mpy": bytes(10_000), "empty": b"", "slots/a/.index": b"abc"}
    (tmp_path / "image").write_bytes(filesystem.build(files, SIZE))
    (tmp_path / "mount.py").write_text(ON_MICROPYTHON)
    command = [*mpy.interpreter("2m"), "mount.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"/" + name: len(data) for name, data in files.items()} | {"more": 9000}


def test_what_is_built_is_what_is_unpacked(tmp_path):
    files = {"a": b"1" * 5000, "b/c/d": b"\xff" * 4096}
    filesystem.unpack(filesystem.build(files, SIZE), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    with pytest.raises(ValueError):
        filesystem.unpack(b"\x00" * SIZE, tmp_path)


def test_what_does_not_fit_is_told():
    with pytest.raises(Problem) as told:
        filesystem.build({"large": bytes(SIZE)}, SIZE)
    assert told.value.code == "flash_small"
