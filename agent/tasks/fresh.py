# SPDX-License-Identifier: MIT
"""A fresh offer of the release that is being downloaded, since its address is refused: signed URLs and tokens expire.

The cloud is asked what it offers.  An answer for the same job and version is
considered like every offer, against signed metadata; the update machine then
keeps where the same image lies now.  One question a try: the budget of tries
bounds it.
"""

WAIT_MS = 60_000
LOOK_MS = 200


def ask(agent, release):
    """The release as it is known now: with another source, if the cloud gave one."""
    if release.get("package"):
        return (yield from agent.module("tasks.find").fresh(agent, release))
    uplink, clock = agent.uplink, agent.platform.clock
    uplink.asking = True
    end = clock.ticks_ms() + WAIT_MS
    while clock.ticks_ms() < end:
        yield LOOK_MS
        if agent.update_state["release"] != release or not (uplink.asking or agent.considering):
            break
    uplink.asking = False
    return agent.update_state["release"]
