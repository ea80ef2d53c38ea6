# SPDX-License-Identifier: MIT
"""The shell around the machines: carries commands out, turns results into events.

With `uplink` (the conversation) and `agent/tasks` (the long works) the only
code that does things.  The pure machines decide; the platform's ports act; this
file moves values between them.

Rules kept:
 * `step(budget_ms)` does a bounded piece of work: but for one handshake, one
   signature or one erase, each bounded by itself, it returns within its budget.
 * A machine's "save" stores its state, and the report born with it, in one write.
 * One outermost guard: an unexpected error is logged by type and line, never by
   text (it may hold secrets), and the loop goes on.  KeyboardInterrupt passes.
"""

import gc
import json
import sys

from agent import config as configuration
from agent import identity, outbox, update
from agent.clouds.decada import Decada
from agent.errors import AgentError, DeviceError
from agent.journal import Journal
from agent.uplink import IDLE_MS, NEVER_MS, TURN_MS, Uplink

RECOVER_MS = 30_000
MAX_TASKS = 4
# What a board needs once and then forgets, to have its heap back.
_PASSING = ("agent.clouds.est", "agent.wire.csr", "agent.wire.x509", "agent.wire.der")
_PASSING += ("agent.trust.refresh", "agent.trust.metadata", "agent.trust.canonical")
_TASKS = ("measure", "enrol", "consider", "consent", "fetch", "trial")


