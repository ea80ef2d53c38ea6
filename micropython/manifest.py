# SPDX-License-Identifier: MIT
"""What of Trueboot is frozen into a firmware: for MicroPython's makemanifest.

    include("/path/to/trueboot/micropython/manifest.py", adapter="esp32")

`adapter`: "esp32", where images are firmwares and the app is frozen too, as module `app`; or "pico_w", where apps stay in
slots of the file system, so that the trampoline comes along.  tests/test_boards_folder.py compares the lists with what the
adapters import.
"""

ADAPTERS = {
    "esp32": ("esp32.py", "esp32_flash.py", "esp32_otadata.py", "esp32_slots.py"),
    "pico_w": ("pico_w.py",),
}
EVERY_BOARD = (
    "__init__.py",
    "bootrecord.py",
    "dirslots.py",
    "files.py",
    "filestore.py",
    "imagewalk.py",
    "micropython_base.py",
    "micropython_board.py",
    "micropython_dial.py",
    "micropython_files.py",
    "micropython_http.py",
    "micropython_machine.py",
    "micropython_mqtt.py",
    "micropython_net.py",
    "pinned.py",
    "slotfiles.py",
    "trusted_file.py",
)

options.defaults(adapter="pico_w")

package("agent", base_path="..")
package("platform_adapters", files=EVERY_BOARD + ADAPTERS[options.adapter], base_path="..")
module("main.py")
module("wifi.py")
if options.adapter == "pico_w":
    module("boot.py")
    module("bootrecord.py", base_path="../platform_adapters")
