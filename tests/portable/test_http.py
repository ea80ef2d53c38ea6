# SPDX-License-Identifier: MIT
from agent.errors import AgentError
from agent.wire import http, url
from expect import misuse, refused, unreachable


def _read(data, step=None, method="GET", closed=True, size=1000, direct=False):
    """(status, headers, body), or the code of the error that came instead."""
    response = http.Response(method)
    body = b""
    pieces = [data[at : at + (step or len(data))] for at in range(0, len(data), step or len(data) or 1)]
    if closed:
        pieces.append(b"")
    try:
        while True:
            room = response.direct(size) if direct and pieces and pieces[0] else 0
            if room:  # as a board does it: into its own buffer, past the parser
                piece = pieces[0][:room]
                pieces[0] = pieces[0][room:]
                if not pieces[0]:
                    pieces.pop(0)
                response.took(len(piece))
                body += piece
                continue
            piece = response.read(size)
            if piece is None:
                if not pieces:
                    return "more"
                response.feed(pieces.pop(0))
            elif piece:
                body += piece
            else:
                return response.status, response.headers, body
    except AgentError as error:
        return error.code


def _both(data, method="GET", closed=True):
    """The same whether the bytes come at once or one by one, and are read at once or one by one."""
    result = _read(data, None, method, closed)
    for step, size in ((None, 1), (1, 1), (1, 1000), (2, 3), (7, 5)):
        for direct in (False, True):
            assert _read(data, step, method, closed, size, direct) == result, (step, size, direct, data)
    return result


OK = b"HTTP/1.1 200 OK\r\n"


def test_request():
    assert http.request("GET", "example.org", "/a?b", {}) == b"GET /a?b HTTP/1.1\r\nhost: example.org\r\n\r\n"
    data = http.request("POST", "[::1]:8443", "/", {"content-type": "text/plain"}, b"body")
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST / HTTP/1.1"
    assert sorted(lines[1:]) == [b"content-length: 4", b"content-type: text/plain", b"host: [::1]:8443"]
    assert body == b"body"
    assert b"content-length: 0\r\n" in http.request("PUT", "h", "/", {})


def test_nothing_can_be_smuggled_into_a_request():
    for method, host, target, headers in (
        ("GET", "h", "/", {"a": "b\r\nc: d"}),
        ("GET", "h", "/", {"a": "b\nc"}),
        ("GET", "h", "/", {"a": "b\x00"}),
        ("GET", "h", "/", {"a": "\x7f"}),
        ("GET", "h", "/", {"a": "\u010d\u010a"}),
        ("GET", "h", "/", {"a\r\nb": "c"}),
        ("GET", "h", "/", {"a b": "c"}),
        ("GET", "h", "/", {"a:": "c"}),
        ("GET", "h", "/", {"": "c"}),
        ("GET", "h", "/", {"Host": "other"}),
        ("GET", "h", "/", {"Content-Length": "5"}),
        ("GET", "h", "/", {"Transfer-Encoding": "chunked"}),
        ("GET", "h", "/a b", {}),
        ("GET", "h", "/a\r\n", {}),
        ("GET", "h", "", {}),
        ("GET", "h\r\n", "/", {}),
        ("GET /x HTTP/1.1\r\n", "h", "/", {}),
        ("", "h", "/", {}),
    ):
        misuse("http_header", http.request, method, host, target, headers)


def test_urls():
    for text, parts in (
        ("https://example.org", ("example.org", 443, "/")),
        ("HTTPS://example.org:8443/a/b?c=d#e", ("example.org", 8443, "/a/b?c=d")),
        ("https://example.org?a", ("example.org", 443, "/?a")),
        ("https://example.org#a", ("example.org", 443, "/")),
        ("https://127.0.0.1:1/", ("127.0.0.1", 1, "/")),
        ("https://[::1]:65535/x", ("::1", 65535, "/x")),
        ("https://[fe80::1]/", ("fe80::1", 443, "/")),
        ("https://h/a@b:c", ("h", 443, "/a@b:c")),
        ("https://h:/", ("h", 443, "/")),
    ):
        assert url.split_url(text) == parts, text
    assert url.split_url("mqtts://h", "mqtts", 8883) == ("h", 8883, "/")
    assert url.host_header("::1", 8443) == "[::1]:8443"
    assert url.host_header("h", 443) == "h"


