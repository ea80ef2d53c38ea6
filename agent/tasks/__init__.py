# SPDX-License-Identifier: MIT
"""The long works of the runtime, as generators that do a bounded piece between two yields.

A task yields the milliseconds it wants to rest (0: call me again at once), so a
download or an enrolment never blocks the app.  They live in files of their own
because a board loads each when it is needed and forgets it afterwards.
"""

from agent.errors import AgentError, UnreachableError

MAX_OUTAGES = 64  # with the waits of `session`, some five hours


# Beginnings of codes -> the stable word that a reason begins with.  First match counts.
WORDS = (
    ("slot_full", "does not fit: "),
    ("not_signed", "signature: "),
    ("metadata_signature", "signature: "),
    ("image", "image: "),
    ("slot_", "image: "),
    ("bundle_length", "image: "),
)


def reason(error):
    """What a report says of an error, or of a text from outside: short, and printable on every screen that it reaches."""
    text = "".join([letter if " " <= letter <= "~" else "?" for letter in str(error)[:120]])
    if not isinstance(error, AgentError):
        return text
    for code, word in WORDS:
        if error.code.startswith(code):
            return word + text
    return "network: " + text if isinstance(error, UnreachableError) else text


def is_outage(agent, error, local, outages):
    """Whether `error` says no more than that the cloud is away as a whole, or that a server asks for patience: that is no
    verdict on a release or its download, so it spends none of their tries.  `outages`: how often that was said already;
    there is a limit to it, too."""
    away = not (local or agent.uplink.online) or asked_s(error)
    return isinstance(error, UnreachableError) and bool(away) and outages < MAX_OUTAGES


def asked_s(error):
    """Seconds for which a server wants to be left alone, see `source.unusable`."""
    return getattr(error, "after_s", 0)
