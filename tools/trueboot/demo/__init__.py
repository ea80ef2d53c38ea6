# SPDX-License-Identifier: MIT
"""`trueboot demo`: a real server and real devices on this machine, and a story whose every expectation is checked.

world.py       the temporary folder: server, releases, devices; pumps everything that happens into one list
supervisor.py  plays power and boot ROM for one device
expect.py      what has to happen, in which order, and what never may: data and a pure check
screen.py      tells it: JSON lines, plain lines, or a live log
cuts.py        when the power of the devices goes, if it is asked for
story.py       the script
apps/          the app that the devices run
"""
