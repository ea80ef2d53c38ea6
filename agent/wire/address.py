# SPDX-License-Identifier: MIT
"""Where a configured address leads: a file of its own, since each dial needs it and nothing else of the configuration."""

from agent.errors import MisuseError


def address(url):
    """(host, port) of scheme://host:port.  IPv6 literals stand in brackets."""
    rest = url.split("://", 1)[1].rstrip("/")
    host, _, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
        raise MisuseError("config", "%s must be scheme://host:port" % url)
    return host, int(port)
