# SPDX-License-Identifier: MIT
"""What of Trueboot is frozen into a firmware: for MicroPython's makemanifest.

    include("/path/to/trueboot/micropython/manifest.py", adapter="esp32")

`adapter`: "esp32", where images are firmwares and the app is frozen too, as module `app`; or "pico_w", where apps stay in
slots of the file system, so that the trampoline comes along.  `cloud`: "both" dialects, or one of "decada", "esthesis".  tests/test_boards_folder.py compares the lists with what the
adapters import.
"""

import os

HOST_ONLY = (
    "ratchet.py",
    "tasks/attest.py",
    "tasks/program.py",
)  # of the agent: tools/trueboot/device_files.py says why
DIALECTS = {  # whose files a firmware for the other cloud leaves out
    "decada": ("clouds/decada.py", "clouds/decada_words.py"),
    "esthesis": (
        "clouds/elp.py",
        "clouds/esthesis.py",
        "clouds/esthesis_config.py",
        "clouds/esthesis_find.py",
        "clouds/esthesis_words.py",
        "crypto/rsa_sign.py",
        "orders.py",
        "place.py",
        "pulse.py",
        "tasks/adopt.py",
        "tasks/find.py",
        "tasks/register.py",
    ),
}
ADAPTERS = {
    "esp32": ("esp32.py", "esp32_flash.py", "esp32_otadata.py", "esp32_slots.py"),
    "pico_w": ("pico_w.py",),
}
EVERY_BOARD = (
    "__init__.py",
    "anchored.py",
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
    "micropython_udp.py",
    "pinned.py",
    "slotfiles.py",
    "trusted_file.py",
)

options.defaults(adapter="pico_w", cloud="both")

left_out = HOST_ONLY
for dialect in DIALECTS:
    if options.cloud not in ("both", dialect):
        left_out += DIALECTS[dialect]
agent = []
for folder, _, names in os.walk("../agent"):
    for name in names:
        path = os.path.relpath(os.path.join(folder, name), "../agent").replace(os.sep, "/")
        if path.endswith(".py") and path not in left_out:
            agent.append(path)

package("agent", files=sorted(agent), base_path="..")
package("platform_adapters", files=EVERY_BOARD + ADAPTERS[options.adapter], base_path="..")
module("main.py")
module("wifi.py")
if options.adapter == "pico_w":
    module("boot.py")
    module("bootrecord.py", base_path="../platform_adapters")
