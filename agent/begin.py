# SPDX-License-Identifier: MIT
"""How a boot begins, and what the identity machine commands.  Part of the shell; forgotten when it is done."""

import json

ENROLLED = "enrolled"


def blank(agent):
    """The machines' first states, of a device whose journal is empty: what runs is the factory's image."""
    from agent import identity, states

    slots = agent.platform.slots
    note = slots.release(slots.running()) or {}
    return {
        "update": states.initial(note.get("version", "0.0.0"), note.get("sha256", ""), note.get("security", 0)),
        "identity": identity.initial(),
    }


def fill(agent, record):
    """What a journal lacks before the first boot.  An identity may be there: see `tasks/bench_identity`."""
    fresh = blank(agent)
    for name in fresh:
        if name not in record:
            record[name] = fresh[name]


def start(agent):
    """The first act of a boot.  One write: both counters rise before anything can be signed with them."""
    record, platform = agent.record, agent.platform
    agent.slot = platform.slots.running()
    changes = agent.module("ratchet").start(agent) if hasattr(platform, "floor") else {}
    agent.save(boot=record.get("boot", 0) + 1, seq=record.get("seq", 0) + 1, **changes)
    agent.running_seq = agent.record["seq"]
    hold = agent.module("hold")
    clock, floor = platform.clock, hold.floor(agent)
    own = clock.wall()
    clock.set_floor(floor)
    if own <= floor and hasattr(clock, "set"):
        agent.uplink.unset = own - clock.ticks_ms() // 1000
        clock.set(floor)  # TLS looks at the hardware's clock, and not at ours
        agent.uplink.guessed = hold.offset(agent)
    confirmed = platform.slots.state()["confirmed"]
    boot = {"boot": agent.record["boot"], "slot": agent.slot, "cause": platform.power.cause(), "confirmed": confirmed}
    platform.log("boot", boot)
    if agent.cloud.name == "esthesis":
        agent.module("place").recall(agent)
    kept = platform.store.load("telemetry")
    if kept:
        platform.store.drop("telemetry")
        for item in json.loads(kept):
            agent.uplink.telemetry.put(item)


def started(agent):
    """Tell the machines that the device has started.  Their answer is idempotent, so it may be told again."""
    from agent.tasks import reason

    slots = agent.platform.slots
    boot = slots.state()
    boot.update({"slot": agent.slot, "boot": agent.record["boot"], "cause": agent.platform.power.cause()})
    boot["trials"] = agent.config["trial_boots"]
    agent.forget()
    ok, note = agent.guarded(slots.release, agent.slot)
    if ok and agent.image:
        note = note or {}
        security, version = note.get("security"), note.get("version")
        agent.security = security if type(security) is int else 0
        if not isinstance(version, str) or reason(version) != version:
            version = ""  # a note by hand, which no report could carry
        boot["image"], boot["version"] = agent.image, version
        boot["below_floor"] = agent.below_floor
    identity_event(agent, ("started", None if agent.cloud.name == "esthesis" else bool(agent.device_secret())))
    agent.update_event(("booted", boot))
    agent.guarded(_requested, agent)


def _requested(agent):
    if agent.platform.store.load("install"):
        from agent import request

        request.take(agent)


def _keep(agent, label):
    """A server accepted the certificate: the key store has a place for a copy."""
    chain = agent.platform.store.load("cert." + label)
    if chain:
        agent.platform.keys.keep(label, chain)


def identity_event(agent, event):
    if agent.identity["phase"] == ENROLLED and event[0] in ("started", "accepted", "failed"):
        return  # these lead back to it, and command nothing: the machine need not be loaded
    from agent import identity

    state, commands = identity.step(agent.identity, event)
    for command in commands:
        if command[0] == "save":
            agent.save(identity=command[1])
            if command[1]["phase"] == ENROLLED and hasattr(agent.platform.keys, "keep"):
                agent.guarded(_keep, agent, command[1]["label"])
        elif command[0] == "log":
            agent.platform.log(command[1], command[2])
        elif command[0] == "retry":
            agent.record["identity"] = state  # counted in RAM: see the machine
        elif command[0] == "renew":
            agent.renew_at = 0  # at the next turn that has room for it
        elif command[0] == "rest":
            agent.uplink.hang_up()
        elif event[0] in ("started", "failed", "lost", "expired"):  # between these the running task goes on by itself
            agent.begin("enrol")
