# SPDX-License-Identifier: MIT
"""A package that nobody signed, installed by a script of the operator's, inside our slots.  CPython on Linux alone.

In force where the configuration says `esthesis_packages = "unsigned-by-script"`; such a package has a version and a
SHA-256, and no metadata.  A bundle, and a signed target, stay what they are.

Rules kept:
 * No hash, no package; nothing runs before length and hash of the file were checked.
 * The script works on a copy of the running slot's files.  What it leaves there becomes an image, whose index and hash
   are computed here: trial, rollback, refusals and reports go by that hash.
 * Everything else is as ever: newer versions only, gates, windows, read-back, trial.  It has no signed security, so it
   counts as 0: a device with a floor takes none.
 * Each run has a folder with a name of its own, and the slot gets what lies there after the script has ended well: a cut
   leaves nothing that would be activated, nor does a script that outlived its agent reach a later run's folder.
 * Reports tell how the script ended, never what it said.
"""

import hashlib
import json

from agent import version
from agent.clouds import esthesis_unsigned
from agent.errors import AgentError, DeviceError, RefusedError, UnreachableError
from agent.tasks import answers, budget, consider, fetch, fresh, program, readback, redirect, source
from agent.tasks.filling import Filling
from agent.tasks.pace import Pace
from agent.trust.bundle import MAGIC
from agent.wire.url import split_url

MAX_PACKAGE_BYTES = 512 * 1024 * 1024
MAX_SCRIPT_BYTES = 1024 * 1024
MAX_OUTPUT_BYTES = 256 * 1024
SAID_CHARACTERS = 500  # of the script's output, in the device's own log
RECORD = "built"  # what packages became
MAX_BUILT = 8
SILENT_MS = 10


# The offer


def mark(agent, offer):
    """An offer of `find` that names no signed target: this file looks at it.  What its image was refused for counts."""
    offer["by"], offer["sha256"] = "tasks.script", offer["digest"]
    image = _built(agent).get(_key(agent, offer["digest"]))
    if image and not offer["retry"] and image in [sha256 for sha256, _ in agent.update_state["refused"]]:
        offer["digest"] = image


def look(agent, offer):
    """The release that the offer describes: a bundle's, or that of a package which nobody signed."""
    head, length = (b"", offer["length"]) if offer.get("fresh") else (yield from _peek(agent, offer))
    if head == MAGIC:
        return (yield from consider._open(agent, offer))
    if offer["method"] != "sha256":
        raise RefusedError("package_hash", "the service tells no SHA-256 of this package")
    try:
        version.parse(offer["version"])
    except RefusedError as error:
        raise RefusedError("package_version", error.detail) from None
    if length is None:
        raise RefusedError("package_size", "neither the offer nor the server says how long the file is")
    if length > MAX_PACKAGE_BYTES:
        raise RefusedError("package_size", "%d bytes, of at most %d" % (length, MAX_PACKAGE_BYTES))
    custom = {"version": offer["version"], "kind": "app", "security": 0, "hardware": [agent.config["hardware"]]}
    release = consider._judge(
        agent, offer, "", {"length": length, "hashes": {"sha256": offer["digest"]}, "custom": custom}
    )
    release["by"], release["file"] = "script", offer["sha256"]
    release["source"] = {"url": offer["url"], "prefix": 0, "length": length, "sha256": None}
    agent.platform.log("package.unsigned", {"version": release["version"], "sha256": offer["sha256"]})
    return release


def _peek(agent, offer):
    """(the file's first bytes, its length or None): no more of it is asked for, since an address may be good for one download."""
    http, own = agent.platform.http, split_url(agent.config["https"])[:2]
    met, trusted, length = [offer["url"]], True, offer["length"]
    while True:
        trusted = trusted and split_url(met[-1])[:2] == own
        headers = {"Range": "bytes=0-%d" % (len(MAGIC) - 1)}
        response = http.open("GET", met[-1], headers, b"", agent.credentials() if trusted else None)
        try:
            if response.status in source.REDIRECTS:
                redirect.follow(met, response.headers.get("location", ""))
                continue
            if response.status not in (200, 206):
                raise answers.unusable(response, "the package")
            if response.status == 200:
                told = response.headers.get("content-length", "")
            else:
                told = response.headers.get("content-range", "").rpartition("/")[2]
            if length is None and told.isdigit():
                length = int(told)
            pace, head = Pace(agent.platform.clock), b""
            while len(head) < len(MAGIC):
                data = response.read(len(MAGIC) - len(head))
                pace.rest_ms(len(data or b""))
                if data is None:
                    yield SILENT_MS
                    continue
                if not data:
                    break
                head += data
            return head, length
        finally:
            response.close()


# The download, the script and the slot


