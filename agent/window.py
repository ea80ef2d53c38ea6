# SPDX-License-Identifier: MIT
"""A maintenance window: "22:00-06:00", hours of every day in UTC.  Pure.

The first minute belongs to it, the last does not; it may reach over midnight.
"""

from agent.errors import MisuseError

DAY_MINUTES = 1440


def parse(text):
    """(first, end) in minutes of the day.  MisuseError("config")."""
    first, _, end = text.partition("-")
    found = _minutes(first), _minutes(end)
    if -1 in found or found[0] == found[1]:
        raise MisuseError("config", 'key window must be like "22:00-06:00" (UTC), or empty for always')
    return found


def is_open(text, seconds):
    """Whether the window holds that time, in seconds since 1970."""
    first, end = parse(text)
    now = seconds // 60 % DAY_MINUTES
    return first <= now < end if first < end else now >= first or now < end


def _minutes(text):
    """-1 for what is no time of the day."""
    hour, _, minute = text.partition(":")
    if len(hour) != 2 or len(minute) != 2 or not (hour + minute).isdigit() or hour > "23" or minute > "59":
        return -1
    return 60 * int(hour) + int(minute)
