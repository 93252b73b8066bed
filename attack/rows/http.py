"""Requests, bodies in chunks, what is served, and who sends slowly."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attack.scenario import Attack, Row
from attack.wire import PATH, upgrade_request
from tests.support.launch import REPOSITORY


def request(path: str, *headers: str, method: str = "GET", version: str = "1.1", host: str = "x") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", f"Host: {host}", *headers, "", ""]).encode()


def pipelined(data: bytes) -> Callable[[Attack], None]:
    """Requests behind each other, all the time; the answers are read."""

    def attack(attack: Attack) -> None:
        def make() -> Any:
            link = attack.connect()
            attack.reader.add(link)
            return link

        attack.flood(make, lambda link: data)

    return attack


def slowly(attack: Attack) -> None:
    """Three hundred heads, of which a byte arrives now and then."""
    links = [attack.connect() for _ in range(300)]
    for link in links:
        attack.reader.add(link)
        link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    while attack.on:
        for link in links:
            try:
                link.send(b"a")
            except OSError as error:
                attack.count(error)
        attack.answers["rounds"] += 1
        time.sleep(0.05)


def unread(attack: Attack) -> None:
    """Many connections ask for files, and read nothing."""
    while attack.on and len(attack.kept) < 900:
        try:
            link = attack.connect(receive_buffer=4096)
            link.sendall(request("/static/kschat/socketio.js") * 20)
            attack.kept.append(link)
            attack.answers["connections"] += 1
        except OSError as error:
            attack.count(error)
    attack.wait()


def _row(name: str, what: str, data: bytes, *answers: str, **settings: object) -> Row:
    return Row(name=name, kind="HTTP", what=what, attack=pipelined(data), answers=answers, settings=settings)


CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
POLL = f"{PATH}?EIO=4&transport=polling"

ROWS = (
    _row("page", "pipelined requests for the page", request("/") * 1000, "200"),
    _row("missing", "pipelined requests for nothing", request("/x") * 1000, "404"),
    _row("metrics", "pipelined /metrics", request("/metrics") * 1000, "200"),
    _row(
        "metrics-gzip",
        "/metrics, a different version each time",
        b"".join(request("/metrics", f"Accept: application/openmetrics-text; version=1.0.{n}") for n in range(300)),
        "200",
    ),
    _row("healthz", "pipelined /healthz", request("/healthz") * 1000, "200"),
    _row("refused", "requests to Engine.IO that are wrong", request(f"{PATH}?EIO=9") * 1000, "400"),
    _row("options", "OPTIONS of another origin", request(POLL, "Origin: http://a", method="OPTIONS") * 1000, "400"),
    _row("head", "HEAD of the page", request("/", method="HEAD") * 1000, "200"),
    _row(
        "keep-alive-1.0", "HTTP/1.0 with keep-alive", request("/", "Connection: keep-alive", version="1.0") * 500, "200"
    ),
    _row(
        "static-ranges",
        "ranges of a file",
        request("/static/kschat/socketio.js", "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(0, 1000, 2))) * 20,
        "206",
    ),
    _row(
        "static-etags",
        "a file with thousands of ETags",
        request("/static/kschat/socketio.js", 'If-None-Match: "' + '", "'.join(map(str, range(1000))) + '"') * 10,
        "200",
    ),
    _row("headers", "490 headers", request("/x", *["a:b"] * 490) * 10, "404"),
    _row("cookies", "thousands of cookies", request("/x", "Cookie: " + "a=b;" * 3900) * 5, "404"),
    _row("query", "thousands of arguments in a query", request(PATH + "?" + "a=b&" * 3900) * 5, "400"),
    _row("query-escapes", "a query of escapes", request(PATH + "?a=" + "%61" * 5000) * 5, "400"),
    _row(
        "forwarded", "thousands of hops in X-Forwarded-For", request("/x", "X-Forwarded-For: " + "1," * 7000) * 5, "404"
    ),
    _row("jsonp", "sessions by JSONP", request(f"{POLL}&j=0") * 500, "200", "429", rate_burst=1),
    _row("chunks", "a body in chunks of one byte", CHUNKED % b"/x" + b"1\r\na\r\n" * 200_000, "404"),
    _row("chunks-engine", "the same to Engine.IO", CHUNKED % f"{POLL}&sid=x".encode() + b"1\r\na\r\n" * 200_000, "400"),
    *(
        _row(f"method-{method.lower()}", f"{method} of a session", request(POLL, method=method) * 1000, "400")
        for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "LOCK")
    ),
    _row("method-long", "a method of 2,000 letters", request(POLL, method="M" * 2000) * 200, "400"),
    _row("method-post-page", "POST to the page", request("/", "Content-Length: 0", method="POST") * 1000, "405"),
    _row("method-put-static", "PUT of a file", request("/static/x", method="PUT") * 1000, "501"),
    _row("options-any", "OPTIONS of everything", request("*", method="OPTIONS") * 1000, "200"),
    _row("target-absolute", "whole URLs as targets", request("http://x" + "/a" * 3000) * 50, "400"),
    _row("target-dots", "targets of dots", request("/static/" + "../" * 4000) * 20, "400"),
    _row("target-escapes", "targets of escapes", request("/static/" + "%2e" * 5000) * 20, "404"),
    _row("target-slashes", "targets of slashes", request("/" * 15_000) * 20, "400"),
    _row("static-index", "a file, plain", request("/static/kschat/socketio.js") * 200, "200"),
    _row(
        "static-gzip",
        "a file, compressed",
        request("/static/kschat/socketio.js", "Accept-Encoding: gzip") * 200,
        "200",
    ),
    _row(
        "static-encodings",
        "thousands of encodings",
        request("/static/kschat/socketio.js", "Accept-Encoding: " + "a;q=0.1," * 1900) * 5,
        "200",
    ),
    Row(
        name="client",
        kind="HTTP",
        what="the client's script",
        attack=pipelined(request(PATH + "socket.io.js") * 500),
        settings={"client_dist": REPOSITORY / "tests/node/node_modules/sio4/dist"},
        answers=("200",),
    ),
    _row(
        "expect",
        "bodies that wait for a 100",
        (request("/x", "Expect: 100-continue", "Content-Length: 9", method="POST") + b"x" * 9) * 500,
        "404",
    ),
    _row("lengths", "two lengths", request("/x", "Content-Length: 1", "Content-Length: 2", method="POST") * 500, "400"),
    _row(
        "length-digits",
        "a length of thousands of digits",
        request("/x", "Content-Length: " + "9" * 5000, method="POST") * 20,
        "413",
    ),
    _row(
        "encodings",
        "two transfer encodings",
        request("/x", "Transfer-Encoding: gzip, chunked", method="POST") * 500,
        "400",
    ),
    _row(
        "chunk-extensions",
        "chunks with long extensions",
        CHUNKED % b"/x" + (b"1;" + b"x" * 1000 + b"\r\na\r\n") * 500,
        "404",
    ),
    _row(
        "chunk-trailers", "a body with thousands of trailers", CHUNKED % b"/x" + b"0\r\n" + b"a: b\r\n" * 20_000, "404"
    ),
    _row(
        "header-folds",
        "a header of thousands of lines",
        b"GET /x HTTP/1.1\r\nHost: x\r\na: b\r\n" + b" c\r\n" * 3000 + b"\r\n",
        "404",
    ),
    _row("head-endless", "a head without an end", b"GET /x HTTP/1.1\r\n" + b"a: b\r\n" * 100_000, "400"),
    _row("line-endless", "a line without an end", b"GET /" + b"x" * 1_000_000, "closed"),
    _row("lines-empty", "empty lines before a request", b"\r\n" * 100_000, "400"),
    _row("jsonp-index", "JSONP with an index of many digits", request(f"{POLL}&j=" + "9" * 5000) * 20, "200"),
    _row("jsonp-bad-index", "JSONP with an index of letters", request(f"{POLL}&j=alert(1)") * 500, "200"),
    _row("sids", "sessions that are not there, of 400 characters", request(f"{POLL}&sid=" + "A" * 400) * 500, "400"),
    _row(
        "base-query",
        "arguments with escapes",
        request(f"{POLL}&" + "&".join(f"a{n}=%41%42" for n in range(90))) * 100,
        "200",
    ),
    _row(
        "upgrades-bad",
        "WebSocket handshakes of a wrong version",
        upgrade_request("EIO=4&transport=websocket").replace(b"Version: 13", b"Version: 99") * 100,
        "400",
    ),
    _row(
        "upgrades-extensions",
        "handshakes with thousands of extensions",
        upgrade_request("EIO=4&transport=websocket", "permessage-deflate; client_max_window_bits=15, " * 300),
        "101",
    ),
    _row(
        "upgrades-protocols",
        "handshakes with thousands of subprotocols",
        upgrade_request("EIO=4&transport=websocket").replace(
            b"Upgrade: websocket", b"Upgrade: websocket\r\nSec-WebSocket-Protocol: " + b"a," * 7000
        ),
        "400",
    ),
    Row(
        name="demo-page",
        kind="HTTP",
        what="the demo's page, for different users each time",
        attack=pipelined(b"".join(request(f"/?uid=u{n}&rid=v{n}", host="127.0.0.1") for n in range(500))),
        settings={"demo": True},
        answers=("200",),
    ),
    Row(
        name="demo-tokens",
        kind="HTTP",
        what="the demo's tokens",
        attack=pipelined(b"".join(request(f"/demo/token?uid=u{n}", host="127.0.0.1") for n in range(500))),
        settings={"demo": True},
        answers=("200",),
    ),
    Row(name="slowloris", kind="HTTP", what="heads that drip in", attack=slowly, connections=1),
    Row(name="unread-answers", kind="HTTP", what="files that are asked for and not read", attack=unread, connections=1),
)
