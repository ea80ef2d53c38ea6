# SPDX-License-Identifier: MIT
"""The page over HTTP: who gets in, what a change has to carry, and what devices write never becomes markup."""

import re
import threading

import pytest
import requests
from page_client import Browser
from server_client import Device, Operator, ServerThread

from trueboot_server.https import operations
from trueboot_server.limits import Limits

PATH = "app/sim/1.1.0/app.img"
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{7*7}}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    limits = Limits(failed_proofs=10_000, page_sessions=40, page_streams=3)
    running = ServerThread(tmp_path_factory.mktemp("server") / "state", limits)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def operator(server):
    return Operator(server.first)


@pytest.fixture
def browser(server):
    browser = Browser(server.first)
    assert browser.log_in(server.first["admin_token"]).status_code == 303
    return browser


@pytest.fixture(scope="module")
def reader(server, operator):
    browser = Browser(server.first)
    browser.log_in(operator.post("/api/v1/tokens", {"name": "looks", "scope": "read"})["token"])
    return browser


@pytest.fixture(scope="module")
def device(server, tmp_path_factory):
    one = Device(server.first, "dev-1", tmp_path_factory.mktemp("device"))
    assert one.activate() == 0
    return one.enrol()


def pages(server):
    """The address of each page, with something in the place of each parameter."""
    for route in server.call(lambda running: list(running.app.router.routes())):
        path = route.resource.canonical
        if path.startswith("/ui/") and operations.of(route.handler).scope is not None:
            yield route.method, re.sub(r"\{[^}]*\}", "x", path), operations.of(route.handler)


# Who gets in


