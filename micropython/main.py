# SPDX-License-Identifier: MIT
"""The guard of a MicroPython device: runs the slot's main.py and turns its end into a reset.

Lives outside the slots, started after boot.py (see there).  Where images are
firmware (ESP32), there is no boot.py: this file and the module `app` that it
runs are frozen in the image, and the boot loader chooses.  Rules it keeps
  * Whoever sits in front of the board gets in: a file NO_AGENT beside this one,
    or Ctrl-C in the first two seconds, and nothing is started, no boot of a
    trial counted, no watchdog begun.
  * An exception ends in a reset; one of the agent's own is told in one line.
    On trial its type and line are recorded first, never its text: that may
    hold secrets.
  * On trial, an app that merely ends has failed too: nobody would confirm it.
  * On trial the watchdog runs from here on: a hang before the agent's first
    turn is ended, too.
  * KeyboardInterrupt and SystemExit pass: tools must get in.  On the unix port
    a reset is SystemExit(3).
"""

import gc
import io
import os
import sys
import time

RESET_CODE = 3
COLLECT_BYTES = 8192  # collected often, a small heap is less broken up: TLS and modules want room in one piece
TRIAL_WATCHDOG_S = 60  # until the agent's first turn: an app may join its network before
LONGEST_WATCHDOG_MS = {"esp32": 60_000, "rp2": 8_388}  # that the ports can do
WINDOW_MS = {"esp32": 2000, "rp2": 2000}  # for Ctrl-C, on ports that have somebody in front of them
CRASH_PAUSE_S = 1  # a confirmed image that crashes at once must leave a tool the time to interrupt


def stopped(root):
    """Whether somebody wants the board for themselves."""
    try:
        os.stat(root + "/NO_AGENT")
        print("trueboot: NO_AGENT is there, so nothing is started; remove it and reset")
        return True
    except OSError:
        pass
    window_ms = 0 if woken() else WINDOW_MS.get(sys.platform, 0)
    try:
        if window_ms:
            print("trueboot: Ctrl-C within %d ms, and nothing is started" % window_ms)
            time.sleep_ms(window_ms)
        return False
    except KeyboardInterrupt:
        print("trueboot: not started; reset the board to go on")
        return True


def woken():
    """From deep sleep: nobody sits in front of it, and each second counts for a battery."""
    import machine

    return hasattr(machine, "DEEPSLEEP_RESET") and machine.reset_cause() == machine.DEEPSLEEP_RESET


def where(error, slot):
    """`<Type> <file>:<line>`, of the innermost line that lies in the slot if any does; of a firmware, the innermost."""
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
        if slot and parts[0].startswith(slot + "/"):
            found = parts[0][len(slot) + 1 :] + ":" + number
        elif not (found and slot):
            found = parts[0] + ":" + number
    return "%s %s" % (type(error).__name__, found)


def on_trial(state, slot):
    """Whether the slot is on trial; for "", firmware."""
    if not slot:
        return firmware_ended("")
    import bootrecord

    trial = bootrecord.load(state)["trial"]
    return trial is not None and slot.endswith("/" + trial)


def firmware_ended(reason):
    """The same of a firmware: note a reason if there is one and it is on trial; returns whether it is."""
    try:
        import esp32

        from platform_adapters.esp32_slots import Esp32Slots
        from platform_adapters.filestore import FileStore

        slots = Esp32Slots(esp32.Partition, FileStore(os.getcwd().rstrip("/") + "/state/store"))
        if reason:
            slots.fail(reason)
        return not slots.state()["confirmed"]
    except Exception:
        return False  # the boot loader's own count ends the trial, and the app's agent tells what is wrong


def ended(state, slot, reason):
    """Note the reason while the slot is on trial; returns whether it is."""
    if not slot:
        return firmware_ended(reason)
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


def watch(state, slot):
    import machine

    limit_ms = LONGEST_WATCHDOG_MS.get(sys.platform)
    if not limit_ms or not on_trial(state, slot):
        return
    watchdog, left = machine.WDT(timeout=limit_ms), [TRIAL_WATCHDOG_S]

    def tick(timer):  # a hard one: it must not allocate
        if left[0] > 0:
            left[0] -= 1
            watchdog.feed()

    if limit_ms < TRIAL_WATCHDOG_S * 1000:
        machine.Timer(-1, period=1000, mode=machine.Timer.PERIODIC, callback=tick, hard=True)


def main(choose):
    root = os.getcwd().rstrip("/")
    if stopped(root):
        return
    gc.threshold(COLLECT_BYTES)
    slot, state = "", root + "/state"
    try:
        if choose:
            choose(root)
        slot = sys.path[0] if sys.path and "/slots/" in sys.path[0] else ""
        watch(state, slot)
        __import__("main" if slot else "app")
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


main(globals().pop("boot", None))  # boot.py's, of the same namespace
