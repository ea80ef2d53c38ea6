# SPDX-License-Identifier: MIT
"""What every `mqtt` and `http` port must keep, on either interpreter, against the servers of tests/contract/far_end.py.

`net` has: mqtt, http (time limits of about LIMIT_MS), identity, ports (a dict by the servers' names), now_ms()
"""

import json

from agent.errors import MisuseError, RefusedError, UnreachableError
from contract_slots import raises, refused

LIMIT_MS = 1500
SLACK_MS = 2500  # for a machine that has other things to do
BIG_BYTES = 256 * 1200


def within_limit(net, call, *arguments):
    started = net.now_ms()
    try:
        return call(*arguments)
    finally:
        taken = net.now_ms() - started
        assert taken < LIMIT_MS + SLACK_MS, taken


def get(net, path, server="http", headers=None, method="GET", body=b"", identity=None):
    url = "https://localhost:%d/%s" % (net.ports[server], path)
    return net.http.open(method, url, headers or {}, body, identity)


def drain(net, response, size=3000):
    data = []
    view = getattr(response, "view", response.read)  # of boards; the two may be mixed
    while True:
        started = net.now_ms()
        piece = response.read(size) if len(data) % 3 == 1 else view(size)
        assert net.now_ms() - started < 1000, "read is not to wait"
        if piece is None:
            continue
        assert len(piece) <= size
        if not piece:
            response.close()
            return b"".join(data)
        data.append(bytes(piece))


def connect(net, client_id="id", server="mqtt", identity=None, keepalive_s=60):
    net.mqtt.connect("localhost", net.ports[server], client_id, "user", "password", keepalive_s, identity)


def event(net, limit_ms=5000):
    """The next event that is not None."""
    started = net.now_ms()
    while net.now_ms() - started < limit_ms:
        found = net.mqtt.poll(100)
        if found is not None:
            return found
    raise AssertionError("no event")


# http


def check_get(net):
    response = get(net, "hello")
    assert response.status == 200
    assert response.headers["etag"] == '"1"' and response.headers["content-length"] == "5"
    assert drain(net, response) == b"hello"
    response = get(net, "nowhere")
    assert response.status == 404 and drain(net, response) == b""


def check_post(net):
    for body in (b"", b"x", bytes(range(256)) * 200):
        response = get(net, "echo", method="POST", body=body, headers={"Content-Type": "application/octet-stream"})
        assert response.status == 201
        assert drain(net, response) == body


def check_requests_in_a_row(net):
    """They share a connection; one that was given up, or that the server has closed, is not used again."""
    first = drain(net, get(net, "connection"))
    assert drain(net, get(net, "connection")) == first
    for _ in range(3):
        assert drain(net, get(net, "hello")) == b"hello"
    get(net, "big").close()
    assert drain(net, get(net, "hello")) == b"hello"
    assert drain(net, get(net, "last")) == b"last"
    assert drain(net, get(net, "hello")) == b"hello"


def check_our_headers_and_no_more(net):
    asked = {"X-Token": "t", "Accept": "text/x"}
    drain(net, get(net, "headers"))
    seen = json.loads(drain(net, get(net, "headers", headers=asked)))
    assert seen["host"] == "localhost:%d" % net.ports["http"]
    assert seen["x-token"] == "t" and seen["accept"] == "text/x"
    for name in ("cookie", "authorization"):
        assert name not in seen
    assert seen.get("accept-encoding", "identity") == "identity"


def check_big_and_ranges(net):
    big = bytes(range(256)) * 1200
    assert drain(net, get(net, "big")) == big
    response = get(net, "big", headers={"Range": "bytes=1000-"})
    assert response.status == 206 and response.headers["content-range"] == "bytes 1000-%d/%d" % (
        BIG_BYTES - 1,
        BIG_BYTES,
    )
    assert drain(net, response) == big[1000:]
    assert drain(net, get(net, "big", headers={"Range": "bytes=5-9"}), 2) == big[5:10]


def check_chunked(net):
    assert drain(net, get(net, "chunked")) == b"hello"


def check_no_redirect_and_no_coding(net):
    response = get(net, "redirect")
    assert response.status == 302 and response.headers["location"] == "/hello"
    response.close()
    assert drain(net, get(net, "coded")) == b"not gzip at all"


def check_truncated_answers(net):
    for path in ("truncated", "truncated_chunk"):
        response = get(net, path)
        assert response.status == 200
        refused("http_truncated", UnreachableError, drain, net, response)
        response.close()


