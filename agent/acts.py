# SPDX-License-Identifier: MIT
"""Carries out what the update and identity machines command.  Part of the shell.

In a file of its own, with the machines, so that a board can forget all three
while nothing is under way: they hold no state.

Rules kept: commands are done in order; a "save" stores the machine's state, and
the report born with it, in one write; an act that fails on the device (a full
file system, a broken slot) is an event, not an end.
"""

import json

from agent import identity, outbox, update
from agent.errors import AgentError


def blank(agent):
    """The machines' first states, of a device whose journal is empty: what runs is the factory's image."""
    slots = agent.platform.slots
    note = slots.release(slots.running()) or {}
    return {
        "update": update.initial(note.get("version", "0.0.0"), note.get("sha256", ""), note.get("security", 0)),
        "identity": identity.initial(),
    }


def start(agent):
    """The first act of a boot.  One write: both counters rise before anything can be signed with them."""
    record, platform = agent.record, agent.platform
    agent.slot = platform.slots.running()
    agent.save(boot=record.get("boot", 0) + 1, seq=record.get("seq", 0) + 1)
    agent.running_seq = agent.record["seq"]
    platform.clock.raise_floor(record.get("clock", 0))
    platform.log("boot", {"boot": agent.record["boot"], "slot": agent.slot, "cause": platform.power.cause()})
    kept = platform.store.load("telemetry")
    if kept:
        platform.store.drop("telemetry")
        for item in json.loads(kept):
            agent.uplink.telemetry.put(item)


def started(agent):
    """Tell the machines that the device has started.  Their answer is idempotent, so it may be told again."""
    boot = agent.platform.slots.state()
    boot["slot"] = agent.slot
    identity_event(agent, ("started", bool(agent.device_secret())))
    update_event(agent, ("booted", boot))


def identity_event(agent, event):
    state, commands = identity.step(agent.identity, event)
    for command in commands:
        if command[0] == "save":
            agent.save(identity=command[1])
        elif command[0] == "log":
            agent.platform.log(command[1], command[2])
        elif command[0] == "retry":
            agent.record["identity"] = state  # counted in RAM: see the machine
        elif event[0] in ("started", "failed"):  # between these the running task goes on by itself
            agent.begin("enrol")


def update_event(agent, event):
    _, commands = update.step(agent.update_state, event)
    slots = agent.platform.slots
    for command in commands:
        name = command[0]
        if name == "save":
            _save(agent, command[1], command[2])
        elif name == "log":
            agent.platform.log(command[1], command[2])
        elif name == "ask":
            agent.begin("consent", command[1])
        elif name == "fetch":
            agent.begin("fetch", agent.update_state["release"], command[1])
        elif name == "check":
            agent.begin("trial")
        elif name == "activate":
            try:
                slots.activate()
            except AgentError as error:
                agent.log_error(error)
                update_event(agent, ("failed", -4, str(error)[:120], True))
                return
        elif name == "confirm":
            slots.confirm()
        elif name == "rollback":
            slots.rollback()
        elif name == "reboot":
            _reboot(agent, command[1])


def running_claims(agent):
    """The claims of this boot's own report; None when it was told, or when a report with a later number was."""
    if not agent.running_seq:
        return None
    claims = {"outcome": "running", "seq": agent.running_seq, "target_version": None, "reason": ""}
    claims["job"] = claims["nonce"] = None
    return _complete(agent, claims, agent.update_state)


def _save(agent, state, report):
    if report is None:
        agent.save(update=state)
        return
    seq = agent.record["seq"] + 1
    claims = _complete(agent, dict(report, seq=seq), state)
    agent.running_seq = 0  # its number is lower than this one's
    agent.save(update=state, seq=seq, outbox=outbox.add_report(agent.reports(), claims))


def _complete(agent, claims, state):
    claims["version"] = state["version"]
    claims["image"] = agent.image
    claims["slot"] = agent.slot
    claims["boot"] = agent.record["boot"]
    claims["floor"] = state["floor"]
    claims["measured"] = "boot"
    return claims


def _reboot(agent, reason):
    items = agent.uplink.telemetry.items()
    if items:
        agent.platform.store.save("telemetry", json.dumps(items).encode())
    agent.uplink.close()
    agent.platform.power.reboot(reason)