def test_nothing_is_shown_or_done_without_a_session(server):
    stranger = Browser(server.first)
    assert stranger.get("/").headers["Location"] == "/ui/"
    for method, path, _ in pages(server):
        answer = stranger.session.request(method, stranger.url + path, timeout=9, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/login"), path
        assert not answer.content
    part = stranger.get("/ui/devices", headers={"HX-Request": "true"})
    assert part.status_code == 204 and part.headers["HX-Redirect"] == "/ui/login"


def test_the_cookie_is_the_browsers_alone_and_holds_no_token(server):
    browser = Browser(server.first)
    answer = browser.log_in(server.first["admin_token"])
    cookie = answer.headers["Set-Cookie"]
    assert answer.headers["Location"] == "/ui/"
    for wanted in ("__Host-trueboot=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age="):
        assert wanted in cookie
    assert server.first["admin_token"] not in cookie + browser.get("/ui/").text


def test_wrong_tokens_are_refused_and_guessing_is_slowed_down(tmp_path):
    running = ServerThread(tmp_path / "state", Limits(failed_proofs=3))
    try:
        browser = Browser(running.first)
        for token in ("wrong", "", running.first["registration_secret"]):
            assert browser.log_in(token).status_code == 401
        answer = browser.log_in(running.first["admin_token"])
        assert answer.status_code == 429 and "Set-Cookie" not in answer.headers
        assert "wrong" not in running.log() and running.first["registration_secret"] not in running.log()
    finally:
        running.stop()


def test_a_session_ends_with_log_out_with_its_token_and_when_there_are_too_many(server, operator):
    made = operator.post("/api/v1/tokens", {"name": "short", "scope": "operate"})["token"]
    one, two = Browser(server.first), Browser(server.first)
    for browser in (one, two):
        browser.log_in(made)
        assert browser.get("/ui/").status_code == 200
    answer = one.submit("/ui/", "/ui/logout")
    assert answer.headers["Location"] == "/ui/login"
    operator.post("/api/v1/tokens/short/revoke", {})
    for browser in (one, two):
        assert browser.get("/ui/").headers["Location"] == "/ui/login"
    first = Browser(server.first)
    first.log_in(server.first["admin_token"])
    for _ in range(40):
        Browser(server.first).log_in(server.first["admin_token"])
    assert first.get("/ui/").status_code == 303


# What a change has to carry


def test_a_change_needs_this_origin_and_this_sessions_token(server, operator, browser):
    operator.post("/api/v1/devices", {"device_key": "stays"})
    road = f"/ui/devices/{server.first['product_key']}/stays"
    revoke, mine = road + "/revoke", browser.page(road).form(road + "/revoke")["csrf"]
    other = Browser(server.first)
    other.log_in(server.first["admin_token"])
    theirs = other.page(road).form(road + "/revoke")["csrf"]
    for form, origin in (
        ({}, None),
        ({"csrf": "x"}, None),
        ({"csrf": theirs}, None),
        ({"csrf": mine}, ""),
        ({"csrf": mine}, "null"),
        ({"csrf": mine}, "https://evil.example"),
        ({"csrf": mine}, browser.url.replace("https", "http")),
        ({"csrf": mine}, browser.url + "0"),
    ):
        assert browser.post(revoke, form, origin).status_code == 403, (form, origin)
    assert Browser(server.first).post("/ui/login", {"token": server.first["admin_token"]}, "null").status_code == 403
    assert operator.device("stays")["state"] == "registered"
    assert browser.submit(road, revoke, reason="keyCompromise").headers["Location"] == road
    assert operator.device("stays")["state"] == "revoked"
    assert "is revoked" in browser.page(road).text
    row = operator.get("/api/v1/audit?what=page.revoke_device&limit=1")["audit"][0]
    assert (row["who"], row["via"], row["on"], row["result"]) == ("admin", "page", road[12:], "done")


def test_who_may_only_read_has_no_buttons_and_is_refused(server, operator, reader, device):
    road = f"/ui/devices/{device.product_key}/{device.device_key}"
    page = reader.page(road)
    assert {address for address, _ in page.forms} == {"/ui/logout"}
    csrf = page.form("/ui/logout")["csrf"]
    refused = 0
    for method, path, declared in pages(server):
        if declared.scope == operations.OPERATE:
            answer = reader.post(path, {"csrf": csrf})
            assert answer.status_code == 303, path
            assert "may only read" in reader.page("/ui/").text, path
            refused += 1
        else:
            assert method in ("GET", "HEAD") or path == "/ui/logout"
    assert refused >= 3
    assert operator.device(device.device_key)["state"] == "enrolled"


@pytest.mark.parametrize("back", ["https://evil.example", "//evil.example", "/ui//evil", "/api/v1/devices", "/ui/\\x"])
def test_after_a_refusal_the_way_back_is_on_this_page(server, browser, back):
    csrf = browser.page("/ui/").form("/ui/logout")["csrf"]
    answer = browser.post("/ui/jobs/999/cancel?back=" + requests.utils.quote(back, safe=""), {"csrf": csrf})
    assert answer.status_code == 303 and answer.headers["Location"] == "/ui/"


# What is shown


def test_every_page_has_a_policy_that_allows_nothing_inline_and_keeps_to_it(server, browser, device):
    road = f"/ui/devices/{device.product_key}/{device.device_key}"
    for path in (
        "/ui/login",
        "/ui/",
        "/ui/devices",
        road,
        "/ui/jobs",
        "/ui/audit",
        "/ui/releases",
        "/ui/certificates",
        "/ui/jobs/999",
    ):
        answer = browser.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store" and answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script>", answer.text), path
        for address in re.findall(r"""(?:src|href|action)=["']([^"']*)""", answer.text):
            assert address.startswith(("/ui/", "#")), address


def test_what_devices_write_is_text_everywhere(server, operator, browser, device):
    operator.publish(PATH, b"an image of 1.1.0")
    session = device.connect()
    assert session.online
    road = f"/ui/devices/{device.product_key}/{device.device_key}"
    try:
        session.request(device.sys + "ota/device/inform", {"version": EVIL[:60]})
        session.request(
            device.sys + "ota/device/report",
            {"report": device.report(version="1.0.0", reason=EVIL, outcome="running", slot="a")},
        )
        job = operator.post("/api/v1/jobs", {"target": PATH, "devices": [device.device_key]})
        session.get(device.sys + "ota/device/upgrade")
        session.request(device.sys + "ota/device/progress", {"step": 30, "desc": EVIL})
        operator.post(road.replace("/ui", "/api/v1") + "/attributes", {"attributes": {EVIL[:60]: EVIL}})
        shown = 0
        for path in (
            "/ui/",
            "/ui/devices",
            road,
            f"/ui/jobs/{job['id']}",
            f"/ui/devices?text={requests.utils.quote(EVIL)}",
        ):
            text = browser.get(path).text
            shown += "&lt;script&gt;alert(1)" in text
            assert (
                "<script>alert" not in text
                and "<img src=x" not in text
                and "49" not in re.findall(r"&amp;(.{2})", text)
            )
        assert shown >= 4
    finally:
        session.close()
        operator.call("POST", f"/api/v1/jobs/{job['id']}/cancel")


