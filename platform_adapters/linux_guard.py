# SPDX-License-Identifier: MIT
"""The guard on Linux: runs a slot's main.py and turns its end into a reset or an exit code.

    python -P -B linux_guard.py SLOT_FOLDER CONFIG STATE

A script of its own, standard library only: the slot brings its own `agent`
and `platform_adapters`, or takes the installed ones.  It does on Linux what
micropython/main.py does on boards.  Rules it keeps
  * An exception on trial is recorded by type and line, never by its text, and
    ends in a reset; so does an app on trial that merely ends.
  * KeyboardInterrupt and SystemExit pass; SystemExit(3) is a reset.
  * A confirmed image that fails ends with a code for its supervisor: 78 for
    its configuration, 77 when revoked, 69 for its surroundings, else 1.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
import traceback
from types import ModuleType, TracebackType

CRASHED, UNAVAILABLE, REVOKED, CONFIG, INTERRUPTED = 1, 69, 77, 78, 130


def beside(name: str) -> ModuleType:
    """A module of this very installation, whatever the slot has on its path."""
    spec = importlib.util.spec_from_file_location(
        "_trampoline_" + name, os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def where(error: BaseException, slot: str) -> str:
    """`<Type> <file>:<line>`, of the innermost line that lies in the slot if any does."""
    found = ""
    if isinstance(error, SyntaxError) and error.filename:
        found = "%s:%s" % (_short(error.filename, slot), error.lineno)
    else:
        for frame, line in _frames(error.__traceback__):
            if frame.startswith(slot + os.sep):
                found = "%s:%d" % (_short(frame, slot), line)
            elif not found and not frame.startswith("<frozen"):
                found = "%s:%d" % (os.path.basename(frame), line)
    return "%s %s" % (type(error).__name__, found)


def _frames(trace: TracebackType | None):
    while trace is not None:
        yield trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next


def _short(name: str, slot: str) -> str:
    return os.path.relpath(name, slot) if name.startswith(slot + os.sep) else os.path.basename(name)


def ended(state: str, slot: str, reason: str) -> bool:
    """Note the reason while the slot is on trial; returns whether it is."""
    bootrecord = beside("bootrecord")
    record = bootrecord.load(state)
    if record["trial"] != os.path.basename(slot):
        return False
    try:
        bootrecord.save(state, bootrecord.fail(record, reason))
    except OSError:
        pass  # the boot count alone ends the trial
    return True


def failed(error: Exception, state: str, slot: str) -> int:
    """The exit code; does not return on trial."""
    code = getattr(error, "code", None)
    ours = any(base.__name__ == "AgentError" for base in type(error).__mro__)
    if ours:
        print("trueboot-agent: %s" % error, file=sys.stderr)
    else:
        traceback.print_exception(error)
    if ended(state, slot, "exception: " + where(error, slot)):
        beside("linux_reset").reset()
    if not ours:
        return CRASHED
    return {"config": CONFIG, "revoked": REVOKED}.get(str(code), UNAVAILABLE)


def main(slot: str, config: str, state: str) -> int:
    os.environ["TRUEBOOT_CONFIG"] = config
    sys.path.insert(0, slot)
    sys.path.append(
        os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    )  # the installed agent, if the slot has none
    sys.dont_write_bytecode = True  # a slot holds what its index names, nothing else
    script = os.path.join(slot, "main.py")
    sys.argv = [script]
    try:
        runpy.run_path(script, run_name="__main__")
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        if end.code == beside("linux_reset").RESET_CODE:
            beside("linux_reset").reset()
        raise
    except Exception as error:  # noqa: BLE001 - the outermost guard
        return failed(error, state, slot)
    if ended(state, slot, "ended main.py"):
        beside("linux_reset").reset()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
