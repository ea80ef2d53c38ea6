# SPDX-License-Identifier: MIT
"""What our agent does under each fault that a server can be told to have, on both interpreters.

It resumes, refuses, backs off and tells the truth; and once the fault is over, the release that it could not have runs.
"""

import pytest
from rig import RUNTIMES, Rig, plain

from trueboot import faults
from trueboot.demo.story import micropython_lacks
from trueboot_server.faults.kinds import KINDS, parse


@pytest.fixture(scope="module")
def bad_rig(tmp_path_factory):
    made = Rig(tmp_path_factory.mktemp("verbs"))
    made.faults = True
    try:
        made.start_server()
        made.factory = made.release("1.0.0")
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def pair(bad_rig):
    """One device of each kind; they live through all the faults, one after the other."""
    runtimes = [one for one in RUNTIMES if one == "cpython" or not micropython_lacks()]
    devices = [bad_rig.device(one) for one in runtimes]
    for device in devices:
        device.power_on()
    for device in devices:
        bad_rig.wait(device, "version.reported")
    return devices


@pytest.fixture(autouse=True)
def well_again(bad_rig):
    yield
    faults.end(bad_rig.api)


class Turn:
    """An update under faults."""

    def __init__(self, rig, pair, *specs):
        self.rig, self.pair = rig, pair
        self.before = {device.name: rig.stored(device)["proven_version"] for device in pair}
        self.release = rig.release(rig.next_version())
        self.since = len(rig.events)
        self.faults = [faults.begin(rig.api, parse(spec))["id"] for spec in specs]
        rig.deploy(self.release, *pair)

    def updated(self):
        for device in self.pair:
            self.rig.wait(device, "attempt.updated", "server", self.since)
            stored = self.rig.stored(device)
            assert (stored["proven_version"], stored["image"]) == (self.release.version, self.release.sha256)

    def refused(self, *words):
        for device in self.pair:
            failed = self.rig.wait(device, "attempt.failed", "server", self.since)
            assert plain(failed["reason"]).startswith(words), failed
            assert failed["proven"] is True  # the device has signed that it did not
            assert self.rig.stored(device)["proven_version"] == self.before[device.name]
            assert not self.rig.seen(device.name, "device", "update.activated", self.since)

    def struck(self):
        """It did happen, and is over now."""
        shown = {fault["id"]: fault for fault in faults.listed(self.rig.api)}
        faults.end(self.rig.api)
        return [shown[number]["applied"] for number in self.faults]


def test_latency_and_clock_skew_and_expired_token(bad_rig, pair):
    """It waits; a server's clock is nobody's proof, since metadata are judged by their signed times; and it asks for a
    fresh offer and goes on with that."""
    turn = Turn(bad_rig, pair, "latency:ms=200,times=10", "clock-skew:s=315360000", "expired-token:times=4")
    turn.updated()
    late, skewed, expired = turn.struck()
    assert late > 2 and skewed == 1 and expired == 4


def test_drop_and_broker_restart(bad_rig, pair):
    """Of connections, requests and messages: it comes again, and nothing that it said is lost."""
    turn = Turn(bad_rig, pair, "drop:percent=40,times=6", "broker-restart:for=0.5")
    for device in pair:
        bad_rig.wait(device, "session.offline", since=turn.since)
    turn.updated()
    assert turn.struck()[0] > 2


def test_truncate_and_429_storm(bad_rig, pair):
    """It goes on where the connection ended, and waits for as long as it is told to: neither is held against the release."""
    turn = Turn(bad_rig, pair, "truncate:at=40,times=4", "429-storm:after=1,times=2,path=/repo/metadata/*")
    turn.updated()
    assert turn.struck() == [4, 2]


def test_wrong_range(bad_rig, pair):
    """What is not the part that it asked for does not get into a slot."""
    ways = dict(zip(("shifted", "whole"), (pair[0], pair[-1]), strict=True))
    specs = [f"truncate:path=/repo/targets/*,device={device.name},times=1" for device in ways.values()]
    specs += [f"wrong-range:as={how},device={device.name},times=1" for how, device in ways.items()]
    turn = Turn(bad_rig, pair, "expired-token:path=/images/*,times=0", *specs)
    turn.updated()
    assert turn.struck()[1:] == [1, 1, 1, 1]


@pytest.mark.parametrize("how, code", [("freeze", "not_signed"), ("rollback", "metadata_"), ("expired", "metadata_")])
def test_stale_metadata(bad_rig, pair, how, code):
    """Neither an older state of the repository, nor one that has expired, nor one that does not know of the release."""
    spec = f"stale-metadata:as={how}"
    if how == "freeze":  # before the release is published
        faults.begin(bad_rig.api, parse(spec))
        turn = Turn(bad_rig, pair)
    else:
        turn = Turn(bad_rig, pair, spec)
    turn.refused(code)


def test_bad_certificate(bad_rig, pair):
    """It says nothing to such a server, and says why."""
    since = len(bad_rig.events)
    faults.begin(bad_rig.api, parse("bad-certificate:for=60"))
    for device in pair:
        bad_rig.wait(device, "session.offline", since=since, code="tls_untrusted")
    faults.end(bad_rig.api)
    for device in pair:
        device.pull_power()  # nobody waits here for the pause that it makes; see test_fault_network
        bad_rig.wait(device, "session.online", since=since)


def test_wrong_digest(bad_rig, pair):
    """One bit, whatever road it takes: refused and signed for; and the release runs when the fault is over."""
    turn = Turn(bad_rig, pair, "wrong-digest")
    turn.refused("image_")
    faults.end(bad_rig.api)
    turn.since = len(bad_rig.events)
    bad_rig.deploy(turn.release, *pair)
    turn.updated()


def test_every_kind_is_tried_here():
    tried = "".join(name for name in globals() if name.startswith("test_")).replace("_", "-")
    assert not [kind for kind in KINDS if kind not in tried]
