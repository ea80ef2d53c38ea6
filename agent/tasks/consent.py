# SPDX-License-Identifier: MIT
"""The two gates of an update: yes before the download, yes before the activation.

The app's word counts if it has a say (`approve(stage, release)`), else the
policy's; "later" is asked again.  Before the second gate opens, the spare slot
has been read back since this boot: what is activated is what is there now.
"""

from agent.errors import AgentError
from agent.tasks import reason
from agent.tasks.readback import verify

LATER_MS = 5000


def run(agent, stage):
    """Ends in the update machine's event "consented", "declined" or "failed"."""
    release = agent.update_state["release"]
    if stage == "activate" and agent.verified != release["sha256"]:
        try:
            yield from verify(agent, release)
        except AgentError as error:
            agent.log_error(error)
            agent.update_event(("failed", -4, reason(error), True))
            return
    while True:
        answer = "yes" if agent.config["consent_" + stage] == "yes" else "later"
        if agent.approve:
            # An app that fails to answer has not said yes.
            ok, answer = agent.guarded(agent.approve, stage, dict(release))
        if answer == "yes":
            agent.update_event(("consented", agent.platform.slots.spare()))
            return
        if answer == "no":
            agent.update_event(("declined", "the application said no to the " + stage))
            return
        yield LATER_MS
