"""Many small packets at once: work in one turn, and answers that nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from attack.scenario import Attack, Row
from attack.wire import Client, deflated, event, frame, send
from tests.support.tokens import token


def flood(
    data: Callable[[Client], bytes], *, join: bool = False, reads: bool = True, **options: Any
) -> Callable[[Attack], None]:
    """The same bytes again and again on a WebSocket."""

    def attack(attack: Attack) -> None:
        def make() -> Client:
            user = attack.user if join or options.get("query") else ""
            return attack.client(reads=reads, user=user, join=join, **options)

        attack.flood(make, data)

    return attack


def always(data: bytes) -> Callable[[Client], bytes]:
    """The same for every client."""
    return lambda client: data


def _row(name: str, what: str, attack: Callable[[Attack], None], **more: Any) -> Row:
    return Row(name=name, kind="work of a turn", what=what, attack=attack, **more)


def msgpack(value: dict[str, Any]) -> bytes:
    """A packet of the msgpack parser in a frame."""
    return frame(msgspec.msgpack.encode(value), 2)


def packed(data: bytes) -> Callable[[Attack], None]:
    """``data`` again and again, from a joined client with the msgpack parser."""

    def attack(attack: Attack) -> None:
        def make() -> Client:
            client = attack.client(reads=False, user=attack.user)
            client.socket.sendall(msgpack({"type": 0, "nsp": "/kschat"}))
            while b"/kschat" not in client.next()[1]:
                pass
            attack.reader.add(client.socket)
            return client

        attack.flood(make, lambda client: data)

    return attack


def of_msgpack(name: str, *arguments: object, number: int | None = None) -> bytes:
    """An event in msgpack."""
    return msgpack(
        {"type": 2, "nsp": "/kschat", "data": [name, *arguments]} | ({} if number is None else {"id": number})
    )


def drips(attack: Attack) -> None:
    """A message that arrives by single bytes, on fifty sockets."""
    clients = [attack.client() for _ in range(50)]
    data = frame(b"6" + b"x" * 200)
    at = 0
    while attack.on:
        for client in clients:
            try:
                client.socket.send(data[at : at + 1])
            except OSError as error:
                attack.count(error)
        attack.answers["rounds"] += 1
        at = (at + 1) % len(data)


JOIN = event("Join", {"room": "#f"}, ack=1) + event("Leave", {"room": "#f"}, ack=2)

ROWS = (
    _row("eio3-pings", "Engine.IO pings, no token", flood(always(frame(b"2") * 9000), revision=3)),
    _row("eio4-pongs", "Engine.IO pongs that nobody asked for, no token", flood(always(frame(b"3") * 9000))),
    _row("noops", "Engine.IO noops, no token", flood(always(frame(b"6") * 9000))),
    _row("ws-pings", "RFC 6455 pings, no token", flood(always(frame(b"", 9) * 10000))),
    _row("ws-pings-125", "RFC 6455 pings of 125 bytes", flood(always(frame(b"p" * 125, 9) * 500))),
    _row("ws-pongs", "RFC 6455 pongs, no token", flood(always(frame(b"", 10) * 10000))),
    _row(
        "pings-unread",
        "RFC 6455 pings whose pongs are not read",
        flood(always(frame(b"p" * 125, 9) * 500), reads=False, receive_buffer=4096),
    ),
    _row(
        "eio3-pings-unread",
        "Engine.IO pings whose pongs are not read",
        flood(always(frame(b"2" + b"p" * 100) * 500), reads=False, receive_buffer=4096, revision=3),
    ),
    _row(
        "acks-unread",
        "refused events whose answers are not read",
        flood(always(event("Send", {}, ack=1) * 500), join=True, reads=False, receive_buffer=4096),
    ),
    _row("acks", "acks that answer nothing", flood(always(frame(b"43/kschat,[]") * 4000), join=True)),
    _row(
        "ack-numbers",
        "acks of numbers that were never given, all different",
        flood(lambda client: b"".join(frame(b"43/kschat,%d[]" % n) for n in range(4000)), join=True),
    ),
    _row(
        "unknown-events",
        "events with unknown names, as fast as they go",
        flood(always(event("Nonsense", {"a": 1}, ack=1) * 2000), join=True),
        settings={"rate_burst": 1},
        answers=("closed 1008",),
    ),
    _row(
        "bad-sends",
        "Send without its fields",
        flood(always(event("Send", {}, ack=1) * 2500), join=True),
        answers=("ER 1",),
    ),
    _row("lobby-events", "events before the chat is joined", flood(always(frame(b'42["what"]') * 4000), revision=3)),
    _row(
        "join-leave",
        "CONNECT and DISCONNECT of the main namespace for ever",
        flood(always((frame(b"40") + frame(b"41")) * 3000)),
        answers=("closed 1008",),
    ),
    _row(
        "join-leave-chat",
        "CONNECT and DISCONNECT of the chat for ever",
        flood(always((frame(b"40/kschat,") + frame(b"41/kschat,")) * 2000), query="&x=1"),
        answers=("closed 1008",),
    ),
    _row(
        "join-unknown",
        "CONNECT to namespaces that are not there",
        flood(lambda client: b"".join(frame(b"40/no%d," % n) for n in range(3000))),
        answers=("closed",),
    ),
    _row(
        "join-large-auth",
        "CONNECT with an auth of 15 kB",
        flood(always(frame(b'40/kschat,{"token":"' + b"a.b" * 5000 + b'"}') * 50)),
        answers=("closed",),
    ),
    _row(
        "fragments-empty",
        "one message in empty continuation frames",
        flood(always(frame(b"4", fin=False) + frame(b"", 0, fin=False) * 20000)),
        answers=("closed 1009",),
    ),
    _row(
        "fragments-bytes",
        "one message in continuation frames of a byte",
        flood(always(frame(b"4", fin=False) + frame(b"a", 0, fin=False) * 20000)),
        answers=("closed 1009",),
    ),
    _row(
        "fragments-messages",
        "messages of three fragments",
        flood(always((frame(b"6", fin=False) + frame(b"", 0, fin=False) + frame(b"", 0)) * 3000)),
    ),
    _row(
        "attachments-never",
        "events with attachments that never come whole",
        flood(
            always(
                frame(
                    b'4510-/kschat,["Send",'
                    + b",".join(b'{"_placeholder":true,"num":%d}' % n for n in range(10))
                    + b"]"
                )
                + frame(b"x" * 90_000, 2) * 9
            ),
            join=True,
        ),
    ),
    _row(
        "attachments-wrong",
        "attachments that nobody announced",
        flood(always(frame(b"x", 2) * 3000), join=True),
        answers=("closed 1002",),
    ),
    _row(
        "upgrade-probes",
        "probes of an upgrade for ever",
        flood(always(frame(b"2probe") * 6000)),
    ),
    _row(
        "sends",
        "valid messages as fast as they go",
        flood(lambda c: send(c.user, "nobody") * 300, join=True),
        answers=("ER 4",),
    ),
    *(
        _row(
            f"sends-{store}",
            "valid messages as fast as they go",
            flood(lambda c: send(c.user, "nobody") * 300, join=True),
            backend=store,
            answers=("ER 4",),
        )
        for store in ("sqlite", "redis")
    ),
    _row(
        "sends-large",
        "messages of 900 kB as fast as they go",
        flood(lambda c: send(c.user, "nobody", "x" * 900_000), join=True),
        answers=("ER 4",),
    ),
    _row(
        "typing",
        "Typing to somebody who is away",
        flood(lambda c: event("Typing", {"pId": "nobody"}) * 1000, join=True),
    ),
    _row("rooms-flap", "Join and Leave for ever", flood(always(JOIN * 100), join=True)),
    _row("logout", "Logout for ever", flood(always(event("Logout", {}, ack=1) * 5), join=True)),
    _row(
        "acks-outstanding",
        "requests with other ack numbers, thousands at once",
        flood(
            lambda c: b"".join(event("History", {"pId": f"u{n}"}, ack=n) for n in range(3000)),
            join=True,
        ),
    ),
    _row(
        "eio3-pings-large",
        "Engine.IO pings of 900 kB",
        flood(always(frame(b"2" + b"p" * 900_000)), join=True, revision=3),
    ),
    _row(
        "eio3-pings-large-unread",
        "the same, whose pongs are not read",
        flood(always(frame(b"2" + b"p" * 900_000)), join=True, revision=3, reads=False, receive_buffer=4096),
    ),
    _row("eio3-base64", "binary as base64 in text", flood(always(frame(b"b4AQID") * 5000), join=True, revision=3)),
    _row(
        "eio3-lobby-joins",
        "CONNECT with a query, to the namespace that is joined already",
        flood(always(frame(b"40/?a=b") * 4000), revision=3),
    ),
    _row(
        "events-attachments",
        "events with an attachment",
        flood(always((frame(b'451-/kschat,["x",{"_placeholder":true,"num":0}]') + frame(b"x", 2)) * 1000), join=True),
    ),
    _row("control-between", "pings between fragments", flood(always(frame(b"4", fin=False) + frame(b"", 9) * 8000))),
    _row("frames-unmasked", "frames without a mask", flood(always(b"\x81\x016" * 8000)), answers=("closed 1002",)),
    _row(
        "frames-long-heads",
        "noops with lengths of eight bytes",
        flood(always(b"\x81\xff" + b"\0" * 7 + b"\1" + b"\0" * 4 + b"6" + frame(b"6") * 4000)),
    ),
    _row("frames-reserved", "reserved opcodes", flood(always(frame(b"", 11) * 8000)), answers=("closed 1002",)),
    _row("frames-close", "close frames", flood(always(frame(b"\x03\xe8", 8) * 8000))),
    _row("frames-bad-utf8", "text that is not UTF-8", flood(always(frame(b"4\xff" * 50) * 500))),
    _row("frames-drip", "a message by single bytes", drips, connections=1),
    _row(
        "frames-16k", "noops of 16 kB, which Autobahn reads", flood(always(frame(b"6" + b"x" * 16_300) * 20), join=True)
    ),
    _row(
        "frames-16k-wide",
        "the same with wide characters",
        flood(always(frame(b"6" + "\U0001f600".encode() * 4000) * 20), join=True),
    ),
    _row(
        "digits",
        "ack ids of 16 digits",
        flood(always(frame(b'42/kschat,9007199254740991["Send",{}]') * 2000), join=True),
    ),
    _row(
        "digits-more",
        "ack ids of more digits than there may be",
        flood(always(frame(b"42/kschat," + b"9" * 900 + b'["Send",{}]') * 100), join=True),
        answers=("closed 1002",),
    ),
    _row(
        "attachments-announced",
        "numbers of attachments that nobody sends",
        flood(always(frame(b"45999999-/kschat,[]") * 3000), join=True),
        answers=("closed 1002",),
    ),
    _row(
        "join-query",
        "CONNECT to the chat with a query of 8 kB",
        flood(always(frame(b"40/kschat?" + b"a=b&" * 2000 + b",") * 20)),
    ),
    _row(
        "join-deep",
        "CONNECT with nested JSON of 15 kB",
        flood(always(frame(b'40/kschat,{"a":' + b"[" * 60 + b"[]," * 4800 + b"1" + b"]" * 60 + b"}") * 50)),
    ),
    _row(
        "token-events",
        "Token with another valid token",
        flood(lambda c: event("Token", {"token": token(c.user)}, ack=1) * 500, join=True),
    ),
    _row(
        "token-events-large",
        "Token with a token of 900 kB",
        flood(lambda c: event("Token", {"token": "e30." * 225_000}, ack=1), join=True),
    ),
    _row(
        "typing-changing",
        "Typing to a different user each time",
        flood(lambda c: b"".join(event("Typing", {"pId": f"u{n}"}) for n in range(2000)), join=True),
    ),
    _row(
        "blocks-flap",
        "Block and Unblock for ever",
        flood(always((event("Block", {"pId": "a"}, ack=1) + event("Unblock", {"pId": "a"}, ack=2)) * 500), join=True),
    ),
    _row(
        "blocks-many",
        "Block of a different user each time, and the list",
        flood(
            lambda c: b"".join(event("Block", {"pId": f"b{n}"}, ack=n) + event("Blocked", ack=n) for n in range(1500)),
            join=True,
        ),
    ),
    _row(
        "reads",
        "Read of nothing",
        flood(always(event("Read", {"pId": "a", "mid": "0" * 24}, ack=1) * 800), join=True),
    ),
    _row("msgpack-noops", "small events in msgpack", packed(of_msgpack("x") * 2000)),
    _row(
        "msgpack-sends",
        "Send in msgpack",
        packed(of_msgpack("Send", {}, number=1) * 1000),
    ),
    _row("msgpack-acks", "acks in msgpack", packed(msgpack({"type": 3, "nsp": "/kschat", "data": [], "id": 7}) * 2000)),
    _row(
        "msgpack-join-leave",
        "CONNECT and DISCONNECT in msgpack",
        flood(always((msgpack({"type": 0, "nsp": "/"}) + msgpack({"type": 1, "nsp": "/"})) * 1000)),
        answers=("closed 1008",),
    ),
    _row(
        "compressed-fragments",
        "a compressed message in fragments of a byte",
        flood(
            always(frame(deflated(b"6")[:1], fin=False, rsv1=True) + frame(b"a", 0, fin=False) * 20000),
            deflate=True,
        ),
        settings={"deflate": True},
    ),
    _row(
        "compressed-events",
        "compressed events",
        flood(always(frame(deflated(b'42/kschat,1["Send",{}]'), rsv1=True) * 2000), deflate=True, join=True),
        settings={"deflate": True},
    ),
    _row(
        "relay-sends",
        "messages to a daemon without a store",
        flood(lambda c: send(c.user, "nobody") * 300, join=True),
        settings={"store": "none"},
        backend="redis",
        answers=("ER 4",),
    ),
)
