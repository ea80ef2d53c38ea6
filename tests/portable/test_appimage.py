# SPDX-License-Identifier: MIT
import hashlib
from binascii import hexlify

from agent.wire import appimage
from expect import misuse, refused

HEAP = "1M"  # for an index of 512 files: a list that grows in a fragmented heap

FILES = {"main.py": b"print()\n", "lib/a.py": b"", "lib/b.py": b"b" * 300, "lib.txt": b"x", "_data/x-1.bin": bytes(5)}
EMPTY = hexlify(hashlib.sha256(b"").digest())


def _read(data, step):
    index = appimage.Index()
    used = 0
    for at in range(0, len(data), step):
        used += index.feed(data[at : at + step])
    return index, used


def _index(*lines):
    return appimage.MAGIC + b"\n" + b"".join([line + b"\n" for line in lines]) + b"\n"


def _line(path, length=b"0", digest=EMPTY):
    return digest + b" " + length + b" " + path


def _feed(data):
    index = appimage.Index()
    index.feed(data)
    return index


def test_an_image_tells_where_its_files_are():
    image = appimage.build(FILES)
    for step in (1, 2, 7, 64, len(image)):
        index, used = _read(image, step)
        assert index.complete
        assert [file[0] for file in index.files] == sorted(FILES)
        assert index.size == len(image)
        assert image[:used].endswith(b"\n\n") and index.files[0][1] == used
        for path, start, length, digest in index.files:
            contents = image[start : start + length]
            assert contents == FILES[path]
            assert digest == hashlib.sha256(contents).digest()


def test_a_file_is_found_by_offset():
    image = appimage.build(FILES)
    index = _feed(image)
    for offset in range(len(image)):
        number = index.find(offset)
        if number < 0:
            assert offset < index.files[0][1]
        else:
            path, start, length, _ = index.files[number]
            assert start <= offset < start + length, (offset, path)
    assert index.find(len(image)) == len(index.files)


def test_an_index_is_incomplete_until_its_last_byte():
    image = appimage.build(FILES)
    end = _feed(image).files[0][1]
    index = appimage.Index()
    assert index.feed(image[: end - 1]) == end - 1
    assert not index.complete
    assert index.feed(image[end - 1 :]) == 1
    assert index.complete
    assert index.feed(b"contents") == 0


def test_the_format_is_this():
    assert appimage.build({"b": b"2", "a/c": b""}) == (
        b"trueboot-app 1\n"
        b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 a/c\n"
        b"d4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35 1 b\n"
        b"\n"
        b"2"
    )


def test_paths_that_could_do_harm_are_refused():
    for path in (
        b"", b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"../a", b".index", b".release", b"a/.b", b"-a", b"a/-b",
        b"a\\b", b"C:", b"a\x00", b"a\r", b"\xc3\xa9", b"a:b", b"a*", b"~", b"x" * 129, b"/".join([b"a"] * 9),
    ):  # fmt: skip
        refused("image_index", _feed, _index(_line(path)))
    for path in (b"a", b"_", b"0", b"a.b-c_d", b"a..", b"x" * 128, b"/".join([b"a"] * 8)):
        assert _feed(_index(_line(path))).complete


def test_paths_ascend_and_occur_once():
    assert _feed(_index(_line(b"A"), _line(b"a"))).complete
    refused("image_index", _feed, _index(_line(b"a"), _line(b"a")))
    refused("image_index", _feed, _index(_line(b"b"), _line(b"a")))
    refused("image_index", _feed, _index(_line(b"a"), _line(b"A")))


def test_a_file_is_not_a_folder_too():
    refused("image_index", _feed, _index(_line(b"a"), _line(b"a/b")))
    # others may stand between them: "-" and "." sort before "/"
    refused("image_index", _feed, _index(_line(b"a"), _line(b"a-b"), _line(b"a.b"), _line(b"a/b")))
    refused("image_index", _feed, _index(_line(b"a/b"), _line(b"a/b.c"), _line(b"a/b/c/d")))
    assert _feed(_index(_line(b"a-b"), _line(b"a/b"), _line(b"ab"))).complete


def test_lines_have_one_form():
    for line in (
        _line(b"a", length=b"00"),
        _line(b"a", length=b"01"),
        _line(b"a", length=b"-1"),
        _line(b"a", length=b"+1"),
        _line(b"a", length=b"1_0"),
        _line(b"a", length=b""),
        _line(b"a", length=b"12345678901"),
        _line(b"a", digest=EMPTY[:-1]),
        _line(b"a", digest=EMPTY[:-2]),
        _line(b"a", digest=EMPTY.upper()),
        _line(b"a", digest=EMPTY[:-1] + b"g"),
        _line(b"a", digest=EMPTY[:-2] + b"\xc3\xa9"),
        _line(b"a b"),
        _line(b"a") + b" ",
        _line(b"a") + b"\r",
        b" " + _line(b"a"),
        b"a",
    ):
        refused("image_index", _feed, _index(line))
    refused("image_index", _feed, b"trueboot-app 2\n")
    refused("image_index", _feed, b"\n")
    refused("image_index", _feed, _index())


def _feed_many(count, form):
    index = appimage.Index()
    index.feed(appimage.MAGIC + b"\n")
    for number in range(count):
        index.feed(_line(form % number) + b"\n")
    return index


def test_number_of_files_is_bounded():
    assert len(_feed_many(appimage.MAX_FILES, b"f%03d").files) == appimage.MAX_FILES
    refused("image_index", _feed_many, appimage.MAX_FILES + 1, b"f%03d")


def test_size_of_the_index_is_bounded():
    refused("image_index", _feed_many, 400, b"%03d" + b"x" * 120)


def test_a_line_without_an_end_is_bounded():
    refused("image_index", _feed, b"x" * 300)


def test_build_refuses_what_no_device_would_take():
    for files in ({}, {"../a": b""}, {"a": b"", "a/b": b""}):
        misuse("image_index", appimage.build, files)
