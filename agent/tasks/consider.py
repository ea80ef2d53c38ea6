# SPDX-License-Identifier: MIT
"""What becomes of an offer: the signed metadata are fetched, and decide.

The offer is a hint.  Which release it is about, how long the image is and what
its hash must be come from TUF metadata alone; what the offer says of version,
length and digest must agree, or the offer is turned down.
"""

from agent import session
from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks import read_body
from agent.trust.walk import Walk

MAX_TRIES = 3
MAX_TARGET_CHARACTERS = 128


def run(agent, offer):
    """Ends in the update machine's event "offered" or "rejected"."""
    tries = 0
    while True:
        try:
            path = offer["target"]
            if not path or len(path) > MAX_TARGET_CHARACTERS:
                raise RefusedError("offer", "it names no target")
            walk = yield from _walk(agent, path)
            release = _release(agent, offer, path, walk.target)
            break
        except AgentError as error:
            agent.log_error(error)
            tries += 1
            if isinstance(error, UnreachableError) and tries < MAX_TRIES:
                yield session.wait_ms(tries, agent.platform.chance.random(1)[0], False)
                continue
            step = -2 if isinstance(error, UnreachableError) else -3
            agent.considered()
            agent.update_event(("rejected", offer, step, str(error)[:120]))
            return
    agent.considered()
    agent.update_event(("offered", release))


def _walk(agent, path):
    """Walk the repository to the target; store what is trusted on the way."""
    platform = agent.platform
    walk = _start(agent)
    try:
        yield from _feed(agent, walk)
        walk.seek(path)
        yield from _feed(agent, walk)
    finally:
        for name, data in walk.take():
            if not name.startswith("role:"):
                platform.store.save(name, data)
    return walk


def _feed(agent, walk):
    wanted = walk.wanted()
    while wanted:
        walk.feed((yield from _get(agent, wanted[0], wanted[1])))
        wanted = walk.wanted()
        yield 0


def _start(agent):
    """A walk from the newest root that is known."""
    platform = agent.platform
    trusted = {name: platform.store.load(name) for name in ("root", "timestamp", "snapshot", "targets")}
    if trusted["root"]:
        try:
            return Walk(trusted, platform.clock.wall(), platform.verify)
        except RefusedError as error:
            agent.log_error(error)  # spoilt on the device: the chain from the provisioned root leads to it again
    trusted["root"] = platform.root()
    return Walk(trusted, platform.clock.wall(), platform.verify)


def _get(agent, name, limit):
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


def _release(agent, offer, path, target):
    """The trusted release that the offer is about."""
    if target is None:
        raise RefusedError("not_signed", "no signed metadata for " + path)
    try:
        custom = target["custom"]
        release = {
            "target": path,
            "length": target["length"],
            "sha256": target["hashes"]["sha256"],
            "version": custom["version"],
            "kind": custom["kind"],
            "security": custom["security"],
        }
        hardware = custom["hardware"]
        numbers = (release["length"], release["security"])
        texts = (release["sha256"], release["version"], release["kind"])
    except (KeyError, TypeError):
        raise RefusedError("release", "its signed metadata lack a field")
    if [n for n in numbers if type(n) is not int or n < 0] or [t for t in texts if not isinstance(t, str)]:
        raise RefusedError("release", "its signed metadata have a field of the wrong type")
    if release["kind"] != "app":
        raise RefusedError("release_kind", "%s is no app" % path)
    if not isinstance(hardware, list) or agent.config["hardware"] not in hardware:
        raise RefusedError("release_hardware", "not made for " + agent.config["hardware"])
    for name, said, signed in (
        ("version", offer["version"], release["version"]),
        ("length", offer["length"], release["length"]),
    ):
        if said != signed:
            raise RefusedError("offer", "its %s %s is not the signed %s" % (name, said, signed))
    if offer["method"] == "sha256" and offer["digest"] != release["sha256"]:
        raise RefusedError("offer", "its digest is not the signed one")
    release["job"] = offer["job"]
    release["nonce"] = offer["nonce"]
    return release
