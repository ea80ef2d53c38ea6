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
                            without a trace; see `followed` for more
 ("offered", release)       trusted: every field comes from signed metadata, but "job" and "nonce"
 ("rejected", offer, step, reason)  an offer that trust or the rules turned down; step is a number of the cloud's
 ("consented", spare) ("declined", reason)   spare: the slot that is to be activated
 ("allowed", gate, until)   an operator's word for a gate: yes until then (s since 1970), or no (0)
 ("waited", seconds)        so much longer was consent asked for in vain   ("expired",) it did not come in time
 ("fetched",), or ("fetched", release) when what was fetched has become an image only now
 ("failed", step, reason, final) ("advanced",): a try of the download failed, yet it brought the image on
 ("healthy",)

Commands (tuples)
 ("save", state, report)    one atomic write; report is None or a dict for the outbox
 ("ask", stage) ("fetch", tries) ("activate",) ("check",) ("confirm",) ("announce",) ("rollback",) ("reboot", reason)
 ("log", event, fields)
Stages: "download", "activate", and "again" for an activation that was agreed to, and whose trial left no trace.

Reasons begin with stable words; docs/how-it-works.md lists them.
"""

from agent.errors import MisuseError
from agent.states import IDLE, begun, end, enter, report, without

OFFERED = "offered"
FETCHING = "fetching"
STAGED = "staged"
TRIAL = "trial"

MAX_FETCHES = 5  # attempts of one download; each may itself resume many times
MAX_LOST = 5  # trial boots that may end without a trace, where the configuration does not say
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
    """The journal follows what really runs, confirmed.  Without "image" in `boot` nothing is compared."""
    same = boot.get("image", state["image"]) == state["image"]
    if same or not boot["confirmed"] or boot["slot"] == state["slot"]:
        return state, []
    from agent import followed  # only here

    return followed.follow(state, boot)


# idle


def _idle_booted(state, boot):
    if boot["confirmed"]:
        return state, []
    # The journal knows of no trial, the loader does: the journal was lost.  The old image is the one that was judged.
    return state, [("rollback",), ("reboot", "trial without a journal")]


def _idle_offered(state, release):
    if release["sha256"] == state["image"]:
        # Told twice, or the first report was lost: say again what is true.
        return enter(state, [], report(release, "updated", 100, "already running"))
    reason, changes = "", begun(OFFERED, release)
    if release.get("retry"):  # an operator's word: what was refused is asked about anew
        changes["refused"] = without(state["refused"], release)
    for sha256, why in changes.get("refused", state["refused"]):
        if sha256 == release["sha256"]:
            reason = "refused before: " + why
    if release["security"] < state["floor"]:
        reason = "security %d is below the floor %d" % (release["security"], state["floor"])
    if reason:
        log = ("log", "update.refused", {"version": release["version"], "reason": reason})
        return enter(state, [log], report(release, "refused", -5, reason))
    log = ("log", "update.offered", {"version": release["version"]})
    return enter(state, [log, ("ask", "download")], **changes)


def _idle_rejected(state, offer, step, reason):
    log = ("log", "update.failed", {"version": offer["version"], "reason": reason})
    return enter(state, [log], report(offer, "failed", step, reason))


# offered


def _offered_booted(state, boot):
    return state, [("ask", "download")]


def _offered_offered(state, release):
    current = state["release"]
    if release["sha256"] == current["sha256"]:
        if release == current:
            return state, []
        allowed = state.get("allowed", {}) if release.get("job") == current.get("job") else {}
        return enter(state, [], release=release, allowed=allowed)
    return enter(state, [], report(release, "failed", -1, "busy with " + current["version"]))


def _offered_consented(state, spare):
    log = ("log", "update.consented", {"gate": "download"})
    allowed = {gate: until for gate, until in state.get("allowed", {}).items() if gate != "download"}
    return enter(state, [log, ("fetch", 0)], phase=FETCHING, tries=0, waited=0, allowed=allowed)


def _offered_declined(state, reason):
    return end(state, "refused", -5, reason, True)


def _offered_allowed(state, gate, until):
    allowed = dict(state.get("allowed", {}), **{gate: until})
    log = ("log", "update.allowed", {"gate": gate, "until": until})
    return enter(state, [log], allowed=allowed)


def _offered_waited(state, seconds):
    return enter(state, [], waited=state.get("waited", 0) + seconds)


def _offered_expired(state):
    return end(state, "failed", -1, "no consent in time", False)


# fetching


def _fetching_booted(state, boot):
    return state, [("fetch", state["tries"])]


def _fetching_fetched(state, made=None):
    release = made or state["release"]
    log = ("log", "update.staged", {"version": release["version"]})
    return enter(state, [log, ("ask", "activate")], phase=STAGED, tries=0, release=release)


def _fetching_failed(state, step, reason, final):
    tries = state["tries"] + 1
    if final or tries >= MAX_FETCHES:
        return end(state, "failed", step, reason, False)
    return enter(state, [("fetch", tries)], tries=tries)


def _fetching_advanced(state):
    return enter(state, [], tries=0)


# staged


def _staged_consented(state, spare):
    commands = [] if state["tries"] else [("log", "update.consented", {"gate": "activate"})]
    commands += [("activate",), ("log", "update.activated", {"slot": spare}), ("reboot", "activate")]
    return enter(state, commands, slot=spare, tries=1, waited=0, allowed={})


def _staged_booted(state, boot):
    if not state["slot"]:
        return state, [("ask", "again" if state["tries"] else "activate")]
    if boot["slot"] == state["slot"]:
        return enter(state, [_on_trial(state), ("check",)], phase=TRIAL, booted=boot.get("boot", 0))
    return _fell_back(state, boot)


def _staged_failed(state, step, reason, final):
    return end(state, "failed", step, reason, False)


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
    return enter(state, [_on_trial(state), ("check",)], lost=lost, hint=hint, booted=number)


def _traces(state, boot):
    """Why the last trial boot ended, as far as the device itself can tell."""
    return boot["failure"] or (WATCHDOG if boot.get("cause") == WATCHDOG else state.get("hint", ""))


def _fell_back(state, boot):
    """The old image runs though the new one was activated."""
    reason, lost = state["failure"] or _traces(state, boot), state.get("lost", 0) + 1
    if not reason and lost < boot.get("trials", MAX_LOST):
        # A power cut, or a reset that left no trace.  No `slot`: it is activated once nothing holds it.
        return enter(state, [("ask", "again")], phase=STAGED, slot="", lost=lost)
    reason = reason or "%s %d times" % (LOST, lost)
    return end(state, "rolled_back", -1, reason, not reason.startswith(LOST))


def _trial_healthy(state):
    new, commands = _updated(state)
    return new, [("confirm",)] + commands


def _updated(state):
    release = state["release"]
    floor = max(state["floor"], min(release["security"], state["floor"] + MAX_FLOOR_STEP))
    changes = begun(IDLE, None)
    changes.update(
        {"version": release["version"], "image": release["sha256"], "previous": state["image"], "floor": floor}
    )
    log = ("log", "update.confirmed", {"version": release["version"]})
    return enter(state, [log, ("announce",)], report(release, "updated", 100, ""), **changes)


def _trial_failed(state, step, reason, final):
    return enter(state, [("rollback",), ("reboot", "trial failed")], failure=reason)


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
