# SPDX-License-Identifier: MIT
"""The conversation with the cloud: when something is to be said, and what came.  Part of the shell.

Only what goes on all the time is here: looking for messages, and telemetry.
To dial, to speak and to understand is `agent/talk.py`, which a board loads for
that while.

Rules kept:
 * One request at a time awaits its reply; an unanswered one is sent again.
 * A report leaves the journal only when the cloud has acknowledged it.
 * On trial the cloud is not told the version: EnOS ends a job as successful on
   the first inform of the target version.  One acknowledged round trip of
   another kind is the server contact that the trial waits for; it carries a
   signed report whose outcome is "trial".
 * After every other connect the version is told; once a boot with a signed report.
"""

import json

from agent import outbox
from agent.errors import UnreachableError

IDLE_MS = 1000
TURN_MS = 100  # the longest rest while something is under way, so that messages are looked at
NEVER_MS = 60_000
RENEW_MS = 3_600_000  # at the latest then the certificate's life is looked at again: the clock may have been set

# Phases of machines that this file must know; the machines themselves are not always loaded.
PROBATION = "probation"
ENROLLED = "enrolled"
CERTIFIED = (PROBATION, ENROLLED, "renewing", "rekeyed")
REVOKED = "revoked"
TRIAL = "trial"
ONLINE = "online"


class Uplink:
    def __init__(self, agent):
        self._agent = agent
        self.session = {"phase": "", "until": 0}  # the session machine's state; its first one comes with `talk`
        self.waiting = None  # (id, kind, claims, until) of the request whose reply is awaited
        self.puback = 0  # the packet id of the telemetry in flight
        self.informed = False  # since this connect
        self.rejections = 0
        self.life = ""  # what was said of the certificate's life last
        self.given_up = 0  # new certificates in a row that servers refused
        self.label = ""  # whose certificate the session was opened with
        self.step = None  # of a job, to be told
        self.asking = False  # what the cloud offers is to be asked for: True for a download, else how for `auto`
        self.pulse_at = None  # ticks: when the dialect wants a sign of life next; None: it wants none
        self.contact = False  # the server has answered since this boot, on trial
        self.telemetry = outbox.Telemetry()
        # For `auto`, `pulse` and `tasks/find`
        self.wish = ""  # an app's, or an operator's: how to ask for an update
        self.package = None  # that a command named last
        self.available = ""  # the version that was found last
        self.auto_at = self.auto_until = 0  # ticks: when it is asked for next; when an answer is given up
        self.patience_until = 0  # ticks: the service asked to be left alone until then
        self.health_at = 0  # ticks: when the device tells of its memory next
        self.guessed = None  # the clock's offset, where it stands but at its floor; see `hold.clock_is_set`
        self.unset = 0  # its offset before
        # For `chores`
        self.refusals = 0  # in a row, since the last session
        self.questions = 0  # asked because of them
        self.ask_at = 0  # ticks: no question before
        self.roots_at = 0  # ticks: when the CA's roots are asked for next; 0: not yet known
        self.roots_asked = 0  # ticks: when they were last, because a server was not vouched for
        self.lists_at = 0  # ticks: when the revocation list of the server's CA is asked for next
        self.chore_at = 0  # ticks: when it wants to be called next

    @property
    def online(self):
        return self.session["phase"] == ONLINE

    def tend(self):
        """Dial, look at a message, send what waits; the milliseconds until it wants to be called again."""
        agent = self._agent
        now = agent.platform.clock.ticks_ms()
        if now >= self.chore_at and not agent._tasks:
            self.chore_at = agent.module("chores").due(agent, now)
        if agent.identity["phase"] not in CERTIFIED:
            return NEVER_MS
        if not self.online:
            left = self.session["until"] - now
            return left if left > 0 else self._talk().dial(agent, now)
        event = agent.platform.mqtt.poll(0)
        if event:
            self._hear(event)
            return 0
        try:
            return self._send(now)
        except UnreachableError as error:
            self._talk().lost(agent, error, False)
            return 0

    def may_renew(self, tasks):
        """Never on trial or between activation and reset, nor beside what needs a board's room; an update may wait for long."""
        agent = self._agent
        state, now = agent.update_state, agent.platform.clock.ticks_ms()
        if now < agent.renew_at:
            return False
        if state["phase"] == TRIAL or state["slot"] or agent.identity["phase"] not in CERTIFIED:
            return False
        if tasks and state["phase"] not in ("offered", "fetching", "staged"):
            return False
        agent.renew_at = now + RENEW_MS
        return True

    def rest(self, duration_ms):
        """Sleep, but wake up for a message."""
        platform = self._agent.platform
        if not self.online:
            platform.clock.sleep_ms(duration_ms)
            return
        event = platform.mqtt.poll(min(duration_ms, IDLE_MS))
        if event:
            self._hear(event)

    def close(self):
        if self.online:
            self._agent.platform.mqtt.close()

    def hang_up(self):
        """There is no more to be said."""
        self.ask_at = self.chore_at = 0
        if self.online:
            self._talk().lost(self._agent, UnreachableError("revoked", "this device's certificate is revoked"), True)

    def progress(self, step, text, job):
        """Tell of a step of a job; only the newest is kept, and nothing waits for its reply."""
        self.step = (step, text, job)

    def _talk(self):
        return self._agent.module("talk")

    def _hear(self, event):
        if event[0] != "acked":
            self._talk().hear(self._agent, event)
        elif event[1] == self.puback:
            self.puback = 0
            if len(self.telemetry):
                self.telemetry.pop()
        elif self.waiting and event[1] == self.waiting[0]:  # a dialect whose answer is the acknowledgement
            self._talk().acknowledged(self._agent, event[1])

    def _send(self, now):
        """The most urgent thing that waits; one request at a time."""
        agent = self._agent
        if self.waiting:
            if now >= self.waiting[3]:
                self.waiting = None  # unanswered: it is sent again
                return 0
        else:
            trial = agent.update_state["phase"] == TRIAL
            report = None
            if not self.contact if trial else agent.reports() or not self.informed:
                report = agent.briefly("signing", "due", trial)
            if report or self.step or self.asking:
                self._talk().say(agent, trial, report)
        if self.pulse_at is not None and now >= self.pulse_at:
            self.pulse_at = agent.module("pulse").beat(agent, now)
        item = None if agent.below_floor else self.telemetry.peek()  # below the floor a device may only update
        if item and not self.puback:
            _, topic, payload = agent.cloud.telemetry(json.loads(item))
            if payload:
                self.puback = agent.platform.mqtt.publish(topic, payload, 1)
            else:
                self.telemetry.pop()  # nothing of it can be said in this dialect
        return TURN_MS if self.waiting or self.puback else IDLE_MS
