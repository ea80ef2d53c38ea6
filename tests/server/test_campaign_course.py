# SPDX-License-Identifier: MIT
"""Campaigns in the database: scope, phases, pause, retry, restart; many devices, one transaction at a time, no network."""

import pytest
import sqlalchemy as sa

from trueboot_server.errors import ApiError
from trueboot_server.fleet import campaigns, course, jobs, plan, registry, scope
from trueboot_server.limits import Limits
from trueboot_server.names import Identity
from trueboot_server.store import Store
from trueboot_server.store.schema import attempts, devices, history, products, releases

S = 1000
LIMITS = Limits()


class Fleet:
    """A store, a clock that the test moves, and devices that do as they are told."""

    def __init__(self, path):
        self.path, self.now = path, 1_700_000_000_000
        self.open()
        with self.store.transaction() as t:
            values = {"product_secret": "x", "allow_password_login": False, "claims_count": False, "created_at": 0}
            values |= {"attestation": "none", "dialect": "decada", "auto_update": "off"}
            t.execute(products.insert().values(product_key="P", **values))

    def open(self):
        self.store = Store(self.path, clock=lambda: self.now)

    def reopen(self):
        self.store.close()
        self.open()

    def release(self, version, sha256=None, hardware="sim", **custom):
        target = f"app/{hardware}/{version}/app.img"
        custom = {"kind": "app", "version": version, "hardware": [hardware], "security": 0, **custom}
        values = {"version": version, "sha256": sha256 or version.ljust(64, "0"), "length": 9, "custom": custom}
        with self.store.transaction() as t:
            t.execute(releases.insert().values(target=target, published_at=t.now, **values))
        return target

    def add(self, count, first=0, **values):
        keys = [f"d{number:05}" for number in range(first, first + count)]
        asset = values.pop("asset", "a")
        row = {"product_key": "P", "device_secret": "x", "state": "enrolled", "created_at": 0, **values}
        with self.store.transaction() as t:
            t.many(devices.insert(), [{**row, "device_key": key, "asset_id": f"{asset}{key}"} for key in keys])
        return keys

    def create(self, start_at=0, scope=None, **body):
        told = {name: body.pop(name) for name in ("target", "version", "newest") if name in body} or {"newest": True}
        more = {name: body.pop(name) for name in ("timeout_s", "retry", "name") if name in body}
        with self.store.transaction() as t:
            return campaigns.create(
                t, LIMITS, "P", told, plan.read(body), globals()["scope"].read(scope or {"devices": "all"}, 10_000), start_at, **more
            )  # fmt: skip

    def tick(self, job, seconds=0):
        self.now += seconds * S
        with self.store.transaction() as t:
            return [identity.device_key for identity in campaigns.tick(t, LIMITS, job)]

    def order(self, what, job, *more):
        with self.store.transaction() as t:
            return [one.device_key for one in getattr(campaigns, what)(t, *more, course.job(t, job))]

    def tell(self, keys):
        """The devices connect, and are told what waits for them."""
        found = []
        for key in keys:
            with self.store.transaction() as t:
                if jobs.take_for_push(t, Identity("P", key), ("queued", "pushed"), LIMITS):
                    found.append(key)
        return found

    def end(self, keys, outcome="updated"):
        with self.store.transaction() as t:
            for key in keys:
                row = jobs.open_attempt(t, Identity("P", key))
                jobs.proven(t, row, outcome, 1, "")
                if outcome == "updated":
                    job = jobs.job_of(t, row)
                    values = {"proven_version": job.version, "claimed_version": job.version, "image": job.sha256}
                    registry.update(t, Identity("P", key), **values)

    def carry_out(self, keys, outcome="updated"):
        self.end(self.tell(keys), outcome)

    def state(self, job):
        with self.store.transaction() as t:
            row = course.job(t, job)
            return row.state, row.phase + 1, row.reason

    def counts(self, job):
        with self.store.transaction() as t:
            row = course.job(t, job)
            return [
                {name: getattr(c, name) for name in ("waiting", "queued", "begun", "proven", "claimed", "failed", "cancelled") if getattr(c, name)}
                for c in course.counts_of(t, row, len(course.plan_of(row).phases))
            ]  # fmt: skip

    def story(self, job):
        with self.store.transaction() as t:
            return [
                row.event for row in t.rows(sa.select(history).where(history.c.job_id == job).order_by(history.c.id))
            ]


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path / "db")
    yield made
    made.store.close()


