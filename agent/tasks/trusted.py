# SPDX-License-Identifier: MIT
"""The device's trusted state: from where a walk begins, and what it leaves behind.

Records of the store: "root", "timestamp", "snapshot", "targets", each exactly as
the walk gave it.  Journal: "clock", the durable floor of the clock; "freshness",
"bundle" from the first thing on that a bundle brought, "repository" again once
the repository was walked to its end.

Rules kept:
 * A walk's results are stored in the walk's order, the root first: a version that
   new keys made void is void at every power cut.
 * The floor rises to signed time only.  In RAM it does so at once; it becomes
   durable with the next save of the journal, which is made for its sake once it
   grew by DAY_S.  So a fleet's daily timestamps cost a write a day at most, and a
   power cut gives back less than a day.
 * A root with other timestamp keys lowers the floor to the build date, before
   anything is stored: whoever stole the old keys has lied about time, too.
 * Nothing of this happens on trial: no offer is considered then.
"""

from agent import BUILT, hold
from agent.errors import RefusedError
from agent.trust.walk import Walk

RECORDS = ("root", "timestamp", "snapshot", "targets")
DAY_S = 86_400


def start(agent, fresh=True):
    """A walk from what is stored; `fresh` False: for a bundle."""
    platform = agent.platform
    stored = {name: platform.store.load(name) for name in RECORDS}
    now = platform.clock.wall()
    base = hold.own_time(agent)
    if stored["root"]:
        try:
            return Walk(stored, now, platform.verify, fresh, base)
        except RefusedError as error:
            agent.log_error(error)  # spoilt on the device: the chain from the provisioned root leads to it again
    stored["root"] = platform.root()
    return Walk(stored, now, platform.verify, fresh, base)


def keep(agent, walk, freshness=None):
    """Store what the walk trusts since the last call; the journal knows of its freshness before."""
    for name, data in walk.take():
        if name not in RECORDS:
            continue
        if walk.rekeyed and agent.record.get("clock", 0):
            hold.drop_floor(agent)
        if freshness and agent.record.get("freshness") != freshness:
            agent.save(freshness=freshness)
        agent.platform.store.save(name, data)


def settle(agent, walk, freshness=None):
    """The walk has ended well: note how fresh its trust is, and the time that it proves."""
    known = agent.record.get("clock", 0)
    clock = max(known, walk.issued or 0)
    changes = {}
    if freshness and agent.record.get("freshness") != freshness:
        changes["freshness"] = freshness
    if changes or clock - max(known, BUILT) >= DAY_S:
        agent.save(clock=clock, **changes)
    agent.record["clock"] = clock
    agent.platform.clock.set_floor(max(BUILT, clock))
