"""Many small packets at once: work in one turn, and answers that nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attack.scenario import Attack, Row
from attack.wire import Client, event, frame, send


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
        "acks of numbers that were never given, each another",
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
)
