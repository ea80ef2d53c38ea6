# SPDX-License-Identifier: MIT
"""Carries out what the update machine commands.  Part of the shell.

In a file of its own, so that a board can forget it, and the machine, while
nothing is under way: they hold no state.

Rules kept: commands are done in order; a "save" stores the machine's state, and
the report born with it, in one write; an act that fails on the device (a full
file system, a broken slot) is an event, not an end.
"""

import json

from agent import claims, outbox, update
from agent.errors import AgentError
from agent.tasks import reason

ENDS = ("updated", "rolled_back", "failed", "refused")


def update_event(agent, event):
    _, commands = update.step(agent.update_state, event)
    slots = agent.platform.slots
    about = event[1] if event[0] in ("offered", "rejected") else agent.update_state["release"]
    for command in commands:
        name = command[0]
        if name == "save":
            if command[2]:
                command[2].setdefault("request", (about or {}).get("request"))
            floor = agent.update_state["floor"]
            _save(agent, command[1], command[2])
            if hasattr(agent.platform, "floor"):
                agent.module("ratchet").saved(agent, floor, command[1]["floor"])
        elif name == "log":
            agent.platform.log(command[1], command[2])
        elif name == "ask":
            agent.begin("consent", command[1])
        elif name == "fetch":
            release = agent.update_state["release"]
            agent.begin(release.get("by", "fetch"), release, command[1])
        elif name == "check":
            agent.begin("trial")
        elif name == "activate":
            try:
                slots.activate()
            except AgentError as error:
                agent.log_error(error)
                update_event(agent, ("failed", -4, reason(error), True))
                return
        elif name == "confirm":
            slots.confirm()
        elif name == "rollback":
            slots.rollback()
        elif name == "reboot":
            _reboot(agent, command[1])


def _save(agent, state, report):
    if report is None:
        agent.save(update=state)
        return
    seq = agent.record["seq"] + 1
    told = claims.complete(agent, dict(report, seq=seq), state)
    last = {"request": told.pop("request"), "version": told["target_version"]}
    last.update({name: told[name] for name in ("outcome", "reason", "seq")})
    changes = {"last": last} if told["outcome"] in ENDS else {}  # what became of an update, not of what runs
    agent.running_seq = 0  # its number is lower than this one's
    agent.save(update=state, seq=seq, outbox=outbox.add_report(agent.reports(), told), **changes)


def _reboot(agent, reason):
    items = agent.uplink.telemetry.items()
    if items:
        agent.platform.store.save("telemetry", json.dumps(items).encode())
    agent.uplink.close()
    agent.platform.power.reboot(reason)
