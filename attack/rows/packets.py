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


def mp(values: bytes) -> Callable[[Attack], None]:
    """One packet of msgpack of a client without a token."""
    return flood(always(frame(packed(values), 2)))


def joined_mp(values: bytes) -> Callable[[Client], bytes]:
    """The content of a ``Send`` in msgpack."""
    head = b"\x83\xa4type\x02\xa3nsp\xa7/kschat\xa4data\x92\xa4Send\x83\xa3uId\xa1a\xa3pId\xa1b\xa3msg"
    return lambda client: frame(head + values, 2)


def body(revision: int, text: bytes, *, joins: bool = False, query: str = "") -> Callable[[Attack], None]:
    """One body for one new polling session after the other."""

    def once(attack: Attack) -> None:
        with attack.connect() as link:
            auth = f"&token={token(attack.user)}&ksId={attack.user}" if joins else ""
            sid = session(link, f"EIO={revision}&transport=polling{auth}")
            more = f"{sid}{query}"
            if joins:
                link.sendall(post(revision, sid, b"40/kschat," if revision == 4 else b"10:40/kschat,"))
                link.recv(65536)
            link.sendall(post(revision, more, text))
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


#: A polling session that sends no request any more ends when its heartbeat is missing: within the time of a row.
HEARTBEAT = {"ping_interval": 4, "ping_timeout": 3}


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
    _row(
        "body-pings3",
        "a body of 330,000 pings of revision 3",
        body(3, b"1:2" * 330_000, joins=True),
        settings=HEARTBEAT,
    ),
    _row("body-emoji3", "emoji in a body of revision 3", body(3, payload3("6" + "😀" * 240_000), joins=True)),
    _row("body-emoji3-many", "many packets with emoji", body(3, "3:6😀".encode() * 160_000, joins=True)),
    _row("body-base64", "binary as base64", body(4, b"b" + b"AAAA" * 240_000, joins=True)),
    _row("body-bad-utf8", "bytes that are no text", body(4, b"6" + b"\xff" * 980_000, joins=True), answers=("200",)),
    _row(
        "body-joins",
        "300,000 CONNECTs and DISCONNECTs in a body",
        body(4, b"\x1e".join([b"40", b"41"] * 150_000), joins=True),
    ),
    _joined(
        "digits-ids",
        "ids of 4,000 digits",
        lambda c: frame(b'42/kschat,1["Send",{"uId":%b,"pId":1,"msg":1}]' % (b"1" * 4000)) * 50,
    ),
    _joined(
        "digits-exponents",
        "ids with large exponents",
        lambda c: frame(b'42/kschat,1["Send",{"uId":1e999999999,"pId":1e-999999999,"msg":1}]') * 1000,
    ),
    _joined("keys-long", "one name of 900 kB", message(b'{"' + b"k" * 900_000 + b'":1}')),
    _joined(
        "rno",
        "an rno of 900 kB",
        lambda c: frame(b'42/kschat,1["Send",{"uId":1,"pId":2,"msg":1,"rno":"%b"}]' % (b"r" * 900_000)),
    ),
    _joined(
        "fields",
        "an object of 900 kB beside msg",
        lambda c: frame(
            b'42/kschat,1["Send",{"uId":"%b","pId":"b","msg":1,"x":[%b]}]' % (c.user.encode(), fit(b"1", 190_000))
        ),
    ),
    _joined(
        "send-array", "Send with an array of values", lambda c: frame(b'42/kschat,1["Send",[%b]]' % fit(b"1", 190_000))
    ),
    _joined("surrogates-many", "39,000 halves of surrogate pairs", message(b'"' + b"\\ud800a" * 39_000 + b'"')),
    _joined("backslashes", "backslashes, 970 kB", message(b'"' + b"\\\\" * 485_000 + b'"')),
    _joined("quotes", "escaped quotes, 970 kB", message(b'"' + b'\\"' * 485_000 + b'"')),
    _joined(
        "numbers-zeros",
        "numbers of many zeros after a point",
        message(b"[" + fit(b"0." + b"0" * 40 + b"1", 40_000) + b"]"),
    ),
    _joined("numbers-fraction", "one fraction of 970,000 digits", message(b"0." + b"1" * 970_000)),
    _joined("numbers-minus", "negative zeros", message(b"[" + fit(b"-0", 280_000) + b"]")),
    _joined("commas", "commas within a string", message(b'"' + b"," * 970_000 + b'"')),
    _joined("brackets", "brackets within a string", message(b'"' + b"[" * 970_000 + b'"')),
    _joined("bad-json", "JSON that ends early", message(b"[" * 60 + b"1," * 90_000)),
    _joined(
        "presence-ids",
        "Presence of 490,000 ids",
        lambda c: frame(b'42/kschat,1["Presence",{"ids":[%b]}]' % fit(b"1", 190_000)),
    ),
    _joined(
        "presence-digits",
        "Presence of ids of 4,000 digits",
        lambda c: frame(b'42/kschat,1["Presence",{"ids":[%b]}]' % fit(b"1" * 4000, 190_000)),
    ),
    _joined(
        "history-fields",
        "History with 900 kB beside",
        lambda c: frame(b'42/kschat,1["History",{"pId":"a","x":"%b"}]' % (b"x" * 900_000)),
    ),
    _joined(
        "logout-fields",
        "Logout with 190 kB of numbers",
        lambda c: frame(b'42/kschat,1["Logout",{"all":[%b]}]' % fit(b"1.0", 190_000)),
    ),
    _joined(
        "read-floats",
        "numbers to be read as whole",
        lambda c: frame(b'42/kschat,1["Read",{"pId":"a","mid":"x","y":[%b]}]' % fit(b"1.0", 190_000)),
    ),
    _joined("ack-deep", "an ack of nested arrays", lambda c: frame(b"43/kschat,1" + nested(180_000))),
    _joined(
        "binary-attachments",
        "ten attachments of 90 kB",
        lambda c: (
            frame(
                b'4510-/kschat,1["Send",{"uId":"%b","pId":"b","msg":[%b]}]'
                % (c.user.encode(), b",".join(b'{"_placeholder":true,"num":%d}' % n for n in range(10)))
            )
            + frame(b"x" * 90_000, 2) * 10
        ),
    ),
    _joined(
        "binary-num",
        "placeholders whose numbers have exponents",
        lambda c: (
            frame(b'451-/kschat,1["Send",[%b]]' % fit(b'{"_placeholder":true,"num":0e0}', 140_000)) + frame(b"x", 2)
        ),
    ),
    _joined(
        "binary-num-long",
        "a placeholder's number of 20 digits",
        lambda c: (
            frame(b'451-/kschat,1["Send",[%b]]' % fit(b'{"_placeholder":true,"num":%b}' % (b"0" * 20), 140_000))
            + frame(b"x", 2)
        ),
    ),
    _row("msgpack-bin", "an array of bin values in msgpack", mp(array(4000) + b"\xc4\0" * 4000)),
    _row("msgpack-ext", "an array of ext values in msgpack", mp(array(3000) + b"\xd4\0\0" * 3000)),
    _row("msgpack-dates", "dates in msgpack", mp(array(1500) + b"\xd7\0" * 1500 + b"\0" * 13_000)),
    _row("msgpack-depth", "nested arrays in msgpack", mp(b"\x91" * 15_000 + b"\xc0")),
    _row(
        "msgpack-keys",
        "maps with many keys",
        mp(b"\xdf\0\0\x0b\xb8" + b"".join(b"\xa4%04d\1" % n for n in range(3000))),
    ),
    _row("msgpack-lengths", "an array whose length is a lie", mp(b"\xdd\xff\xff\xff\xff")),
    _joined(
        "msgpack-text", "a text of 900 kB in msgpack", joined_mp(b"\xdb" + struct.pack(">I", 900_000) + b"x" * 900_000)
    ),
    _joined(
        "msgpack-halves",
        "halves of surrogate pairs in msgpack",
        joined_mp(b"\xdb" + struct.pack(">I", 900_000) + b"\xed\xa0\x80" * 300_000),
    ),
    _joined("msgpack-numbers", "200,000 numbers in msgpack", joined_mp(array(200_000) + b"\1" * 200_000)),
    _joined(
        "msgpack-floats",
        "90,000 doubles in msgpack",
        joined_mp(array(90_000) + b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff" * 90_000),
    ),
    _joined(
        "msgpack-nested",
        "nested arrays in msgpack, joined",
        joined_mp(array(30_000) + (b"\x91" * 30 + b"\xc0") * 30_000),
    ),
    _row("body-binary3", "a packed body of small packets", body(3, b"\0\1\xff6" * 240_000, joins=True)),
    _row(
        "body-binary3-bad", "a packed body with a length of many digits", body(3, b"\0" + b"\x09" * 900_000, joins=True)
    ),
    _row("body-lengths3", "lengths without packets", body(3, b"0:" * 490_000, joins=True)),
    _row(
        "body-base64-many",
        "small attachments as base64",
        body(4, b"\x1e".join([b"bAQID"] * 160_000), joins=True),
        answers=("400",),
    ),
    _row(
        "body-sends",
        "messages in one body",
        body(4, b"\x1e".join([b'42/kschat,["Send",{"uId":1,"pId":2,"msg":3}]'] * 20_000), joins=True),
    ),
    _row("body-pongs", "pongs in one body", body(4, b"\x1e".join([b"3"] * 490_000), joins=True)),
    _row(
        "body-jsonp",
        "a form of JSONP with escapes",
        body(4, b"d=" + b"%36" * 16_000 + b"\\\\n" * 200_000, joins=True, query="&j=1"),
    ),
    _row(
        "body-jsonp-escapes",
        "a form of more escapes than there may be",
        body(4, b"d=" + b"%36" * 320_000, joins=True, query="&j=1"),
        answers=("400",),
    ),
    _row(
        "body-halves", "halves of surrogate pairs in a body", body(4, b'42/kschat,["Send",' + HALVES + b"]", joins=True)
    ),
)