def refused(code):
    return pytest.raises(ApiError, match=".*") if code is None else _Refused(code)


class _Refused:
    def __init__(self, code):
        self.code = code

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        assert isinstance(error, ApiError) and error.code == self.code, error
        return True


def test_phase_by_phase_to_the_end(fleet):
    fleet.release("1.1.0")
    fleet.add(20)
    job = fleet.create(phases=["10%", "50%"], success=100, soak_s=60)
    first = fleet.tick(job)
    assert len(first) == 2 and fleet.counts(job) == [{"queued": 2}, {"waiting": 8}, {"waiting": 10}]
    fleet.carry_out(first)
    assert fleet.tick(job) == [] and fleet.tick(job, 59) == [] and fleet.state(job)[1] == 1
    second = fleet.tick(job, 1)
    assert len(second) == 8 and not set(first) & set(second)
    fleet.carry_out(second)
    fleet.tick(job)
    third = fleet.tick(job, 60)
    fleet.carry_out(third)
    fleet.tick(job)
    fleet.tick(job, 60)
    assert fleet.state(job) == ("done", 3, None)
    assert len({*first, *second, *third}) == 20
    assert fleet.story(job) == ["created", "started", "reached", "phase", "reached", "phase", "reached", "done"]


def test_a_bad_release_is_halted_in_its_first_phase_and_told_to_nobody_else(fleet):
    fleet.release("1.1.0")
    fleet.add(100)
    job = fleet.create(phases=["5%"])
    first = fleet.tick(job)
    fleet.carry_out(first[:2], "rolled_back")
    assert fleet.state(job) == ("halted", 1, "phase 1: 1 of 5 failed, and 0 may")
    assert fleet.tell(first) == [] and fleet.tick(job) == []
    assert fleet.counts(job) == [{"failed": 2, "cancelled": 3}, {"waiting": 95}]


def test_a_device_that_falls_back_while_its_phase_soaks_counts_as_failed(fleet):
    fleet.release("1.1.0", "b" * 64)
    fleet.add(20)
    job = fleet.create(phases=["50%"], max_failures=0, soak_s=600)
    first = fleet.tick(job)
    fleet.carry_out(first)
    fleet.tick(job)
    with fleet.store.transaction() as t:
        fell = {"version": "1.1.0", "image": "b" * 64, "reason": "", "at": 0}
        registry.update(t, Identity("P", first[0]), image="a" * 64, proven_version="1.0.0", fell_back=fell)
    fleet.tick(job, 5)
    assert fleet.state(job) == ("halted", 1, "phase 1: 1 of 10 failed, and 0 may")


def test_no_more_are_told_at_once_than_may_be(fleet):
    fleet.release("1.1.0")
    fleet.add(10)
    job = fleet.create(at_once=3)
    first = fleet.tick(job)
    assert len(first) == 3 and fleet.tick(job) == []
    fleet.carry_out(first[:2])
    assert len(fleet.tick(job)) == 2


def test_room_that_a_failure_makes_is_for_the_next_who_is_told_at_the_next_look(fleet):
    fleet.release("1.1.0")
    fleet.add(4)
    job = fleet.create(at_once=1, max_failures=4, success=0)
    [first] = fleet.tick(job)
    fleet.carry_out([first], "failed")
    [second] = fleet.tick(job)
    assert first != second and fleet.counts(job) == [{"queued": 1, "failed": 1, "waiting": 2}]


