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
from agent.tasks import read_body

MAX_TRIES = 3
PIECE_BYTES = 1024


def run(agent, offer):
    """Ends in the update machine's event "offered" or "rejected"."""
    tries = 0
    while True:
        try:
            release = yield from (_look_up(agent, offer) if offer.get("target") else _open(agent, offer))
            break
        except AgentError as error:
            agent.log_error(error)
            tries += 1
            if isinstance(error, UnreachableError) and tries < MAX_TRIES:
                from agent import session

                # A stick that was pulled takes longer to come back than a network.
                yield session.wait_ms(tries, agent.platform.chance.random(1)[0], "file" in offer)
                continue
            step = -2 if isinstance(error, UnreachableError) else -4 if isinstance(error, DeviceError) else -3
            _end(agent, offer, ("rejected", offer, step, str(error)[:120]))
            return
    for name in ("job", "nonce", "request"):
        release[name] = offer.get(name)
    _end(agent, offer, ("offered", release))


def _end(agent, offer, event):
    # Nothing of this file holds on to the walk, so that it is forgotten before the machine is loaded.
    agent.considered()
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

    release = _judge(agent, path, target)
    release["address"] = address
    rules.agree(offer, version=release["version"], length=release["length"])
    if offer.get("method") == "sha256":
        rules.agree(offer, digest=release["sha256"])
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
            raise UnreachableError("http_status", "%d for %s" % (response.status, name))
        return (yield from read_body(response, limit))
    finally:
        response.close()


def _open(agent, offer):
    """The release that the offered bundle describes."""
    from agent.tasks import trusted

    walk = trusted.start(agent, False)
    release = yield from examine(agent, offer, walk, lambda: trusted.keep(agent, walk, "bundle"))
    trusted.settle(agent, walk)
    return release


def examine(agent, offer, walk, keep):
    """Feed `walk` with the metadata part of the offer's bundle; `keep()` is called after each piece.  Gives the release."""
    from agent.tasks import source
    from agent.trust.bundle import Bundle

    bundle = Bundle(walk)
    response = source.open_bundle(agent, offer)
    try:
        while True:
            data = response.read(PIECE_BYTES)
            if data is None:
                yield 5
                continue
            if not data:
                bundle.ended()
            whole = bundle.feed(data)
            keep()
            if whole:
                break
            yield 0
    except RefusedError as error:
        if error.code == "no_bundle" and "file" not in offer:
            raise RefusedError(
                "no_bundle", "the offer names no signed target, and its file is no bundle: offer a bundle"
            )
        raise
    finally:
        response.close()
    from agent import rules

    release = _judge(agent, bundle.path, walk.target)
    length = bundle.prefix + bundle.length
    rules.agree(offer, version=release["version"])
    if "file" in offer:
        if response.length != length:
            raise RefusedError("bundle_length", "the file has %d bytes, its entries %d" % (response.length, length))
        release["source"] = {"file": offer["file"], "sha256": None}
    else:
        if offer["length"] != length:
            raise RefusedError("offer", "its length %d is not the bundle's %d" % (offer["length"], length))
        digest = offer["digest"] if offer["method"] == "sha256" else None
        release["source"] = {"url": offer["url"], "sha256": digest}
    release["source"].update({"prefix": bundle.prefix, "length": length})
    return release


def _judge(agent, path, target):
    from agent import rules

    device = {
        "hardware": agent.config["hardware"],
        "version": agent.update_state["version"],
        "capacity": agent.platform.slots.capacity(),
    }
    return rules.release(path, target, device)