def test_a_job_is_followed_and_ended_on_the_page(server, operator, browser, device):
    if not operator.get("/api/v1/releases")["releases"]:
        operator.publish(PATH, b"an image of 1.1.0")
    job = operator.post("/api/v1/jobs", {"target": PATH, "devices": [device.device_key]})
    road = f"/ui/jobs/{job['id']}"
    assert "queued" in browser.page(road).text and "0 of 1 proven" in browser.page(road).text
    assert browser.submit(road, road + "/cancel").headers["Location"] == road
    assert "is ended" in browser.page(road).text
    assert operator.get(f"/api/v1/jobs/{job['id']}")["state"] == "cancelled"
    assert not [address for address, _ in browser.page(road).forms if "cancel" in address]


def test_stale_parts_are_named_as_they_become_so(server, operator, browser):
    told, open_pages = [], threading.Event()

    def listen():
        with browser.get("/ui/live", stream=True) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                open_pages.set()
                if line.startswith(b"event: "):
                    told.append(line[7:].decode())
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    assert open_pages.wait(20)
    operator.post("/api/v1/devices", {"device_key": "new-here"})
    thread.join(20)
    assert told == ["devices"]


def test_there_are_so_many_streams_and_no_more(server, browser):
    held = [browser.get("/ui/live", stream=True) for _ in range(4)]
    try:
        codes = [answer.status_code for answer in held]
        assert codes[-1] == 503 and set(codes) <= {200, 503}  # a stream that ended may be counted a little longer
    finally:
        for answer in held:
            answer.close()


@pytest.mark.parametrize("path", ["../roads.py", "%2e%2e/roads.py", "vendor", "", "x", "..%2f..%2fapp.py"])
def test_only_the_pages_own_files_are_served(server, browser, path):
    assert browser.get("/ui/static/" + path).status_code == 404


def test_files_are_kept_for_ever_under_their_hash_only(server, browser):
    address = next(attrs["href"] for tag, attrs in browser.page("/ui/").elements if attrs.get("rel") == "stylesheet")
    assert "immutable" in browser.get(address).headers["Cache-Control"]
    assert browser.get(address.partition("?")[0]).headers["Cache-Control"] == "no-cache"


def test_no_secret_is_on_any_page(server, operator, browser, device):
    made = operator.post("/api/v1/tokens", {"name": "canary", "scope": "read"})["token"]
    bench = operator.post("/api/v1/devices", {"device_key": "canary"})["device_secret"]
    operator.post(f"/api/v1/devices/{device.product_key}/canary/replace", {})
    names = ("product_secret", "secret_key", "registration_secret", "admin_token")
    secrets = {made, bench, device.device_secret, *(server.first[name] for name in names)}
    road = f"/ui/devices/{device.product_key}/"
    roads = ["/ui/", "/ui/devices", road + "canary", road + device.device_key, "/ui/jobs", "/ui/audit"]
    for path in [*roads, "/ui/releases", "/ui/certificates", "/metrics", "/api/openapi.json", "/ui/login"]:
        text = browser.get(path).text if path != "/metrics" else operator.call("GET", path).text
        assert not [secret for secret in secrets if secret in text], path


# Certificates, releases, campaigns


def test_a_certificate_is_found_and_revoked(server, operator, browser, tmp_path):
    one = Device(server.first, "spoken-for", tmp_path)
    assert one.activate() == 0
    one.enrol()
    serial = format(one.certificate.serial_number, "x")
    page = browser.page("/ui/certificates?text=spoken-for&status=good")
    assert serial in page.text and "not yet" in page.text
    assert browser.submit("/ui/certificates?text=" + serial, f"/ui/certificates/{serial}/revoke", reason="superseded")
    assert operator.get(f"/api/v1/certificates/{serial}")["status"] == "revoked"
    assert f"Certificate {serial} is revoked" in browser.page("/ui/").text
    assert serial not in browser.page("/ui/certificates?text=spoken-for&status=good").text
    assert serial in browser.page("/ui/certificates?text=spoken-for&status=revoked").text


