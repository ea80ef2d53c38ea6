# SPDX-License-Identifier: MIT
"""A server that misbehaves on command, so that a device's ways with a bad server can be seen: `trueboot server --faults`.

    kinds    what there is, as a table: its arguments, its bounds, what a device of ours does under it
    book     the faults that are in force: whom they hit, how often, until when
    bent     answers that come out wrong: delayed, cut, altered, refused
    stand    what hits everybody at once: the MQTT endpoint, the server's certificate, its clock
    roads    /api/v1/faults

Rules kept:
- Without the flag nothing of this is imported, and the road does not exist.
- Every fault ends: after so many times, after so many seconds, or by `clear`, whatever comes first.
- The operator's own requests (a bearer's) are never hit, so that a fault can always be cleared.
- A fault changes what is said, never what is stored: no row of the database is written because of one but its event.
- What chance decides is decided by the fault's own seed.
"""
