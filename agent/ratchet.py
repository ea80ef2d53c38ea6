# SPDX-License-Identifier: MIT
"""The security floor beside the journal: where the platform has a second place for it (`platform.floor`, a TPM).

Rules kept:
 * The higher of the two counts.  A state folder that was put back from a backup
   does not lower the floor; a TPM that was cleared does not either.
 * The journal first: after a cut between the two, the next boot raises the other.
 * A TPM that fails is told, and never keeps a device from running or updating.
"""


def start(agent):
    """What the journal has to say differently at a boot, as changes of its record."""
    state, port = agent.update_state, agent.platform.floor
    known, floor = agent.guarded(port.read)
    if not known:
        return {}
    if floor > state["floor"]:
        agent.platform.log("floor.restored", {"journal": state["floor"], "floor": floor})
        return {"update": dict(state, floor=floor)}
    if floor < state["floor"]:
        agent.guarded(port.raise_to, state["floor"])
    return {}


def saved(agent, before, after):
    """The journal has a new floor: once it is durable there, it may not be lost any more."""
    if after > before:
        agent.guarded(agent.platform.floor.raise_to, after)
