# SPDX-License-Identifier: MIT
"""The page: what the operator's interface tells, for people.  HTML made here, htmx, and nothing to build.

sessions   who is logged in, for how long
roads      what every road of the page does first: session, origin, CSRF token, scope, content policy
views      the pages and the parts of them that are fetched again when something happened
trust      certificates and releases, shown and changed
actions    what other buttons do
live       server-sent events: which parts are stale
drawing    numbers as SVG
"""
