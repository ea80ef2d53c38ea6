# SPDX-License-Identifier: MIT
"""Boards without hardware, for rehearsals and tests: real esptool, real REPL, real files between them.

What is played, and by what
  * the ROM loader of the ESP32 family: `esp32-mock-bootloader` from PyPI, at the baud rate that the port was set to;
  * MicroPython: its unix port, on the files that were flashed; a firmware of our own that only says that it is one;
  * the boot ROM of RP2 boards: a folder with INFO_UF2.TXT.
What no simulation shows: USB, DTR and RTS, the timing of a chip, its flash's wear, its radio.
"""