def test_an_image_is_uploaded_and_deleted_while_nothing_names_it(server, operator, browser):
    path, image = "app/sim/7.0.0/app.img", b"seven" * 1000
    action = browser.page("/ui/releases").form("/ui/releases?") is not None and next(
        address for address, _ in browser.page("/ui/releases").forms if address.startswith("/ui/releases?")
    )
    files = [("target", (None, path)), ("image", ("app.img", image))]
    assert browser.post(action.partition("&csrf")[0], None, files=files).status_code == 403
    assert browser.post(action, None, files=files).status_code == 303
    page = browser.page("/ui/releases").text
    assert "once its metadata are published" in page and "7.0.0" in page
    stored = operator.get("/api/v1/audit?what=page.upload_release&limit=1")["audit"][0]
    assert path in stored["detail"] and stored["result"] == "done"
    assert browser.submit("/ui/releases", "/ui/releases/drop").status_code == 303
    page = browser.page("/ui/releases").text
    assert "is deleted" in page and "None." in page
    for bad in ("../../server.db", "app/sim/1.1.0", "", "x"):
        csrf = browser.page("/ui/").form("/ui/logout")["csrf"]
        browser.post("/ui/releases/drop", {"csrf": csrf, "stored": bad})
        assert "no unsigned image" in browser.page("/ui/releases").text
    bad = [("target", (None, "../x")), ("image", ("x", b"x"))]
    browser.post(action, None, files=bad)
    assert "target_rules" in browser.page("/ui/releases").text


def test_metadata_that_are_not_signed_are_refused_on_the_page_too(browser):
    action = next(a for a, _ in browser.page("/ui/releases").forms if a.startswith("/ui/releases?"))
    browser.post(action, None, files=[("metadata", ("9.targets.json", b'{"signed": {}}'))])
    assert "metadata_" in browser.page("/ui/releases").text


def test_a_campaign_is_paused_and_goes_on_and_is_aborted(server, operator, browser, device):
    if not operator.get("/api/v1/releases")["releases"]:
        operator.publish(PATH, b"an image of 1.1.0")
    whom = {"devices": [device.device_key]}
    made = operator.post("/api/v1/campaigns", {"target": PATH, "scope": whom, "name": EVIL[:40], "phases": ["100%"]})
    road = f"/ui/jobs/{made['id']}"
    page = browser.get(road).text
    assert "Phases" in page and "<script>alert" not in page and "1 of" not in browser.page(road).text
    for verb, state in (("pause", "paused"), ("resume", "running"), ("abort", "cancelled")):
        assert browser.submit(road, f"{road}/{verb}").headers["Location"] == road
        assert operator.get(f"/api/v1/campaigns/{made['id']}")["state"] == state
        assert operator.get(f"/api/v1/audit?what=page.{verb}&limit=1")["audit"][0]["on"] == made["id"]
    csrf = browser.page("/ui/").form("/ui/logout")["csrf"]
    browser.post(f"{road}/pause", {"csrf": csrf})
    assert "cancelled" in browser.page(road).text
    assert operator.get(f"/api/v1/campaigns/{made['id']}")["state"] == "cancelled"


# Numbers


def test_metrics_ask_for_a_token_of_any_scope_and_name_no_device(server, operator, reader, device):
    assert (
        requests.get(server.first["https"] + "/metrics", verify=server.first["ca_file"], timeout=9).status_code == 401
    )
    answer = operator.call("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    numbers = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            numbers[name] = float(value)
    assert numbers['trueboot_devices{state="devices"}'] >= 1
    assert numbers["trueboot_certificates_issued_total"] >= 1
    assert numbers['trueboot_reports_total{verdict="accepted"}'] >= 0
    assert numbers['trueboot_mqtt_connects_total{outcome="admitted"}'] >= 1
    assert numbers['trueboot_connections{way="mqtt"}'] >= 0
    assert numbers['trueboot_database_bytes{file="server.db"}'] > 0
    assert any(name.startswith("trueboot_event_loop_lag_seconds_count") for name in numbers)
    assert device.device_key not in answer.text and len(numbers) < 5000


def test_what_peers_send_makes_no_new_series(server, operator):
    for number in range(5):
        operator.call("GET", f"/nowhere/{number}")
        operator.call("GET", f"/api/v1/devices/x/{number}")
        operator.session.request("BREW", server.first["https"] + "/coffee", timeout=9)
    text = operator.call("GET", "/metrics").text
    assert 'road="unknown"' in text and "/nowhere" not in text and "BREW" not in text and "/x/1" not in text
    assert 'road="/api/v1/devices/{product_key}/{device_key}"' in text


def test_metrics_may_be_open(tmp_path):
    running = ServerThread(tmp_path / "state", Limits(), metrics_open=True)
    try:
        answer = requests.get(running.first["https"] + "/metrics", verify=running.first["ca_file"], timeout=9)
        assert answer.status_code == 200 and "trueboot_devices" in answer.text
    finally:
        running.stop()
