# SPDX-License-Identifier: MIT
"""What the states and the reports of the update machine are made of.  Pure; `update` decides when."""

IDLE = "idle"
MAX_REFUSED = 8  # remembered refusals; the oldest is forgotten first


def initial(version, image, security=0):
    """The state of a device that runs its factory image: `image` is the hash (hex), `security` its signed floor."""
    state = {"version": version, "image": image, "floor": security, "refused": []}
    state["previous"] = ""  # the image that ran, confirmed, before this one
    state.update(begun(IDLE, None))
    return state


def begun(phase, release):
    """What changes when an update begins, and when it ends (release is None)."""
    return {
        "phase": phase,
        "release": release,
        "slot": "",
        "tries": 0,
        "failure": "",
        "waited": 0,  # seconds that consent was asked for in vain at the present gate, counted coarsely
        "allowed": {},  # gate -> the operator's word
        "lost": 0,  # trial boots that ended without a trace
        "hint": "",  # why they may have
        "booted": 0,  # number of the last boot on trial: heard of twice, it counts once
    }


def enter(state, commands, report=None, **changes):
    """The state with `changes`, and the commands: it is saved, with the report, before anything else is done."""
    new = dict(state)
    new.update(changes)
    return new, [("save", new, report)] + commands


def report(release, outcome, step, reason):
    """What is told of an update; `step`: the cloud's number for it."""
    return {
        "outcome": outcome,
        "target_version": release["version"],
        "job": release.get("job"),
        "nonce": release.get("nonce"),
        "step": step,
        "reason": reason,
    }


def without(refused, release):
    return [r for r in refused if r[0] != release["sha256"]]


def end(state, outcome, step, reason, refuse):
    """Back to idle on the old image."""
    release = state["release"]
    changes = begun(IDLE, None)
    if refuse:
        changes["refused"] = (without(state["refused"], release) + [[release["sha256"], reason]])[-MAX_REFUSED:]
    log = ("log", "update." + outcome, {"version": release["version"], "reason": reason})
    return enter(state, [log], report(release, outcome, step, reason), **changes)