class Agent:
    """One device.  `healthy()` -> bool, `approve(stage, release)` -> "yes", "no" or "later" for the stages
    "download" and "activate", `on_command(name, args)` -> dict."""

    def __init__(self, platform, healthy=None, approve=None, on_command=None):
        self.platform = platform
        self.config = configuration.check(platform.config)
        self.cloud = Decada(self.config["product_key"], self.config["device_key"])
        self.chunk = getattr(platform, "chunk", 4096)
        self.healthy = healthy
        self.approve = approve
        self._on_command = on_command
        self._book = None
        self._tasks = []  # [generator, due]
        self._running_seq = 0  # the number that this boot's own report may use
        self.image = ""  # hash of the running image, measured at this boot
        self.verified = ""  # hash of the image that was read back from the spare slot since this boot
        self._considering = None
        self._uplink = Uplink(self)

    # What users call

    def step(self, budget_ms=50):
        """Do a bounded piece of work; returns the milliseconds until the next call is wanted."""
        ok, value = self.guarded(self._turn, budget_ms)
        return value if ok else IDLE_MS

    def serve(self, duration_ms):
        """Step for `duration_ms`."""
        clock = self.platform.clock
        end = clock.ticks_ms() + duration_ms
        while True:
            wait = self.step(50)
            left = end - clock.ticks_ms()
            if left <= 0:
                return
            if wait > 0:
                self.guarded(self._uplink.rest, min(wait, left))

    async def run(self):
        """Step for ever beside other asyncio tasks."""
        import asyncio

        while True:
            wait = self.step(20)
            if self._uplink.online:
                wait = min(wait, TURN_MS)
            await asyncio.sleep(wait / 1000)

    def publish(self, name, values):
        """Queue telemetry: a dict gives one measure point a member, anything else the point `name`."""
        self._uplink.telemetry.put(json.dumps(values if isinstance(values, dict) else {name: values}))

    def status(self):
        state = self.update_state
        return {
            "device": "%s/%s" % (self.config["product_key"], self.config["device_key"]),
            "version": state["version"],
            "phase": state["phase"],
            "slot": self.platform.slots.running(),
            "identity": self.identity["phase"],
            "online": self._uplink.online,
            "reports": len(self.reports()),
            "floor": state["floor"],
        }

    # What tasks and the uplink use

    def guarded(self, function, *args):
        """(True, result), or (False, reason) for an error, which is logged.  The agent's one outermost guard."""
        try:
            return True, function(*args)
        except AgentError as error:
            self.log_error(error)
            return False, str(error)
        except Exception as error:
            reason = where(error)
            self.platform.log("error", {"code": "unexpected", "detail": reason})
            return False, reason

    def _journal(self):
        if self._book is None:  # a constructor does no I/O
            self._book = Journal(self.platform.store)
        return self._book

    @property
    def record(self):
        return self._journal().record

    @property
    def identity(self):
        return self.record.get("identity") or identity.initial()

    @property
    def update_state(self):
        return self.record.get("update") or self._factory()

    def save(self, **changes):
        self._journal().save(**changes)

    def log_error(self, error):
        self.platform.log("error", {"code": error.code, "detail": error.detail})

    def device_secret(self):
        stored = self.platform.store.load("secret")
        return stored.decode() if stored else self.config["device_secret"]

    def credentials(self):
        """(label, chain) for a mutual-TLS connection."""
        label = self.identity["label"]
        certificate = self.platform.store.load("cert." + label)
        if certificate is None:
            raise DeviceError("certificate_lost", "no certificate under the label " + label)
        return label, [certificate]

    def progress(self, done, total, release):
        self.platform.log("update.progress", {"version": release["version"], "done": done, "total": total})
        self._uplink.progress(80 * done // total, "downloading", release["job"])

    def update_event(self, event):
        state, commands = update.step(self.update_state, event)
        self._carry_out(commands)

    def offered(self, offer):
        """An offer came.  It is considered unless it is the one at hand, or its outcome already waits to be told."""
        state = self.update_state
        job = offer["job"] or offer["digest"]
        known = [state["release"].get("job"), state["release"]["sha256"]] if state["release"] else []
        known += [claims["job"] for claims in self.reports()]
        if state["phase"] != update.TRIAL and job not in known and job != self._considering:
            if len(self._tasks) < MAX_TASKS:
                self._considering = job
                self._begin("consider", offer)

    def considered(self):
        self._considering = None

    def command(self, name, args):
        """(True, reply), (False, None) when the app failed, (None, None) when it takes no commands."""
        if not self._on_command:
            return None, None
        ok, data = self.guarded(self._on_command, name, args)
        return ok, data if ok else None

    def contact(self):
        """Has the server answered since this boot?"""
        return self._uplink.contact

    def reports(self):
        return self.record.get("outbox", [])

    def report_told(self, claims):
        """The cloud acknowledged a report, or turned it down for good."""
        self._running_seq = 0
        self.save(outbox=outbox.drop_report(self.reports(), claims["seq"]))

    def running_told(self):
        self._running_seq = 0

    def running_claims(self):
        """The claims of this boot's own report; None when it was told, or when a report with a later number was."""
        if not self._running_seq:
            return None
        claims = {"outcome": "running", "seq": self._running_seq, "target_version": None, "reason": ""}
        claims["job"] = claims["nonce"] = None
        return self._complete(claims, self.update_state)

    def identity_event(self, event):
        state, commands = identity.step(self.identity, event)
        for command in commands:
            if command[0] == "save":
                self.save(identity=command[1])
            elif command[0] == "log":
                self.platform.log(command[1], command[2])
            elif command[0] == "retry":
                self.record["identity"] = state  # counted in RAM: see the machine
            elif command[0] in ("register", "make_key", "enrol") and event[0] in ("started", "failed"):
                self._begin("enrol")

    # The turn

    def _turn(self, budget_ms):
        clock = self.platform.clock
        end = clock.ticks_ms() + budget_ms
        if not self._tasks and not self.image:
            self._start()
        self.platform.power.feed()
        while True:
            wait = min(self._uplink.tend() if self.image else NEVER_MS, self._work())
            if wait > 0 or clock.ticks_ms() >= end:
                return wait

    def _start(self):
        record = self.record
        # One write a boot: both counters rise before anything can be signed with them.
        boot, seq = record.get("boot", 0) + 1, record.get("seq", 0) + 1
        self.save(boot=boot, seq=seq, update=self.update_state, identity=self.identity)
        self._running_seq = seq
        self.platform.clock.raise_floor(record.get("clock", 0))
        slots = self.platform.slots
        self.platform.log("boot", {"boot": boot, "slot": slots.running(), "cause": self.platform.power.cause()})
        self._restore_telemetry()
        self._begin("measure")

    def _factory(self):
        note = self.platform.slots.release(self.platform.slots.running()) or {}
        return update.initial(note.get("version", "0.0.0"), note.get("sha256", ""), note.get("security", 0))

    def measured(self, image):
        """The running image's hash is known: now the machines hear that the device has started."""
        self.image = image
        self._started()

    def _started(self):
        slots = self.platform.slots
        boot = slots.state()
        boot["slot"] = slots.running()
        self.identity_event(("started", bool(self.device_secret())))
        self.update_event(("booted", boot))

    def _work(self):
        """One piece of every task that is due; the milliseconds until the next is."""
        now = self.platform.clock.ticks_ms()
        wait = NEVER_MS
        for entry in list(self._tasks):
            if entry[1] > now:
                wait = min(wait, entry[1] - now)
                continue
            self._tasks.remove(entry)
            try:
                pause = next(entry[0])
            except StopIteration:
                return 0
            except Exception:
                self._add(self._recover())
                raise
            entry[1] = now + pause
            self._tasks.append(entry)
            wait = min(wait, pause)
        return wait

    def _recover(self):
        """After an error that no task foresaw (a full file system, say): hear "booted" again, which is idempotent."""
        yield RECOVER_MS
        while self._tasks:
            yield RECOVER_MS
        self._started()

    def _add(self, generator):
        self._tasks.append([generator, 0])

    def _begin(self, name, *args):
        """Load a task's module, run it, and forget the module."""
        self._add(self._run_and_forget(name, args))

    def _run_and_forget(self, name, args):
        yield from self._module("agent.tasks." + name).run(self, *args)
        self._unload()

    def _module(self, name):
        __import__(name)
        return sys.modules[name]

    def _unload(self):
        # CPython has the room, and its tracebacks want the modules.
        if sys.implementation.name == "micropython" and not self._tasks:
            for name in _PASSING + tuple(["agent.tasks." + task for task in _TASKS]):
                parent, _, leaf = name.rpartition(".")
                if sys.modules.pop(name, None) and hasattr(sys.modules.get(parent), leaf):
                    delattr(sys.modules[parent], leaf)
            gc.collect()

    # Commands of the update machine

    def _carry_out(self, commands):
        platform = self.platform
        for command in commands:
            name = command[0]
            if name == "save":
                self._save_update(command[1], command[2])
            elif name == "log":
                platform.log(command[1], command[2])
            elif name == "ask":
                self._begin("consent", command[1])
            elif name == "fetch":
                self._begin("fetch", self.update_state["release"], command[1])
            elif name == "check":
                self._begin("trial")
            elif name == "activate":
                try:
                    platform.slots.activate()
                except AgentError as error:
                    self.log_error(error)
                    self.update_event(("failed", -4, str(error)[:120], True))
                    return
            elif name == "confirm":
                platform.slots.confirm()
            elif name == "rollback":
                platform.slots.rollback()
            elif name == "reboot":
                self._reboot(command[1])
            # "announce" needs no act: the report waits in the outbox, and the open session sends it

    def _save_update(self, state, report):
        if report is None:
            self.save(update=state)
            return
        seq = self.record["seq"] + 1
        claims = {
            "outcome": report["outcome"],
            "target_version": report["target_version"],
            "job": report["job"],
            "nonce": report["nonce"],
            "reason": report["reason"],
            "step": report["step"],
            "seq": seq,
        }
        self._complete(claims, state)
        self._running_seq = 0  # its number is lower than this one's
        self.save(update=state, seq=seq, outbox=outbox.add_report(self.reports(), claims))

    def _complete(self, claims, state):
        claims["version"] = state["version"]
        claims["image"] = self.image
        claims["slot"] = self.platform.slots.running()
        claims["boot"] = self.record["boot"]
        claims["floor"] = state["floor"]
        claims["measured"] = "boot"
        return claims

    def _reboot(self, reason):
        self._keep_telemetry()
        self._uplink.close()
        self.platform.power.reboot(reason)

    # Telemetry over a planned reset

    def _keep_telemetry(self):
        items = self._uplink.telemetry.items()
        if items:
            self.platform.store.save("telemetry", json.dumps(items).encode())

    def _restore_telemetry(self):
        kept = self.platform.store.load("telemetry")
        if kept:
            self.platform.store.drop("telemetry")
            for item in json.loads(kept):
                self._uplink.telemetry.put(item)


def where(error):
    """Type and line of an exception, never its text, which may hold secrets."""
    name = type(error).__name__
    if hasattr(sys, "print_exception"):  # MicroPython keeps the traceback to itself
        import io

        buffer = io.StringIO()
        sys.print_exception(error, buffer)
        lines = [line.strip() for line in buffer.getvalue().split("\n") if line.strip().startswith('File "')]
        if lines:
            parts = lines[-1].split('"')
            line = parts[2].split("line ")[-1].split(",")[0]
            return "%s %s:%s" % (name, parts[1].split("/")[-1], line)
        return name
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return name
    return "%s %s:%d" % (name, trace.tb_frame.f_code.co_filename.replace("\\", "/").split("/")[-1], trace.tb_lineno)
