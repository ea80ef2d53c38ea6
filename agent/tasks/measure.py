# SPDX-License-Identifier: MIT
"""First of all tasks: which image runs?  Its hash goes into every report of this boot.

A self-measurement: the agent reads the slot it runs from.  It shows a report
of the wrong image for what it is, and a slot that rotted; it is no remote attestation.
"""

import hashlib

from agent.errors import AgentError
from agent.tasks.readback import hexdigest, rehash

MAX_IMAGE_BYTES = 1 << 40


def run(agent):
    hasher = hashlib.sha256()
    try:
        agent.image_bytes = yield from rehash(agent, agent.platform.slots.running(), hasher, MAX_IMAGE_BYTES)
        image = hexdigest(hasher)
    except AgentError as error:
        agent.log_error(error)
        image = "unreadable"
    agent.measured(image)
