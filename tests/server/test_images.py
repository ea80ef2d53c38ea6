# SPDX-License-Identifier: MIT
"""Images in the smallest form that is ready: what the server sends, read by the device's own code."""

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
from server_client import PATIENCE_S, Device, Operator, ServerProcess, ServerThread

from agent.wire import encoded
from trueboot import mpy
from trueboot_server.limits import Limits

PORTABLE = Path(__file__).resolve().parents[1] / "portable"
DEVICE_FILES = ("__init__.py", "errors.py", "wire/__init__.py", "wire/encoded.py", "wire/patch.py")

_random = random.Random(7)
WORDS = [bytes(_random.choices(range(97, 123), k=_random.randrange(2, 9))) for _ in range(300)]
OLD = b" ".join(_random.choices(WORDS, k=12_000))
NEW = OLD[3000:20_000] + b"something else " * 20 + OLD[:3000].replace(b"e", b"a") + OLD[25_000:] + os.urandom(500)
NOISE = random.Random(8).randbytes(9000)
_versions = itertools.count(1)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def publish(operator, image):
    path = f"app/sim/3.{next(_versions)}.0/app.img"
    operator.publish(path, image)
    return path


def ask(device, image, parameters, identity=True):
    """`parameters`: a query."""
    return requests.get(
        f"{device.first['https']}/images/{image if isinstance(image, str) else sha256(image)}?{parameters}",
        verify=device.ca_file,
        cert=device.identity if identity else None,
        timeout=PATIENCE_S,
    )


def decoded(answer, left, base=b""):
    kind = answer.headers["Content-Type"]
    if kind == "application/octet-stream":
        return answer.content
    decoder = encoded.decoder(kind, lambda at, size: base[at : at + size], len(base), left)
    made = b"".join(decoder.feed(answer.content))
    decoder.end()
    return made


