# SPDX-License-Identifier: MIT
"""The update of a device, as a pure machine: step(state, event) -> (state, commands).

What it decides: whether an offer is taken, when consent is asked for, when the
spare slot is filled, activated, confirmed or given up, and what is reported.
Nothing here touches flash, network or clock; `runtime` carries the commands
out, in order, and turns what happened into the next event.

Rules kept:
 * Journal first, act second: a cut in between repeats the act at the next boot,
   so every act is idempotent.  The one exception is `confirm`: it belongs to the
   boot loader, so it precedes the save; a journal ahead of the loader would lie.
 * Nothing is activated that was not verified from the slot, and agreed to.
 * Only a failed trial or an explicit no condemns an image.  A power cut never does.
 * A report is born in the same save as the state it tells of.
 * The journal follows what really runs: another image than the one it believes is told at the boot that finds it.

Phases
 idle      a confirmed image runs
 offered   a trusted release waits for consent to be downloaded
 fetching  the spare slot is being filled
 staged    the spare slot holds the verified image; `tries`: it was activated before; `slot`: its activation is ordered
 trial     the new image runs on probation

Events (tuples)
 ("booted", boot)           boot = {"slot", "confirmed", "failure"}: what the boot loader says; and, where they are
                            known, "cause" of the start, "boot", its number, and "trials": times that a trial may end
                            without a trace; see `_followed` for more
 ("offered", release)       trusted: every field comes from signed metadata, but "job" and "nonce"
 ("rejected", offer, step, reason)  an offer that trust or the rules turned down; step is a number of the cloud's
 ("consented", spare) ("declined", reason)   spare: the slot that is to be activated
 ("allowed", gate, until)   an operator's word for a gate: yes until then (s since 1970), or no (0)
 ("waited", seconds)        so much longer was consent asked for in vain   ("expired",) it did not come in time
 ("fetched",) ("failed", step, reason, final) ("advanced",): a try of the download failed, yet it brought the image on
 ("healthy",)

Commands (tuples)
 ("save", state, report)    one atomic write; report is None or a dict for the outbox
 ("ask", stage) ("fetch", tries) ("activate",) ("check",) ("confirm",) ("announce",) ("rollback",) ("reboot", reason)
 ("log", event, fields)
Stages: "download", "activate", and "again" for an activation that was agreed to, and whose trial left no trace.

Reasons begin with stable words; docs/how-it-works.md lists them.
"""

from agent.errors import MisuseError, RefusedError

IDLE = "idle"
OFFERED = "offered"
FETCHING = "fetching"
STAGED = "staged"
TRIAL = "trial"

MAX_FETCHES = 5  # attempts of one download; each may itself resume many times
MAX_LOST = 5  # trial boots that may end without a trace, where the configuration does not say
MAX_REFUSED = 8  # remembered refusals; the oldest is forgotten first
MAX_FLOOR_STEP = 16  # one signed mistake must not lock a fleet out for ever
WATCHDOG = "watchdog"  # as a boot's cause, and as a reason
LOST = "power lost"  # the one end of a trial that says nothing of the image

# phase, event -> the phases it may lead to.  One text, since a dict of tuples costs a board 3 KB of heap.
# `step` finds the function `_<phase>_<event>`; tests hold them to this table, and the docs draw it.
TRANSITIONS = """
idle booted -> idle
idle offered -> idle offered
idle rejected -> idle
offered booted -> offered
offered offered -> offered
offered rejected -> offered
offered consented -> fetching
offered declined -> idle
offered allowed -> offered
offered waited -> offered
offered expired -> idle
fetching booted -> fetching
fetching offered -> fetching
fetching rejected -> fetching
fetching fetched -> staged
fetching advanced -> fetching
fetching failed -> fetching idle
fetching allowed -> fetching
staged booted -> staged trial idle
staged offered -> staged
staged rejected -> staged
staged consented -> staged
staged declined -> idle
staged failed -> idle
staged allowed -> staged
staged waited -> staged
staged expired -> idle
trial booted -> trial staged idle
trial offered -> trial
trial rejected -> trial
trial healthy -> idle
trial failed -> trial
"""


def initial(version, image, security=0):
    """The state of a device that runs its factory image: `image` is the hash (hex), `security` its signed floor."""
    state = {"version": version, "image": image, "floor": security, "refused": []}
    state["previous"] = ""  # the image that ran, confirmed, before this one
    state.update(_begun(IDLE, None))
    return state


def _begun(phase, release):
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