def test_who_fails_is_told_again_as_long_as_it_has_a_try_left_and_who_refuses_is_not(fleet):
    fleet.release("1.1.0")
    fleet.add(2)
    job = fleet.create(tries=2, max_failures=4, success=0)
    one, other = fleet.tick(job)
    fleet.carry_out([one], "failed")
    fleet.carry_out([other], "refused")
    assert fleet.tick(job) == [one]
    fleet.carry_out([one], "failed")
    assert fleet.tick(job) == [] and fleet.state(job)[0] == "done"


def test_scope_by_key_tag_and_version_and_all_of_it_must_hold(fleet):
    fleet.release("2.0.0")
    west = fleet.add(3, tags={"site": "west"}, proven_version="1.2.0")
    fleet.add(3, first=10, tags={"site": "east"}, proven_version="1.2.0")
    old = fleet.add(2, first=20, tags={"site": "west"}, proven_version="1.0.0", claimed_version="1.2.0")
    fleet.add(1, first=30, tags={"site": "west"}, state="revoked", proven_version="1.2.0")
    bare = fleet.add(1, first=40)

    def who(**whom):
        job = fleet.create(scope=whom, start_at=None)
        with fleet.store.transaction() as t:
            return sorted(one.device_key for one in scope.matching(t, course.job(t, job), whom))

    assert who(tags={"site": "west"}) == west + old
    assert who(tags={"site": "west"}, proven_version=">=1.1.0 <2.0.0") == west
    assert who(tags={"site": "west"}, proven_version="1.0.0") == old == who(proven_version="!=1.2.0")
    assert who(tags={"site": "west"}, claimed_version=">1.0.0") == old
    assert who(devices=[*west[:2], *bare]) == sorted(west[:2] + bare)
    assert who(devices=west[:2], tags={"site": "east"}) == []
    with refused("no_such_device"):
        fleet.create(scope={"devices": ["d00030"]})
    with refused("no_devices"):
        fleet.create(scope={"tags": {"site": "north"}})


def test_one_campaign_over_several_products_counts_each_device_by_its_own_products_policy(fleet):
    fleet.release("1.1.0")
    with fleet.store.transaction() as t:
        [row] = t.rows(sa.select(products))
        t.execute(products.insert().values(**{**row._asdict(), "product_key": "Q", "claims_count": True}))
        t.execute(products.insert().values(**{**row._asdict(), "product_key": "R"}))
    fleet.add(2)
    fleet.add(2, product_key="Q", asset="q")
    fleet.add(1, product_key="R", asset="r")
    job = fleet.create(scope={"products": ["P", "Q"]}, success=100)
    with fleet.store.transaction() as t:
        told = campaigns.tick(t, LIMITS, job)
        assert sorted(told) == [("P", "d00000"), ("P", "d00001"), ("Q", "d00000"), ("Q", "d00001")]
        for identity in told:
            jobs.take_for_push(t, identity, ("queued",), LIMITS)
            jobs.claim(t, identity, "1.1.0", identity.product_key == "Q")
    assert fleet.counts(job) == [{"begun": 2, "claimed": 2}]
    fleet.end(["d00000", "d00001"])
    fleet.tick(job)
    assert fleet.state(job)[0] == "done" and fleet.counts(job) == [{"proven": 2, "claimed": 2}]
    everybody = fleet.create(scope={"products": "all"}, start_at=None)
    fleet.order("start", everybody, LIMITS)
    assert sum(fleet.counts(everybody)[0].values()) == 5


@pytest.mark.parametrize(
    "whom",
    [
        {"products": []}, {"products": "P"}, {"products": [1]}, {}, [], {"devices": []}, {"devices": "d1"}, {"devices": [1]}, {"devices": ["a/b"]}, {"device": "all"}, {"tags": {}},
        {"tags": {"a b": "x"}}, {"tags": {"a": 1}}, {"tags": {str(n): "x" for n in range(17)}}, {"proven_version": ""},
        {"proven_version": "new"}, {"claimed_version": "~1.0.0"}, {"claimed_version": " ".join([">1.0.0"] * 9)},
    ],
)  # fmt: skip
def test_a_scope_that_cannot_be_meant_is_refused(whom):
    with pytest.raises(plan.BadPlan):
        scope.read(whom, 100)


