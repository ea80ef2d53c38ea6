# SPDX-License-Identifier: MIT
"""The guard of a MicroPython device: runs the slot's main.py and turns its end into a reset.

Lives outside the slots, started after boot.py (see there).  Rules it keeps
  * An exception ends in a reset; one of the agent's own is told in one line.
    On trial its type and line are recorded first, never its text: that may
    hold secrets.
  * On trial, an app that merely ends has failed too: nobody would confirm it.
  * KeyboardInterrupt and SystemExit pass: tools must get in.  On the unix port
    a reset is SystemExit(3).
"""

import gc
import io
import sys
import time

RESET_CODE = 3
COLLECT_BYTES = 8192  # collected often, a small heap is less broken up: TLS and modules want room in one piece
CRASH_PAUSE_S = 1  # a confirmed image that crashes at once must leave a tool the time to interrupt


def where(error, slot):
    """`<Type> <file>:<line>`, of the innermost line that lies in the slot if any does."""
    text = io.StringIO()
    sys.print_exception(error, text)
    found = ""
    for line in text.getvalue().split("\n"):
        if not line.startswith('  File "'):
            if line.startswith("Traceback"):
                continue
            break  # what follows is the exception's own text
        parts = line[8:].split('"')
        number = parts[1].split(" ")[2].rstrip(",")
        if parts[0].startswith(slot + "/"):
            found = parts[0][len(slot) + 1 :] + ":" + number
        elif not found:
            found = parts[0] + ":" + number
    return "%s %s" % (type(error).__name__, found)


def ended(state, slot, reason):
    """Note the reason while the slot is on trial; returns whether it is."""
    import bootrecord

    record = bootrecord.load(state)
    if record["trial"] is None or not slot.endswith("/" + record["trial"]):
        return False
    try:
        bootrecord.save(state, bootrecord.fail(record, reason))
    except OSError:
        pass  # the boot count alone ends the trial
    return True


def reset():
    import machine

    if hasattr(machine, "reset"):
        machine.reset()
    sys.exit(RESET_CODE)


def main():
    slot = sys.path[0]
    state = slot[: slot.rfind("/slots/")] + "/state"
    gc.threshold(COLLECT_BYTES)
    try:
        __import__("main")
    except Exception as error:
        if hasattr(error, "detail"):  # one of the agent's own: a line for people, not a bug
            print("trueboot: " + str(error), file=sys.stderr)
        else:
            sys.print_exception(error, sys.stderr)
        if not ended(state, slot, "exception: " + where(error, slot)):
            time.sleep(CRASH_PAUSE_S)
        reset()
    if ended(state, slot, "ended main.py"):
        reset()


main()
