# SPDX-License-Identifier: MIT
"""`python -m trueboot_server`."""

import sys

from .main import main

sys.exit(main())
