# SPDX-License-Identifier: MIT
"""The fleet from above: what is counted is what is filtered by and what a row says; ten thousand devices are a page."""

import hashlib

import pytest

from trueboot_server.fleet import overview, registry, samples
from trueboot_server.limits import Limits
from trueboot_server.names import Identity
from trueboot_server.store import Store
from trueboot_server.store.schema import devices, products

LIMITS = Limits(silent_after_s=3600, samples=20, sample_s=5, sample_idle_s=60)
OUTCOMES = (None, "running", "updated", "trial", "rolled_back", "below_floor", "fell_back", "failed")


class Clock:
    now = 1_800_000_000_000

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = Store(tmp_path / "server.db", clock)
    with store.transaction() as t:
        values = {"product_secret": "x", "allow_password_login": False, "claims_count": False, "attestation": "none"}
        t.execute(products.insert().values(product_key="pk", created_at=t.now, dialect="decada", **values))
    yield store
    store.close()


def fill(t, count):
    """Every outcome, fallen back or not, revoked or not, heard lately or not."""
    rows = []
    for number in range(count):
        outcome = OUTCOMES[number % 8]
        rows.append(
            {
                "product_key": "pk",
                "device_key": f"d{number:05}",
                "device_secret": "s",
                "state": "revoked" if number % 16 >= 15 else "enrolled",
                "created_at": t.now,
                "asset_id": str(number),
                "last_report": outcome and {"outcome": outcome, "version": "1.0.0"},
                "fell_back": {"version": "1", "image": "x", "reason": "", "at": 1} if number // 8 % 3 == 1 else None,
                "last_seen": t.now - (7200_000 if number % 5 == 0 else 0),
                "proven_version": outcome and f"1.{number % 20}.0",
            }
        )
    t.many(devices.insert(), rows)


def online(identity):
    return hashlib.sha256(identity.device_key.encode()).digest()[0] < 128


def test_counters_filters_and_rows_say_the_same(store):
    with store.transaction() as t:
        fill(t, 240)
        counts = overview.counts(t, online, LIMITS)
        pages = {s: overview.page(t, overview.Wanted(s), online, LIMITS, 0, 1000) for s in overview.STATES}
        everybody = overview.page(t, overview.Wanted(), online, LIMITS, 0, 1000)
    assert counts["devices"] == everybody.total == len(everybody.rows) == 240
    for state, page in pages.items():
        assert counts[state] == page.total == len(page.rows), state
        assert page.total or state == "updating", state + " is not tried"
    told = ("trial", "confirmed", "rolled_back", "below_floor", "revoked")
    for state in told:
        assert {overview.standing(row) for row in pages[state].rows} == {state}
    silent_before = sum(counts[state] for state in told)
    assert silent_before + sum(row.last_report is None and row.state != "revoked" for row in everybody.rows) == 240
    here = {row.device_key for row in pages["online"].rows}
    assert here.isdisjoint(row.device_key for row in pages["silent"].rows)


def test_pages_of_ten_thousand_devices_hold_each_device_once(store):
    with store.transaction() as t:
        fill(t, 10_000)
        wanted = overview.Wanted("online")
        seen, offset = [], 0
        while rows := overview.page(t, wanted, online, LIMITS, offset, 2500).rows:
            seen += [row.device_key for row in rows]
            offset += 2500
        assert seen == sorted(set(seen)) and len(seen) == overview.counts(t, online, LIMITS)["online"]
        found = overview.page(t, overview.Wanted(text="d0999"), online, LIMITS, 0, 50)
        assert [row.device_key for row in found.rows] == [f"d0999{n}" for n in range(10)] and found.total == 10
        assert overview.page(t, overview.Wanted(text="%"), online, LIMITS, 0, 50).total == 0
        assert len(overview.versions(t, 5)) == 6 and "other" in overview.versions(t, 5)


def test_samples_are_taken_when_something_changed_and_never_grow_beyond_their_bound(store, clock):
    with store.transaction() as t:
        samples.take(t, LIMITS)
        assert samples.read(t) == []  # nothing runs yet
        fill(t, 8)
        samples.take(t, LIMITS)
        samples.take(t, LIMITS)
        assert len(samples.read(t)) == 1
    for number in range(120):
        clock.now += 10_000
        with store.transaction() as t:
            registry.update(t, Identity("pk", "d00001"), proven_version=f"2.0.{number}")
            samples.take(t, LIMITS)
            times = [time for time, _ in samples.read(t)]
            assert len(times) <= 20 and times == sorted(times)
    assert times[-1] == clock.now and times[0] < clock.now - 500_000  # fine lately, coarse long ago
    clock.now += 30_000
    with store.transaction() as t:
        samples.take(t, LIMITS)
        assert samples.read(t)[-1][0] == times[-1]  # nothing new, and not idle for long enough
