# SPDX-License-Identifier: MIT
"""What becomes of an offer: signed metadata are read, and decide.

The offer is a hint.  Which release it is about, what it may be installed on, how
long the image is and what its hash must be come from TUF metadata alone; what
the offer says must agree with them, or it is turned down.  Two roads:

 * It names a target: the metadata come from the repository of the configured server.
 * It names none, as a cloud does that passes one URL, or a file on the device:
   then the file must be a bundle.  Its metadata part is streamed through the walk
   and let go; nothing of the image is read before consent.
"""

from agent.errors import AgentError, DeviceError, RefusedError, UnreachableError
from agent.tasks import asked_s, is_outage, reason
from agent.tasks.body import read_body
from agent.tasks.pace import Pace

MAX_TRIES = 3
PIECE_BYTES = 1024


def run(agent, offer):
    """Ends in the update machine's event "offered" or "rejected"."""
    tries = outages = 0
    while True:
        try:
            look = _look_up if offer.get("target") else _open
            if offer.get("by"):  # a way of the host's own
                look = agent.module(offer["by"]).look
            release = yield from look(agent, offer)
            break
        except AgentError as error:
            agent.log_error(error)
            if is_outage(agent, error, "file" in offer, outages):
                outages += 1
            else:
                tries += 1
            if isinstance(error, UnreachableError) and tries < MAX_TRIES:
                from agent.tasks.budget import pause_ms

                yield pause_ms(agent, tries + outages, "file" in offer, asked_s(error))
                continue
            step = -2 if isinstance(error, UnreachableError) else -4 if isinstance(error, DeviceError) else -3
            told = dict(offer, version=offer["version"] and reason(offer["version"]))
            _end(agent, offer, ("rejected", told, step, reason(error)))
            return
    for name in ("job", "nonce", "request"):
        release[name] = offer.get(name)
    for name in ("package", "auto"):
        if offer.get(name):
            release[name] = offer[name]
    for name in ("retry", "downgrade"):
        if offer.get(name):
            release[name] = True
    _end(agent, offer, ("offered", release))


def _end(agent, offer, event):
    # Nothing of this file holds on to the walk, so that it is forgotten before the machine is loaded.
    agent.considering = None
    if event[0] == "rejected" and offer.get("fresh"):
        return  # that the address of a download could not be replaced is no verdict on the release
    agent.update_event(event)
    if offer.get("request"):
        from agent import request

        request.drop(agent, offer["request"])


def _look_up(agent, offer):
    """The release that the repository's metadata describe."""
    from agent.tasks import trusted

    path = offer["target"]
    walk = trusted.start(agent)
    yield from _feed(agent, walk)
    walk.seek(path)
    yield from _feed(agent, walk)
    trusted.settle(agent, walk, "repository")
    if walk.target is None:
        raise RefusedError("not_signed", "no signed metadata for " + path)
    target, address = walk.target, walk.file(path)
    walk = trusted = None
    agent.forget()  # what the walk took makes room for the slots and the rules
    from agent import rules

    release = _judge(agent, offer, path, target)
    release["address"] = address
    rules.agree(offer, version=release["version"], length=release["length"])
    if offer.get("method") == "sha256":
        rules.agree(offer, digest=release["sha256"])
    if offer.get("package"):  # by its download token, which is for this device
        release["source"] = {"url": offer["url"], "prefix": 0, "length": release["length"], "sha256": None}
    return release


def _feed(agent, walk):
    from agent.tasks import trusted

    wanted = walk.wanted()
    while wanted:
        walk.feed((yield from _get(agent, wanted[0], wanted[1])))
        trusted.keep(agent, walk)
        wanted = walk.wanted()
        yield 0


def _get(agent, name, limit):
    """A file of the repository, or None when it has none of that name."""
    url = agent.config["https"] + "/repo/metadata/" + name
    response = agent.platform.http.open("GET", url, {}, b"", None)
    try:
        if response.status == 404:
            return None
        if response.status != 200:
            from agent.tasks import answers

            raise answers.unusable(response, name)
        return (yield from read_body(response, limit, agent.platform.clock))
    finally:
        response.close()


def _open(agent, offer):
    """The release that the offered bundle describes."""
    from agent.tasks import trusted
    from agent.trust.bundle import Bundle

    walk = trusted.start(agent, False)
    bundle = Bundle(walk)
    size = yield from read_bundle(agent, offer, bundle, lambda: trusted.keep(agent, walk, "bundle"))
    trusted.settle(agent, walk)
    target, path, prefix = walk.target, bundle.path, bundle.prefix
    walk = bundle = None
    agent.forget()
    return judge_bundle(agent, offer, path, target, prefix, size)


def read_bundle(agent, offer, bundle, keep):
    """Feed `bundle` with the offered file, up to its image; `keep()` is called after each piece.

    Gives the file's length, as far as it is known, else what the offer says.
    """
    from agent.tasks import source

    response = source.open_bundle(agent, offer)
    pace = Pace(agent.platform.clock)
    try:
        while True:
            data = response.read(PIECE_BYTES)
            pace.rest_ms(len(data or b""))
            if data is None:
                yield 5
                continue
            if not data:
                bundle.ended()
            whole = bundle.feed(data)
            keep()
            if whole:
                return response.length if "file" in offer else offer["length"] or _length(response)
            yield 0
    except RefusedError as error:
        if error.code == "no_bundle" and "file" not in offer:
            raise RefusedError("no_bundle", "the offer names no signed target, and its file is no bundle")
        raise
    finally:
        response.close()


def _length(response):
    """Of a file whose offer does not say it, as esthesis's of an EXTERNAL package."""
    text = response.headers.get("content-length", "")
    if not text.isdigit():
        raise RefusedError("bundle_length", "neither the offer nor the server says how long the file is")
    return int(text)


def judge_bundle(agent, offer, path, target, prefix, size):
    """The release of a bundle whose walk ended well, and where its image lies; `size`: bytes of the whole file."""
    from agent import rules

    release = _judge(agent, offer, path, target)
    rules.agree(offer, version=release["version"])
    if size != prefix + release["length"]:
        raise RefusedError(
            "bundle_length", "%d bytes, of which its entries are %d" % (size, prefix + release["length"])
        )
    source = {"prefix": prefix, "length": size, "sha256": None}
    if "file" in offer:
        source["file"] = offer["file"]
    else:
        source["url"] = offer["url"]
        if offer["method"] == "sha256":
            source["sha256"] = offer["digest"]
    release["source"] = source
    return release


def _judge(agent, offer, path, target):
    from agent import rules

    state, slots = agent.update_state, agent.platform.slots
    device = {
        "kind": slots.kind,
        "hardware": agent.config["hardware"],
        "version": state["version"],
        "image": state["image"],
        "previous": state.get("previous", ""),
        "downgrade": offer.get("downgrade"),
        "capacity": slots.capacity(),
    }
    return rules.release(path, target, device)