def patched(device, old, new, offset=0):
    """The answer when the patch is ready."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = ask(device, new, f"offset={offset}&base={sha256(old)}&accept=deflate,patch")
        assert answer.status_code == 200, answer.text
        if answer.headers["Content-Type"] == encoded.PATCH:
            return answer
        assert answer.headers["Content-Type"] == encoded.DEFLATE and decoded(answer, len(new) - offset) == new[offset:]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def enrolled(device):
    device.activate()
    return device.enrol()


@pytest.fixture(scope="module")
def images(server):
    operator = Operator(server.first)
    for image in (OLD, NEW, NOISE):
        publish(operator, image)
    return server


def test_a_device_gets_deflate_at_once_and_the_patch_when_it_is_ready(images, enrolled):
    first = ask(enrolled, NEW, f"base={sha256(OLD)}&accept=deflate,patch")
    assert first.headers["Content-Type"] in (encoded.DEFLATE, encoded.PATCH)
    patch = patched(enrolled, OLD, NEW)
    deflate = ask(enrolled, NEW, "accept=deflate")
    plain = ask(enrolled, NEW, "")
    assert (
        deflate.headers["Content-Type"] == encoded.DEFLATE
        and plain.headers["Content-Type"] == "application/octet-stream"
    )
    for answer in (patch, deflate, plain):
        assert decoded(answer, len(NEW), OLD) == NEW
        assert answer.headers["Cache-Control"] == "no-store"
    assert 4 * len(patch.content) < len(deflate.content) < len(plain.content) == len(NEW)
    assert patched(enrolled, OLD, NEW).content == patch.content
    assert patched(enrolled, NEW, OLD).content != patch.content  # back is another patch


def test_both_continue_at_any_byte_of_the_image(images, enrolled):
    patched(enrolled, OLD, NEW)
    offsets = [0, 1, 2, 4095, 16_999, 17_000, 17_001, 17_299, 17_300, len(NEW) - 501, len(NEW) - 2, len(NEW) - 1]
    for offset in offsets + [random.Random(3).randrange(len(NEW)) for _ in range(20)]:
        answer = patched(enrolled, OLD, NEW, offset)
        assert decoded(answer, len(NEW) - offset, OLD) == NEW[offset:], offset
        answer = ask(enrolled, NEW, f"offset={offset}&accept=deflate")
        assert answer.headers["Content-Type"] == encoded.DEFLATE
        assert decoded(answer, len(NEW) - offset) == NEW[offset:], offset
        assert ask(enrolled, NEW, f"offset={offset}").content == NEW[offset:]


@pytest.mark.parametrize("runtime", ["cpython", "micropython"])
def test_a_device_makes_the_image_of_what_is_sent(images, enrolled, tmp_path, runtime):
    """From .mpy in a small heap, the base in a file, at several offsets."""
    (tmp_path / "base").write_bytes(OLD)
    bodies, expected = [], []
    for offset in (0, 1, 30_000, len(NEW) - 1):
        for answer in (patched(enrolled, OLD, NEW, offset), ask(enrolled, NEW, f"offset={offset}&accept=deflate")):
            file = tmp_path / f"body-{len(bodies)}"
            file.write_bytes(answer.content)
            bodies.append({"kind": answer.headers["Content-Type"], "file": str(file), "left": len(NEW) - offset})
            expected.append(sha256(NEW[offset:]))
    case = tmp_path / "case.json"
    case.write_text(json.dumps({"base": str(tmp_path / "base"), "bodies": bodies}))
    code = "import encoded_driver; encoded_driver.main(%r)" % str(case)
    if runtime == "micropython":
        if reason := mpy.unavailable():
            pytest.skip(reason)
        folder = tmp_path / "board"
        mpy.build(folder, files=["agent/" + name for name in DEVICE_FILES])
        mpy.compile_file(PORTABLE / "encoded_driver.py", folder / "encoded_driver.mpy", "encoded_driver.py")
        command = [*mpy.interpreter("64k"), "-c", code]
    else:
        folder, command = PORTABLE, [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.split() == expected, ran.stdout + ran.stderr


def test_what_does_not_get_smaller_is_sent_as_it_is(images, enrolled):
    for base in (OLD, NEW):
        answer = ask(enrolled, NOISE, f"offset=5&base={sha256(base)}&accept=deflate,patch")
        assert answer.headers["Content-Type"] == "application/octet-stream" and answer.content == NOISE[5:]
    deadline = time.monotonic() + PATIENCE_S
    while f"{sha256(NEW)}-{sha256(NOISE)}" not in images.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    told = [json.loads(line) for line in images.log().splitlines() if sha256(NOISE) in line and "encoding." in line]
    assert {(line["event"], line["reason"]) for line in told} == {("encoding.failed", "it is not smaller")}
    again = len(told)
    ask(enrolled, NOISE, f"base={sha256(NEW)}&accept=patch")
    assert len([line for line in images.log().splitlines() if sha256(NOISE) in line and "encoding." in line]) == again


def test_only_what_was_asked_for_is_sent(images, enrolled):
    patched(enrolled, OLD, NEW)
    for parameters, kind in (
        (f"base={sha256(OLD)}&accept=patch", encoded.PATCH),
        (f"base={sha256(OLD)}&accept=deflate", encoded.DEFLATE),
        (f"base={sha256(OLD)}&accept=zstd", "application/octet-stream"),
        (f"base={sha256(OLD)}", "application/octet-stream"),
        ("accept=patch", "application/octet-stream"),
        ("accept=patch,zstd,deflate", encoded.DEFLATE),
        (f"base={'0' * 64}&accept=patch,deflate", encoded.DEFLATE),  # a base that the server does not know
        (f"base={sha256(NEW)}&accept=deflate", encoded.DEFLATE),
    ):
        answer = ask(enrolled, NEW, parameters)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind), parameters


@pytest.mark.parametrize(
    "parameters",
    [
        "offset=-1", "offset=x", "offset=", "offset=01", "offset=1.0", "offset=1&offset=2", "offset=9999999999999", f"offset={len(NEW)}",
        "base=x", "base=" + "A" * 64, "base=" + "a" * 65, "accept=", "accept=de%20flate", "accept=" + "a," * 40 + "a", "range=1",
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_meant_are_refused(images, enrolled, parameters):
    answer = ask(enrolled, NEW, parameters)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_parameter")


def test_only_published_images_are_sent_and_only_to_live_devices(images, operator, enrolled):
    unsigned = os.urandom(100)
    operator.call("PUT", "/api/v1/repo/targets/app/sim/3.0.0/x", data=unsigned)
    for image in (unsigned, b"never", "x", "A" * 64, "..%2f" + sha256(NEW)):
        answer = ask(enrolled, image, "accept=deflate")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_such_image")
    assert (
        requests.post(f"{enrolled.first['https']}/images/{sha256(NEW)}", verify=enrolled.ca_file, timeout=9).status_code
        == 405
    )
    token = {"Authorization": f"Bearer {operator.first['admin_token']}"}
    url = f"{enrolled.first['https']}/images/{sha256(NEW)}"
    for headers in ({}, token):
        answer = requests.get(url, verify=enrolled.ca_file, headers=headers, timeout=9)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "certificate_required")
    operator.post(f"/api/v1/devices/{operator.first['product_key']}/{enrolled.device_key}/revoke", {})
    assert ask(enrolled, NEW, "accept=deflate").status_code == 401


def test_a_withdrawn_release_is_no_image_but_still_a_base(images, operator, enrolled):
    gone = OLD + b"withdrawn"
    path = publish(operator, gone)
    operator.withdraw(path)
    assert ask(enrolled, gone, "accept=deflate").status_code == 404
    assert decoded(patched(enrolled, gone, NEW), len(NEW), gone) == NEW


def own_server(tmp_path, **limits):
    """In this process, with limits of its own; a device; and what is kept."""
    own = ServerThread(tmp_path / "state", Limits(**limits))
    operator = Operator(own.first)
    device = Device(own.first, "d", tmp_path)
    device.activate()
    return own, operator, device.enrol(), tmp_path / "state/encodings"


def test_limits_on_size_time_and_memory_leave_the_plain_road(tmp_path):
    own, operator, device, kept = own_server(
        tmp_path, patch_memory_bytes=20 * 1024 * 1024, encoded_image_bytes=len(OLD) + 10
    )
    for image in (OLD, NEW, OLD + bytes(11)):
        publish(operator, image)
    answer = ask(device, OLD + bytes(11), "accept=deflate")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert ask(device, NEW, f"base={sha256(OLD + bytes(11))}&accept=patch").content == NEW
    assert ask(device, NEW, f"base={sha256(OLD)}&accept=patch").content == NEW
    deadline = time.monotonic() + PATIENCE_S
    while "encoding.failed" not in own.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert decoded(ask(device, NEW, f"base={sha256(OLD)}&accept=deflate,patch"), len(NEW)) == NEW
    assert [path.suffix for path in kept.iterdir()] == [".deflate"]
    own.stop()


def test_the_folder_is_bounded_and_the_least_recently_used_go(tmp_path):
    own, operator, device, kept = own_server(tmp_path, encodings_bytes=75_000)
    texts = [b" ".join(random.Random(i).choices(WORDS, k=8000)) for i in range(4)]
    for text in texts:
        publish(operator, text)
    for text in (*texts[:2], texts[0], texts[2], texts[0], texts[3]):
        assert decoded(ask(device, text, "accept=deflate"), len(text)) == text
        assert sum(path.stat().st_size for path in kept.iterdir()) <= 75_000
    names = {path.name for path in kept.iterdir()}
    assert f"{sha256(texts[3])}.deflate" in names and f"{sha256(texts[1])}.deflate" not in names
    own.stop()


def test_a_kept_body_that_was_damaged_is_made_anew(tmp_path):
    own, operator, device, kept = own_server(tmp_path)
    publish(operator, NEW)
    good = ask(device, NEW, "accept=deflate").content
    (path,) = kept.iterdir()
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    for data in (bytes(damaged), b"", damaged[:-1]):
        path.write_bytes(data)
        assert ask(device, NEW, "accept=deflate").content == good
    own.stop()


def patch_workers(state):
    """The processes that make a patch for the server with this state."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if b"trueboot_server.repo.patches" in words and any(str(state).encode() in word for word in words):
            found.append(path)
    return found


