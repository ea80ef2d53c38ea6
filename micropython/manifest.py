# SPDX-License-Identifier: MIT
"""What of Trueboot is frozen into a firmware: for MicroPython's makemanifest.

    include("/path/to/trueboot/micropython/manifest.py", adapter="esp32")

`adapter`: "esp32", where images are firmwares and the app is frozen too, as module `app`; or "pico_w", where apps stay in
slots of the file system, so that the trampoline comes along.  `cloud`: "decada" or "esthesis" leaves out what speaks to the
other alone.  tests/test_boards_folder.py compares the lists with what the adapters import.
"""

import os

# Of the agent: tools/trueboot/device_files.py and board_files.py say why.
HOST_ONLY = (
    "clouds/esthesis_unsigned.py",
    "ratchet.py",
    "tasks/attest.py",
    "tasks/lists.py",
    "tasks/program.py",
    "tasks/script.py",
    "wire/crl.py",
)
CLOUDS = {  # what speaks to one cloud alone
    "decada": ("clouds/decada",),
    "esthesis": (
        "clouds/elp.py",
        "clouds/esthesis",
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

options.defaults(adapter="pico_w", cloud="")
foreign = tuple(name for cloud in CLOUDS if options.cloud not in ("", cloud) for name in CLOUDS[cloud])

agent = []
for folder, _, names in os.walk("../agent"):
    for name in names:
        path = os.path.relpath(os.path.join(folder, name), "../agent").replace(os.sep, "/")
        if path.endswith(".py") and path not in HOST_ONLY and not path.startswith(foreign):
            agent.append(path)

package("agent", files=sorted(agent), base_path="..")
package("platform_adapters", files=EVERY_BOARD + ADAPTERS[options.adapter], base_path="..")
module("main.py")
module("wifi.py")
if options.adapter == "pico_w":
    module("boot.py")
    module("bootrecord.py", base_path="../platform_adapters")