def test_who_begins_to_match_joins_a_dynamic_campaign_and_no_other(fleet):
    fleet.release("1.1.0")
    fleet.add(4, tags={"ring": "a"})
    static = fleet.create(scope={"tags": {"ring": "a"}}, start_at=None)
    fleet.order("start", static, LIMITS)
    fleet.carry_out([f"d{n:05}" for n in range(4)])
    fleet.tick(static)
    assert fleet.state(static)[0] == "done"
    dynamic = fleet.create(scope={"tags": {"ring": "b"}}, dynamic=True, phase_s=1000)
    assert fleet.tick(dynamic) == []
    [late] = fleet.add(1, first=10, tags={"ring": "b"})
    fleet.add(1, first=11, tags={"ring": "a"})
    assert fleet.tick(dynamic, 10) == [late]
    fleet.carry_out([late])
    fleet.tick(dynamic)
    assert fleet.state(dynamic)[0] == "running"
    fleet.tick(dynamic, 1000)
    assert fleet.state(dynamic) == ("done", 1, None)
    assert sum(sum(c.values()) for c in fleet.counts(static)) == 4


def test_the_newest_is_that_of_the_day_on_which_it_begins(fleet):
    fleet.release("1.1.0")
    fleet.release("2.0.0-rc.1")
    fleet.add(1, proven_version="1.0.0")
    job = fleet.create(start_at=fleet.now + 60 * S)
    assert fleet.tick(job) == [] and fleet.state(job)[0] == "scheduled"
    fleet.release("1.10.0")
    assert len(fleet.tick(job, 60)) == 1
    fleet.release("1.11.0")
    with fleet.store.transaction() as t:
        row = course.job(t, job)
        assert (row.version, row.target, row.wanted) == ("1.10.0", "app/sim/1.10.0/app.img", {"newest": True})


def test_what_cannot_begin_on_its_day_is_halted_and_says_why(fleet):
    fleet.release("1.1.0")
    fleet.release("1.1.0", hardware="pico")
    job = fleet.create(start_at=fleet.now + S)
    fleet.tick(job, 2)
    assert fleet.state(job) == ("halted", 1, "the newest of which: app/pico, app/sim")
    job = fleet.create(start_at=fleet.now + S, newest="app/sim")
    fleet.tick(job, 2)
    assert fleet.state(job) == ("halted", 1, "no device matches")
    with refused("ambiguous_release"):
        fleet.create(version="1.1.0")
    with refused("no_such_release"):
        fleet.create(version="7.0.0")


def test_a_pause_takes_no_time_and_lets_those_finish_that_have_begun(fleet):
    fleet.release("1.1.0")
    fleet.add(10)
    job = fleet.create(phases=["20%"], phase_s=1000, success=100)
    first = fleet.tick(job)
    assert fleet.tell(first[:1]) == first[:1]
    fleet.order("pause", job)
    assert fleet.tell(first[1:]) == [] and fleet.tick(job, 5000) == []
    fleet.end(first[:1])
    assert fleet.state(job)[0] == "paused"
    assert fleet.order("resume", job) == first[1:]
    fleet.carry_out(first[1:])
    assert len(fleet.tick(job)) == 8
    with refused("wrong_state"):
        fleet.order("resume", job)


def test_time_runs_out_for_a_device_that_says_nothing_and_for_a_phase_nobody_comes_to(fleet):
    fleet.release("1.1.0")
    fleet.add(4)
    job = fleet.create(timeout_s=100, phase_s=1000, max_failures=4, success=75)
    keys = fleet.tick(job)
    fleet.tell(keys[:1])
    fleet.now += 100 * S
    with fleet.store.transaction() as t:
        jobs.expire(t, LIMITS)
    assert fleet.counts(job) == [{"queued": 3, "failed": 1}]
    fleet.tick(job, 901)
    assert fleet.state(job) == ("halted", 1, "it did not reach 75 % in time: 0 of 4 have it")
    assert fleet.counts(job) == [{"cancelled": 3, "failed": 1}]
    assert fleet.tell(keys) == []


