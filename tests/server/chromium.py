# SPDX-License-Identifier: MIT
"""Chromium without a screen, driven over its DevTools protocol; no driver, no other library.

Beside what it trusts by itself it takes the server's key, by its hash, after the CA has vouched for it.  Nothing here sleeps to wait: `until`
asks again when the page has changed, as a MutationObserver tells.
"""

import asyncio
import base64
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import urllib.parse
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PATIENCE_S = 30
BINARY = shutil.which("chromium")
ARTIFACTS = os.environ.get("TRUEBOOT_TEST_ARTIFACTS", "")

_UNTIL = """new Promise((done, failed) => {
  const said = () => { try { return (%s) } catch (e) { return null } };
  const now = said(); if (now) return done(now);
  const seen = new MutationObserver(() => { const v = said(); if (v) { seen.disconnect(); done(v) } });
  seen.observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
  setTimeout(() => { seen.disconnect(); failed(new Error("never")) }, %d);
})"""

_COMPLETE = "new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', () => done()))"


def key_hash(url, ca_file):
    """Of the server's key, which the CA vouches for."""
    at = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=ca_file)
    with socket.create_connection((at.hostname, at.port), PATIENCE_S) as plain:
        with context.wrap_socket(plain, server_hostname=at.hostname) as tls:
            certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


class Chromium:
    """Use with `async with`."""

    def __init__(self, folder, first):
        self._folder = folder
        self._key = key_hash(first["https"], first["ca_file"])
        self._number, self._waiting, self._loaded = 0, {}, None
        self.told = []  # what the page complained about: violations of its policy, errors of scripts

    async def __aenter__(self):
        self._process = await asyncio.create_subprocess_exec(
            BINARY, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--force-color-profile=srgb",
            f"--ignore-certificate-errors-spki-list={self._key}", f"--user-data-dir={self._folder}",
            "--remote-debugging-port=0", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={**os.environ, "HOME": str(self._folder)},
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S):
            while not (found := re.search(rb"ws://([^/]+)/", await self._process.stderr.readline())):
                pass
            self._draining = asyncio.create_task(self._process.stderr.read())
            self._http = aiohttp.ClientSession()
            async with self._http.get(f"http://{found[1].decode()}/json/list") as answer:
                tab = next(target for target in await answer.json() if target["type"] == "page")
            self._socket = await self._http.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=64 * 1024 * 1024)
        self._reading = asyncio.create_task(self._read())
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.send(domain + ".enable")
        return self

    async def __aexit__(self, *_):
        self._reading.cancel()
        await self._http.close()
        self._process.terminate()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._draining

    async def send(self, method, **params):
        self._number += 1
        number, answer = self._number, asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE_S * 2):
            return await answer

    async def open(self, address):
        await self.send("Page.navigate", url=address)
        await self.script(_COMPLETE)

    async def loaded(self):
        async with asyncio.timeout(PATIENCE_S):
            await self._loaded.wait()

    async def script(self, expression):
        """The value of a JavaScript expression; DevTools are not bound by the page's policy."""
        answer = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, expression):
        """The first true value of an expression."""
        return await self.script(_UNTIL % (expression, PATIENCE_S * 1000))

    async def text(self):
        return await self.script("document.body.innerText")

    async def press(self, selector):
        """A real click in the middle of an element, at another page afterwards if it leads there."""
        where = await self.script(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()"
        )
        self._loaded = asyncio.Event()
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)

    async def type(self, text):
        await self.send("Input.insertText", text=text)

    async def key(self, name, code):
        self._loaded = asyncio.Event()
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if name == "Enter" and kind == "keyDown" else {}
            await self.send(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **text
            )

    async def look(self, name, width=1280, height=860, dark=False, whole=False):
        """A screenshot, kept in TRUEBOOT_TEST_ARTIFACTS if that is set."""
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=scheme)
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        data = base64.b64decode(shot["data"])
        if ARTIFACTS:
            Path(ARTIFACTS).mkdir(parents=True, exist_ok=True)
            (Path(ARTIFACTS) / f"{name}.png").write_bytes(data)
        return data

    async def _read(self):
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                answer = self._waiting.pop(told["id"])
                if not answer.done():
                    if "error" in told:
                        answer.set_exception(RuntimeError(str(told["error"])))
                    else:
                        answer.set_result(told["result"])
            elif told["method"] == "Page.loadEventFired" and self._loaded is not None:
                self._loaded.set()
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] in ("error", "warning"):
                self.told.append(told["params"]["entry"]["text"])
            elif told["method"] == "Runtime.exceptionThrown":
                self.told.append(str(told["params"]["exceptionDetails"]))
