# SPDX-License-Identifier: MIT
"""Signs of life of the `esthesis` dialect: pings, and reports of memory and load.  Part of the shell; loaded for the moment.

A clock that nobody set sends no ping: the service takes its time for when the device was last seen.
"""

import gc
import time

NEVER_MS = 1 << 40


def beat(agent, now):
    """Send what is due; the ticks of the next time.  Both fall due with a new session."""
    config, uplink = agent.config, agent.uplink
    ping_ms, health_ms = 1000 * config["ping_interval_s"], 1000 * config["health_interval_s"]
    if ping_ms:
        ping(agent)
    if health_ms and now >= uplink.health_at:
        uplink.health_at = now + health_ms
        health(agent)
    return now + min(ping_ms or health_ms or NEVER_MS, health_ms or ping_ms or NEVER_MS)


def ping(agent):
    if agent.module("hold").clock_is_set(agent):
        _, topic, payload = agent.cloud.ping(moment(agent.platform.clock.wall()))
        agent.platform.mqtt.publish(topic, payload, 0)


def health(agent):
    """As far as the platform can tell."""
    values = {}
    if hasattr(agent.platform, "health"):
        values = agent.platform.health()
    elif hasattr(gc, "mem_free"):
        free, used = gc.mem_free(), gc.mem_alloc()
        values = {"memoryTotal": free + used, "memoryUsed": used, "memoryFree": free}
    if values:
        _, topic, payload = agent.cloud.telemetry({"health": values})
        agent.platform.mqtt.publish(topic, payload, 0)


def moment(seconds):
    """RFC 3339, UTC, of seconds since 1970."""
    year = time.gmtime(0)[0]
    parts = time.gmtime(seconds - (946_684_800 if year == 2000 else 0))
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % tuple(parts[:6])