def test_a_retry_is_for_those_who_failed_or_were_cancelled(fleet):
    fleet.release("1.1.0")
    fleet.add(10)
    job = fleet.create(phases=["50%"], max_failures="20%")
    first = fleet.tick(job)
    fleet.carry_out(first[:2])
    fleet.carry_out(first[2:4], "rolled_back")
    assert fleet.state(job)[0] == "halted"
    again = fleet.order("retry", job)
    assert sorted(again) == sorted(first[2:])
    with fleet.store.transaction() as t:
        assert course.job(t, job).retry
    fleet.carry_out(again)
    fleet.carry_out(fleet.tick(job))
    fleet.tick(job)
    assert fleet.state(job) == ("done", 2, None) and fleet.counts(job) == [{"proven": 5}, {"proven": 5}]
    with refused("nothing_to_retry"):
        fleet.order("retry", job)


def test_an_abort_ends_it_and_what_was_begun_is_still_believed(fleet):
    fleet.release("1.1.0")
    fleet.add(2)
    job = fleet.create()
    keys = fleet.tick(job)
    fleet.tell(keys)
    with fleet.store.transaction() as t:
        row = jobs.open_attempt(t, Identity("P", keys[0]))
    fleet.order("abort", job)
    with fleet.store.transaction() as t:
        jobs.proven(t, t.execute(sa.select(attempts).where(attempts.c.id == row.id)).one(), "updated", 1, "")
    assert fleet.state(job) == ("cancelled", 1, None) and fleet.counts(job) == [{"proven": 1, "cancelled": 1}]
    for what in ("abort", "pause", "resume", "retry"):
        with refused("wrong_state"):
            fleet.order(what, job)


def test_a_withdrawn_release_is_told_to_nobody_and_cannot_be_retried(fleet):
    target = fleet.release("1.1.0")
    fleet.add(2)
    job = fleet.create(phases=[1])
    fleet.tick(job)
    fleet.order("pause", job)
    with fleet.store.transaction() as t:
        t.execute(releases.delete().where(releases.c.target == target))
        jobs.withdraw(t, target, course.job(t, job).sha256)
    assert fleet.state(job) == ("halted", 1, "the release was withdrawn")
    with refused("release_withdrawn"):
        fleet.order("retry", job)


def test_a_busy_device_is_waited_for_and_a_revoked_one_is_not(fleet):
    fleet.release("1.1.0")
    fleet.release("1.0.0")
    keys = fleet.add(3)
    other = fleet.create(version="1.0.0", scope={"devices": keys[:1]})
    fleet.tell(fleet.tick(other))
    job = fleet.create(version="1.1.0", success=100)
    with fleet.store.transaction() as t:
        registry.revoke(t, Identity("P", keys[1]))
    assert fleet.tick(job) == keys[2:]
    fleet.end(keys[:1])
    assert fleet.tick(job) == keys[:1]
    fleet.carry_out([keys[0], keys[2]])
    fleet.tick(job)
    assert fleet.state(job)[0] == "done"


def test_a_later_phase_does_not_take_the_turn_of_a_busy_device(fleet):
    fleet.release("1.1.0")
    fleet.release("1.0.0")
    fleet.add(2)
    other = fleet.create(version="1.0.0")
    fleet.tell(fleet.tick(other))
    job = fleet.create(version="1.1.0", phases=[1])
    assert fleet.tick(job) == []
    with fleet.store.transaction() as t:
        first, second = (row.device_key for row in course.members_of(t, job, [], 2))
    fleet.end([second])
    assert fleet.tick(job) == []
    fleet.end([first])
    assert fleet.tick(job) == [first]


def test_nobody_waits_for_a_device_that_is_revoked_while_it_is_under_way(fleet):
    fleet.release("1.1.0")
    fleet.add(2)
    job = fleet.create(success=100, max_failures=0)
    one, other = fleet.tick(job)
    fleet.tell([other])
    fleet.carry_out([one])
    with fleet.store.transaction() as t:
        registry.revoke(t, Identity("P", other))
    fleet.tick(job)
    assert fleet.state(job) == ("done", 1, None) and fleet.counts(job) == [{"proven": 1}]


