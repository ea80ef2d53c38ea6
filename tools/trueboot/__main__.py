# SPDX-License-Identifier: MIT
"""`python -m trueboot`: the same as the command."""

from .cli import main

main()
