# SPDX-License-Identifier: MIT
"""Run a program that a command of esthesis names, and reply with what it says.  CPython alone; on boards there is none.

Rules kept: the caller has checked the list; no shell, no input, a bare environment, the root as folder; time and output
are bounded, and whoever outlives its time is killed with all that it has started; one program at a time.
"""

import os
import signal
import subprocess
import tempfile

MAX_OUTPUT_BYTES = 16_384
LOOK_MS = 50
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_running = []


def run(agent, identifier, words):
    """Ends in the reply."""
    from agent import orders

    if _running:
        orders.reply(agent, identifier, False, "another program runs")
        return
    _running.append(identifier)
    try:
        why, text = yield from bounded(agent, words, {}, MAX_OUTPUT_BYTES)
    finally:
        _running.clear()
    if why and text is not None:
        text = why + ": " + text
    orders.reply(agent, identifier, not why, text or why)


def bounded(agent, words, environment, most):
    """(why it failed or "", at most `most` bytes of what it said or None when it did not run); yields meanwhile."""
    clock, limit_s = agent.platform.clock, agent.config["program_timeout_s"]
    with tempfile.TemporaryFile() as out:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                env=dict(ENVIRONMENT, **environment),
                start_new_session=True,
            )
        except OSError as error:
            return "it cannot be run: %s" % error.strerror, None
        end = clock.ticks_ms() + 1000 * limit_s
        why = ""
        try:
            while process.poll() is None and not why:
                yield LOOK_MS
                if clock.ticks_ms() >= end:
                    why = "killed after %d s" % limit_s
                elif os.fstat(out.fileno()).st_size > most:
                    why = "killed after %d bytes of output" % most
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # and what it left behind
            except OSError:
                pass
            process.wait()
        out.seek(0)
        text = out.read(most).decode("utf-8", "replace").strip()
    if not why and process.returncode:
        why = "exit status %d" % process.returncode
    return why, text