def step(state, event):
    """One event in, the next state and the commands out.  MisuseError for an event that the phase does not know."""
    act = globals().get("_%s_%s" % (state["phase"], event[0]))
    if act is None:
        raise MisuseError("update_event", "%s in phase %s" % (event[0], state["phase"]))
    if event[0] != "booted":
        return act(state, *event[1:])
    state, commands = _followed(state, event[1])
    state, more = act(state, event[1])
    return state, commands + more


def _followed(state, boot):
    """The journal follows what really runs, confirmed, should that not be what it believes: a boot loader's fallback, a
    factory reset, a slot written by cable or rotted.  `boot` also has "image", as measured, "version" as the
    slot's note says, and "below_floor"; without them nothing is compared."""
    image, runs = boot.get("image", state["image"]), boot.get("version") or "0.0.0"
    if image == state["image"] or not boot["confirmed"] or boot["slot"] == state["slot"]:
        return state, []
    if not state["image"]:  # the factory did not say
        return _enter(state, [], image=image)
    outcome, reason, older = "running", "image changed", False
    if runs != state["version"]:
        from agent import version  # only here

        reason = "runs %s, not the confirmed %s" % (runs, state["version"])
        try:
            older = version.compare(runs, state["version"]) < 0
        except RefusedError:
            older = False
        if older:
            outcome, reason = "fell_back", "fell back from " + state["version"]
    if boot["failure"]:
        reason += ": " + boot["failure"]
    if boot["below_floor"]:
        outcome = "below_floor"
    report = _report({"version": None}, outcome, 0, reason)
    report["request"] = None
    log = ("log", "update.fell_back" if older else "image.changed", {"version": runs, "reason": reason})
    return _enter(state, [log], report, version=runs, image=image)


def _with(state, **changes):
    new = dict(state)
    new.update(changes)
    return new


def _enter(state, commands, report=None, **changes):
    new = _with(state, **changes)
    return new, [("save", new, report)] + commands


def _report(release, outcome, step, reason):
    return {
        "outcome": outcome,
        "target_version": release["version"],
        "job": release.get("job"),
        "nonce": release.get("nonce"),
        "step": step,
        "reason": reason,
    }


def _without(refused, release):
    return [r for r in refused if r[0] != release["sha256"]]


def _end(state, outcome, step, reason, refuse):
    """Back to idle on the old image."""
    release = state["release"]
    changes = _begun(IDLE, None)
    if refuse:
        changes["refused"] = (_without(state["refused"], release) + [[release["sha256"], reason]])[-MAX_REFUSED:]
    log = ("log", "update." + outcome, {"version": release["version"], "reason": reason})
    return _enter(state, [log], _report(release, outcome, step, reason), **changes)


# idle


def _idle_booted(state, boot):
    if boot["confirmed"]:
        return state, []
    # The journal knows of no trial, the loader does: the journal was lost.  The old image is the one that was judged.
    return state, [("rollback",), ("reboot", "trial without a journal")]


def _idle_offered(state, release):
    if release["sha256"] == state["image"]:
        # Told twice, or the first report was lost: say again what is true.
        return _enter(state, [], _report(release, "updated", 100, "already running"))
    reason, changes = "", _begun(OFFERED, release)
    if release.get("retry"):  # an operator's word: what was refused is asked about anew
        changes["refused"] = _without(state["refused"], release)
    for sha256, why in changes.get("refused", state["refused"]):
        if sha256 == release["sha256"]:
            reason = "refused before: " + why
    if release["security"] < state["floor"]:
        reason = "security %d is below the floor %d" % (release["security"], state["floor"])
    if reason:
        log = ("log", "update.refused", {"version": release["version"], "reason": reason})
        return _enter(state, [log], _report(release, "refused", -5, reason))
    log = ("log", "update.offered", {"version": release["version"]})
    return _enter(state, [log, ("ask", "download")], **changes)


def _idle_rejected(state, offer, step, reason):
    log = ("log", "update.failed", {"version": offer["version"], "reason": reason})
    return _enter(state, [log], _report(offer, "failed", step, reason))


# offered


def _offered_booted(state, boot):
    return state, [("ask", "download")]


def _offered_offered(state, release):
    current = state["release"]
    if release["sha256"] == current["sha256"]:
        if release == current:
            return state, []
        allowed = state.get("allowed", {}) if release.get("job") == current.get("job") else {}
        return _enter(state, [], release=release, allowed=allowed)
    return _enter(state, [], _report(release, "failed", -1, "busy with " + current["version"]))


def _offered_consented(state, spare):
    log = ("log", "update.consented", {"gate": "download"})
    allowed = {gate: until for gate, until in state.get("allowed", {}).items() if gate != "download"}
    return _enter(state, [log, ("fetch", 0)], phase=FETCHING, tries=0, waited=0, allowed=allowed)


