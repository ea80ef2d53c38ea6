# SPDX-License-Identifier: MIT
"""The esthesis Line Protocol: `category name=value,name=value`, one line a category.

Rules kept, each because the original's parser would misread the message:
 * Text stands in single quotes, always: without them what ends in b, s, i, l, f or d loses that letter.
 * Numbers carry the letter of their type: i (32 bits), l (64 bits), d.
 * The list is split at every comma and equals sign, in quotes or not: in a text they become `;` and `:`, a quote `"`.
 * A name or category is of letters, digits, '_', '-' and '.'; all else becomes '_'.
 * What has no value here (None, infinity) is left out, and so is a line without a value.
"""

MAX_DEPTH = 4
_NAME = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."
_INT = 1 << 31
_LONG = 1 << 63


def lines(values):
    """The payload of {category: {name: value}}; what is no dict goes to the category `telemetry`."""
    found = []
    loose = {}
    for name in values:
        if isinstance(values[name], dict):
            text = line(name, values[name])
            if text:
                found.append(text)
        else:
            loose[name] = values[name]
    text = line("telemetry", loose)
    if text:
        found.append(text)
    return "\n".join(found).encode()


def line(category, values):
    """One line, or "" when nothing of it can be said."""
    found = []
    _measurements(found, "", values, 0)
    return clean(category) + " " + ",".join(found) if found else ""


def _measurements(found, prefix, values, depth):
    if depth > MAX_DEPTH:
        return
    for name in values:
        value = values[name]
        name = prefix + clean(name)
        if isinstance(value, dict):
            _measurements(found, name + ".", value, depth + 1)
        elif isinstance(value, (list, tuple)):
            _measurements(found, name + ".", {str(i): value[i] for i in range(len(value))}, depth + 1)
        else:
            text = typed(value)
            if text is not None:
                found.append(name + "=" + text)


def typed(value):
    """The value with its type, or None when there is no way to say it."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, int):
        if -_INT <= value < _INT:
            return "%di" % value
        return "%dl" % value if -_LONG <= value < _LONG else "'%d'" % value
    if isinstance(value, float):
        # Neither infinity nor NaN is equal to itself less itself.
        return "%sd" % value if value - value == 0 else None
    return quoted(value) if isinstance(value, str) else None


def quoted(text):
    for old, new in (("'", '"'), (",", ";"), ("=", ":"), ("\n", " "), ("\r", " ")):
        text = text.replace(old, new)
    return "'" + text + "'"


def clean(name):
    """A name of the characters that may stand in one."""
    return "".join([c if c in _NAME else "_" for c in str(name)]) or "_"
