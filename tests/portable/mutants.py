# SPDX-License-Identifier: MIT
"""Planted defects, each of them once somebody's real one.

DEFECTS are for the sweep to catch, in the world that is named; TRUST_DEFECTS
for a test of test_offers.py, since no cut is needed to show them, and
DOWNLOAD_DEFECTS for one of test_downloads.py.
"""

import json

from agent import acts, begin, claims, journal, outbox, request, rules, update
from agent.clouds import decada_words
from agent.tasks import answers, budget, fetch, filling, fresh, pace, redirect, source, trial, trusted
from agent.trust.metadata import Metadata
from agent.trust.walk import Walk


def plant(name):
    (DEFECTS.get(name) or TRUST_DEFECTS.get(name) or DOWNLOAD_DEFECTS[name])[0]()


def try_out(name):
    """Print whether the defect's test fails once it is planted; that it passes before is seen where it is at home."""
    at_home = __import__("test_offers" if name in TRUST_DEFECTS else "test_downloads")
    plant(name)
    try:
        getattr(at_home, (TRUST_DEFECTS.get(name) or DOWNLOAD_DEFECTS[name])[1])()
    except AssertionError:
        print(json.dumps(True))
    else:
        print(json.dumps(False))


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
    end = update.end
    update.end = lambda state, outcome, step, reason, refuse: end(state, outcome, step, reason, False)


def _version_told_on_trial():
    progress = decada_words.progress

    def early(cloud, step, text, job, report):
        if step == 90:
            return cloud.report_version("1.1.0", "")
        return progress(cloud, step, text, job, report)

    decada_words.progress = early


def _trial_called_updated():
    said = claims.trial
    claims.trial = lambda agent: dict(said(agent), outcome="updated")


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


def _root_after_versions():
    take = Walk.take
    held = []

    def late(self):
        found = take(self)
        held.extend([one for one in found if one[0] == "root"])
        found = [one for one in found if one[0] != "root"]
        if "targets" in [name for name, _ in found]:
            found += held
            held.clear()
        return found

    Walk.take = late


def _clock_kept_for_new_keys():
    keep = trusted.keep

    def stubborn(agent, walk, freshness=None):
        walk.rekeyed = False
        keep(agent, walk, freshness)

    trusted.keep = stubborn


def _floor_raised_on_trial():
    run = trial.run

    def hasty(agent):
        agent.save(clock=agent.record.get("clock", 0) + 1)
        yield from run(agent)

    trial.run = hasty


def _request_forgotten_when_read():
    load = request._load

    def once(agent):
        found = load(agent)
        agent.platform.store.drop(request.RECORD)
        return found

    request._load = once


def _expiry_ignored():
    Metadata.check_expiry = lambda self, now: None


def _requires_ignored():
    rules._follows = lambda custom, running: None


def _hardware_ignored():
    release = rules.release

    def any_board(path, target, device):
        return release(path, target, dict(device, hardware=target["custom"]["hardware"][0]))

    rules.release = any_board


def _hints_ignored():
    rules.agree = lambda offer, **facts: None


def _credentials_for_everybody():
    split = source.split_url
    source.split_url = lambda url: split("https://cloud:1/x") if split(url) else None


def _older_bundle_stored():
    keep = Walk._keep

    def any_version(self, role, new):
        was, self._is_old = self._is_old, False
        keep(self, role, new)
        self._is_old = was

    Walk._keep = any_version


def _bundle_digest_ignored():
    stream = fetch._stream

    def careless(agent, release, response, skip, filling):
        if skip:
            release = dict(release, source=dict(release["source"], sha256=None))
        return stream(agent, release, response, skip, filling)

    fetch._stream = careless


def _request_done_twice():
    request.known = lambda record, identifier: False


def _resumed_without_rehash():
    """What the slot held at the start is believed: it is not read, and what came after it decides."""

    def believe(agent, slot, hasher, limit):
        yield from ()
        return limit

    is_the_image = filling.Filling.is_the_image
    filling.rehash = believe
    filling.Filling.is_the_image = lambda self: bool(self.began_at) or is_the_image(self)


def _durable_at_the_end_only():
    filling.SYNC_BYTES = filling.LATE_BYTES = 1 << 30


def _progress_is_no_progress():
    budget.PART_BYTES = 1 << 30