def test_a_server_that_is_killed_while_a_patch_is_made_leaves_no_half_one(tmp_path):
    state = tmp_path / "state"
    first = ServerProcess(state)
    operator = Operator(first.first)
    device = Device(first.first, "d", tmp_path)
    device.activate()
    device.enrol()
    big = b" ".join(_random.choices(WORDS, k=400_000))
    newer = big[:1_000_000] + b"x" + big[1_000_000:]
    for image in (big, newer):
        publish(operator, image)
    assert ask(device, newer, f"base={sha256(big)}&accept=patch").content == newer
    deadline = time.monotonic() + PATIENCE_S
    while not patch_workers(state):  # it begins beside the answer, not before it
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    deadline = time.monotonic() + 3 * PATIENCE_S  # they run at low priority
    while patch_workers(state):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (state / f"encodings/.{sha256(big)}-{sha256(newer)}.patch.0.tmp").write_bytes(b"half")
    again = ServerProcess(state)
    device.first = again.first
    assert not list((state / "encodings").glob(".*"))
    publish(Operator(again.first), OLD)
    publish(Operator(again.first), NEW)
    assert decoded(patched(device, OLD, NEW), len(NEW), OLD) == NEW
    assert again.stop() == 0


def test_a_server_that_is_stopped_ends_what_it_was_making(tmp_path):
    own, operator, device, kept = own_server(tmp_path)
    big = b" ".join(_random.choices(WORDS, k=400_000))
    newer = big[:1_000_000] + b"x" + big[1_000_000:]
    for image in (big, newer):
        publish(operator, image)
    ask(device, newer, f"base={sha256(big)}&accept=patch")
    started = time.monotonic()
    own.stop()
    assert time.monotonic() - started < 5 and not list(kept.glob("*.patch"))