def test_urls_that_are_refused():
    for text in (
        "", "http://h/", "ftp://h", "https:/h", "https://", "https:///a", "https://:443/", "xhttps://h/",
        "https://u@h/", "https://u:p@h/", "https://good.org\\@evil.org/", "https://h:0/", "https://h:65536/", "https://h:-1/",
        "https://h:4_3/", "https://h: 443/", "https://h /", "https://h/\r\nx", "https://h/\u00e9", "https://\u00e9/",
        "https://[::1/", "https://[::1]x/", "https://[h]/", "https://[::1%eth0]/", "https://h[::1]/", "https://a%2fb/",
        "https://h/" + "x" * 2048, "https://" + "h" * 256 + "/",
    ):  # fmt: skip
        refused("url", url.split_url, text)


def test_body_by_length():
    data = OK + b"Content-Length: 5\r\nX-Thing:\t a b \r\nx-thing: c\r\n\r\nhello"
    assert _both(data) == (200, {"content-length": "5", "x-thing": "a b, c"}, b"hello")
    assert _both(data, closed=False)[2] == b"hello"
    assert _both(OK + b"content-length: 0\r\n\r\n", closed=False)[2] == b""
    assert _both(data + b"surplus")[2] == b"hello"


def test_body_to_close():
    assert _both(OK + b"\r\nall of it") == (200, {}, b"all of it")
    assert _both(OK + b"\r\nall of it", closed=False) == "more"
    assert _both(b"HTTP/1.0 404 Not Found\r\n\r\n") == (404, {}, b"")


def test_body_in_chunks():
    head = OK + b"Transfer-Encoding: Chunked\r\n\r\n"
    data = head + b'5\r\nhello\r\nA;name="value"\r\n, world 12\r\n00b \r\n1234567890a\r\n0\r\nTrailer: x\r\n\r\n'
    assert _both(data, closed=False)[2] == b"hello, world 121234567890a"
    assert _both(head + b"0\r\n\r\n", closed=False)[2] == b""
    for bad in (
        b"\r\n", b"x\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1_0\r\n", b"\x11\r\n", b";a\r\n",
        b"1" * 13 + b"\r\n", b"1\na", b"1\r\nab\r\n", b"1\r\na0\r\n\r\n",
    ):  # fmt: skip
        assert _both(head + bad) == "http_response", bad
    assert _both(head + b"1;" + b"x" * 300) == "http_too_big"
    for step in (None, 100):
        assert _read(head + b"0\r\n" + b"a: b\r\n" * 1500, step) == "http_too_big"


def test_a_truncated_response_is_unreachable():
    for data in (
        b"",
        b"HTTP/1.1 2",
        OK,
        OK + b"a: b\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        OK + b"content-length: 5\r\n\r\nhell",
    ):
        assert _both(data) == "http_truncated", data
        assert _both(data, closed=False) == "more"
    chunked = OK + b"transfer-encoding: chunked\r\n\r\n"
    for data in (b"", b"5", b"5\r\nhell", b"5\r\nhello", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"0\r\na: b\r\n"):
        assert _both(chunked + data) == "http_truncated", data


def test_what_was_read_before_a_truncation_is_handed_out():
    response = http.Response()
    response.feed(OK + b"content-length: 5\r\n\r\nhell")
    response.feed(b"")
    assert response.read(100) == b"hell"
    unreachable("http_truncated", response.read, 100)