def _any_progress_counts():
    budget.PARTS, budget.PART_BYTES = 1 << 30, 1


def _drip_is_patience():
    pace.SLOW_BYTES = 1


def _credentials_along_redirects():
    opened = source._open

    def open_all(agent, url, offset, named, memory):
        http = agent.platform.http
        call = http.open
        http.open = lambda method, url, headers, body, identity: call(method, url, headers, body, agent.credentials())
        try:
            return opened(agent, url, offset, named, memory)
        finally:
            http.open = call

    source._open = open_all


def _redirects_for_ever():
    redirect.MAX_REDIRECTS = 1000


def _part_of_any_file():
    answers.wrong_part = lambda *arguments: None


def _no_question_for_offers():
    def keep(agent, release):
        yield 0
        return release

    fresh.ask = keep


def _no_patience():
    answers.BUSY = ()


def _room_taken_for_granted():
    Filling = filling.Filling
    resume = Filling.resume

    def careless(self):
        slots = self._agent.platform.slots
        capacity = slots.capacity
        slots.capacity = lambda: 1 << 30
        try:
            yield from resume(self)
        finally:
            slots.capacity = capacity

    Filling.resume = careless


DEFECTS = {
    "confirm after save": (_confirm_after_save, "repository"),
    "activate before save": (_activate_before_save, "repository"),
    "one journal copy": (_one_journal_copy, "repository"),
    "a cut condemns": (_cut_condemns, "repository"),
    "refusal forgotten": (_refusal_forgotten, "repository"),
    "version told on trial": (_version_told_on_trial, "repository"),
    "trial called updated": (_trial_called_updated, "repository"),
    "reports lost on reset": (_reports_lost_on_reset, "repository"),
    "report saved apart": (_report_saved_apart, "repository"),
    "report dropped unacknowledged": (_report_dropped_unacknowledged, "repository"),
    "root after versions": (_root_after_versions, "rotated"),
    "clock kept for new keys": (_clock_kept_for_new_keys, "rotated"),
    "floor raised on trial": (_floor_raised_on_trial, "repository"),
    "request forgotten when read": (_request_forgotten_when_read, "file"),
}
TRUST_DEFECTS = {
    "expired targets in a bundle": (
        _expiry_ignored,
        "test_an_expired_bundle_is_refused_and_an_expired_timestamp_in_it_is_not",
    ),
    "requires ignored": (_requires_ignored, "test_release_rules"),
    "hardware ignored": (_hardware_ignored, "test_release_rules"),
    "hints ignored": (_hints_ignored, "test_hints_that_disagree_with_what_is_signed"),
    "credentials for everybody": (_credentials_for_everybody, "test_a_bundle_from_another_origin_gets_no_credentials"),
    "older bundle stored": (_older_bundle_stored, "test_an_older_bundle_whose_release_still_stands"),
    "digest of the bundle ignored": (
        _bundle_digest_ignored,
        "test_what_the_offer_says_of_a_bundle_must_agree_with_the_file",
    ),
    "request done twice": (_request_done_twice, "test_a_request_is_done_once_though_the_power_goes"),
}
DOWNLOAD_DEFECTS = {
    "resume without re-hash": (
        _resumed_without_rehash,
        "test_what_a_slot_holds_after_a_reset_is_hashed_and_not_believed",
    ),
    "durable at the end only": (_durable_at_the_end_only, "test_a_power_cut_in_mid_download_costs_little_of_it"),
    "progress is no progress": (_progress_is_no_progress, "test_a_try_that_makes_progress_is_no_fruitless_one"),
    "any progress counts": (_any_progress_counts, "test_a_trickle_of_progress_is_an_end"),
    "a drip is patience": (_drip_is_patience, "test_slow_drip"),
    "credentials along redirects": (_credentials_along_redirects, "test_credentials_never_go_along_a_redirect"),
    "redirects for ever": (_redirects_for_ever, "test_redirect_loops"),
    "a part of any file": (_part_of_any_file, "test_wrong_content_range"),
    "no question for offers": (_no_question_for_offers, "test_token_expired_in_mid_download"),
    "no patience": (_no_patience, "test_429_with_retry_after"),
    "room taken for granted": (_room_taken_for_granted, "test_what_does_not_fit_any_more_when_a_download_goes_on"),
}
