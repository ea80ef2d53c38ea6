# SPDX-License-Identifier: MIT
"""The page in a real browser: logged in by keyboard, a campaign followed live, and stopped with its button.

With TRUEBOOT_TEST_ARTIFACTS=FOLDER the screenshots are kept there.
"""

import asyncio

import pytest
from chromium import BINARY, Chromium
from server_client import Device, Operator, ServerThread

from trueboot_server.limits import Limits

PATH = "app/sim/1.1.0/app.img"
EVIL = "<img src=x onerror=document.title='owned'>"

pytestmark = pytest.mark.skipif(not BINARY, reason="chromium is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", Limits())
    yield running
    running.stop()


@pytest.fixture(scope="module")
def devices(server, tmp_path_factory):
    """Three that are connected."""
    folder, sessions = tmp_path_factory.mktemp("devices"), []
    for number in range(3):
        device = Device(server.first, f"pump-{number}", folder)
        sessions.append((device, device.ready()))
    yield sessions
    for _, session in sessions:
        session.close()


def test_a_campaign_is_followed_live_and_stopped(server, devices, tmp_path):
    operator = Operator(server.first)
    operator.publish(PATH, b"an image of 1.1.0")
    asyncio.run(story(server, operator, devices, tmp_path / "profile"))


async def story(server, operator, devices, folder):
    url, token = server.first["https"], server.first["admin_token"]

    async def tell(number, step, desc):
        device, session = devices[number]
        topic, params = device.sys + "ota/device/progress", {"step": step, "desc": desc}
        assert (await asyncio.to_thread(session.request, topic, params))["code"] == 200

    async with Chromium(folder, server.first) as browser:
        await browser.open(url + "/")
        await browser.until("document.activeElement.id === 'token'")
        await browser.look("1-log-in", 900, 640)
        await browser.type(token)
        await browser.key("Enter", 13)
        await browser.loaded()
        await browser.until("document.querySelector('#count-online strong')?.textContent === '3'")

        # A campaign begins elsewhere; the open page shows it without being asked.
        whom = {"devices": [device.device_key for device, _ in devices]}
        body = {"target": PATH, "scope": whom, "name": "pumps first", "phases": ["34%", "100%"], "max_failures": 2}
        made = await asyncio.to_thread(operator.post, "/api/v1/campaigns", body)
        road = f"/ui/jobs/{made['id']}"
        await browser.until(f"document.querySelector('a[href=\"{road}\"]')")
        await browser.look("2-fleet")
        await browser.press(f'a[href="{road}"]')
        await browser.loaded()
        await browser.until("document.querySelector('#abort')")

        running = await asyncio.to_thread(operator.get, f"/api/v1/campaigns/{made['id']}/devices")
        first = next(one["device_key"] for one in running["devices"] if one["state"] != "waiting")
        number = next(n for n, (device, _) in enumerate(devices) if device.device_key == first)
        await asyncio.to_thread(devices[number][1].get, devices[number][0].sys + "ota/device/upgrade")
        await tell(number, 40, "downloading")
        await browser.until("document.querySelector('progress')?.value === 40")
        await browser.script("document.querySelector('#abort').focus()")
        await tell(number, 70, EVIL)
        await browser.until("document.querySelector('progress')?.value === 70")
        assert await browser.script("document.activeElement.id") == "abort"  # a live page takes no focus away
        assert EVIL in await browser.text()
        await browser.look("3-campaign")
        await browser.look("4-campaign-dark", dark=True)

        await browser.press("#abort")
        await browser.loaded()
        await browser.until("document.querySelector('.notice')?.innerText.includes('aborted')")
        await browser.look("5-aborted")
        assert (await asyncio.to_thread(operator.get, f"/api/v1/campaigns/{made['id']}"))["state"] == "cancelled"

        # By keyboard alone, from the top of the page: past the first link to the sections.
        await browser.open(url + "/ui/")
        for _ in range(3):
            await browser.key("Tab", 9)
        await browser.until("document.activeElement.getAttribute('href') === '/ui/'")
        for name, road in (("6-devices", "/ui/devices"), ("7-releases", "/ui/releases"),
                           ("8-certificates", "/ui/certificates"), ("9-audit", "/ui/audit")):  # fmt: skip
            await browser.open(url + road)
            await browser.look(name)
            # Nothing hangs over the edge of a telephone.
            await browser.look(name + "-narrow", 390, 844)
            assert await browser.script("document.documentElement.scrollWidth <= innerWidth"), road
        assert await browser.script("document.title") == "Audit · Trueboot"
        assert await browser.script(f"!document.documentElement.outerHTML.includes({token!r}) && !document.cookie")
        assert browser.told == []  # neither its policy nor a script had anything to complain about