def run(agent, release, tries):
    """Ends in the update machine's event "fetched", with the release as it is now, or "failed"."""
    packages, memory = agent.platform.packages, agent.download
    if memory is None or memory["sha256"] != release["sha256"]:
        memory = agent.download = fetch.remember(release)
        agent.guarded(packages.clean)
    while True:
        failures = tries + memory["outages"] + memory["advances"]
        if failures:
            yield budget.pause_ms(agent, failures, False, memory["after_s"])
        try:
            if agent.config.get("esthesis_packages") != esthesis_unsigned.POLICY:
                raise RefusedError("package_policy", "the configuration takes unsigned packages no more")
            if memory["refused"]:
                memory["refused"] = False
                release = yield from fresh.ask(agent, release)
            yield from _download(agent, release, memory)
            made = yield from _install(agent, release)
            break
        except AgentError as error:
            failed = error
        except OSError as error:
            failed = DeviceError("package", "file system: %s" % error.strerror)
        agent.log_error(failed)
        if not isinstance(failed, UnreachableError):
            agent.guarded(packages.clean)
        tries = budget.spend(agent, release, memory, tries, failed)
        if tries is None:
            if agent.download is None:
                agent.guarded(packages.clean)
            return
    agent.download = None
    agent.guarded(packages.clean)
    agent.update_event(("fetched", made))


def _download(agent, release, memory):
    """The whole file, checked.  It goes on where the last try of this boot ended."""
    path = agent.platform.packages.file(release["length"])
    with open(path, "ab") as file:
        if file.tell() != release["length"]:
            try:
                yield from _receive(agent, release, memory, file)
            finally:
                file.flush()
                memory["at"] = file.tell()
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(agent.chunk):
            hasher.update(data)
            yield 0
    if hasher.hexdigest() != release["file"]:
        raise RefusedError("package_hash", "the file is not the one that the service told of")


def _receive(agent, release, memory, file):
    memory["mark"] = max(memory["mark"], 0)
    response, _ = source.open_image(agent, release, file.tell(), memory)
    pace = Pace(agent.platform.clock, agent.config["bandwidth_bytes_s"])
    size = pace.piece(agent.chunk)
    try:
        if response.status == 200:
            file.seek(0)
            file.truncate()
        while True:
            data = response.read(size)
            rest = pace.rest_ms(len(data or b""))
            if data is None:
                yield SILENT_MS
                continue
            if not data:
                break
            if file.tell() + len(data) > release["length"]:
                raise RefusedError("package_size", "the server sends more than %d bytes" % release["length"])
            file.write(data)
            yield rest
    finally:
        response.close()
    if file.tell() != release["length"]:
        raise UnreachableError("http_truncated", "%d of %d bytes" % (file.tell(), release["length"]))


def _install(agent, release):
    """The release whose image the script has made; the spare slot holds it, read back."""
    packages, config = agent.platform.packages, agent.config
    esthesis_unsigned.check(config)
    key, running = _key(agent, release["file"]), agent.update_state
    folder = yield from packages.stage()
    words = [config["esthesis_script"], running["version"], release["version"], release["file"]]
    words += [str(release["length"]), packages.file(0)]
    agent.platform.log("package.script", {"version": release["version"]})
    why, said = yield from program.bounded(
        agent, words, {"TRUEBOOT_SLOT": folder, "PYTHONDONTWRITEBYTECODE": "1"}, MAX_OUTPUT_BYTES
    )
    agent.platform.log("package.ended", {"why": why or "exit status 0", "said": (said or "")[-SAID_CHARACTERS:]})
    if why:
        raise RefusedError("package_script", why)
    image = yield from packages.image(folder)
    made = {name: release[name] for name in release if name not in ("source", "file")}
    made.update({"sha256": image.sha256, "length": image.length})
    _keep(agent, key, image.sha256)
    if image.sha256 == agent.image:
        raise RefusedError("package_result", "the script left the app as it was")
    for sha256, reason in running["refused"]:
        if sha256 == image.sha256 and not release.get("retry"):
            raise RefusedError("package_result", "refused before: " + reason)
    yield from _fill(agent, made, image)
    yield from readback.verify(agent, made)
    return made


def _fill(agent, made, image):
    filling = Filling(agent, made)
    yield from filling.resume()
    if filling.offset == made["length"]:
        return
    if filling.offset:
        filling.restart()
    for data in image.pieces(agent.chunk):
        filling.put(data)
        yield 0
    filling.sync()
    if not filling.is_the_image():
        filling.restart()
        raise RefusedError("package_result", "its files changed after the script had ended")


# What became of packages before


def _key(agent, digest):
    """What decides which image a package becomes."""
    try:
        with open(agent.config["esthesis_script"], "rb") as file:
            script = hashlib.sha256(file.read(MAX_SCRIPT_BYTES)).hexdigest()
    except OSError:
        script = ""
    return "%s %s %s" % (digest, script, agent.image)


def _built(agent):
    try:
        found = dict(json.loads(agent.platform.store.load(RECORD) or b"[]"))
    except (ValueError, TypeError):
        found = {}
    return found


def _keep(agent, key, image):
    found = _built(agent)
    if found.pop(key, None) != image or len(found) >= MAX_BUILT:
        items = [*found.items(), (key, image)][-MAX_BUILT:]
        agent.platform.store.save(RECORD, json.dumps(items).encode())
