# SPDX-License-Identifier: MIT
"""What an unexpected exception may tell: its type and its line, never its text, which may hold secrets."""

import sys


def where(error):
    """Type and line of an exception, never its text, which may hold secrets."""
    name = type(error).__name__
    if hasattr(sys, "print_exception"):  # MicroPython keeps the traceback to itself
        import io

        buffer = io.StringIO()
        sys.print_exception(error, buffer)
        lines = [line.strip() for line in buffer.getvalue().split("\n") if line.strip().startswith('File "')]
        if lines:
            parts = lines[-1].split('"')
            line = parts[2].split("line ")[-1].split(",")[0]
            file = parts[1].split("/")[-1]
            if not file.endswith(".py"):  # .mpy are made with their module's name
                file = file.split(".")[-1] + ".py"
            return "%s %s:%s" % (name, file, line)
        return name
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return name
    return "%s %s:%d" % (name, trace.tb_frame.f_code.co_filename.replace("\\", "/").split("/")[-1], trace.tb_lineno)
