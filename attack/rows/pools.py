"""Who takes all of a pool: connections, sessions, half-sent bytes, and one's own sockets."""

from __future__ import annotations

import time
from collections.abc import Callable

from attack.rows.http import POLL, pipelined, request
from attack.rows.packets import HEARTBEAT, post, session
from attack.scenario import Attack, Row
from attack.wire import frame, send, upgrade_request
from tests.support.tokens import token


def opened(data: bytes, addresses: int = 1) -> Callable[[Attack], None]:
    """New connections all the time, each of which sends this and is kept."""
    return lambda attack: attack.open_many(lambda number: data, addresses, 3000)


def half(path: str, method: str = "POST") -> bytes:
    """A request whose body does not come whole."""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n".encode() + b"x" * 1000


def half_sessions(attack: Attack) -> None:
    """Polling sessions, each with most of a body."""
    while attack.on and len(attack.kept) < 400:
        try:
            link = attack.connect()
            sid = session(link, "EIO=4&transport=polling")
            link.sendall(half(f"{POLL}&sid={sid}") + b"x" * 880_000)
            attack.kept.append(link)
            attack.answers["rounds"] += 1
        except OSError as error:
            attack.count(error)
    attack.wait()


def half_messages(attack: Attack) -> None:
    """Joined sockets, each with most of a message of a megabyte."""
    for number in range(150):
        if not attack.on:
            break
        try:
            client = attack.joined(f"{attack.user}h{number}", reads=False)
            client.socket.sendall(frame(b"4" + b"x" * 999_000)[:-10])
            attack.kept.append(client)
            attack.answers["rounds"] += 1
        except OSError as error:
            attack.count(error)
    attack.wait()


def own_sockets(attack: Attack) -> None:
    """Large messages to a hundred own sockets that do not read."""
    attack.kept += attack.many(100, lambda number: attack.user, reads=False, receive_buffer=4096)
    sender = f"{attack.user}s"
    attack.flood(lambda: attack.joined(sender), lambda link: send(sender, attack.user, "x" * 900_000))


def refused_large(attack: Attack) -> None:
    """Carbons of 900 kB to a hundred own sockets that do not read."""
    attack.kept += attack.many(100, lambda number: attack.user, reads=False, receive_buffer=4096, query="&carbons=1")
    sender = attack.user
    attack.flood(lambda: attack.joined(sender, query="&carbons=1"), lambda link: send(sender, "nobody", "x" * 900_000))


def polls_unread(attack: Attack) -> None:
    """Polling sessions of one user that never send a GET."""
    while attack.on and len(attack.kept) < 60:
        try:
            link = attack.connect()
            sid = session(link, f"EIO=4&transport=polling&token={token(attack.user)}&ksId={attack.user}")
            link.sendall(post(4, sid, b"40/kschat,"))
            link.recv(65536)
            attack.kept.append(link)
        except OSError as error:
            attack.count(error)
    sender = f"{attack.user}s"
    attack.flood(lambda: attack.joined(sender), lambda link: send(sender, attack.user, "x" * 900_000))


def probes_overlapping(attack: Attack) -> None:
    """Polling sessions, each with several WebSockets that probe and then send nothing."""

    def once() -> None:
        with attack.connect() as link:
            sid = session(link, "EIO=4&transport=polling")
            others = []
            for _ in range(5):
                other = attack.connect()
                other.sendall(upgrade_request(f"EIO=4&transport=websocket&sid={sid}") + frame(b"2probe") * 3)
                others.append(other)
            for other in others:
                other.recv(65536)
                other.close()

    attack.again(once)


def upgrades_elsewhere(attack: Attack) -> None:
    """Polling sessions that have joined, each upgraded to a WebSocket by another address."""
    number = 0
    while attack.on and len(attack.kept) < 3000:
        number += 1
        try:
            with attack.connect() as link:
                user = f"{attack.user}e{number}"
                sid = session(link, f"EIO=4&transport=polling&token={token(user)}&ksId={user}")
                link.sendall(post(4, sid, b"40/kschat,"))
                link.recv(65536)
                other = attack.connect(f"127.1.1.{number % 50 + 1}")
                attack.kept.append(other)
                query = f"EIO=4&transport=websocket&sid={sid}"
                other.sendall(upgrade_request(query) + frame(b"2probe") + frame(b"5"))
                attack.answers[other.recv(65536)[9:12].decode("latin-1") or "closed"] += 1
                attack.reader.add(other)
        except OSError as error:
            attack.count(error)
            time.sleep(0.01)
    attack.wait()


