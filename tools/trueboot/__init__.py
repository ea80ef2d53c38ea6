# SPDX-License-Identifier: MIT
"""Trueboot on the host: the `trueboot` command, the demo and what they share."""

__version__ = "0.1.0"
