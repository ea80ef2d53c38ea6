# SPDX-License-Identifier: MIT
"""Planted defects, each of them once somebody's real one.  The sweep must catch every one."""

from agent import acts, begin, journal, outbox, update
from agent.clouds import decada_words


def plant(name):
    DEFECTS[name]()


def _confirm_after_save():
    healthy = update._trial_healthy

    def late(state):
        new, commands = healthy(state)
        return new, commands[1:] + commands[:1]

    update._trial_healthy = late


def _activate_before_save():
    consented = update._staged_consented

    def hasty(state, spare):
        new, commands = consented(state, spare)
        return new, [c for c in commands if c[0] == "activate"] + commands

    update._staged_consented = hasty


def _one_journal_copy():
    journal.COPIES = ("journal.0", "journal.0")


def _cut_condemns():
    fell_back = update._fell_back
    update._fell_back = lambda state, boot: fell_back(dict(state, failure=state["failure"] or "fell back"), boot)


def _refusal_forgotten():
    end = update._end
    update._end = lambda state, outcome, step, reason, refuse: end(state, outcome, step, reason, False)


def _version_told_on_trial():
    progress = decada_words.progress

    def early(cloud, step, text, job, report):
        if step == 90:
            return cloud.report_version("1.1.0", "")
        return progress(cloud, step, text, job, report)

    decada_words.progress = early


def _reports_lost_on_reset():
    start = begin.start

    def forgetful(agent):
        agent.record["outbox"] = []
        start(agent)

    begin.start = forgetful


def _report_saved_apart():
    """The report of a change in a write of its own, after the change."""
    save = acts._save

    def apart(agent, state, report):
        save(agent, state, None)
        if report is not None:
            save(agent, state, report)

    acts._save = apart


def _report_dropped_unacknowledged():
    outbox.add_report = lambda reports, report: []


DEFECTS = {
    "confirm after save": _confirm_after_save,
    "activate before save": _activate_before_save,
    "one journal copy": _one_journal_copy,
    "a cut condemns": _cut_condemns,
    "refusal forgotten": _refusal_forgotten,
    "version told on trial": _version_told_on_trial,
    "reports lost on reset": _reports_lost_on_reset,
    "report saved apart": _report_saved_apart,
    "report dropped unacknowledged": _report_dropped_unacknowledged,
}