def gets_overlapping(attack: Attack) -> None:
    """Two GETs and two POSTs of one session at once."""

    def once() -> None:
        with attack.connect() as link, attack.connect() as other:
            sid = session(link, "EIO=4&transport=polling")
            for one in (link, other):
                one.sendall(request(f"{POLL}&sid={sid}"))
                one.sendall(post(4, sid, b"6"))
            attack.answers[other.recv(65536)[9:12].decode("latin-1") or "closed"] += 1

    attack.again(once)


def users_large(attack: Attack) -> None:
    """Large messages of twenty users at once."""
    for number in range(20):
        client = attack.joined(f"{attack.user}l{number}")
        attack.kept.append(client)
    data = [send(client.user, "nobody", "x" * 900_000) for client in attack.kept]
    while attack.on:
        for client, one in zip(attack.kept, data, strict=True):
            try:
                client.socket.sendall(one)
                attack.answers["rounds"] += 1
            except OSError as error:
                attack.count(error)


def _row(
    name: str, what: str, attack: Callable[[Attack], None], *answers: str, connections: int = 1, **settings: object
) -> Row:
    return Row(
        name=name, kind="pools", what=what, attack=attack, connections=connections, answers=answers, settings=settings
    )


WEBSOCKET = upgrade_request("EIO=4&transport=websocket")

ROWS = (
    _row("polls", "polling sessions by one connection", pipelined(request(POLL) * 800), "200", "429", rate_burst=1),
    _row("polls-addresses", "polling sessions of 200 addresses", opened(request(POLL), 200), "200"),
    _row("connections", "connections that say nothing", opened(b""), "connections"),
    _row("connections-addresses", "the same of 200 addresses", opened(b"", 200), "connections"),
    _row("websockets", "WebSockets that do not join, of 50 addresses", opened(WEBSOCKET, 50), "101"),
    _row("half-page", "half-sent POSTs to the page", opened(half("/")), "405"),
    _row("half-nothing", "half-sent POSTs to nothing", opened(half("/nothing")), "404"),
    _row("half-static", "half-sent POSTs to a file", opened(half("/static/x")), "405"),
    _row("half-engine", "half-sent POSTs of sessions that are not there", opened(half(f"{POLL}&sid=x")), "400"),
    _row("half-sessions", "half-sent POSTs of polling sessions", half_sessions),
    _row("half-messages", "half-sent messages of joined sockets", half_messages),
    _row("own-sockets", "4 MB to 100 own sockets that do not read", own_sockets, "ER 4"),
    _row("own-sockets-carbons", "messages of 900 kB, and carbons to 100 own sockets", refused_large, "ER 4"),
    Row(
        name="own-polls",
        kind="pools",
        what="4 MB to 60 own polling sessions that send no GET",
        attack=polls_unread,
        connections=1,
        settings=HEARTBEAT,
        answers=("ER 4",),
    ),
    _row("upgrades-overlapping", "sessions that are offered several WebSockets", probes_overlapping, connections=3),
    _row("upgrades-elsewhere", "sessions that go on by WebSocket from other addresses", upgrades_elsewhere, "101"),
    _row("gets-overlapping", "overlapping requests of one session", gets_overlapping, "400", connections=3),
    *(
        Row(
            name=f"users-large-{store}",
            kind="pools",
            what="messages of 900 kB of twenty users",
            attack=users_large,
            connections=1,
            backend=store,
        )
        for store in ("memory", "sqlite", "redis")
    ),
    Row(
        name="half-descriptors",
        kind="pools",
        what="half-sent POSTs, with 1,024 descriptors",
        attack=opened(half("/"), 50),
        connections=1,
        descriptors=1024,
        answers=("405",),
    ),
    Row(
        name="connections-descriptors",
        kind="pools",
        what="connections of 200 addresses, with 1,024 descriptors",
        attack=opened(b"", 200),
        connections=1,
        descriptors=1024,
        answers=("connections",),
    ),
    _row("refused-1.0", "wrong requests, a connection each", opened(b"GET /socket.io/ HTTP/1.0\r\n\r\n"), "400"),
)
