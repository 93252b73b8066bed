"""Small requests that make much work in a store."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from attack.rows.packets import PLACEHOLDER, fit
from attack.scenario import Attack, Row
from attack.wire import Client, event, frame, send_raw

TEXT = b'"' + b"a" * 900_000 + b'"'
WRITER, VICTIM = "writer", "reader"


def write(client: Client, to: str, msg: bytes, number: int, attached: bool = False) -> None:
    """One message, and its ack."""
    text = send_raw(client.user, to, msg, ack=number)
    if attached:
        client.socket.sendall(frame(b"451-" + text[2:]) + frame(b"x", 2))
    else:
        client.socket.sendall(frame(text))
    while not client.next()[1].startswith(b"43/kschat,%d[" % number):
        pass


def large(attack: Attack) -> None:
    """Twenty messages of 900 kB, which the rate of a socket allows."""
    client = attack.joined(WRITER, reads=False)
    for number in range(20):
        write(client, VICTIM, TEXT, number)


def conversations(attack: Attack) -> None:
    """A hundred conversations whose last message is large JSON with an attachment."""
    client = attack.joined(WRITER, reads=False)
    for number in range(100):
        write(client, f"friend{number}", b"[%b,%b]" % (fit(b"1", 30_000), PLACEHOLDER), number, attached=True)


def asks(user: str, request: Callable[[int], bytes], query: str = "") -> Callable[[Attack], None]:
    """The same request 32 times at once, again and again."""

    def attack(attack: Attack) -> None:
        numbers = itertools.count()
        attack.flood(
            lambda: attack.joined(user, query=query), lambda link: b"".join(request(next(numbers)) for _ in range(32))
        )

    return attack


def backlog(attack: Attack) -> None:
    """One new socket after the other begins to read a backlog of 18 MB."""

    def once() -> None:
        client = attack.joined(VICTIM, reads=False, query="&recover=1")
        client.next()
        client.socket.close()

    attack.again(once)


def rows() -> tuple[Row, ...]:
    """Each on each store."""
    found = []
    for store in ("memory", "sqlite", "redis"):
        for name, what, prepare, attack in (
            (
                "history",
                "History of messages of 900 kB",
                large,
                asks(VICTIM, lambda n: event("History", {"pId": WRITER}, ack=n)),
            ),
            (
                "conversations",
                "Conversations with large JSON",
                conversations,
                asks(WRITER, lambda n: event("Conversations", {}, ack=n)),
            ),
            ("sync", "Sync from the beginning", large, asks(VICTIM, lambda n: event("Sync", {"offset": n % 7}, ack=n))),
            ("backlog", "a backlog of 18 MB by one socket after the other", large, backlog),
            (
                "history-changing",
                "History of a different conversation each time",
                None,
                asks(WRITER, lambda n: event("History", {"pId": f"u{n}"}, ack=n)),
            ),
        ):
            found.append(
                Row(
                    name=f"{name}-{store}",
                    kind="reads",
                    what=what,
                    prepare=prepare,
                    attack=attack,
                    backend=store,
                    connections=1,
                )
            )
    return tuple(found)


ROWS = rows()