def check_a_silent_server_is_given_up(net):
    refused("timeout", UnreachableError, within_limit, net, get, net, "no_answer")
    refused("timeout", UnreachableError, within_limit, net, get, net, "hello", "silent")
    response = get(net, "stalls")
    refused("timeout", UnreachableError, within_limit, net, drain, net, response)
    response.close()


def check_what_is_not_http(net):
    refused("http_response", RefusedError, get, net, "garbage")
    refused("closed", UnreachableError, get, net, "closes")


def check_urls(net):
    for url in (
        "http://localhost/",
        "ftp://x/",
        "https://",
        "https:///x",
        "https://user@localhost/",
        "",
        "file:///etc/passwd",
    ):
        refused("url", RefusedError, net.http.open, "GET", url, {}, b"", None)
    raises((MisuseError,), net.http.open, "GET", "https://localhost/", {"X": "a\r\nY: b"}, b"", None)


def check_http_identity(net):
    assert drain(net, get(net, "who", "mutual_http", identity=net.identity)) == b"pk/dk"
    assert drain(net, get(net, "hello")) == b"hello"

    def without():
        drain(net, get(net, "who", "mutual_http"))

    # TLS 1.2 ends with an alert; TLS 1.3 ends the answer instead of the handshake.
    error = raises((UnreachableError,), without)
    assert error.code in ("tls_refused", "closed"), repr(error)


# TLS, by both ports


def check_servers_that_are_not_the_right_one(net):
    for server, kind, code in (
        ("foreign", RefusedError, "tls_untrusted"),
        ("misnamed", RefusedError, "tls_name"),
        ("expired", UnreachableError, "tls_expired"),
        ("early", UnreachableError, "clock_unset"),
    ):
        refused(code, kind, get, net, "hello", server)
        refused(code, kind, connect, net, "id", server)
    assert drain(net, get(net, "hello")) == b"hello"


def check_nobody_there(net):
    refused("refused_connection", UnreachableError, get, net, "hello", "nobody")
    refused("refused_connection", UnreachableError, connect, net, "id", "nobody")
    refused("dns", UnreachableError, net.http.open, "GET", "https://no-such-host.invalid/", {}, b"", None)


# mqtt


def check_mqtt_session(net):
    connect(net)
    assert net.mqtt.poll(0) is None
    number = net.mqtt.subscribe(["echo/back", "deny/this"])
    assert event(net) == ("subscribed", number, [1, 128])
    number = net.mqtt.publish("echo", b"\x00\xff payload", 1)
    assert number > 0
    assert event(net) == ("acked", number)
    assert event(net) == ("message", "echo/back", b"\x00\xff payload")
    assert net.mqtt.publish("echo", b"", 0) == 0
    assert event(net) == ("message", "echo/back", b"")
    big = bytes(range(256)) * 40
    net.mqtt.publish("echo", big, 0)
    assert event(net) == ("message", "echo/back", big)
    numbers = [net.mqtt.publish("count", b"x", 1) for _ in range(30)]
    assert sorted(event(net)[1] for _ in numbers) == sorted(numbers)
    assert len(set(numbers)) == 30
    net.mqtt.close()


def check_nothing_is_acked_that_was_not(net):
    connect(net)
    net.mqtt.publish("unacked", b"x", 1)
    number = net.mqtt.publish("other", b"x", 1)
    assert event(net) == ("acked", number)
    assert net.mqtt.poll(50) is None
    net.mqtt.close()


def check_a_flood_comes_in_order(net):
    connect(net)
    net.mqtt.publish("flood", b"", 0)
    assert [event(net) for _ in range(50)] == [("message", "flood", b"%d" % number) for number in range(50)]
    net.mqtt.publish("acks?", b"", 0)
    assert event(net) == ("message", "acks", b"50")
    net.mqtt.close()


def check_poll_waits_no_longer_than_told(net):
    connect(net)
    for timeout_ms in (0, 1, 120):
        started = net.now_ms()
        assert net.mqtt.poll(timeout_ms) is None
        assert timeout_ms - 5 <= net.now_ms() - started < timeout_ms + 500
    net.mqtt.close()


