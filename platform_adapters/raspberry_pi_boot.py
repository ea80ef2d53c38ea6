# SPDX-License-Identifier: MIT
"""What the Raspberry Pi's firmware reads: autoboot.txt, and the kernel's command line.

autoboot.txt lies on the first partition and decides which boot partition is
the default, and which one a reset with the one-shot `tryboot` flag tries:

    [all]
    tryboot_a_b=1
    boot_partition=2
    [tryboot]
    boot_partition=3

Rules it keeps
  * Of this file only the two numbers ever change, in place, and the file fits
    one sector of 512 bytes (the firmware reads no more): there is no moment
    without it, and every mix of the old and the new bytes is a whole file that
    boots one of the two partitions.  That is why both numbers have one length.
  * Whatever else stands in it is refused: who edits it by hand is told, not guessed at.

Source: Raspberry Pi documentation, config.txt, "The autoboot.txt file".
"""

from __future__ import annotations

from agent.errors import DeviceError, RefusedError

SECTOR_BYTES = 512
CMDLINE_BYTES = 4096
TRYBOOT = "0 tryboot"  # the argument of the reset that tries the other partition


def compose(default: int, trial: int) -> bytes:
    """The file as a device gets it when it is provisioned."""
    return b"[all]\ntryboot_a_b=1\nboot_partition=%d\n[tryboot]\nboot_partition=%d\n" % (default, trial)


class Autoboot:
    """The file's two numbers: `default`, and `trial`, the one that is tried."""

    def __init__(self, data: bytes):
        self._data = data
        self._at: dict[bytes, tuple[int, int]] = {}
        if len(data) > SECTOR_BYTES:
            raise _unusable("it is longer than the firmware reads, %d bytes" % SECTOR_BYTES)
        section, position, enabled = b"all", 0, False
        for line in data.splitlines(keepends=True):
            text = line.strip()
            if text in (b"[all]", b"[tryboot]"):
                section = text[1:-1]
            elif text == b"tryboot_a_b=1" and section == b"all":
                enabled = True
            elif text.startswith(b"boot_partition=") and text[15:].isdigit() and section not in self._at:
                start = position + line.index(b"=") + 1
                self._at[section] = (start, start + len(text) - 15)
            elif text and not text.startswith(b"#"):
                raise _unusable(
                    "%r in section %s is not understood" % (text.decode("ascii", "replace"), section.decode())
                )
            position += len(line)
        if not enabled or len(self._at) != 2:
            raise _unusable("it needs tryboot_a_b=1, and a boot_partition in [all] and in [tryboot]")
        self.default = self._number(b"all")
        self.trial = self._number(b"tryboot")

    def with_partitions(self, default: int, trial: int) -> bytes:
        """The file with other numbers, of the same length."""
        data = bytearray(self._data)
        for section, number in ((b"all", default), (b"tryboot", trial)):
            start, end = self._at[section]
            text = b"%d" % number
            if len(text) != end - start:
                raise _unusable("partition %d takes more or fewer digits than the one before" % number)
            data[start:end] = text
        return bytes(data)

    def _number(self, section: bytes) -> int:
        start, end = self._at[section]
        return int(self._data[start:end])


def cmdline_for(cmdline: bytes, root: str) -> bytes:
    """The image's cmdline.txt with the slot's own root: `root` is what follows "root="."""
    words = cmdline.split()
    if len(cmdline) > CMDLINE_BYTES or [word[:5] for word in words].count(b"root=") != 1:
        raise RefusedError("image_system", "boot/cmdline.txt has no single root= in %d bytes" % CMDLINE_BYTES)
    return b" ".join(b"root=" + root.encode() if word[:5] == b"root=" else word for word in words) + b"\n"


def _unusable(why: str) -> DeviceError:
    return DeviceError("boot_config", "autoboot.txt: " + why)
