# SPDX-License-Identifier: MIT
"""Certificates of a few seconds, on a real server: ten renewals under random power cuts, a sleep past the end, and one on request.

SIGKILL at moments that the seed chooses; TRUEBOOT_TEST_SEED=N repeats them (the moments, not the scheduler's choices).
"""

import json
import os
import random
import sys
import time
from pathlib import Path

from trueboot.demo.story import micropython_lacks
from trueboot.demo.world import world

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from rig import configure  # noqa: E402

LIFE_S = 5  # the least that a server gives
RENEWALS = 10
MOMENTS = "renewing key_made csr_sent certificate_stored renewed life".split()
CUTS = 6  # of each device, among its renewals: a start costs more than a renewal
PATIENCE_S = 60


def test_ten_renewals_under_power_cuts_and_a_sleep_past_the_end(tmp_path):
    """Both interpreters in one world; whoever is never in session again has lost contact for good."""
    runtimes = ("cpython",) if micropython_lacks() else ("cpython", "micropython")
    seed = int(os.environ.get("TRUEBOOT_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed {seed}, {micropython_lacks() or 'both interpreters'}")
    chance = random.Random(seed)
    with world(tmp_path) as here:
        here.start_server()
        policy = f"/api/v1/products/{here.server_info['product_key']}/policy"
        here.api.post(policy, {"certificate_life_s": LIFE_S})
        devices = [here.add_device(f"brief-{runtime}", runtime) for runtime in runtimes]
        factory = here.make_release("1.0.0")
        for device in devices:
            here.provision(device, factory)
            configure(device, renew_percent=10)
            device.power_on()
        end = time.monotonic() + PATIENCE_S
        cuts = {device: next_cut(chance, 0) for device in devices}
        while time.monotonic() < end and any(count(here, d, "identity.renewed") < RENEWALS for d in devices):
            here.until(lambda: False, 0.01)
            for device, (since, event, delay) in cuts.items():
                found = [e for e in here.events[since:] if (e["event"], e["device"]) == (event, device.name)]
                if found and count(here, device, "power.cut") < CUTS:
                    here.until(lambda: False, delay)
                    device.pull_power()
                    cuts[device] = next_cut(chance, len(here.events))
        for device in devices:
            assert count(here, device, "identity.renewed") >= RENEWALS, told(here, device)
            assert count(here, device, "power.cut") == CUTS
            assert in_session(here, device, len(here.events)), told(here, device)
        for device in devices:
            device.power_off()
        time.sleep(LIFE_S + 1)
        since = len(here.events)
        for device in devices:
            device.power_on()
        for device in devices:
            assert in_session(here, device, since), told(here, device)
            certificates = certificates_of(here, device)
            assert len({one["serial"] for one in certificates}) == len(certificates)
            stored = here.api.get(f"/api/v1/devices/{here.server_info['product_key']}/{device.name}")
            assert stored["state"] == "enrolled"
        here.api.post(policy, {"certificate_life_s": None})
        for device in devices:
            assert here.until(lambda device=device: is_long(here, device), PATIENCE_S), told(here, device)
            before = count(here, device, "identity.renewed")
            here.api.post(f"/api/v1/devices/{here.server_info['product_key']}/{device.name}/renew", {})
            again = lambda device=device, before=before: count(here, device, "identity.renewed") > before  # noqa: E731
            assert here.until(again, PATIENCE_S), told(here, device)


def is_long(here, device):
    lives = [e for e in here.events if e["event"] == "identity.life" and e["device"] == device.name]
    return bool(lives) and lives[-1]["end"] > time.time() + 86400


def next_cut(chance, since):
    """(events seen, the event after which it comes, s)"""
    return since, "identity." + chance.choice(MOMENTS), chance.uniform(0, 0.1)


def certificates_of(here, device):
    issued = [e for e in here.events if e["event"] == "certificate.issued" and e["device"] == device.name]
    assert len(issued) > RENEWALS
    return issued


def count(here, device, event):
    return sum(1 for e in here.events if e["event"] == event and e["device"] == device.name)


def in_session(here, device, since):
    return here.until(lambda: here.seen(device.name, "device", "session.online", since), PATIENCE_S)


def told(here, device):
    kept = [e for e in here.events if e["device"] == device.name and e["event"] != "telemetry"]
    return "\n" + "\n".join(json.dumps(event) for event in kept[-60:])
