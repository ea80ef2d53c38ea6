# SPDX-License-Identifier: MIT
"""The kinds of faults, as data: the command line's help, the server's checks and the page in docs/ are made from this table.

`refuses`: what a device of ours does while the fault lasts is to refuse, and to say why; else it gets over it by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

MOST_S = 3600.0
MOST_TIMES = 100_000

IMAGES = ("/repo/targets/*", "/images/*", "/download/*", "*/provisioning/download*", "/multipart/*")
TIMESTAMP = ("/repo/metadata/timestamp.json",)
EVERYTHING = ("*",)


class Number(NamedTuple):
    default: float
    least: float
    most: float
    whole: bool = True


class Word(NamedTuple):
    default: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    name: str
    does: str
    paths: tuple[str, ...] = ()  # where, unless `path` says otherwise; (): not at a path
    own: dict[str, Number | Word] = field(default_factory=dict)
    times: int = 1  # unless `times` says otherwise; 0: as often as it fits
    seconds: float = 60.0
    percent: int = 100
    refuses: bool = False

    def arguments(self) -> dict[str, Number | Word | str]:
        """Its own ones first, then those that every kind has; a text stands for a pattern or a name."""
        scope: dict[str, Number | Word | str] = {"path": ",".join(self.paths), "device": ""} if self.paths else {}
        chance = {"percent": Number(self.percent, 1, 100), "seed": Number(0, 0, 2**31)} if self.paths else {}
        times = {"times": Number(self.times, 0, MOST_TIMES)} if self.paths else {}
        return {**self.own, **scope, **times, "for": Number(self.seconds, 0.1, MOST_S, whole=False), **chance}


_ALL = (
    Kind("latency", "Answers HTTPS requests late.", EVERYTHING, {"ms": Number(500, 1, 60_000)}, times=20),
    Kind(
        "drop",
        "Breaks the connection instead of answering a request or taking an MQTT message.",
        EVERYTHING,
        times=5,
        percent=25,
    ),
    Kind(
        "truncate",
        "Ends the connection after so many percent of an image, under the right Content-Length.",
        IMAGES,
        {"at": Number(50, 0, 99)},
        times=2,
    ),
    Kind("wrong-digest", "Sends an image with one bit turned over.", IMAGES, times=0, refuses=True),
    Kind(
        "wrong-range",
        "Answers a request for a part with another part's Content-Range (shifted), or with 200 and the whole (whole).",
        ("/repo/targets/*", "/download/*", "*/provisioning/download*", "/multipart/*"),
        {"as": Word("shifted", ("shifted", "whole"))},
    ),
    Kind(
        "expired-token",
        "Says of a download's address, or of EnOS's access token, that it is over.",
        (*IMAGES, "/*-service/*", "/connect-service/*"),
        {"status": Number(401, 401, 410)},
    ),
    Kind(
        "429-storm",
        "Answers 429 with Retry-After to whoever asks for metadata, images or updates.",
        ("/repo/*", *IMAGES[1:3], "*/provisioning/*"),
        {"after": Number(1, 0, 3600)},
        times=3,
    ),
    Kind(
        "clock-skew",
        "Tells a wrong time in Date, and makes and judges nonces by it.",
        own={"s": Number(86_400, -(10**9), 10**9)},
        times=0,
    ),
    Kind(
        "broker-restart",
        "Ends every MQTT connection and forgets the sessions; nobody is let in for the time.",
        times=1,
        seconds=1.0,
    ),
    Kind(
        "stale-metadata",
        "Serves the timestamp of now and no newer one (freeze), an older one from before the last publication (rollback), "
        "or one that has expired (expired).",
        TIMESTAMP,
        {"as": Word("freeze", ("freeze", "rollback", "expired"))},
        times=0,
        refuses=True,
    ),
    Kind(
        "bad-certificate",
        "Shows a certificate of nobody's CA (untrusted), for another name (name) or whose end has passed (expired), "
        "and ends every MQTT connection.",
        own={"as": Word("untrusted", ("untrusted", "name", "expired"))},
        times=0,
        seconds=3.0,
    ),
)
KINDS = {kind.name: kind for kind in _ALL}


def parse(spec: str) -> dict[str, str]:
    """ "latency:ms=800,times=5" -> {"kind": "latency", "ms": "800", ...}; ValueError says what is wrong with the form."""
    name, _, rest = spec.partition(":")
    return {"kind": name, **pairs(rest.split(",") if rest else [])}


def pairs(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or name in found or name == "kind":
            raise ValueError(f"{word}: NAME=VALUE is wanted, each name once")
        found[name] = value
    return found


def described() -> list[str]:
    """A line for each kind, and its arguments with their defaults."""
    lines = []
    for kind in _ALL:
        own = ", ".join(f"{name}={_default(argument)}" for name, argument in kind.own.items())
        lines.append(f"{kind.name}: {kind.does}" + (f" [{own}]" if own else ""))
    return lines


def _default(argument: Number | Word) -> str:
    return "|".join(argument.choices) if isinstance(argument, Word) else f"{argument.default:g}"
