"""Amplifiers, and what is limited by rates."""

from __future__ import annotations

from collections.abc import Callable

from attack.scenario import Attack, Row
from attack.wire import Client, event, frame, send
from tests.support.tokens import token


def flaps(attack: Attack) -> None:
    """A user comes and goes, and a hundred others watch."""
    for watcher in attack.many(100, lambda number: f"{attack.user}w{number}"):
        watcher.socket.sendall(event("Presence", {"ids": [attack.user]}, ack=1))
    comes_and_goes = (frame(b"40/kschat,") + frame(b"41/kschat,")) * 200
    attack.flood(lambda: attack.client(user=attack.user), lambda link: comes_and_goes)


def typing(attack: Attack) -> None:
    """Typing to a user with a hundred sockets."""
    victim = f"{attack.user}v"
    attack.kept += attack.many(100, lambda number: victim, query="&typing=1")
    attack.flood(attack.joined, lambda link: event("Typing", {"pId": victim}) * 500)


def carbons(attack: Attack) -> None:
    """Messages to oneself, with carbons and receipts to a hundred sockets."""
    query = "&carbons=1&receipts=1&goodbye=1"
    attack.kept += attack.many(99, lambda number: attack.user, query=query)
    attack.flood(lambda: attack.joined(query=query), lambda link: send(attack.user, attack.user) * 100)


def presence(attack: Attack) -> None:
    """Two lists of 500 ids in turn."""
    lists = (event("Presence", {"ids": [f"{kind}-{n}" for n in range(500)]}, ack=1) for kind in "ab")
    data = b"".join(lists) * 5
    attack.flood(attack.joined, lambda link: data)


def joins(attack: Attack) -> None:
    """A user's sockets come and go."""
    attack.again(lambda: attack.joined(reads=False).socket.close())


def joins_users(attack: Attack) -> None:
    """Each time another user's."""
    numbers = iter(range(10**9))
    attack.again(lambda: attack.joined(f"{attack.user}u{next(numbers)}", reads=False).socket.close())


def tokens(attack: Attack) -> None:
    """Tokens that are not valid."""
    bad = token("x")[:-3].encode() + b"abc"
    attack.flood(attack.client, lambda link: frame(b'40/kschat,{"token":"%b"}' % bad) * 90)


def handshakes(attack: Attack) -> None:
    """WebSockets that are closed at once."""
    attack.again(lambda: Client(attack.port, source="127.0.0.2").socket.close())


def logouts(attack: Attack) -> None:
    """Twenty sockets, and Logout of all, again and again."""
    while attack.on:
        own = attack.many(20, lambda number: attack.user)
        for client in own[:1]:
            client.socket.sendall(event("Logout", {"all": True}, ack=1))
        for client in own:
            attack.reader.end(client.socket)


def receipts(attack: Attack) -> None:
    """Messages to oneself with receipts, read and confirmed by twenty sockets."""
    query = "&receipts=1"
    attack.kept += attack.many(20, lambda number: attack.user, query=query)
    attack.flood(lambda: attack.joined(query=query), lambda link: send(attack.user, attack.user) * 200)


def fill_room(attack: Attack) -> None:
    """A thousand members."""
    for number in range(1000):
        user = f"member{number}"
        allowed = token(user, data={"id": user, "rooms": ["large"]})
        client = Client(
            attack.port, source=f"127.2.0.{number % 200 + 1}", query=f"&token={allowed}&ksId={user}", join=True
        )
        client.socket.sendall(event("Join", {"room": "#large"}, ack=1))
        while not client.next()[1].startswith(b"43/kschat,1["):
            pass
        client.socket.close()


def room_sends(attack: Attack) -> None:
    """Messages to a room of a thousand members."""
    user = "member1"
    attack.flood(lambda: attack.joined(user), lambda link: send(user, "#large") * 100)


def renewals(attack: Attack) -> None:
    """A user who watches its own presence, and connects again and again."""
    client = attack.joined()
    client.socket.sendall(event("Presence", {"ids": [attack.user]}, ack=1))
    attack.again(lambda: attack.joined(reads=False).socket.close())


def _row(name: str, what: str, attack: Callable[[Attack], None], *answers: str, connections: int = 1) -> Row:
    return Row(
        name=name, kind="amplifiers and rates", what=what, attack=attack, connections=connections, answers=answers
    )


ROWS = (
    _row("presence-flaps", "a user comes and goes, 100 watch", flaps, "closed 1008"),
    _row("typing-many", "Typing to 100 sockets", typing),
    _row("carbons", "carbons and receipts to 100 own sockets", carbons, "ER 4"),
    _row("presence-lists", "Presence of two lists of 500 ids in turn", presence, "ER 4"),
    _row("joins", "one user's sockets come and go", joins, connections=3),
    _row("joins-users", "sockets of a different user each time", joins_users, connections=3),
    _row("tokens", "tokens that are not valid", tokens, "join refused", "closed", connections=3),
    Row(
        name="handshakes",
        kind="amplifiers and rates",
        what="WebSocket handshakes",
        attack=handshakes,
        settings={"rate_burst": 1, "rate_address_handshakes": 50},
        answers=("HTTP/1.1 429",),
    ),
    _row("receipts", "receipts to 20 own sockets", receipts),
    Row(
        name="room-sends",
        kind="amplifiers and rates",
        what="messages to a room of 1,000 members",
        attack=room_sends,
        prepare=fill_room,
        connections=1,
        settings={"rate_user_copies": 5000},
        answers=("ER 4",),
    ),
    _row("watches-itself", "a user who watches itself comes and goes", renewals, connections=1),
    _row("logouts", "Logout of all sockets for ever", logouts),
)
