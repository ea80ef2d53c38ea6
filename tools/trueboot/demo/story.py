# SPDX-License-Identifier: MIT
"""The demo's script.  It ends with success only if every expectation held; each that did not is named."""

from __future__ import annotations

import random
import shutil
import signal
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

from ..problem import FAILED, Problem
from . import chips, expect, screen
from .chips import Chips
from .cuts import MAX_CUTS, Cuts
from .misbehaving import Misbehaving
from .supervisor import Device
from .world import World, world

SCRIPTS = ("happy", "rollback", "attack", "all")
RUNTIMES = {"cpython": ["cpython"], "micropython": ["micropython"], "both": ["cpython", "micropython"]}
CLOUDS = {"decada": ["decada"], "esthesis": ["esthesis"], "both": ["decada", "esthesis"]}
FACTORY, GOOD, BROKEN, STOLEN = "1.0.0", "1.1.0", "1.2.0", "1.3.0"
COMMAND = "blink"
COMMANDS_UNDER_CUTS = 5  # a command is no job: nobody repeats it but who asked
COMMAND_PAUSE_S = 1
COMMAND_TIMEOUT_S = 10


def run(
    script: str,
    devices: int,
    runtime: str,
    keep: bool,
    timeout_s: int,
    as_json: bool,
    cuts: int = 0,
    seed: int | None = None,
    tpm: bool = False,
    faults: tuple[str, ...] = (),
    cloud: str = "decada",
) -> int:
    if not 0 <= cuts <= MAX_CUTS:
        raise Problem("usage", f"--cut-power {cuts}: a number up to {MAX_CUTS} is wanted.")
    if script not in SCRIPTS:
        raise Problem("usage", f"--script {script}: one of {', '.join(SCRIPTS)} is wanted.")
    if cloud not in CLOUDS:
        raise Problem("usage", f"--cloud {cloud}: one of {', '.join(CLOUDS)} is wanted.")
    if cloud != "decada" and (cuts or tpm or faults):
        raise Problem("usage", "--cut-power, --tpm and --fault are for --cloud decada.")
    misbehaving = Misbehaving(faults)
    if misbehaving and (cuts or script not in ("happy", "all")):
        raise Problem("usage", "--fault is for the good release (--script happy or all), without --cut-power.")
    runtimes = ["cpython"] if tpm and runtime == "both" else runtimes_here(runtime)
    if tpm and "micropython" in runtimes:
        raise Problem("usage", "--tpm is for devices with Linux: no board of MicroPython has a TPM.")
    previous = signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="trueboot-demo-"))
    show = screen.choose(as_json)
    try:
        with world(folder, show.tell) as here:
            if tpm:
                here.chips = Chips(folder)
            here.faults = bool(misbehaving)
            story = Story(here, script, timeout_s, misbehaving)
            if cuts:
                seed = random.SystemRandom().randrange(10000) if seed is None else seed
                here.cuts = Cuts(cuts, seed, story.releases())
            try:
                story.tell(named(runtimes, CLOUDS[cloud], devices))
            finally:
                show.close()
            found = story.findings()
            here.stop()
            here.say("demo.finished", ok=not found, missing=found, **story.cuts_told())
            seconds = here.events[-1]["at"]
    finally:
        signal.signal(signal.SIGTERM, previous)
        if keep:
            print(f"Kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        return FAILED if found else 0
    if found:
        if cuts:
            print(f"--cut-power {cuts} --seed {seed} repeats the moments of the cuts.", file=sys.stderr)
        print("\nDid not hold:", *found, sep="\n  - ", file=sys.stderr)
        raise Problem("demo_failed", todo=f"Read the logs in {folder}." if keep else "")
    devices_held = f"{story.count} devices" if story.count > 1 else "one device"
    print(f"\nAll expectations held on {devices_held}, in {seconds:.1f} s.")
    if tpm:
        print("Each key was made in a TPM, vouched for by its maker, and is on no disk; another TPM does not load it.")
    if here.cuts:
        print(here.cuts.told())
    if misbehaving:
        print(misbehaving.told())
    return 0


def named(runtimes: list[str], clouds: list[str], count: int) -> list[tuple[str, str, str]]:
    """(name, runtime, cloud) of the demo's devices.  Where there are two clouds, those of the second say so."""
    mark = {cloud: "" if cloud == clouds[0] else f"-{cloud}" for cloud in clouds}
    every = [(runtime, cloud) for runtime in runtimes for cloud in clouds]
    return [(f"{kind}{mark[cloud]}-{number}", kind, cloud) for kind, cloud in every for number in range(1, count + 1)]


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def runtimes_here(runtime: str) -> list[str]:
    """What was asked for, or, of both, what this machine has; a runtime that was named and is not here is a Problem."""
    if runtime not in RUNTIMES:
        raise Problem("usage", f"--runtime {runtime}: one of {', '.join(RUNTIMES)} is wanted.")
    wanted = RUNTIMES[runtime]
    lacking = micropython_lacks() if "micropython" in wanted else ""
    if not lacking:
        return wanted
    if runtime == "micropython":
        raise Problem("micropython_missing", why=lacking)
    print(f"Without the MicroPython half: {lacking}.", file=sys.stderr)
    return ["cpython"]


def micropython_lacks() -> str:
    """Why MicroPython does not run here; empty when it does."""
    from .. import mpy

    try:
        mpy.interpreter()
        mpy.compiler()
    except mpy.MpyError as error:
        return mpy.unavailable() or str(error)
    return mpy.unavailable()


def first_of(missing: list[str]) -> list[str]:
    """What follows a missing step is missing too; the first says it all."""
    if len(missing) > 1:
        return [f"{missing[0]} (and {len(missing) - 1} later steps)"]
    return missing


class Story:
    def __init__(self, here: World, script: str, timeout_s: int, misbehaving: Misbehaving):
        self.here = here
        self.misbehaving = misbehaving
        self.script = script
        self.timeout_s = timeout_s
        self.count = 0
        self._late: list[str] = []
        self._stays = FACTORY

    def tell(self, devices: list[tuple[str, str, str]]) -> None:
        self.count = len(devices)
        here = self.here
        here.say("demo.started", folder=str(here.folder), script=self.script, devices=[name for name, _, _ in devices])
        chapters = [("First boot", self.first_boot)]
        if self.misbehaving.refused:
            chapters.append(("A server that misbehaves", partial(self.misbehaving.refusals, self, GOOD)))
        if self.script in ("happy", "all"):
            chapters.append(("A good release", self.good_release))
        if self.script in ("rollback", "all"):
            chapters.append(("A broken release", self.broken_release))
        if self.script in ("attack", "all"):
            chapters.append(("A thief's release", self.stolen_release))  # the last: the server is his from then on
        if here.cuts:
            here.cuts.deal([name for name, _, _ in devices])
        here.start_server()
        if here.chips:
            for name, _, _ in devices:
                here.chips.give(name)
            here.chips.trusted(here.folder / "server", here.api, here.server_info["product_key"])
        if "esthesis" in [cloud for _, _, cloud in devices]:
            here.make_product()
        for name, runtime, cloud in devices:
            here.add_device(name, runtime, cloud)
        for title, chapter in chapters:
            here.say("demo.chapter", title=title)
            if not chapter():
                return
        if here.cuts and not here.cuts.rest(here, self.online, self.timeout_s):
            self._late.append("a device did not come back after the power had gone")

    def releases(self) -> tuple[str, ...]:
        """Those that devices will try."""
        return ((GOOD,) if self.script in ("happy", "all") else ()) + (
            (BROKEN,) if self.script in ("rollback", "all") else ()
        )

    def cuts_told(self) -> dict[str, Any]:
        cuts = self.here.cuts
        return {"cuts": [list(one) for one in cuts.done], "seed": cuts.seed} if cuts else {}

    def online(self, name: str, since: int) -> bool:
        return self.here.seen(name, "device", "session.online", since)

    # -- chapters: each ends well, or says what it waited for and ends the story

    def first_boot(self) -> bool:
        factory = self.here.make_release(FACTORY)
        self.here.publish(factory)
        for device in self.here.devices:
            self.here.provision(device, factory)
            device.power_on()
        ready = self.wait(
            "the first report of every device", lambda name: self.heard(name, "version.reported", version=FACTORY)
        )
        ready = ready and self.wait("telemetry of every device", lambda name: self.told(name, "telemetry"))
        return ready and self.command()

    def command(self) -> bool:
        """One command down and its answer, for each device at once; again for those whose power went meanwhile."""
        here, since = self.here, len(self.here.events)

        def answered(name: str) -> bool:
            return here.seen(name, "demo", "command.answered", since)

        for _ in range(COMMANDS_UNDER_CUTS if here.cuts else 1):
            asked = [device for device in here.devices if not answered(device.name)]
            threads = [threading.Thread(target=self._command, args=(device,), daemon=True) for device in asked]
            for thread in threads:
                thread.start()
            here.until(partial(_ended, threads), self.timeout_s)
            if here.until(lambda: all(answered(device.name) for device in here.devices), COMMAND_PAUSE_S):
                break
        return self.wait("the answer to a command", answered, 1)

    def _command(self, device: Device) -> None:
        """A service of the app, or, in the language that has none of these, a ping of the agent."""
        event = {"device": device.name, "runtime": device.runtime, "source": "demo"}
        api = self.here.new_api()
        path = f"/api/v1/devices/{self.here.product(device)}/{device.name}"
        try:
            if device.cloud == "esthesis":
                event["service"] = "ping"
                told = api.post(path + "/esthesis-commands", {"type": "ping", "wait_s": COMMAND_TIMEOUT_S})
                answer = {"code": 200 if told["succeeded"] else 500, "data": {"output": told["output"]}}
            else:
                event["service"] = COMMAND
                params = {"service": COMMAND, "params": {"times": 3}, "timeout_s": COMMAND_TIMEOUT_S}
                answer = api.post(path + "/commands", params)
            self.here.put({**event, "event": "command.answered", "code": answer["code"], "data": answer["data"]})
        except Problem as problem:
            self.here.put({**event, "event": "command.failed", "reason": problem.lines()[0]})
        finally:
            api.close()

    def good_release(self) -> bool:
        if not self.misbehaving.refused:
            self.here.publish(self.here.make_release(GOOD))
        since = len(self.here.events)
        for fault in self.misbehaving.got_over:
            self.misbehaving.begin(self.here, fault)
        self.deploy(GOOD)
        ended = self.wait(f"{GOOD} on every device", lambda name: self.heard(name, "version.reported", version=GOOD))
        if ended:
            self._stays = GOOD
        ended = ended and self.wait("the job's end", lambda name: self.jobs("job.done", since))
        if self.misbehaving.got_over:
            self.misbehaving.end(self.here)
        return ended

    def jobs(self, what: str, since: int = 0) -> bool:
        """Whether this was told of the job of each product."""
        seen = {event.get("job") for event in self.here.events[since:] if event["event"] == what}
        return len(seen) >= len({device.cloud for device in self.here.devices})

    def broken_release(self) -> bool:
        since = len(self.here.events)
        self.here.say("release.broken", version=BROKEN)
        self.here.publish(self.here.make_release(BROKEN, broken=True))
        self.deploy(BROKEN)
        ended = self.wait(
            "the rollback of every device", lambda name: self.heard(name, "report.accepted", outcome="rolled_back")
        )
        ended = ended and self.wait("the server's word of it", lambda name: self.told(name, "attempt.rolled_back"))
        return ended and self.wait("the job's halt", lambda name: self.jobs("job.halted", since))

    def stolen_release(self) -> bool:
        """Somebody has broken into the server: its disk and its online key are his; the release key never was there."""
        here = self.here
        here.publish(here.make_release(STOLEN))
        here.steal_server(here.make_release(STOLEN, says="the thief's"))
        self.deploy(STOLEN, len(here.devices))
        ended = self.wait("the refusal of every device", lambda name: self.heard(name, "update.failed", version=STOLEN))
        ended = ended and self.wait("the server's word of it", lambda name: self.told(name, "attempt.failed"))
        return ended and self.command()  # the answer tells which app it is that runs

    def deploy(self, version: str, failures: int = 0) -> None:
        """`failures`: so many may fail before the job halts."""
        from ..fleet import create_job

        for cloud in dict.fromkeys(device.cloud for device in self.here.devices):
            names = [device.name for device in self.here.devices if device.cloud == cloud]
            create_job(self.here.api, version, names, failures)

    def heard(self, device: str, name: str, **fields: Any) -> bool:
        return self.here.seen(device, "device", name, **fields)

    def told(self, device: str, name: str, **fields: Any) -> bool:
        return self.here.seen(device, "server", name, **fields)

    def wait(self, what: str, reached: Any, timeout_s: float = 0) -> bool:
        names = [device.name for device in self.here.devices]
        held = self.here.until(lambda: all(reached(name) for name in names), timeout_s or self.timeout_s)
        if not held:
            lacking = ", ".join(name for name in names if not reached(name)) or "all"
            self._late.append(f"{lacking}: waited in vain for {what}")
        return held

    # -- the check

    def findings(self) -> list[str]:
        """Everything that did not hold; empty is success."""
        found = list(self._late)
        for device in self.here.devices:
            events = self.here.of(device.name)
            for steps in self.expected(device.cloud):
                found += [
                    f"{device.name}: missing: {line}"
                    for line in first_of(expect.missing(events, steps, cut=bool(self.here.cuts)))
                ]
            found += [f"{device.name}: {line}" for line in expect.lies(events, device.name, (GOOD, BROKEN, STOLEN))]
            found += [f"{device.name}: {line}" for line in expect.taken(events, device.name, STOLEN)]
            found += [f"{device.name}: {line}" for line in expect.unproven(events, device.name)]
            if found and not device.running and (last := device.last_words()):
                found.append(f"{device.name}: it is off, exit code {device.exit_code}; its last words: {last}")
        found += self.misbehaving.findings()
        found += self.final_state()
        return found

    def expected(self, cloud: str = "decada") -> list[list[expect.Step]]:
        on_device, at_server = expect.first_boot(FACTORY), expect.server_first_boot()
        if self.here.chips:
            on_device, at_server = chips.on_device() + on_device[3:], chips.at_server() + at_server[1:]
        on_device, at_server = (
            before + under for before, under in zip((on_device, at_server), self.misbehaving.steps(GOOD), strict=True)
        )
        if self.script in ("happy", "all"):
            on_device, at_server = on_device + expect.good_update(GOOD), at_server + expect.server_good_update()
        if self.script in ("rollback", "all"):
            on_device, at_server = on_device + expect.bad_update(BROKEN), at_server + expect.server_bad_update()
        if self.script in ("attack", "all"):
            on_device, at_server = (
                on_device + expect.attack(STOLEN, self._stays, cloud),
                at_server + expect.server_attack(),
            )
        return [on_device, at_server]

    def final_state(self) -> list[str]:
        """What the server has stored must be what really runs."""
        found = []
        for device in self.here.devices:
            try:
                product = self.here.product(device)
                stored = self.here.api.get(f"/api/v1/devices/{product}/{device.name}")
            except Problem as problem:
                found.append(f"{device.name}: {problem.lines()[0]}")
                continue
            if self.here.chips:
                found += [f"{device.name}: {line}" for line in self.here.chips.findings(device.name, device.folder)]
                if not stored["key"]["attested"]:
                    found.append(f"{device.name}: the server does not know that its key is in a TPM")
            if stored["proven_version"] != self._stays:
                found.append(
                    f"{device.name}: the server holds {stored['proven_version']} for proven, {self._stays} runs"
                )
        return found


def _ended(threads: list[threading.Thread]) -> bool:
    return not any(thread.is_alive() for thread in threads)
