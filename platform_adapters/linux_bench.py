# SPDX-License-Identifier: MIT
"""`trueboot-agent csr` and `certificate FILE`: identity at a bench, see `agent/tasks/bench_identity.py`.

Both hold the state's lock: no agent runs meanwhile.  As root they become the
owner of the state folder first, like `trueboot-agent install`.
"""

from __future__ import annotations

import sys
from typing import Any

from agent import config as schema
from agent.errors import DeviceError, MisuseError, RefusedError
from agent.tasks import bench_identity
from platform_adapters.linux_install import become_owner, platform_of, say
from platform_adapters.linux_service import UNAVAILABLE, Stop, take

FAILED = 1


def csr(config: dict[str, Any], subject: str) -> int:
    platform, checked = _ready(config)
    try:
        sys.stdout.write(bench_identity.csr(platform, checked, subject))
        sys.stdout.flush()
    except MisuseError as error:
        raise Stop(FAILED, str(error)) from None
    except DeviceError as error:
        raise Stop(UNAVAILABLE, str(error)) from None
    return 0


def certificate(config: dict[str, Any], name: str) -> int:
    text = _text(name)
    platform, checked = _ready(config)
    try:
        phase = bench_identity.accept(platform, checked, text)
    except (RefusedError, MisuseError) as error:
        raise Stop(FAILED, str(error)) from None
    except DeviceError as error:
        raise Stop(UNAVAILABLE, str(error)) from None
    say("certificate stored; the identity is at %s" % phase)
    return 0


def _ready(config: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    become_owner(config["state"])
    platform = platform_of(config)
    checked = schema.check(platform.config)
    platform.log = _quiet  # standard output is the request's
    take(config["state"])  # until this process ends
    return platform, checked


def _quiet(event: str, fields: dict[str, Any]) -> None:
    pass


def _text(name: str) -> str:
    try:
        if name == "-":
            return sys.stdin.read(bench_identity.MAX_CHARS + 1)
        with open(name, encoding="utf-8") as file:
            return file.read(bench_identity.MAX_CHARS + 1)
    except UnicodeDecodeError:
        raise Stop(FAILED, "%s is no text" % name) from None
    except OSError as error:
        raise Stop(UNAVAILABLE, "cannot read %s: %s" % (name, error.strerror)) from None
