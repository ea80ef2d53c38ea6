# SPDX-License-Identifier: MIT
"""Trueboot's device agent: `Agent`, the errors and `__version__`.

Loaded lazily: a board that only wants a codec does not pay for the runtime.
"""

__version__ = "0.1.0"


def __getattr__(name):
    if name == "Agent":
        from agent.runtime import Agent

        return Agent
    if name in ("AgentError", "MisuseError", "RefusedError", "UnreachableError", "DeviceError"):
        from agent import errors

        return getattr(errors, name)
    raise AttributeError(name)
