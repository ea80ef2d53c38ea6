# SPDX-License-Identifier: MIT
"""What becomes of an offer: the signed metadata are fetched, and decide.

The offer is a hint.  Which release it is about, how long the image is and what
its hash must be come from TUF metadata alone; what the offer says of version,
length and digest must agree, or the offer is turned down.
"""

from agent import session
from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks import read_body
from agent.trust.refresh import Refresh

MAX_TRIES = 3
MAX_TARGET_CHARACTERS = 128


def run(agent, offer):
    """Ends in the update machine's event "offered" or "rejected"."""
    tries = 0
    while True:
        try:
            refresh = yield from _refresh(agent)
            release = _release(agent, offer, refresh)
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


def _refresh(agent):
    """Walk the repository; store what is trusted now."""
    platform = agent.platform
    stored = platform.store.load("root")
    walk = _start(agent, stored)
    wanted = walk.wanted()
    while wanted:
        walk.feed((yield from _get(agent, wanted[0], wanted[1])))
        wanted = walk.wanted()
        yield 0
    # Versions first: a root that reset them is met again after a cut, but not once it is stored.
    versions = {role: walk.trusted[role] for role in ("timestamp", "snapshot", "targets")}
    if versions != agent.record.get("trust"):
        agent.save(trust=versions)
    if walk.trusted["root"] != (stored or platform.root()):
        platform.store.save("root", walk.trusted["root"])
    return walk


def _start(agent, stored):
    """A walk from the newest root that is known."""
    platform, versions = agent.platform, agent.record.get("trust", {})
    if stored:
        try:
            return Refresh(dict(versions, root=stored), platform.clock.wall(), platform.verify)
        except RefusedError as error:
            agent.log_error(error)  # spoilt on the device: the chain from the provisioned root leads to it again
    return Refresh(dict(versions, root=platform.root()), platform.clock.wall(), platform.verify)


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


def _release(agent, offer, refresh):
    """The trusted release that the offer is about."""
    path = offer["target"]
    if not path or len(path) > MAX_TARGET_CHARACTERS:
        raise RefusedError("offer", "it names no target")
    target = refresh.target(path)
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
