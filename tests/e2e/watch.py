# SPDX-License-Identifier: MIT
"""A browser that has a page of the server open while a test goes on; real Chromium, in a thread of its own."""

import asyncio
import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
from chromium import BINARY, Chromium  # noqa: E402

PATIENCE_S = 90
lacks = "" if BINARY else "chromium is not installed"


class Watch:
    """Logged in with the admin token.  Use as a context manager."""

    def __init__(self, folder, first):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._url, self._token = first["https"], first["admin_token"]
        self._browser = Chromium(folder, first)

    def __enter__(self):
        self._thread.start()
        self._run(self._browser.__aenter__())
        self._run(self._log_in())
        return self

    def __exit__(self, *_):
        self._run(self._browser.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)

    def open(self, road):
        self._run(self._browser.open(self._url + road))
        self._run(self._browser.script("window.opened = true"))

    def sees(self, text):
        """Waits until the page shows it by itself, not loaded again."""
        self._run(self._browser.until(f"window.opened && document.body.innerText.includes({json.dumps(text)})"))

    def look(self, name):
        """A screenshot, kept in TRUEBOOT_TEST_ARTIFACTS if that is set."""
        self._run(self._browser.look(name))

    async def _log_in(self):
        await self._browser.open(self._url + "/")
        await self._browser.until("document.activeElement.id === 'token'")
        await self._browser.type(self._token)
        await self._browser.key("Enter", 13)
        await self._browser.loaded()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)
