# SPDX-License-Identifier: MIT
"""What an esthesis service has for this device: `find`, or `find/by-id` for the package of a command.

Rules kept:
 * Our server gets a token that is good for this one query: our key's signature over its nonce, the method, the path, the
   query and the audience.  The original's token, a replayable one, goes out only with a key that the service made, and
   only to the configured origin.
 * What the service says is a hint.  Nothing, null, an empty body, 204: there is nothing.
 * 429 is taken at its word: until it is over nothing is asked, whoever wants to know.
"""

from agent.errors import AgentError, RefusedError, UnreachableError
from agent.tasks.body import read_body
from agent.wire.url import quote, split_url

MAX_ANSWER_BYTES = 4096
MAX_TRIES = 3
MAX_PATIENCE_S = 604_800
BUSY_S = 300  # of a service that does not say how long it is busy


def run(agent, package, how):
    """`how`: "order" for a command's, else as `auto` has it."""
    from agent import session

    tries = 0
    while True:
        try:
            offer = yield from ask(agent, package)
            break
        except AgentError as error:
            agent.log_error(error)
            tries += 1
            if isinstance(error, RefusedError) or tries >= MAX_TRIES or error.code == "find_busy":
                return
            yield session.wait_ms(tries, agent.platform.chance.random(1)[0], False)
    agent.forget()
    if offer is None:
        agent.platform.log("update.none", {})
    elif how == "order":
        agent.module("offers").offered(agent, offer)
    else:
        agent.module("auto").answered(agent, [offer], how)


def fresh(agent, release):
    """For a download whose address is refused: the release with another source, if there is one."""
    try:
        offer = yield from ask(agent, release.get("package"))
    except AgentError as error:
        agent.log_error(error)
        offer = None
    if offer:
        agent.module("offers").again(agent, offer)
        while agent.considering:
            yield 200
    return agent.update_state["release"]


def ask(agent, package):
    """An offer, or None.  `package`: its id; None for whatever is newest."""
    clock, uplink = agent.platform.clock, agent.uplink
    if clock.ticks_ms() < uplink.patience_until:
        raise UnreachableError("find_busy", "the service wants to be left alone for a while")
    base = agent.config["provisioning"]
    path = (agent.config["esthesis_api"] if base == agent.config["https"] else "/api/v1") + "/provisioning/find"
    asked = [("hardwareId", agent.config["device_key"])]
    wanted = agent.config["auto_update_version"]
    if package:
        path += "/by-id"
        asked.append(("packageId", package))
    else:
        asked.append(("version", agent.update_state["version"]))
        if wanted != "latest":
            asked.append(("wanted", wanted))  # which the original passes over
    query = "&".join(["%s=%s" % (name, quote(value)) for name, value in asked])
    headers = {"Accept": "application/json"}
    if agent.foreign:
        if split_url(base)[:2] != split_url(agent.config["https"])[:2]:
            raise RefusedError("another_origin", "the service's provisioning URL is not where the device is registered")
        query += "&token=" + quote(agent.module("tasks.adopt").token(agent))
    else:
        headers["Trueboot-Token"] = yield from _token(agent, base, path, query)
    agent.forget()
    body, response = yield from _get(agent, base + path + "?" + query, headers)
    if response.status == 429:
        from agent.wire.http import retry_after

        after_s = retry_after(response.headers.get("retry-after", "")) or BUSY_S
        uplink.patience_until = clock.ticks_ms() + 1000 * min(after_s, MAX_PATIENCE_S)
        raise UnreachableError("find_busy", "the service wants to be left alone for %d s" % after_s)
    if response.status in (401, 403):
        raise RefusedError("find_refused", "the service does not believe the device's token (%d)" % response.status)
    if response.status == 500 and not package and agent.foreign:
        return None  # what the original says to a device that has the newest
    if response.status not in (200, 204):
        raise UnreachableError("http_status", "%d for %s" % (response.status, path))
    from agent.clouds import esthesis_find

    kind = response.headers.get("content-type", "")
    offer = esthesis_find.offer(body, kind, base + path.partition("/find")[0])
    if offer and not offer["target"] and agent.config["esthesis_packages"] != "signed":
        agent.module("tasks.script").mark(agent, offer)
    return offer


def _token(agent, base, path, query):
    from agent import token
    from agent.clouds import est

    body, response = yield from _get(agent, base + "/api/v1/nonce", {})
    if response.status != 200:
        raise UnreachableError("http_status", "%d for a nonce" % response.status)
    claims = {"nonce": est.nonce(body), "method": "GET", "path": path, "query": query}
    claims["aud"] = agent.config["audience"]
    claims["sub"] = agent.config["device_key"]
    claims["iat"] = agent.platform.clock.wall()
    keys, label = agent.platform.keys, agent.label()
    return token.query(claims, keys.public(label), lambda message: keys.sign(label, message))


def _get(agent, url, headers):
    response = agent.platform.http.open("GET", url, headers, b"", agent.credentials())
    try:
        body = yield from read_body(response, MAX_ANSWER_BYTES, agent.platform.clock)
    finally:
        response.close()
    return body, response
