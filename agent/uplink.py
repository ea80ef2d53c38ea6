# SPDX-License-Identifier: MIT
"""The conversation with the cloud: dial, say what waits, hear what comes.  Part of the shell.

Rules kept:
 * One request at a time awaits its reply; an unanswered one is sent again.
 * A report leaves the journal only when the cloud has acknowledged it.
 * On trial the cloud is not told the version: EnOS ends a job as successful on
   the first inform of the target version.  One acknowledged round trip of
   another kind is the server contact that the trial waits for.
 * After every other connect the version is told; once a boot with a signed report.
"""

import gc
import json

from agent import outbox, session
from agent.clouds.decada import HANDLER_FAILED, NO_HANDLER, OK, STATIC
from agent.errors import AgentError, RefusedError, UnreachableError
from agent.wire.url import split_url

IDLE_MS = 1000
TURN_MS = 100  # the longest rest while something is under way, so that messages are looked at
NEVER_MS = 60_000
REPLY_MS = 30_000
PAUSE_MS = 5000
MAX_REJECTIONS = 3  # times that the cloud may turn a report down before it is given up


# Phases of machines that this file must know; the machines themselves are not always loaded.
PROBATION = "probation"
ENROLLED = "enrolled"
TRIAL = "trial"


class Uplink:
    def __init__(self, agent):
        self._agent = agent
        self._mqtt = agent.platform.mqtt
        self._clock = agent.platform.clock
        self._log = agent.platform.log
        self._cloud = agent.cloud
        self._session = session.initial()
        self._waiting = None  # (id, kind, claims, until) of the request whose reply is awaited
        self._puback = 0  # the packet id of the telemetry in flight
        self._informed = False  # since this connect
        self._rejections = 0
        self._progress = None
        self.contact = False  # the server has answered since this boot, on trial
        self.telemetry = outbox.Telemetry()

    @property
    def online(self):
        return self._session["phase"] == session.ONLINE

    def tend(self):
        """Dial, look at a message, send what waits; the milliseconds until it wants to be called again."""
        if self._agent.identity["phase"] not in (PROBATION, ENROLLED):
            return NEVER_MS
        now = self._clock.ticks_ms()
        self._session, commands = session.step(self._session, ("tick", now))
        for command in commands:
            if command[0] == "wait":
                return command[1]
            self._dial()
            return 0
        event = self._mqtt.poll(0)
        if event:
            self._hear(event)
            return 0
        try:
            return self._send(now)
        except UnreachableError as error:
            self._lost(error, False)
            return 0

    def rest(self, duration_ms):
        """Sleep, but wake up for a message."""
        if not self.online:
            self._clock.sleep_ms(duration_ms)
            return
        event = self._mqtt.poll(min(duration_ms, IDLE_MS))
        if event:
            self._hear(event)

    def close(self):
        if self.online:
            self._mqtt.close()

    def progress(self, step, text, job):
        """Tell of a step of a job; only the newest is kept, and nothing waits for its reply."""
        self._progress = (step, text, job)

    def _dial(self):
        agent = self._agent
        host, port, _ = split_url(agent.config["mqtt"], "mqtts", 0)
        login = self._cloud.login(STATIC, agent.device_secret(), agent.platform.clock.wall() * 1000)
        try:
            gc.collect()  # a handshake wants room in one piece
            self._mqtt.connect(host, port, *login, agent.config["keepalive_s"], agent.credentials())
            self._mqtt.subscribe(self._cloud.subscriptions())
        except AgentError as error:
            refused = isinstance(error, RefusedError)
            if agent.identity["phase"] == PROBATION:
                agent.identity_event(("failed", error.code, refused))
            self._lost(error, refused)
            return
        self._session, _ = session.step(self._session, ("opened", self._clock.ticks_ms()))
        self._waiting, self._puback, self._informed = None, 0, False
        self._log("session.online", {"tls": "mutual"})
        agent.identity_event(("accepted",))

    def _lost(self, error, refused):
        chance = self._agent.platform.chance.random(1)[0]
        now = self._clock.ticks_ms()
        self._session, _ = session.step(self._session, ("lost", now, chance, refused))
        self._mqtt.close()
        retry_ms = self._session["until"] - now
        self._log("session.offline", {"code": error.code, "detail": error.detail, "retry_ms": retry_ms})

    # What comes

    def _hear(self, event):
        if event[0] == "closed":
            self._lost(UnreachableError(event[1], event[2]), False)
        elif event[0] == "acked" and event[1] == self._puback:
            self._puback = 0
            if len(self.telemetry):
                self.telemetry.pop()
        elif event[0] == "message":
            try:
                read = self._cloud.read(event[1], event[2])
            except RefusedError as error:
                self._agent.log_error(error)
                return
            if read and read[0] == "replied":
                self._replied(*read[2:])
            elif read and read[0] == "offered":
                self._offered(*read[1:])
            elif read and read[0] == "command":
                self._commanded(*read[1:])

    def _offered(self, offer, topic, identifier):
        self._mqtt.publish(*self._cloud.reply(topic, identifier, OK, {}), 0)
        self._agent.offered(offer)

    def _commanded(self, name, args, topic, identifier):
        self._log("command", {"name": name})
        answered, data = self._agent.command(name, args)
        code = OK if answered else NO_HANDLER if answered is None else HANDLER_FAILED
        self._mqtt.publish(*self._cloud.reply(topic, identifier, code, data), 1)

    def _replied(self, identifier, code, text):
        if self._waiting is None or self._waiting[0] != identifier:
            return
        _, kind, claims, _ = self._waiting
        self._waiting = None
        if kind == "contact":
            self.contact = True  # whatever it says: it has heard us, and we hear it
            if code != OK:
                self._log("report.rejected", {"what": kind, "code": code, "detail": text[:120]})
            return
        if code != OK:
            self._log("report.rejected", {"what": kind, "code": code, "detail": text[:120]})
            self._rejections += 1
            if self._rejections < MAX_REJECTIONS:
                self._waiting = (None, kind, claims, self._clock.ticks_ms() + PAUSE_MS)
                return
        self._rejections = 0
        if kind == "version":
            self._informed = True
            self._agent.running_seq = 0
            if code == OK:
                self._log("version.reported", {"version": self._agent.update_state["version"]})
        else:
            self._agent.report_told(claims)
            if code == OK:
                self._log("report.accepted", {"outcome": claims["outcome"], "version": claims["target_version"]})
                if claims["outcome"] == "updated":
                    self._informed = True
                    self._log("version.reported", {"version": claims["version"]})

    # What is sent

    def _send(self, now):
        """The most urgent thing that waits; one request at a time."""
        agent = self._agent
        state = agent.update_state
        if self._waiting:
            if now >= self._waiting[3]:
                self._waiting = None  # unanswered: it is sent again
                return 0
        elif state["phase"] == TRIAL:
            if not self.contact:
                self._ask("contact", None, self._cloud.progress(90, "on trial", state["release"]["job"], ""))
        elif agent.reports():
            self._send_report(agent.reports()[0])
        elif not self._informed:
            claims = agent.running_claims()
            signed = self._sign(claims) if claims else ""
            self._ask("version", None, self._cloud.report_version(state["version"], signed))
        if self._progress and not self._waiting:
            _, topic, payload = self._cloud.progress(*self._progress, "")
            self._progress = None
            self._mqtt.publish(topic, payload, 0)
        item = self.telemetry.peek()
        if item and not self._puback:
            _, topic, payload = self._cloud.telemetry(json.loads(item))
            self._puback = self._mqtt.publish(topic, payload, 1)
        return TURN_MS if self._waiting or self._puback else IDLE_MS

    def _send_report(self, claims):
        signed = self._sign(claims)
        if claims["outcome"] == "updated":
            message = self._cloud.report_version(claims["version"], signed)
        else:
            message = self._cloud.progress(claims["step"], claims["reason"], claims["job"], signed)
        self._ask("report", claims, message)

    def _sign(self, claims):
        from agent import token

        agent = self._agent
        keys, label = agent.platform.keys, agent.identity["label"]
        claims = {name: claims[name] for name in claims if name != "step"}
        claims["aud"] = agent.config["product_key"]
        claims["sub"] = "%s/%s" % (agent.config["product_key"], agent.config["device_key"])
        return token.report(claims, keys.public(label), lambda message: keys.sign(label, message))

    def _ask(self, kind, claims, message):
        identifier, topic, payload = message
        self._mqtt.publish(topic, payload, 1)
        self._waiting = (identifier, kind, claims, self._clock.ticks_ms() + REPLY_MS)
