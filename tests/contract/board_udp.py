# SPDX-License-Identifier: MIT
"""Asks a time server by UDP, on either interpreter: argv is its port; prints the time, or the code of the error."""

import sys

from agent.errors import AgentError
from agent.wire import ntp
from platform_adapters import micropython_udp

try:
    NONCE = b"01234567"
    print(ntp.read(micropython_udp.ask("127.0.0.1", int(sys.argv[1]), ntp.request(NONCE), 500), NONCE))
except AgentError as error:
    print(error.code)
