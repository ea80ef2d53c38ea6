# SPDX-License-Identifier: MIT
"""JSON as everybody reads it: what other readers would refuse, or read differently, is refused here.

No NaN or infinity, no lone surrogates (they cannot be written as UTF-8), bounded depth (so that whatever was
read can also be written again).
"""

from __future__ import annotations

import json
import math
from typing import Any

MAX_DEPTH = 32


def loads(data: bytes, unique_keys: bool = False) -> Any:
    """The value; ValueError for anything that is not such JSON in UTF-8."""
    try:
        text = data.decode()
        value = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique if unique_keys else None
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value, MAX_DEPTH)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError, for a lone surrogate
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _check_depth(value: Any, left: int) -> None:
    if left < 0:
        raise ValueError("nested too deeply")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(inner, left - 1)
