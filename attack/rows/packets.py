"""Single packets whose content takes long, by WebSocket, with and without compression, and as bodies of POSTs."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from attack.rows.turns import always, flood
from attack.scenario import Attack, Row
from attack.wire import PATH, Client, deflated, frame, send_raw
from tests.support.tokens import token

PLACEHOLDER = b'{"_placeholder":true,"num":0}'


def fit(unit: bytes, size: int = 980_000) -> bytes:
    """As many of ``unit`` as fit, with commas."""
    return b",".join([unit] * (size // (len(unit) + 1)))


def nested(size: int = 970_000) -> bytes:
    """Arrays within arrays."""
    return b"[" + fit(b"[" * 50 + b"]" * 50, size) + b"]"


def message(msg: bytes) -> Callable[[Client], bytes]:
    """A Send with this content."""
    return lambda client: frame(send_raw(client.user, "nobody", msg))


def binary(msg: bytes) -> Callable[[Client], bytes]:
    """The same with an attachment."""

    def data(client: Client) -> bytes:
        text = send_raw(client.user, "nobody", b'{"b":%b,"x":%b}' % (PLACEHOLDER, msg))
        return frame(b"451-" + text[2:]) + frame(b"\1\2\3", 2)

    return data


def packed(values: bytes) -> bytes:
    """An event of msgpack; ``values``: what follows its name."""
    return b"\x83\xa4type\x02\xa3nsp\xa7/kschat\xa4data\x92\xa4Send" + values


def array(count: int) -> bytes:
    """The head of an array of msgpack."""
    return b"\xdd" + struct.pack(">I", count)


def body(revision: int, text: bytes, *, joins: bool = False) -> Callable[[Attack], None]:
    """One body for one new polling session after the other."""

    def once(attack: Attack) -> None:
        with attack.connect() as link:
            auth = f"&token={token(attack.user)}&ksId={attack.user}" if joins else ""
            sid = session(link, f"EIO={revision}&transport=polling{auth}")
            if joins:
                link.sendall(post(revision, sid, b"40/kschat," if revision == 4 else b"10:40/kschat,"))
                link.recv(65536)
            link.sendall(post(revision, sid, text))
            attack.answers[link.recv(65536)[9:12].decode("latin-1") or "closed"] += 1

    return lambda attack: attack.again(lambda: once(attack))


def session(link: Any, query: str) -> str:
    """Begin a polling session, and return its id."""
    link.sendall(f"GET {PATH}?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    data = b""
    while b'"sid":"' not in data:
        part = link.recv(65536)
        if not part or b"HTTP/1.1 200" not in data + part:
            raise ConnectionRefusedError((data + part)[:40].decode("latin-1"))
        data += part
    found: str = json.loads(data[data.index(b"{") : data.rindex(b"}") + 1])["sid"]
    return found


def post(revision: int, sid: str, text: bytes) -> bytes:
    """The request of a POST."""
    line = f"POST {PATH}?EIO={revision}&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n"
    return f"{line}Content-Length: {len(text)}\r\n\r\n".encode() + text


def payload3(text: str) -> bytes:
    """One packet of a payload of revision 3."""
    return b"%d:" % (len(text.encode("utf-16-le")) // 2) + text.encode()


def _row(name: str, what: str, attack: Callable[[Attack], None], **more: Any) -> Row:
    return Row(name=name, kind="CPU of a packet", what=what, attack=attack, **more)


def _joined(name: str, what: str, data: Callable[[Client], bytes], **more: Any) -> Row:
    # What is one packet as large as may be; rates would let few of them through.
    return _row(name, what, flood(data, join=True), settings={"rate_socket_bytes": 0, "rate_user_bytes": 0}, **more)


HALVES = b'"' + b"\\ud800" * 160_000 + b'"'

ROWS = (
    _row(
        "anon-depth",
        "1 MB of nested arrays without a token",
        flood(
            always(frame(send_raw("x", "y", nested()))),
        ),
        answers=("closed 1009",),
    ),
    _row(
        "anon-halves",
        "1 MB of halves of surrogate pairs without a token",
        flood(always(frame(send_raw("x", "y", HALVES)))),
        answers=("closed 1009",),
    ),
    _joined("depth", "arrays within arrays, 1 MB", message(nested()), answers=("closed 1002",)),
    _joined("halves", "escaped halves of surrogate pairs, 1 MB", message(HALVES), answers=("closed 1002",)),
    _joined("empties", "empty arrays, 1 MB", message(b"[" + fit(b"[]") + b"]"), answers=("closed 1002",)),
    _joined("objects", "empty objects, 1 MB", message(b"[" + fit(b"{}") + b"]"), answers=("closed 1002",)),
    _joined("keys", "one object of many keys", message(b"{" + b",".join(b'"%d":1' % n for n in range(70_000)) + b"}")),
    _joined("numbers", "small numbers, 1 MB", message(b"[" + fit(b"1") + b"]"), answers=("closed 1002",)),
    _joined("numbers-e", "numbers with exponents, 1 MB", message(b"[" + fit(b"1e5") + b"]"), answers=("closed 1002",)),
    _joined(
        "numbers-long",
        "numbers of 23 digits, 1 MB",
        message(b"[" + fit(b"12345678901234567890123") + b"]"),
        answers=("ER 1",),
    ),
    _joined("number-one", "one number of 970,000 digits", message(b"1" * 970_000)),
    _joined("text", "one string of 970 kB", message(b'"' + b"a" * 970_000 + b'"')),
    _joined("emoji", "one string of emoji, 960 kB", message(b'"' + "😀".encode() * 240_000 + b'"')),
    _joined("escapes", "escapes, 980 kB", message(b'"' + b"\\n" * 485_000 + b'"')),
    _joined("escapes-u", "escapes of letters, 960 kB", message(b'"' + b"\\u0041" * 160_000 + b'"')),
    _joined("spaces", "spaces, 980 kB", message(b" " * 980_000 + b"1")),
    _joined(
        "arguments",
        "an event of 490,000 arguments",
        lambda c: frame(b'42/kschat,1["Send",' + fit(b"1") + b"]"),
        answers=("closed 1002",),
    ),
    _joined(
        "event-name",
        "a name of 980 kB",
        lambda c: frame(b'42/kschat,1["' + b"a" * 980_000 + b'"]'),
        answers=("closed 1002",),
    ),
    _joined("ack-arguments", "an ack of 490,000 arguments", lambda c: frame(b"43/kschat,1[" + fit(b"1") + b"]")),
    _joined(
        "not-joined",
        "1 MB for a namespace that was not joined",
        lambda c: frame(b'42/other,1["Send",' + nested() + b"]"),
        answers=("closed",),
    ),
    _joined(
        "binary-empties",
        "empty arrays beside an attachment",
        binary(b"[" + fit(b"[]", 900_000) + b"]"),
        answers=("closed 1002",),
    ),
    _joined("binary-depth", "nested arrays beside an attachment", binary(nested(900_000)), answers=("closed 1002",)),
    _joined(
        "binary-placeholders",
        "many placeholders of one attachment",
        binary(b"[" + fit(PLACEHOLDER, 900_000) + b"]"),
        answers=("closed 1002",),
    ),
    _joined(
        "binary-placeholders-few",
        "as many placeholders as values may be",
        binary(b"[" + fit(PLACEHOLDER, 100_000) + b"]"),
    ),
    _joined("binary-escapes", "escapes beside an attachment", binary(b'"' + b"\\u0041" * 150_000 + b'"')),
    _row(
        "msgpack-integers",
        "an array of 980,000 integers in msgpack, no token",
        flood(always(frame(packed(array(980_000) + b"\1" * 980_000), 2))),
        answers=("closed",),
    ),
    _row(
        "msgpack-maps",
        "empty maps in msgpack, no token",
        flood(always(frame(packed(array(980_000) + b"\x80" * 980_000), 2))),
        answers=("closed",),
    ),
    _joined(
        "msgpack-noise",
        "msgpack on a connection that speaks JSON",
        lambda c: frame(packed(array(490_000) + b"\xa1\xc4" * 490_000), 2),
        answers=("closed 1002",),
    ),
    _row(
        "bombs",
        "1 kB that inflates to 1 MB, no token",
        flood(always(frame(deflated(b"4" + b" " * 999_990), rsv1=True) * 20), deflate=True),
        settings={"deflate": True},
        answers=("closed 1009",),
    ),
    _row(
        "bombs-joined",
        "the same of a joined client",
        flood(
            lambda c: frame(deflated(send_raw(c.user, "nobody", b"[" + fit(b"[]") + b"]")), rsv1=True) * 20,
            deflate=True,
            join=True,
        ),
        settings={"deflate": True},
        answers=("closed 100",),
    ),
    _row(
        "deflated-small",
        "compressed noops",
        flood(always(frame(deflated(b"6"), rsv1=True) * 5000), deflate=True),
        settings={"deflate": True},
    ),
    _row("body-noops", "a body of 490,000 noops", body(4, b"\x1e".join([b"6"] * 490_000)), answers=("413",)),
    _row(
        "body-noops-joined",
        "the same of a joined client",
        body(4, b"\x1e".join([b"6"] * 490_000), joins=True),
        answers=("200",),
    ),
    _row("body-pings3", "a body of 330,000 pings of revision 3", body(3, b"1:2" * 330_000, joins=True)),
    _row("body-emoji3", "emoji in a body of revision 3", body(3, payload3("6" + "😀" * 240_000), joins=True)),
    _row("body-emoji3-many", "many packets with emoji", body(3, "3:6😀".encode() * 160_000, joins=True)),
    _row("body-base64", "binary as base64", body(4, b"b" + b"AAAA" * 240_000, joins=True)),
    _row("body-bad-utf8", "bytes that are no text", body(4, b"6" + b"\xff" * 980_000, joins=True), answers=("400",)),
    _row(
        "body-joins",
        "300,000 CONNECTs and DISCONNECTs in a body",
        body(4, b"\x1e".join([b"40", b"41"] * 150_000), joins=True),
    ),
    _row(
        "body-halves", "halves of surrogate pairs in a body", body(4, b'42/kschat,["Send",' + HALVES + b"]", joins=True)
    ),
)
