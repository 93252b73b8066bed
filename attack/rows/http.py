"""Requests, bodies in chunks, what is served, and who sends slowly."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attack.scenario import Attack, Row
from attack.wire import PATH


def request(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


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


def _row(name: str, what: str, data: bytes, *answers: str) -> Row:
    return Row(name=name, kind="HTTP", what=what, attack=pipelined(data), answers=answers)


CHUNKED = b"POST %b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
POLL = f"{PATH}?EIO=4&transport=polling"

ROWS = (
    _row("page", "pipelined requests for the page", request("/") * 1000, "200"),
    _row("missing", "pipelined requests for nothing", request("/x") * 1000, "404"),
    _row("metrics", "pipelined /metrics", request("/metrics") * 1000, "200"),
    _row(
        "metrics-gzip",
        "/metrics, each time of another version",
        b"".join(request("/metrics", f"Accept: application/openmetrics-text; version=1.0.{n}") for n in range(300)),
        "200",
    ),
    _row("healthz", "pipelined /healthz", request("/healthz") * 1000, "200"),
    _row("refused", "requests to Engine.IO that are wrong", request(f"{PATH}?EIO=9") * 1000, "400"),
    _row("options", "OPTIONS of another origin", request(POLL, "Origin: http://a", method="OPTIONS") * 1000),
    _row("head", "HEAD of the page", request("/", method="HEAD") * 1000, "200"),
    _row(
        "keep-alive-1.0", "HTTP/1.0 with keep-alive", request("/", "Connection: keep-alive", version="1.0") * 500, "200"
    ),
    _row(
        "static-ranges",
        "ranges of a file",
        request("/static/kschat/socketio.js", "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(0, 1000, 2))) * 20,
    ),
    _row(
        "static-etags",
        "a file with thousands of ETags",
        request("/static/kschat/socketio.js", 'If-None-Match: "' + '", "'.join(map(str, range(1000))) + '"') * 10,
    ),
    _row("headers", "490 headers", request("/x", *["a:b"] * 490) * 10),
    _row("cookies", "thousands of cookies", request("/x", "Cookie: " + "a=b;" * 3900) * 5),
    _row("query", "thousands of arguments in a query", request(PATH + "?" + "a=b&" * 3900) * 5, "400"),
    _row("query-escapes", "a query of escapes", request(PATH + "?a=" + "%61" * 5000) * 5, "400"),
    _row("forwarded", "thousands of hops in X-Forwarded-For", request("/x", "X-Forwarded-For: " + "1," * 7000) * 5),
    _row("jsonp", "sessions by JSONP", request(f"{POLL}&j=0") * 500, "200", "429"),
    _row("chunks", "a body in chunks of one byte", CHUNKED % b"/x" + b"1\r\na\r\n" * 200_000),
    _row("chunks-engine", "the same to Engine.IO", CHUNKED % f"{POLL}&sid=x".encode() + b"1\r\na\r\n" * 200_000),
    Row(name="slowloris", kind="HTTP", what="heads that drip in", attack=slowly, connections=1),
    Row(name="unread-answers", kind="HTTP", what="files that are asked for and not read", attack=unread, connections=1),
)
