# SPDX-License-Identifier: MIT
"""The rarer half of the conversation with the cloud: to dial, to say what waits, to understand what comes.

Part of the shell.  `uplink` tells the rules, and calls this; it is forgotten in between: it holds no state.
"""

import gc

from agent.errors import AgentError, RefusedError, UnreachableError
from agent.uplink import PROBATION, TRIAL

REPLY_MS = 30_000
PAUSE_MS = 5000
CONFIRMED = ("updated", "running", "below_floor", "fell_back")  # outcomes that are told with the version that runs
STATIC = 2  # a login with the device's own proof
# Codes of replies, EnOS's; another dialect makes its own of them
OK = 200
NO_HANDLER = 1101
HANDLER_FAILED = 1102
RESERVED = "trueboot."  # services whose name begins so are the agent's own, never the app's
MAX_REJECTIONS = 3  # times that the cloud may turn a report down before it is given up


def dial(agent, now):
    """One try to connect, if it is time; the milliseconds until the next thing."""
    from agent import session

    agent.forget()
    uplink, platform = agent.uplink, agent.platform
    state, commands = session.step(uplink.session if uplink.session["phase"] else session.initial(), ("tick", now))
    uplink.session = state
    for command in commands:
        if command[0] == "wait":
            return command[1]
    config, mqtt = agent.config, platform.mqtt
    plain = config["mqtt"][:6] == "tcp://"  # which only a named policy lets in: see `place`
    if plain:
        mqtt.plaintext = True
    login = agent.cloud.login(STATIC, agent.device_secret(), platform.clock.wall() * 1000)
    label = _choose(agent)
    try:
        host, port = _address(config["mqtt"])
        credentials = agent.credentials(label)
        agent.forget()
        gc.collect()  # a handshake wants room in one piece
        mqtt.connect(host, port, *login, config["keepalive_s"], None if plain else credentials)
        mqtt.subscribe(agent.cloud.subscriptions())
    except AgentError as error:
        lost(agent, error, isinstance(error, RefusedError))
        agent.module("doubt").refused(agent, label, error)
        return 0
    uplink.session, _ = session.step(uplink.session, ("opened", platform.clock.ticks_ms()))
    uplink.waiting, uplink.puback, uplink.informed = None, 0, False
    uplink.refusals = uplink.questions = uplink.chore_at = 0
    uplink.label = label
    platform.log("session.online", {"tls": "none, see mqtt_plaintext" if plain else "mutual"})
    if agent.cloud.name == "esthesis":
        uplink.pulse_at = platform.clock.ticks_ms()
    if agent.identity["phase"] == PROBATION:
        uplink.roots_at = 1  # with each new certificate: now
        agent.module("doubt").accepted(agent, label)
    return 0


def _choose(agent):
    """The label to dial with: a new one on probation, but for every fourth try; on trial the one that has worked, but for such."""
    state = agent.identity
    if state["phase"] != PROBATION or "before" not in state:
        return agent.label()
    other = agent.uplink.session["failures"] % 4 == 3
    trial = agent.update_state["phase"] == TRIAL
    return state["label"] if trial == other else state["before"]


def redial(agent):
    """There is another certificate to try."""
    if agent.uplink.online:
        agent.platform.log("session.redial", {"label": agent.identity["label"]})
        agent.platform.mqtt.close()
    agent.uplink.session = {"phase": "", "until": 0}


def _address(url):
    from agent.wire.address import address

    if not url:
        raise RefusedError(
            "not_registered", "no MQTT server is known: the service named none, nor does the configuration"
        )
    return address(url)


def lost(agent, error, refused):
    from agent import session

    uplink, platform = agent.uplink, agent.platform
    now = platform.clock.ticks_ms()
    uplink.session, _ = session.step(uplink.session, ("lost", now, platform.chance.random(1)[0], refused))
    platform.mqtt.close()
    retry_ms = uplink.session["until"] - now
    platform.log("session.offline", {"code": error.code, "detail": error.detail, "retry_ms": retry_ms})


# What comes


