# SPDX-License-Identifier: MIT
"""The shell around the machines: the agent that users make, its turn and its tasks.

With `begin` and `acts` (what the machines command), `uplink` (the conversation)
and `agent/tasks` (the long works) the only code that does things.  The pure
machines decide; the platform's ports act.

Rules kept:
 * `step(budget_ms)` does a bounded piece of work: but for one handshake, one
   signature or one erase, each bounded by itself, it returns within its budget.
 * What is needed for a while only is loaded for that while (`loaded`): a board
   forgets it when the agent idles.
 * One outermost guard: an unexpected error is logged by type and line, never by
   text (it may hold secrets), and the loop goes on.  KeyboardInterrupt passes.
"""

import json

from agent import outbox
from agent.errors import AgentError, DeviceError
from agent.loaded import Modules
from agent.uplink import IDLE_MS, NEVER_MS, TURN_MS, Uplink

RECOVER_MS = 30_000
DAY_MS = 86_400_000  # until the running image is measured again
MAX_TASKS = 4


def _dialect(config):
    if config["cloud"] == "esthesis":  # a firmware of one dialect may lack the other
        from agent.clouds.esthesis import Esthesis as Dialect
    else:
        from agent.clouds.decada import Decada as Dialect
    return Dialect(config["product_key"], config["device_key"])


