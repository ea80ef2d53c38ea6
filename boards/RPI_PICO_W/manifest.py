# SPDX-License-Identifier: MIT
"""A firmware that has agent and trampoline in it; apps stay in their slots, on the file system."""

include("$(PORT_DIR)/boards/RPI_PICO_W/manifest.py")  # what MicroPython freezes on this board
include("../../micropython/manifest.py", adapter="pico_w")
