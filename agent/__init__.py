# SPDX-License-Identifier: MIT
"""Trueboot's device agent: `Agent`, the errors and `__version__`.

Loaded lazily: a board that only wants a codec does not pay for the runtime.
"""

__version__ = "0.1.0"


def __getattr__(name):
    if name[0] == "_":
        raise AttributeError(name)
    home = "agent.runtime" if name == "Agent" else "agent.errors" if name.endswith("Error") else "agent." + name
    try:
        module = __import__(home, None, None, (name,))
    except ImportError:
        raise AttributeError(name)
    # MicroPython asks here for submodules too: its `from agent import update` ends in this function.
    return module if home == "agent." + name else getattr(module, name)
