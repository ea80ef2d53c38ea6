# SPDX-License-Identifier: MIT
"""Trueboot's device agent: `Agent`, the errors and `__version__`.

Loaded lazily: a board that only wants a codec does not pay for the runtime.
"""

__version__ = "0.1.0"
BUILT = 1_795_305_600  # 2026-11-22, in seconds since 1970: no clock is believed that is before it


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