def test_responses_without_a_body():
    for status in (b"204 No Content", b"304 Not Modified"):
        assert _both(b"HTTP/1.1 " + status + b"\r\ncontent-length: 5\r\n\r\n", closed=False)[2] == b""
    assert _both(OK + b"content-length: 5\r\n\r\n", method="HEAD", closed=False)[2] == b""
    assert _both(OK + b"transfer-encoding: chunked\r\n\r\n", method="HEAD", closed=False)[2] == b""


def test_interim_responses_are_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n"
    assert _both(interim * 8 + OK + b"content-length: 1\r\n\r\na") == (200, {"content-length": "1"}, b"a")
    assert _both(interim * 9) == "http_response"
    assert _both(b"HTTP/1.1 101 Switching Protocols\r\n\r\n") == "http_response"


def test_heads_that_could_be_read_in_two_ways_are_refused():
    for head in (
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 5\r\nContent-Length: 5\r\n",
        b"content-length: 5, 5\r\n",
        b"content-length: +5\r\n",
        b"content-length: -5\r\n",
        b"content-length: 5_0\r\n",
        b"content-length: 0x5\r\n",
        b"content-length:\r\n",
        b"content-length: 1234567890123456\r\n",
        b"content-length: \xb2\r\n",
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
        b"transfer-encoding: chunked, chunked\r\n",
        b"transfer-encoding: identity\r\n",
        b"transfer-encoding: \x0bchunked\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        b"a: b\r\n folded\r\n",
        b" a: b\r\n",
        b"a : b\r\n",
        b"a\r\n",
        b": b\r\n",
        b"a: b\x00c\r\n",
        b"a: b\rc\r\n",
        b"a: b\n",
        b"a\xff: b\r\n",
    ):
        assert _both(OK + head + b"\r\n") == "http_response", head
    assert _both(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n") == "http_response"


def test_status_lines():
    assert _both(b"HTTP/1.1 200\r\n\r\n")[0] == 200
    assert _both(b"HTTP/1.1 503 \xc3\xa9\r\n\r\n")[0] == 503
    for line in (
        b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 +20 OK", b"ICY 200 OK", b"", b"SSH-2.0-OpenSSH",
    ):  # fmt: skip
        assert _both(line + b"\r\n\r\n") == "http_response", line


def test_heads_are_bounded():
    assert _both(OK + b"a: b\r\n" * http.MAX_HEADERS + b"\r\n")[0] == 200
    assert _both(OK + b"a: b\r\n" * (http.MAX_HEADERS + 1) + b"\r\n") == "http_too_big"
    for endless in (b"x" * 9000, OK + b"a: " + b"x" * 9000, OK + b"a: " + b"x" * 4000 + b"\r\nb: " + b"x" * 4200):
        for step in (None, 100):
            assert _read(endless, step) == "http_too_big"


def test_a_connection_is_reusable_only_after_a_clean_end():
    for data, verdict in (
        (OK + b"content-length: 1\r\n\r\na", True),
        (OK + b"content-length: 1\r\n\r\nab", False),
        (OK + b"content-length: 1\r\nconnection: Close\r\n\r\na", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na", False),
        (OK + b"content-length: 2\r\n\r\na", False),
    ):
        response = http.Response()
        response.feed(data)
        assert not response.reusable()
        response.read(10)
        assert response.reusable() is verdict, data


def test_content_range():
    assert http.content_range("bytes 0-99/200") == (0, 99, 200)
    assert http.content_range("bytes 100-199/*") == (100, 199, None)
    for text in (
        "", "bytes", "bytes */200", "bytes 0-99", "bytes 0-99/", "bytes 0-200/200", "bytes 2-1/200", "bytes -1-2/3",
        "bytes 0-9_9/200", "items 0-99/200", "bytes  0-99/200", "bytes 0-99/200 ", "bytes 0 - 99/200",
    ):  # fmt: skip
        refused("http_response", http.content_range, text)


def test_retry_after():
    assert http.retry_after("120") == 120
    assert http.retry_after(" 0 ") == 0
    for text in ("Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1.5", "", "1234567890"):
        assert http.retry_after(text) is None