def check_a_lost_session(net):
    connect(net)
    net.mqtt.publish("close", b"", 0)
    closed = event(net)
    assert closed[0] == "closed" and closed[1] == "closed" and closed[2], closed
    error = raises((UnreachableError,), net.mqtt.publish, "t", b"", 1)
    assert error.code == "closed"
    connect(net)
    assert net.mqtt.poll(20) is None
    net.mqtt.close()
    net.mqtt.close()


def check_a_refused_login(net):
    for code in (1, 2, 4, 5):
        error = raises((RefusedError,), connect, net, "refuse-%d" % code)
        assert error.code == "mqtt_refused" and "CONNACK %d" % code in error.detail, repr(error)
    refused("mqtt_refused", UnreachableError, connect, net, "refuse-3")
    connect(net)
    net.mqtt.close()


def check_no_connack(net):
    refused("timeout", UnreachableError, within_limit, net, connect, net, "silent")
    refused("closed", UnreachableError, connect, net, "close")
    refused("timeout", UnreachableError, within_limit, net, connect, net, "id", "silent")
    raises((UnreachableError, RefusedError), connect, net, "garbage")


def check_what_is_not_mqtt(net):
    for topic in ("garbage", "huge"):
        connect(net)
        net.mqtt.publish(topic, b"", 0)
        assert event(net)[0] == "closed"


def check_half_a_packet_is_waited_for_no_longer(net):
    """Its other half comes when the server pleases; until then `poll` keeps its time, and all else goes on."""
    connect(net)
    net.mqtt.publish("half", b"", 0)
    started = net.now_ms()
    for _ in range(3):
        assert net.mqtt.poll(50) is None
    assert net.now_ms() - started < 1000
    net.mqtt.publish("rest", b"", 0)
    assert event(net) == ("message", "halves", b"abcdefgh")
    number = net.mqtt.publish("count", b"x", 1)
    assert event(net) == ("acked", number)
    net.mqtt.publish("half", b"", 0)
    net.mqtt.publish("close", b"", 0)
    closed = event(net)
    assert closed[0] == "closed" and closed[1] == "closed", closed


def check_texts_are_counted_in_bytes(net):
    connect(net, "ger\u00e4t-\u20ac")
    net.mqtt.publish("caf\u00e9", b"x", 0)
    number = net.mqtt.subscribe(["echo/" + "\u00fc" * 100, "x" * 200])
    assert event(net) == ("subscribed", number, [1, 1])
    net.mqtt.publish("echo", b"all is well", 0)
    assert event(net) == ("message", "echo/back", b"all is well")
    net.mqtt.close()


def check_topics(net):
    connect(net)
    for topic in ("a/#", "a/+", ""):
        raises((MisuseError,), net.mqtt.publish, topic, b"", 0)
    assert net.mqtt.poll(20) is None
    net.mqtt.close()


def check_keep_alive(net):
    connect(net, keepalive_s=1)
    started = net.now_ms()
    while net.now_ms() - started < 2500:
        assert net.mqtt.poll(200) is None
    net.mqtt.close()
    connect(net, "deaf", keepalive_s=1)
    closed = event(net, 6000)
    assert closed[:2] == ("closed", "timeout"), closed


def check_mqtt_identity(net):
    connect(net, server="mutual", identity=net.identity)
    number = net.mqtt.publish("x", b"", 1)
    assert event(net) == ("acked", number)
    net.mqtt.close()
    error = raises((UnreachableError,), connect, net, "id", "mutual")
    assert error.code in ("tls_refused", "closed"), repr(error)
    refused("no_key", MisuseError, connect, net, "id", "mutual", ("nobody", net.identity[1]))


CHECKS = [
    check_get,
    check_post,
    check_requests_in_a_row,
    check_our_headers_and_no_more,
    check_big_and_ranges,
    check_chunked,
    check_no_redirect_and_no_coding,
    check_truncated_answers,
    check_a_silent_server_is_given_up,
    check_what_is_not_http,
    check_urls,
    check_http_identity,
    check_servers_that_are_not_the_right_one,
    check_nobody_there,
    check_mqtt_session,
    check_nothing_is_acked_that_was_not,
    check_a_flood_comes_in_order,
    check_poll_waits_no_longer_than_told,
    check_a_lost_session,
    check_a_refused_login,
    check_no_connack,
    check_what_is_not_mqtt,
    check_half_a_packet_is_waited_for_no_longer,
    check_texts_are_counted_in_bytes,
    check_topics,
    check_keep_alive,
    check_mqtt_identity,
]
