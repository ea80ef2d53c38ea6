# SPDX-License-Identifier: MIT
"""A firmware that has agent and guard in it, for slots of the kind `firmware`.  Your app is its module `app`."""

include("$(PORT_DIR)/boards/manifest.py")  # what MicroPython freezes on every ESP32
include("../../micropython/manifest.py", adapter="esp32")
# module("app.py", base_path="/path/to/your/app")
