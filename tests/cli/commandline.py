# SPDX-License-Identifier: MIT
"""The `trueboot` command as a user types it: its own folder and environment, no TRUEBOOT_* of the caller.

It runs in this process, from the command's own entry point on, since a new interpreter for each of hundreds of
commands takes minutes; test_cli.py and test_with_server.py start real processes.
"""

import contextlib
import io
import json
import os
import sys
from types import SimpleNamespace


class Tool:
    """Runs in one folder; `environment` goes to every call."""

    def __init__(self, folder, **environment):
        self.folder = folder
        self.environment = environment

    def run(self, *arguments, stdin="", **environment):
        from trueboot.cli import main

        out, err = io.StringIO(), io.StringIO()
        before, folder, streams = dict(os.environ), os.getcwd(), (sys.argv, sys.stdin)
        for name in [name for name in os.environ if name.startswith("TRUEBOOT_")]:
            del os.environ[name]
        os.environ.update({"COLUMNS": "200"} | self.environment | environment)
        sys.argv, sys.stdin = ["trueboot", *map(str, arguments)], io.StringIO(stdin)
        os.chdir(self.folder)
        code = 0
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(before)
            sys.argv, sys.stdin = streams
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

    def ok(self, *arguments, **environment):
        """What it says as JSON; it must succeed."""
        done = self.run(*arguments, "--json", **environment)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)

    def refused(self, code, *arguments, exit_code=None, **environment):
        """What it says on stderr; it must fail with this code, in at most three lines."""
        done = self.run(*arguments, **environment)
        assert f"[{code}]" in done.stderr, (done.returncode, done.stdout, done.stderr)
        assert done.returncode == exit_code if exit_code else done.returncode
        assert "Traceback" not in done.stderr
        end = done.stderr[done.stderr.rfind("\n", 0, done.stderr.index(f"[{code}]")) + 1 :]
        assert len(end.splitlines()) <= 3
        return done.stderr


def app(folder, text="print('hello')\n"):
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text(text)
    return folder
