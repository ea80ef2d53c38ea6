#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/errors.md from the table of codes: prints it, or writes it with --write.  A test compares the two."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

HEAD = """# Error codes

Made from `tools/trueboot/codes.txt` by `tools/check/error_docs.py --write`; do not edit. `trueboot explain CODE` says the same.

Exit codes: 0 well, 1 the operation failed, 2 wrong usage, 69 a peer is unavailable, 75 try again later, 77 not permitted,
78 the configuration is wrong. A supervisor starts again on 69 and 75, never on 77 and 78.
"""


def render() -> str:
    from trueboot.codes import CODES

    text = HEAD
    for who, title in (("trueboot", "The command line"), ("server", "The server"), ("device", "The device")):
        text += f"\n## {title}\n\n| code | exit | what | why | what to do |\n| --- | --- | --- | --- | --- |\n"
        for code, row in sorted(CODES.items()):
            if row.who == who:
                text += f"| `{code}` | {row.exit} | {row.what} | {row.why} | {row.todo} |\n"
    return text


if __name__ == "__main__":
    if "--write" in sys.argv:
        (ROOT / "docs" / "errors.md").write_text(render())
    else:
        sys.stdout.write(render())
