# SPDX-License-Identifier: MIT
"""What time it is, on a board that has no clock of its own; for this boot only.

Asked in this order, until one answers:
  ntp          the server of the configuration's key `ntp`
  http         the Date of an answer of the cloud, over verified TLS: once there is a session
  certificate  when TLS itself says that the clock is behind: it is surely as late as the newest of the certificates
               was made that the device has been given, which its own trust anchors vouch for

None of these is signed time, so none raises the durable floor; none sets the clock before it.  What certificates
say is a bound, not the time: windows stay shut by it.
"""

from agent.errors import AgentError, DeviceError, RefusedError

MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"


def run(agent, online):
    for source, ask in (("ntp", _ntp), ("http", _http) if online else ("certificate", _certificate)):
        try:
            seconds = ask(agent)
            if seconds is not None and _set(agent, source, seconds):
                return
        except AgentError as error:
            agent.log_error(error)
        agent.forget()
        yield 0


def _set(agent, source, seconds):
    clock = agent.platform.clock
    bound = source == "certificate"
    if seconds <= (clock.wall() if bound else agent.module("hold").floor(agent)):
        if bound:
            return False  # it knew as much
        raise RefusedError("time_before", source + " tells a time before the one that was proven")
    clock.set(seconds)
    agent.uplink.guessed = agent.module("hold").offset(agent) if bound else None
    agent.platform.log("clock.set", {"source": source, "time": seconds})
    return True


def _ntp(agent):
    given = agent.config["ntp"]
    if not given:
        return None
    from agent.config import ntp_address
    from agent.wire import ntp

    if not hasattr(agent.platform, "datagram"):
        raise DeviceError("ntp", "this platform sends no datagrams")
    nonce = agent.platform.chance.random(ntp.NONCE_BYTES)
    return ntp.read(agent.platform.datagram(*(ntp_address(given) + (ntp.request(nonce),))), nonce)


def _http(agent):
    response = agent.platform.http.open("GET", agent.config["https"] + "/healthz", {}, b"", None)
    response.close()
    return http_date(response.headers.get("date", ""))


def http_date(text):
    """Seconds since 1970 of "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7), else RefusedError."""
    from agent.trust.metadata import seconds

    month = MONTHS.find(text[8:11])
    if len(text) != 29 or month < 0 or month % 3 or text[25:] != " GMT":
        raise RefusedError("date", "the answer tells no date")
    return seconds("%s-%02d-%sT%sZ" % (text[12:16], month // 3 + 1, text[5:7], text[17:25]))


def _certificate(agent):
    from agent.wire import x509

    found = list(agent.platform.anchors())
    try:
        found += agent.credentials()[1]
    except AgentError:
        pass  # it has none yet
    return max([x509.read(der).not_before for der in found])
