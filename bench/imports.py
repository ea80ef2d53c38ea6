# SPDX-License-Identifier: MIT
"""What starting our commands costs, against the bare interpreter: `--help`, which is what a person waits for first."""

from __future__ import annotations

import sys
from functools import partial

from measure import Figure, command_s, in_turns

# As the console scripts do it, also where they are not installed.
AGENT = "import sys; from platform_adapters.linux_service import main; sys.exit(main())"


def imports(runs: int) -> list[Figure]:
    python = [sys.executable, "-c", "pass"]
    commands = {
        "trueboot-agent --help": [sys.executable, "-c", AGENT, "--help"],
        "trueboot --help": [sys.executable, "-m", "trueboot", "--help"],
        "an app: import agent, platform": [sys.executable, "-c", "import agent, platform_adapters.linux"],
    }
    found = in_turns(max(runs, 7), *(partial(command_s, command) for command in [python, *commands.values()]))
    return [
        Figure(name, round(turns.ours * 1000), "ms", round(turns.peer * 1000), "python -c pass", turns.ratio)
        for name, turns in zip(commands, found, strict=True)
    ]
