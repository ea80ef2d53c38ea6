# SPDX-License-Identifier: MIT
"""Finds and reads `agent.toml`; few imports, because the trampoline needs it too.

Relative paths in it are relative to the file.  What keys mean and which are
known is checked by `agent.config`, in the agent that runs.
"""

from __future__ import annotations

import os
import tomllib
from typing import Any

from agent.errors import MisuseError

VARIABLE = "TRUEBOOT_CONFIG"
PATHS = {"ca_file": "ca.pem", "root_file": "root.json", "state": "state", "slots": "slots"}


def read(path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """The file's keys, paths made absolute.  Without `path`: what TRUEBOOT_CONFIG names."""
    name = os.fspath(path) if path is not None else os.environ.get(VARIABLE, "")
    if not name:
        raise MisuseError("config", "no configuration: give --config FILE, or set %s" % VARIABLE)
    try:
        with open(name, "rb") as file:
            config = tomllib.load(file)
    except OSError as error:
        raise MisuseError("config", "cannot read %s: %s" % (name, error.strerror)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MisuseError("config", "%s is not TOML: %s" % (name, error)) from None
    folder = os.path.dirname(os.path.abspath(name))
    for key, default in PATHS.items():
        value = config.get(key, default)
        if not isinstance(value, str):
            raise MisuseError("config", "key %s must be a text" % key)
        config[key] = os.path.join(folder, value)
    script = config.get("esthesis_script")
    if script and isinstance(script, str):
        config["esthesis_script"] = os.path.join(folder, script)
    return config
