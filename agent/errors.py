# SPDX-License-Identifier: MIT
"""The four errors of the agent, told apart by whose fault it is.

A caller decides what to do by the class alone; `code` is a stable word for
programs and documents, `detail` one sentence for people.  Details never hold
secrets.  Any other exception that leaves `agent` is a bug in the agent.
"""


class AgentError(Exception):
    """Base of the four; never raised itself."""

    def __init__(self, code: str, detail: str = ""):
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self):
        return "%s: %s" % (self.code, self.detail) if self.detail else self.code


class MisuseError(AgentError):
    """The caller's fault: a wrong argument, a wrong order of calls, a bad configuration."""


class RefusedError(AgentError):
    """Data from outside are invalid or not trusted.  Asking again gives the same: do not retry."""


class UnreachableError(AgentError):
    """A peer did not answer, or not in time.  Transient: retry, with a budget."""


class DeviceError(AgentError):
    """The device's own parts failed: flash, file system, clock, key store."""
