# SPDX-License-Identifier: MIT
"""Draw the machines of the agent, from their own tables, into docs/machines.md.

python tools/check/diagrams.py            print the page
python tools/check/diagrams.py --write    write it
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "machines.md"
sys.path.insert(0, str(ROOT))

from agent import identity, session, update  # noqa: E402

INTRO = """# The machines

Drawn from the `TRANSITIONS` tables of `agent/update.py`, `agent/identity.py` and `agent/session.py` by
`python tools/check/diagrams.py --write`. What each phase and event means stands at the top of those files.
"""


def diagram(module) -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    edges: dict[tuple[str, str], list[str]] = {}
    for line in module.TRANSITIONS.strip().splitlines():
        phase, event, _, *targets = line.split()
        for target in targets:
            edges.setdefault((phase, target), []).append(event)
    for (phase, target), events in edges.items():
        lines.append("    %s --> %s: %s" % (phase, target, ", ".join(events)))
    return "\n".join([*lines, "```"])


def page() -> str:
    parts = [INTRO]
    for title, module in (("Update", update), ("Identity", identity), ("Session", session)):
        parts.append("## %s\n\n%s\n" % (title, diagram(module)))
    return "\n".join(parts)


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
