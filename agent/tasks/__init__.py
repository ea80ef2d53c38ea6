# SPDX-License-Identifier: MIT
"""The long works of the runtime, as generators that do a bounded piece between two yields.

A task yields the milliseconds it wants to rest (0: call me again at once), so a
download or an enrolment never blocks the app.  They live in files of their own
because a board loads each when it is needed and forgets it afterwards.
"""

from agent.errors import RefusedError


def reason(error):
    """What a report says of an error, or of a text from outside: short, and printable on every screen that it reaches."""
    return "".join([letter if " " <= letter <= "~" else "?" for letter in str(error)[:120]])


def read_body(response, limit):
    """The body of a response, at most `limit` bytes, else RefusedError("too_large")."""
    body = bytearray()
    while True:
        data = response.read(1024)
        if data is None:
            yield 5
        elif not data:
            return bytes(body)
        else:
            body += data
            if len(body) > limit:
                raise RefusedError("too_large", "more than %d bytes" % limit)
