# SPDX-License-Identifier: MIT
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
for folder in ("faults",):
    if str(TESTS / folder) not in sys.path:
        sys.path.insert(0, str(TESTS / folder))