def _offered_declined(state, reason):
    return _end(state, "refused", -5, reason, True)


def _offered_allowed(state, gate, until):
    allowed = dict(state.get("allowed", {}), **{gate: until})
    log = ("log", "update.allowed", {"gate": gate, "until": until})
    return _enter(state, [log], allowed=allowed)


def _offered_waited(state, seconds):
    return _enter(state, [], waited=state.get("waited", 0) + seconds)


def _offered_expired(state):
    return _end(state, "failed", -1, "no consent in time", False)


# fetching


def _fetching_booted(state, boot):
    return state, [("fetch", state["tries"])]


def _fetching_fetched(state):
    log = ("log", "update.staged", {"version": state["release"]["version"]})
    return _enter(state, [log, ("ask", "activate")], phase=STAGED, tries=0)


def _fetching_failed(state, step, reason, final):
    tries = state["tries"] + 1
    if final or tries >= MAX_FETCHES:
        return _end(state, "failed", step, reason, False)
    return _enter(state, [("fetch", tries)], tries=tries)


def _fetching_advanced(state):
    return _enter(state, [], tries=0)


# staged


def _staged_consented(state, spare):
    commands = [] if state["tries"] else [("log", "update.consented", {"gate": "activate"})]
    commands += [("activate",), ("log", "update.activated", {"slot": spare}), ("reboot", "activate")]
    return _enter(state, commands, slot=spare, tries=1, waited=0, allowed={})


def _staged_booted(state, boot):
    if not state["slot"]:
        return state, [("ask", "again" if state["tries"] else "activate")]
    if boot["slot"] == state["slot"]:
        return _enter(state, [_on_trial(state), ("check",)], phase=TRIAL, booted=boot.get("boot", 0))
    return _fell_back(state, boot)


def _staged_failed(state, step, reason, final):
    return _end(state, "failed", step, reason, False)


# trial


def _on_trial(state):
    return ("log", "update.trial", {"version": state["release"]["version"], "slot": state["slot"]})


def _trial_booted(state, boot):
    if boot["slot"] != state["slot"]:
        return _fell_back(state, boot)
    if boot["confirmed"]:
        return _updated(state)  # the power went between the loader's mark and our save
    if state["failure"]:
        return state, [("rollback",), ("reboot", "trial failed")]
    number = boot.get("boot", 0)
    if number and number == state.get("booted", 0):
        return state, [("check",)]
    hint, lost = _traces(state, boot), state.get("lost", 0) + 1
    if lost >= boot.get("trials", MAX_LOST):
        return _trial_failed(state, -1, hint or "%s %d times" % (LOST, lost), True)
    return _enter(state, [_on_trial(state), ("check",)], lost=lost, hint=hint, booted=number)


def _traces(state, boot):
    """Why the last trial boot ended, as far as the device itself can tell."""
    return boot["failure"] or (WATCHDOG if boot.get("cause") == WATCHDOG else state.get("hint", ""))


def _fell_back(state, boot):
    """The old image runs though the new one was activated."""
    reason, lost = state["failure"] or _traces(state, boot), state.get("lost", 0) + 1
    if not reason and lost < boot.get("trials", MAX_LOST):
        # A power cut, or a reset that left no trace.  No `slot`: it is activated once nothing holds it.
        return _enter(state, [("ask", "again")], phase=STAGED, slot="", lost=lost)
    reason = reason or "%s %d times" % (LOST, lost)
    return _end(state, "rolled_back", -1, reason, not reason.startswith(LOST))


def _trial_healthy(state):
    new, commands = _updated(state)
    return new, [("confirm",)] + commands


def _updated(state):
    release = state["release"]
    floor = max(state["floor"], min(release["security"], state["floor"] + MAX_FLOOR_STEP))
    changes = _begun(IDLE, None)
    changes.update(
        {"version": release["version"], "image": release["sha256"], "previous": state["image"], "floor": floor}
    )
    log = ("log", "update.confirmed", {"version": release["version"]})
    return _enter(state, [log, ("announce",)], _report(release, "updated", 100, ""), **changes)


def _trial_failed(state, step, reason, final):
    return _enter(state, [("rollback",), ("reboot", "trial failed")], failure=reason)


def _trial_offered(state, *event):
    return state, []  # the cloud offers again after the trial


# Edges that another edge's function serves as well
_offered_rejected = _fetching_rejected = _staged_rejected = _idle_rejected
_fetching_offered = _staged_offered = _offered_offered
_staged_declined = _offered_declined
_fetching_allowed = _staged_allowed = _offered_allowed
_staged_waited = _offered_waited
_staged_expired = _offered_expired
_trial_rejected = _trial_offered
