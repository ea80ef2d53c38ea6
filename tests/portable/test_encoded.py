# SPDX-License-Identifier: MIT
import gc
import sys

from agent.errors import RefusedError
from agent.wire import encoded
from encodings_by_hand import (
    BASE,
    FAR,
    NEW,
    PATCH,
    WORDS,
    WORDS_DEFLATED,
    ZEROS_64K,
    ZEROS_64K_1,
    frame,
    frames,
    instruction,
    stored,
)
from expect import refused, value_or_agent_error

HEAP = "112k"


def _base_read(offset, size):
    assert 0 <= offset and 0 < size <= encoded.PIECE_BYTES and offset + size <= len(BASE), (offset, size)
    return BASE[offset : offset + size]


def _read(kind, body, left, step=0):
    decoder = encoded.decoder(kind, _base_read, len(BASE), left)
    made = b""
    step = step or len(body) or 1
    for at in range(0, len(body), step):
        for piece in decoder.feed(body[at : at + step]):
            assert type(piece) is bytes and 0 < len(piece) <= encoded.PIECE_BYTES
            made += piece
    decoder.end()
    return made


def _fed(decoder, body, step, made):
    """Adds to made[0] how many bytes came."""
    for at in range(0, len(body), step):
        for piece in decoder.feed(body[at : at + step]):
            made[0] += len(piece)


def _plain(body, left, step=0):
    return _read(encoded.DEFLATE, body, left, step)


def _patched(instructions, left, size=4000, step=0):
    return _read(encoded.PATCH, frames(instructions, size), left, step)


def test_frames_give_the_image_in_pieces_of_any_size():
    body = frame(WORDS_DEFLATED) + frames(NEW, 1400) + frame(WORDS_DEFLATED)
    for step in (1, 2, 3, 7, 100, 4098, len(body)):
        assert _plain(body, 2 * len(WORDS) + len(NEW), step) == WORDS + NEW + WORDS, step


def test_a_patch_gives_the_image_in_pieces_of_any_size():
    for size in (60, 700, 4000):
        for step in (1, 13, 0):
            assert _patched(PATCH, len(NEW), size, step) == NEW, (size, step)


def test_a_patch_may_use_all_of_the_base_and_no_byte_of_it():
    assert _patched(instruction(3000), 3000) == BASE
    assert _patched(instruction(0, bytes(3000)), 3000) == BASE
    assert _patched(instruction(0, b"", b"x"), 1) == b"x"
    assert _patched(instruction(0, b"", b"x", 3000) + instruction(0, b"", b"y", -3000) + instruction(1), 3) == b"xy\0"


def test_an_instruction_that_leaves_the_base_is_refused():
    for bad in (
        instruction(3001),
        instruction(0, bytes(3001)),
        instruction(2000, bytes(1001)),
        instruction(1, seek=3000),
        instruction(1, seek=-2),
        instruction(0, b"", b"x", -1),
        instruction(1, seek=2999) + instruction(1),
        instruction(1, seek=2998) + instruction(1, b"\1"),
        instruction(1, seek=2**33),
        instruction(1, seek=-(2**33)),
    ):
        refused("encoded", _patched, bad, 4000)
        refused("encoded", _patched, bad, 4000, 4000, 1)
    for bad, left in (  # which would make all that is wanted
        (instruction(1, seek=3000), 1),
        (instruction(1, seek=3000) + instruction(0, b"", b"x"), 2),
        (instruction(1, seek=-2) + instruction(0, b"", b"x"), 2),
        (instruction(3000, b"\1", seek=-10), 3001),
    ):
        refused("encoded", _patched, bad, left)


def test_more_than_the_image_has_left_is_refused_before_it_is_made():
    for bad, left in (
        (instruction(11), 10),
        (instruction(0, bytes(11)), 10),
        (instruction(0, b"", bytes(11)), 10),
        (instruction(4, bytes(4), bytes(3)), 10),
        (instruction(2**34), 10),
        (instruction(10) + instruction(1), 10),
        (PATCH, len(NEW) - 1),
    ):
        decoder = encoded.decoder(encoded.PATCH, _base_read, len(BASE), left)
        made = [0]
        refused("encoded", _fed, decoder, frames(bad), 4000, made)
        assert made[0] <= left
    for bad, left in ((frames(b"12345"), 4), (frame(WORDS_DEFLATED), 400), (frames(b"1234") + frames(b"5"), 4)):
        for step in (1, 5000):
            made = [0]
            refused("encoded", _fed, encoded.decoder(encoded.DEFLATE, None, 0, left), bad, step, made)
            assert made[0] <= left


def test_an_instruction_that_does_nothing_is_refused_and_so_is_a_number_out_of_form():
    for bad in (
        instruction(0) + instruction(10),
        b"\x8a\x00\0\0\0",  # 10, padded
        b"\x80\x80\x80\x80\x80\x01\0\0\0",
        b"\xff\xff\xff\xff\xff",
    ):
        for step in (1, 4000):
            refused("encoded", _fed, encoded.decoder(encoded.PATCH, _base_read, 10, 10), frames(bad), step, [0])