class Agent:
    """One device.  `healthy()` -> bool, or a dict of such checks by their names; `approve(stage, release)` -> "yes", "no"
    or "later" for the stages "download" and "activate"; `on_command(name, args)` -> dict."""

    def __init__(self, platform, healthy=None, approve=None, on_command=None):
        # What loaded the configuration and the like has done its work.
        self._modules = Modules(getattr(platform, "passing", ()))
        self.module, self.let_go = self._modules.get, self._modules.let_go
        self.platform = platform
        self.config = self.module("config").check(platform.config, platform.keys)
        self.cloud = _dialect(self.config)
        self.chunk = getattr(platform, "chunk", 4096)
        self.healthy = healthy
        self.approve = approve
        self._on_command = on_command
        self._requested = getattr(platform, "requested", None)
        self._record = None
        self._tasks = []  # [generator, due]
        self.considering = None  # the job or digest of the offer that is looked at
        self.waiting = ""  # what an update waits for, in words
        self.locks = []  # reasons why the device is busy
        self.deferred_ms = None  # ticks at which what the journal says of a deferral was true
        self.running_seq = 0  # the number that this boot's own report may use
        self.slot = ""  # the slot that runs, known once the agent has started
        self.image = ""  # hash of the running image, measured at this boot, and again
        self.image_bytes = 0  # its length
        self.when = ""  # it was measured last: see `tasks.measure`
        self.security = None  # of the running image, as its note says; known with the image
        self._measure = 0  # ticks: when it is measured next
        self.renew_at = 0  # ticks: when the certificate's life is looked at next
        self.download = None  # what the tries of a download know of each other, see `tasks.fetch`
        self.verified = ""  # hash of the image that was read back from the spare slot since this boot
        self.uplink = Uplink(self)
        self.forget()

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
            if wait > 0:  # never for long: the next turn feeds the watchdog
                self.guarded(self.uplink.rest, min(wait, left, IDLE_MS))

    async def run(self):
        """Step for ever beside other asyncio tasks."""
        import asyncio

        while True:
            wait = self.step(20)
            if self.uplink.online:
                wait = min(wait, TURN_MS)
            await asyncio.sleep(wait / 1000)

    def publish(self, name, values):
        """Queue telemetry: a dict gives one measure point a member, anything else the point `name`."""
        if not isinstance(values, dict) or self.cloud.keeps_names:
            values = {name: values}
        self.uplink.telemetry.put(json.dumps(values))

    def install(self, path):
        """Install the bundle in the file `path`: it is considered and agreed to like an offer.  Returns at once.

        `status()`, the log and the reports tell the rest.  MisuseError("install_busy") while an update is under way.
        """
        self.module("request").put(self, path)

    def rollback(self):
        """Go back to the image that ran before, which the spare slot still holds: an update like any other, but for the
        download.  Returns at once.  MisuseError("install_busy"), or ("rollback_none") when no such image is there.
        """
        self.module("request").put_back(self)

    def check_for_update(self, how=None):
        """Ask the cloud for a newer release, soon.  `how`: "check", "download" or "install"; else as `auto_update` says,
        or "check" where that is off.  Returns at once; `status()` and the log tell the rest.  MisuseError("auto_update").
        """
        self.module("auto").wish(self, how)

    def defer(self, duration_s):
        """No gate of an update opens for so long, resets included; 0: now it may.  MisuseError("defer")."""
        self.module("hold").defer(self, duration_s)

    def busy(self, reason):
        """`with agent.busy("printing"):` holds the activation of an update, and with it the reset."""
        return self.module("hold").Lock(self, reason)

    def status(self):
        """How the device stands, as a small dict."""
        return self.module("status").of(self)

    # What acts, tasks and the uplink use

    def guarded(self, function, *args):
        """(True, result), or (False, reason) for an error, which is logged.  The agent's one outermost guard."""
        try:
            return True, function(*args)
        except AgentError as error:
            self.log_error(error)
            return False, str(error)
        except Exception as error:
            try:
                reason = self.module("blame").where(error)
            except MemoryError:
                reason = type(error).__name__  # there is no room to look closer
            self.platform.log("error", {"code": "unexpected", "detail": reason})
            return False, reason

    @property
    def record(self):
        """The journal's record; read at its first use, since a constructor does no I/O."""
        if self._record is None:
            record = self.module("journal").load(self.platform.store)
            if "update" not in record:
                record = dict(
                    self.module("begin").blank(self), **record
                )  # which may hold an identity: tasks/bench_identity
            self._record = record
        return self._record

    @property
    def identity(self):
        return self.record["identity"]

    @property
    def update_state(self):
        return self.record["update"]

    @property
    def foreign(self):
        """Whether a service made this device's key: then it proves nothing, and signs no report."""
        return self.identity["label"] == "foreign"

    @property
    def below_floor(self):
        """Whether what runs is below the security floor, as after a boot loader's fallback: then it may only update."""
        return self.security is not None and self.security < self.update_state["floor"]

    def save(self, **changes):
        record = dict(self.record)
        record.update(changes)
        self.module("journal").save(self.platform.store, record)
        self._record = record

    def log_error(self, error):
        self.platform.log("error", {"code": error.code, "detail": error.detail})

    def device_secret(self):
        stored = self.platform.store.load("secret")
        return stored.decode() if stored else self.config["device_secret"]

    def label(self):
        """Of the key and the certificate in use: during a renewal the ones before."""
        return self.identity.get("before") or self.identity["label"]

    def credentials(self, label=None):
        """(label, chain) for a mutual-TLS connection; the chain is leaf first, without the anchor."""
        label = label or self.label()
        chain = self.platform.store.load("cert." + label)
        if chain == b"" and self.foreign:
            return None  # a service without a CA
        if chain is None:
            raise DeviceError("certificate_lost", "no certificate under the label " + label)
        return label, self.module("wire.elements").split(chain)

    def briefly(self, module, name, *args):
        """The result of a function of agent/<module>.py, which is loaded with all that it needs for that alone."""
        return self._modules.briefly(self, module, name, args)

    def progress(self, done, total, release):
        self.platform.log("update.progress", {"version": release["version"], "done": done, "total": total})
        self.uplink.progress(80 * done // total, "downloading", release["job"])

    def update_event(self, event):
        self.forget()
        self.module("acts").update_event(self, event)

    def identity_event(self, event):
        self.forget()
        self.module("begin").identity_event(self, event)

    def measured(self, image, when):
        """The running image's hash is known.  At boot the machines hear next that the device has started."""
        self._measure = self.platform.clock.ticks_ms() + DAY_MS
        self.when = when
        if not self.image:
            self._tasks.append([self._started(image), 0])
        elif image != self.image:
            state, claims = self.module("claims").changed(self, image)
            self.save(update=state, seq=claims["seq"], outbox=outbox.add_report(self.reports(), claims))

    def _started(self, image):
        """A task of its own: what measured the image is gone before the machines are loaded."""
        self.forget()
        self.image = image  # from now on the uplink is tended
        self.module("begin").started(self)
        yield from ()  # a task is a generator

    def consider(self, offer, job):
        """An offer is considered, if there is room; `job`: what names it meanwhile."""
        if len(self._tasks) < MAX_TASKS:
            self.considering = job
            self.begin("consider", offer)

    def command(self, name, args):
        """(True, reply), (False, None) when the app failed, (None, None) when it takes no commands."""
        if self.below_floor:
            return False, {"error": "below_floor"}
        if not self._on_command:
            return None, None
        ok, data = self.guarded(self._on_command, name, args)
        return ok, data if ok else None

    def reports(self):
        return self.record.get("outbox", [])

    def report_told(self, claims):
        """The cloud acknowledged a report, or turned it down for good."""
        self.save(outbox=outbox.drop_report(self.reports(), claims["seq"]))

    def running_claims(self):
        return self.module("claims").running(self)

    def begin(self, name, *args):
        """Start the task agent/tasks/<name>.py."""
        self.forget()  # what the last task needed, the next may not
        self._tasks.append([self.module("tasks." + name).run(self, *args), 0])

    # The turn

    def _turn(self, budget_ms):
        clock = self.platform.clock
        end = clock.ticks_ms() + budget_ms
        if not self._tasks and not self.image:
            self.module("begin").start(self)
            self.begin("measure")
        elif (
            self.image and clock.ticks_ms() >= self._measure and self.update_state["phase"] not in ("trial", "fetching")
        ):
            self._measure = clock.ticks_ms() + DAY_MS
            self.begin("measure", "daily")
        if self.image and self.uplink.may_renew(self._tasks):
            self.begin("look")
        self.platform.power.feed()
        look = 0  # when the uplink is tended next
        while True:
            now = clock.ticks_ms()
            tended = now >= look
            if tended:
                rest = self.uplink.tend() if self.image else NEVER_MS
                look = now + min(rest, TURN_MS)
                if self.image and self._requested and self._requested():
                    self.guarded(self.module("request").take, self)
            wait = self._work()
            if tended:
                wait = min(wait, rest)
            elif wait > 0:
                look = wait = 0  # no rest before the uplink has heard of the work that was done
            if wait > 0 or clock.ticks_ms() >= end:
                return wait

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
                wait = 0
                continue
            except Exception:
                self._tasks.append([self._recover(), 0])
                raise
            entry[1] = now + pause
            self._tasks.append(entry)
            wait = min(wait, pause)
        self.forget()
        return wait

    def _recover(self):
        """After an error that no task foresaw (a full file system, say): hear "booted" again, which is idempotent."""
        yield RECOVER_MS
        while self._tasks:
            yield RECOVER_MS
        self.module("begin").started(self)

    def forget(self):
        """Let go of what was loaded since the agent was made; while tasks are under way, of what they come back to least.

        For a board: called before something else is loaded, it keeps the two from being there together.
        """
        self._modules.forget(self.platform, bool(self._tasks))
