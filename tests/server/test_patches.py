# SPDX-License-Identifier: MIT
"""Patches and frames as bytes: cut anywhere, the same every time, and nothing but what makes the image."""

import os
import random
import subprocess
import sys

import pytest

from agent.wire.encoded import MAX_FRAME_BYTES, MAX_INFLATED_BYTES
from trueboot_server.repo import patches
from trueboot_server.repo.frames import BadFrames, Framed, Plain, State, deflated_from, inflate, pack

_random = random.Random(11)
NOISE = _random.randbytes(150_000)


def _edited(base, edits):
    """`base` with stretches moved, left out, put in, and single bytes changed."""
    chance, made = random.Random(edits), bytearray(base)
    for _ in range(edits):
        at, size, kind = chance.randrange(len(made)), chance.randrange(1, 3000), chance.randrange(4)
        if kind == 0:
            del made[at : at + size]
        elif kind == 1:
            made[at:at] = chance.randbytes(size)
        elif kind == 2:
            made[at:at] = base[size : size * 2]
        for _ in range(5):
            made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
    return bytes(made)


PAIRS = {
    "edited": (NOISE, _edited(NOISE, 40)),
    "the same": (NOISE, NOISE),
    "begins elsewhere": (NOISE, NOISE[70_000:] + NOISE[:70_000]),
    "ends elsewhere": (NOISE, NOISE[9000:] + b"\0"),
    "long": (NOISE[:3000], NOISE[:3000] * 30),
    "nothing alike": (b"a" * 500, NOISE[:9000]),
    "no base": (b"", b"something"),
    "one byte": (NOISE, b"x"),
    "one byte of it": (b"x", b"x"),
    "only sums": (bytes(40_000), bytes(i % 3 for i in range(40_000))),
    "zeros": (bytes(60_000), bytes(59_000)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_patch_makes_the_image_from_any_byte_on(name):
    base, image = PAIRS[name]
    framed = patches.make(base, image)
    assert patches.make(base, image) == framed
    assert Framed.from_bytes(framed.to_bytes()) == framed
    seams = [at + i for at, _ in framed.rows for i in (-1, 0, 1)]
    for offset in {
        0,
        1,
        2,
        len(image) - 2,
        len(image) - 1,
        *seams,
        *(random.Random(1).choices(range(len(image)), k=40)),
    }:
        if 0 <= offset < len(image):
            frames = patches.patch_from(framed, image[offset : offset + 1], offset)
            assert patches.apply(frames, base, len(image) - offset) == image[offset:], offset
            assert all(
                len(frame) <= MAX_FRAME_BYTES + 2 and len(inflate(frame)) <= MAX_INFLATED_BYTES for frame in frames
            )


def test_a_cut_costs_a_frame_and_no_more():
    base, image = PAIRS["edited"]
    framed = patches.make(base, image)
    middle = framed.rows[len(framed.rows) // 2][0] + 100
    frames = patches.patch_from(framed, image[middle : middle + 1], middle)
    assert frames[2:] == framed.frames[-len(frames) + 2 :]
    assert sum(map(len, frames)) < framed.size * 2 / 3


def test_frames_are_full_whatever_they_hold():
    for image, most in ((NOISE, len(NOISE) * 1.02), (b"0123456789" * 50_000, 10_000), (bytes(500_000), 1000)):
        framed = pack(Plain(image), State(0, 0))
        assert framed.size < most
        assert b"".join(map(inflate, framed.frames)) == image
        assert (
            b"".join(map(inflate, deflated_from(framed, lambda start, end, image=image: image[start:end], 777)))
            == image[777:]
        )


def test_what_was_kept_and_is_damaged_is_not_taken():
    data = patches.make(*PAIRS["ends elsewhere"]).to_bytes()
    for at in (0, 20, 60, len(data) // 2, len(data) - 1):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(BadFrames):
            Framed.from_bytes(bytes(damaged))
    for end in (0, 5, 30, len(data) - 1):
        with pytest.raises(BadFrames):
            Framed.from_bytes(data[:end])


def test_the_process_that_makes_one_keeps_to_its_memory_and_says_why_not(tmp_path):
    base, image = tmp_path / "base", tmp_path / "image"
    base.write_bytes(NOISE)
    image.write_bytes(_edited(NOISE, 3))

    def run(memory, image=image):
        command = [sys.executable, "-m", "trueboot_server.repo.patches", str(base), str(image), str(tmp_path / "out")]
        return subprocess.run(
            [*command, str(memory), "20", str(os.getpid())], capture_output=True, text=True, timeout=60, check=False
        )

    done = run(2**30)
    assert (done.returncode, done.stdout) == (0, "") and (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    assert Framed.from_bytes((tmp_path / "out").read_bytes()) == patches.make(NOISE, image.read_bytes())
    (tmp_path / "out").unlink()
    base.write_bytes(_random.randbytes(8_000_000))
    done = run(80 * 2**20)
    assert done.returncode == 1 and done.stdout == "it takes too much memory", done.stderr
    base.write_bytes(NOISE)
    noise = tmp_path / "noise"
    noise.write_bytes(random.Random(5).randbytes(3000))
    done = run(2**30, noise)
    assert done.returncode == 1 and done.stdout == patches.NOT_SMALLER
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "image", "noise"]
