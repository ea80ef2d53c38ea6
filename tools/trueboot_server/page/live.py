# SPDX-License-Identifier: MIT
"""Server-sent events: the names of what is stale, and nothing of what happened.

The browser then asks anew for those parts that it shows.  A page names the last event before it was read, so that none
is lost between its reading and the opening of its stream.  A burst becomes one message a topic and pause, so that a
fleet in motion costs a page a few requests a second at most, however large it is.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from ..errors import ApiError
from ..https.operations import READ, operation
from ..https.parts import PARTS
from ..https.request import admit, query_number
from .roads import HEADERS, find_session, leave

_PAUSE_S = 0.7
_QUIET_S = 15.0
_MOST = 500
_TOPICS = {  # the beginning of an event's name -> what is stale
    "device.": ("devices",),
    "report.": ("devices", "jobs"),
    "version.": ("devices",),
    "attempt.": ("jobs", "devices"),
    "attempts.": ("jobs", "devices"),
    "job.": ("jobs",),
    "certificate.": ("certificates", "devices"),
    "release.": ("releases",),
    "token.": ("tokens",),
}
TOPICS = tuple(sorted({topic for topics in _TOPICS.values() for topic in topics}))
OPEN: web.AppKey[set[object]] = web.AppKey("open_pages", set)


@operation(READ, "What is stale, as server-sent events", None, name="page.live")
async def live(request: web.Request) -> web.StreamResponse:
    parts, held = request.app[PARTS], request.app[OPEN]
    try:
        admit(request, parts, find_session(request, parts).operator, "page")
    except ApiError:
        return leave(request, "/ui/login")
    if len(held) >= parts.limits.page_streams:
        raise ApiError(503, "too_many_pages", "too many pages are open", "Close some.", {"Retry-After": "30"})
    me = object()
    held.add(me)
    try:
        response = web.StreamResponse(headers={**HEADERS, "X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        _, newest = await parts.store.events_after(2**53, 0, 1)
        last = int(query_number(request, "after", newest, newest))
        while True:
            found, last = await parts.store.events_after(last, _QUIET_S, _MOST)
            if len(found) >= _MOST:  # everything is stale
                _, last = await parts.store.events_after(2**53, 0, 1)
            find_session(request, parts)  # over, or its token revoked, meanwhile?
            await response.write(_message([event["event"] for event in found]))
            await asyncio.sleep(_PAUSE_S)
    except (ApiError, ConnectionError):  # the session is over, or the page is closed
        return response
    finally:
        held.discard(me)


def _message(events: list[str]) -> bytes:
    if len(events) >= _MOST:
        stale = set(TOPICS)
    else:
        stale = {t for event in events for start, topics in _TOPICS.items() if event.startswith(start) for t in topics}
    if not stale:
        return b": well\n\n"
    return b"".join(b"event: %s\ndata: stale\n\n" % topic.encode() for topic in sorted(stale))