def test_what_ends_too_early_is_refused_at_its_end():
    body = frames(PATCH, 600)
    for end in range(0, len(body), 1 if len(body) < 100 else 11):
        refused("encoded", _read, encoded.PATCH, body[:end], len(NEW))
    refused("encoded", _patched, PATCH + b"\0", len(NEW))
    refused("encoded", _patched, PATCH + b"\x85", len(NEW))
    refused("encoded", _plain, frames(b"1234"), 5)
    for more in (b"\0", b"\0\x05", b"\0\x05abc"):
        refused("encoded", _plain, frames(b"1234") + more, 4)
    refused("encoded", _plain, b"", 1)


def test_frames_out_of_form_are_refused():
    good = frame(WORDS_DEFLATED)
    for bad in (
        b"\0\0" + good,  # of no bytes
        frame(stored(b"x" * 4092)),  # of a byte more than 4096
        frame(WORDS_DEFLATED + b"\0"),  # bytes behind the stream
        frame(WORDS_DEFLATED[:-1]),
        frame(WORDS_DEFLATED[:5]),
        frame(stored(b"x" * 100)[:-1]),
        frame(stored(b"x" * 4092)[:-1]),
        frame(stored(b"")) + good,
        frame(b"\x07"),  # a block type that does not exist
        frame(b"\x01\x05\x00\xfa\xfe12345"),  # the complement of a length is wrong
    ):
        for before in (b"", frame(stored(b"y" * 1000))):  # whose bytes must not serve for what is missing
            for step in (1, 5000):
                decoder = encoded.decoder(encoded.DEFLATE, None, 0, 6000)
                refused("encoded", _fed, decoder, before + bad, step, [0])


def test_a_frame_inflates_to_64_kib_and_not_to_a_byte_more():
    total = 0
    decoder = encoded.decoder(encoded.DEFLATE, None, 0, 65536)
    for piece in decoder.feed(frame(ZEROS_64K)):
        total += len(piece)
    decoder.end()
    assert total == 65536

    def read():
        for _ in encoded.decoder(encoded.DEFLATE, None, 0, 10**6).feed(frame(ZEROS_64K_1)):
            pass

    refused("encoded", read)


def test_a_board_refuses_what_reaches_further_back_than_its_window():
    """CPython's zlib looks into its output as well, and may find it there: harmless, for the hash decides."""
    if sys.implementation.name == "micropython":
        refused("encoded", _plain, frame(FAR), 1103)


def test_a_body_that_only_takes_time_is_refused():
    """Blocks of nothing before a byte: what is fed is bounded by what it may make."""
    slow = frame(b"\0\0\0\xff\xff" * 800 + stored(b"x"))
    refused("encoded", _plain, slow * 3, 3)
    assert _plain(frame(stored(b"x")) * 3, 3) == b"xxx"


def test_what_was_not_asked_for_is_refused():
    for kind in ("", "application/octet-stream", "application/vnd.trueboot.deflate; charset=utf-8"):
        refused("encoded", encoded.decoder, kind, _base_read, len(BASE), 10)
    refused("encoded", encoded.decoder, encoded.PATCH, None, 0, 10)


def test_a_base_that_is_shorter_than_it_says_is_refused():
    decoder = encoded.decoder(encoded.PATCH, lambda offset, size: BASE[:0], len(BASE), 10)
    refused("encoded", list, decoder.feed(frames(instruction(10))))


def test_damage_gives_bytes_or_our_own_error_and_never_too_many():
    state = 5
    samples = (
        (encoded.PATCH, frames(PATCH, 700), len(NEW)),
        (encoded.DEFLATE, frame(WORDS_DEFLATED) * 3, 3 * len(WORDS)),
        (encoded.DEFLATE, frame(ZEROS_64K), 65536),
    )
    for kind, sample, left in samples:
        for _ in range(150):
            damaged = bytearray(sample)
            for _ in range(1 + (state >> 30)):
                state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
                damaged[(state >> 8) % len(damaged)] = (
                    state & 0xFF if state & 0x100 else damaged[0] ^ (1 << (state >> 29))
                )
            made = [0]
            decoder = encoded.decoder(kind, _base_read, len(BASE), left)
            error = value_or_agent_error(_fed, decoder, damaged, 301, made)
            assert made[0] <= left
            assert error is None or isinstance(error, RefusedError), error


def test_memory_does_not_grow_with_the_image():
    if sys.implementation.name != "micropython":
        return
    body = frame(ZEROS_64K)
    copies = frames(instruction(3000, seek=-3000) * 300)

    def most(kind, body, rounds, left):
        decoder = encoded.decoder(kind, _base_read, len(BASE), left)
        held = 0
        for _ in range(rounds):
            _fed(decoder, body, 1400, [0])
            gc.collect()
            held = max(held, gc.mem_alloc())
        decoder.end()
        return held

    for kind, body, made in ((encoded.DEFLATE, frame(ZEROS_64K), 65536), (encoded.PATCH, copies, 900000)):
        few = most(kind, body, 2, 2 * made)
        assert most(kind, body, 12, 12 * made) <= few + 3000  # a frame's worth that the collector may still see