def hear(agent, event):
    if event[0] == "closed":
        lost(agent, UnreachableError(event[1], event[2]), False)
    elif event[0] == "message":
        try:
            read = agent.cloud.read(event[1], event[2])
        except RefusedError as error:
            agent.log_error(error)
            return
        if read and read[0] == "replied":
            _replied(agent, *read[2:])
        elif read and read[0] == "offers":
            if agent.uplink.waiting and agent.uplink.waiting[:2] == (read[1], "offers"):
                how = agent.uplink.asking
                _replied(agent, *read[1:4])
                agent.module("offers").answered(agent, read[4], how)
        elif read and read[0] == "order":
            agent.module("orders").take(agent, *read[1:])
        elif read and read[0] == "offered":
            _answer(agent, read[2], read[3], OK, {}, 0)
            agent.module("offers").offered(agent, read[1])
        elif read and read[0] == "command":
            _commanded(agent, *read[1:])


def _answer(agent, topic, identifier, code, data, qos):
    agent.platform.mqtt.publish(*agent.cloud.reply(topic, identifier, code, data), qos)


def _commanded(agent, name, args, topic, identifier):
    agent.platform.log("command", {"name": name})
    if name.startswith(RESERVED):
        done, reply = agent.guarded(agent.module("services").answer, agent, name, args)
        code, data = reply if done else (HANDLER_FAILED, {})
    else:
        answered, data = agent.command(name, args)
        code = OK if answered else NO_HANDLER if answered is None else HANDLER_FAILED
    _answer(agent, topic, identifier, code, data, 1)


def acknowledged(agent, number):
    _replied(agent, number, OK, "")


def _replied(agent, identifier, code, text):
    uplink, log = agent.uplink, agent.platform.log
    if uplink.waiting is None or uplink.waiting[0] != identifier:
        return
    _, kind, claims, _ = uplink.waiting
    uplink.waiting = None
    if code != OK:
        log("report.rejected", {"what": kind, "code": code, "detail": text[:120]})
    if kind == "offers":
        uplink.asking = False
        return
    if kind == "contact":
        uplink.contact = True  # whatever it says: it has heard us, and we hear it
        return
    if code != OK:
        uplink.rejections += 1
        if uplink.rejections < MAX_REJECTIONS:
            uplink.waiting = (None, kind, claims, agent.platform.clock.ticks_ms() + PAUSE_MS)
            return
    uplink.rejections = 0
    if kind == "version":
        uplink.informed = True
        agent.running_seq = 0
        if code == OK:
            log("version.reported", {"version": agent.update_state["version"]})
        return
    agent.report_told(claims)
    if code == OK:
        log("report.accepted", {"outcome": claims["outcome"], "version": claims["target_version"] or claims["version"]})
        if claims["outcome"] in CONFIRMED and not agent.running_seq:
            uplink.informed = True
            log("version.reported", {"version": claims["version"]})


# What is said


def say(agent, trial, report):
    """The most urgent of what waits to be told.  `report`: see `signing.due`, None when nothing signed is due."""
    uplink, cloud, state = agent.uplink, agent.cloud, agent.update_state
    if report:
        claims, signed = report
        if trial:
            _ask(agent, "contact", None, cloud.trial(state["release"]["job"], signed))
        elif not agent.reports():
            _ask(agent, "version", None, cloud.report_version(state["version"], signed))
        elif claims["outcome"] in CONFIRMED:
            _ask(agent, "report", claims, cloud.report_version(claims["version"], signed))
        else:
            message = cloud.progress(claims["step"], claims["reason"], claims["job"], signed)
            _ask(agent, "report", claims, message)
    if uplink.asking and not (trial or uplink.waiting):
        _ask(agent, "offers", None, cloud.ask_for_update(agent.module("auto").question(agent)))
    if uplink.step and not uplink.waiting:
        _, topic, payload = cloud.progress(*uplink.step, "")
        uplink.step = None
        agent.platform.mqtt.publish(topic, payload, 0)


def _ask(agent, kind, claims, message):
    identifier, topic, payload = message
    number = agent.platform.mqtt.publish(topic, payload, 1)
    if identifier is None:
        identifier = number
    agent.uplink.waiting = (identifier, kind, claims, agent.platform.clock.ticks_ms() + REPLY_MS)
