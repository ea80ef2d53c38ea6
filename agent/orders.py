# SPDX-License-Identifier: MIT
"""Commands of esthesis: e f r s p h.  Part of the shell; loaded when one comes.

Rules kept:
 * Each gets one reply, also one that is not supported (the original says nothing then).
 * What is not named in `commands` is not done.  `e` takes programs of the list `programs` alone, `s` the one that
   `shutdown_program` names: no shell, bounded time and output, and on boards nothing at all.  `r` is a reset through the
   platform, never a script.
 * `e trueboot.NAME [JSON]` is the agent's own, see `services`; it needs no letter in `commands`.
 * `f` is answered when its package is looked for: "initiated" is what the service counts, and the truth is in the reports.
"""

import json

from agent.errors import MisuseError, RefusedError
from agent.talk import OK, RESERVED

RESET_MS = 1000  # for the reply to get away


def take(agent, identifier, kind, way, words):
    agent.platform.log("command", {"name": kind or "?"})
    done, text = agent.guarded(_act, agent, identifier, kind, way, words)
    if text is not None:  # else a task will tell
        reply(agent, identifier, done, text)


def reply(agent, identifier, done, text):
    if agent.uplink.online:
        agent.platform.mqtt.publish(*(agent.cloud.reply(identifier, done, text) + (1,)))


def _act(agent, identifier, kind, way, words):
    own = kind == "e" and words and words[0][: len(RESERVED)] == RESERVED
    if way not in ("s", "a") or not own and (not kind or kind not in agent.config["commands"]):
        raise RefusedError("command", "this device does not take the command " + kind + way)
    if own:
        return _own(agent, words)
    return _ACTS[kind](agent, identifier, words)


def _own(agent, words):
    try:
        params = json.loads(" ".join(words[1:])) if len(words) > 1 else {}
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise RefusedError("command", "its arguments are no JSON object")
    code, data = agent.module("services").answer(agent, words[0], params)
    if code != OK:
        raise RefusedError("command", "%d %s" % (code, data.get("reason", "unknown service")))
    return json.dumps(data)


def _firmware(agent, identifier, words):
    state, package = agent.update_state, words[0] if words else None
    release = state["release"] or {}
    looked_at = agent.considering and agent.uplink.package
    if package and package in (release.get("package"), looked_at):
        return "under way already"  # a server that was away asks again, when it hears of us
    if state["phase"] != "idle" or agent.considering:
        raise RefusedError("command", "another update is under way")
    if agent.platform.clock.ticks_ms() < agent.uplink.patience_until:
        raise RefusedError("command", "the service wants to be left alone for a while")
    if not agent.config.get("provisioning"):
        raise RefusedError("command", "the service told no provisioning URL")
    agent.uplink.package = package
    agent.begin("find", package, "order")
    return "initiated"


def _ping(agent, identifier, words):
    agent.module("pulse").ping(agent)
    return "ping sent"


def _health(agent, identifier, words):
    agent.module("pulse").health(agent)
    return "health report sent"


def _reset(agent, identifier, words):
    state = agent.update_state
    if state["phase"] == "trial" or state["slot"]:
        raise RefusedError("command", "an update is on trial, or about to be")
    if agent.locks:
        raise RefusedError("command", "the device is busy: " + agent.locks[-1])
    agent._tasks.append([_reset_soon(agent), RESET_MS + agent.platform.clock.ticks_ms()])
    return "resetting"


def _reset_soon(agent):
    agent.module("acts")._reboot(agent, "commanded")
    yield 0


def _execute(agent, identifier, words):
    from agent.clouds.esthesis_config import programs

    if not words or words[0] not in programs(agent.config):
        raise RefusedError("command", "key programs does not name it")
    return _program(agent, identifier, words)


def _shut_down(agent, identifier, words):
    if not agent.config["shutdown_program"]:
        raise RefusedError("command", "key shutdown_program names none")
    return _program(agent, identifier, [agent.config["shutdown_program"]])


def _program(agent, identifier, words):
    try:
        agent.begin("program", identifier, words)
    except ImportError:
        raise MisuseError("command", "this platform runs no programs")
    return None


_ACTS = {"e": _execute, "f": _firmware, "h": _health, "p": _ping, "r": _reset, "s": _shut_down}
