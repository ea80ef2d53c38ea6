# SPDX-License-Identifier: MIT
"""A serial port with a MicroPython board behind it (`trueboot.flash.simulated.terminal` says what is played).

python pty_board.py FOLDER HEAP       FOLDER is the board's flash; the first line of stdout is the port's name
"""

from __future__ import annotations

import sys
from pathlib import Path

from trueboot.flash.simulated.terminal import Terminal

if __name__ == "__main__":
    board = Terminal(Path(sys.argv[1]), sys.argv[2])
    print(board.name, flush=True)
    board.run()