def test_a_server_that_is_killed_goes_on_where_it_was(fleet):
    fleet.release("1.1.0")
    fleet.add(10)
    job = fleet.create(phases=["20%"], soak_s=50, success=100)
    first = fleet.tick(job)
    fleet.reopen()
    fleet.carry_out(first)
    fleet.reopen()
    fleet.tick(job)
    fleet.reopen()
    assert fleet.state(job) == ("running", 1, None) and fleet.tick(job, 49) == []
    fleet.reopen()
    assert len(fleet.tick(job, 1)) == 8


def ask(fleet, key, runs, wanted="latest"):
    with fleet.store.transaction() as t:
        found = jobs.ask(t, Identity("P", key), runs, wanted)
        return found and (found[1].version, found[1].kind)


def test_a_device_that_asks_gets_the_newest_only_where_the_product_says_so(fleet):
    for version, more in (("1.0.0", {}), ("1.1.0", {}), ("1.2.0", {}), ("2.0.0-rc.1", {})):
        fleet.release(version, **more)
    [key] = fleet.add(1, proven_version="1.0.0", image="1.0.0".ljust(64, "0"))
    assert ask(fleet, key, "1.0.0") is None
    with fleet.store.transaction() as t:
        t.execute(products.update().values(auto_update="latest"))
    assert ask(fleet, key, "1.2.0") is None and ask(fleet, key, "1.1.0", "1.0.0") is None
    assert ask(fleet, key, "1.0.0", "1.1.0") == ("1.1.0", "auto")
    assert ask(fleet, key, "1.0.0") == ("1.1.0", "auto")  # what is open comes first
    fleet.end([key])
    assert ask(fleet, key, "1.1.0") == ("1.2.0", "auto")
    fleet.end([key], "refused")
    assert ask(fleet, key, "1.1.0") is None and ask(fleet, key, "1.1.0", "1.2.0") is None
    fleet.release("1.3.0", security=2)
    fleet.release("1.4.0", requires=">=1.3.0")
    assert ask(fleet, key, "1.1.0") == ("1.3.0", "auto")
    fleet.end([key])
    with fleet.store.transaction() as t:
        registry.update(t, Identity("P", key), last_report={"floor": 2})
    assert ask(fleet, key, "1.3.0") is None  # 1.4.0 lies below its floor


def test_other_hardwares_releases_are_nobodys_and_an_image_that_fails_everywhere_is_offered_no_more(fleet):
    with fleet.store.transaction() as t:
        t.execute(products.update().values(auto_update="latest"))
    fleet.release("1.0.0")
    fleet.release("9.0.0", hardware="pico")
    known = fleet.add(6, image="1.0.0".ljust(64, "0"), proven_version="1.0.0")
    [factory] = fleet.add(1, first=50, image="f" * 64, proven_version="1.0.0")
    assert ask(fleet, known[0], "1.0.0") is None and ask(fleet, factory, "1.0.0") is None
    fleet.release("1.1.0")
    for key in known[:3]:
        assert ask(fleet, key, "1.0.0") == ("1.1.0", "auto")
        fleet.end([key], "rolled_back")
    assert ask(fleet, known[4], "1.0.0") is None
    fleet.release("1.2.0")
    assert ask(fleet, known[4], "1.0.0") == ("1.2.0", "auto")


def test_a_campaign_may_have_ten_thousand_devices(fleet):
    fleet.release("1.1.0")
    fleet.add(10_000, tags={"site": "west"}, proven_version="1.0.0")
    job = fleet.create(phases=["1%"], scope={"tags": {"site": "west"}, "proven_version": "<1.1.0"}, at_once=500)
    told = fleet.tick(job)
    assert len(told) == 100 and fleet.counts(job)[1] == {"waiting": 9900}
