"""A back end that is no friend: it answers hooks without an end, slowly, elsewhere, or never. Users flood it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any, Final

from attack.scenario import RECEIVER, Attack, Row
from attack.wire import event, send

#: An answer: bytes that are sent, with a pause of some seconds after each piece.
Answer = Callable[[], Iterator[tuple[bytes, float]]]

_OK: Final = b"HTTP/1.1 200 OK\r\n"
_PIECE: Final = b"x" * 65536

#: Bytes that the largest answers would have.
_ENDLESS: Final = 1_000_000_000

#: Where an answer redirects to: the attacker itself, which counts it if the daemon comes.
_FOLLOWED: Final = b"/followed"


def quick() -> Iterator[tuple[bytes, float]]:
    """As it should be."""
    yield b"HTTP/1.1 204 None\r\n\r\n", 0.0


def endless_body() -> Iterator[tuple[bytes, float]]:
    """A body of a gigabyte, with its length or without."""
    yield _OK + b"Content-Length: %d\r\n\r\n" % _ENDLESS, 0.0
    yield from _pieces(_PIECE)


def endless_chunks() -> Iterator[tuple[bytes, float]]:
    """Chunks of a byte."""
    yield _OK + b"Transfer-Encoding: chunked\r\n\r\n", 0.0
    yield from _pieces(b"1\r\nx\r\n" * 10_000)


def endless_head() -> Iterator[tuple[bytes, float]]:
    """Headers without an end."""
    yield _OK, 0.0
    yield from _pieces(b"X-A: b\r\n" * 8000)


def _pieces(piece: bytes) -> Iterator[tuple[bytes, float]]:
    for _ in range(_ENDLESS // len(piece)):
        yield piece, 0.0


def drips() -> Iterator[tuple[bytes, float]]:
    """A byte now and then."""
    for number in range(10_000):
        yield (_OK + b"X-A: " + b"y" * 10_000)[number : number + 1], 0.05


def never() -> Iterator[tuple[bytes, float]]:
    """Nothing, and the connection stays."""
    yield b"", 3600.0


def garbage() -> Iterator[tuple[bytes, float]]:
    """Something else than HTTP."""
    yield os.urandom(3000), 0.0


def many_answers() -> Iterator[tuple[bytes, float]]:
    """Answers that nobody has asked for."""
    yield b"HTTP/1.1 204 None\r\n\r\n" * 3000, 0.0


def elsewhere() -> Iterator[tuple[bytes, float]]:
    """A redirection to a port of this machine."""
    yield (
        (
            b"HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:%s%s\r\nContent-Length: 0\r\n\r\n"
            % (os.environ[RECEIVER].encode(), _FOLLOWED)
        ),
        0.0,
    )


def receives(*answers: Answer) -> Callable[[Attack], None]:
    """Makes the function that receives hooks, and gives these answers in turn."""

    def prepare(attack: Attack) -> None:
        listener = socket.create_server(("127.0.0.1", int(os.environ[RECEIVER])), backlog=100)
        turn = cycle(answers)
        lock = threading.Lock()

        def serve(link: socket.socket) -> None:
            with link:
                link.settimeout(5.0)
                while (request := _request(link)) is not None:
                    followed = request.startswith(b"POST " + _FOLLOWED)
                    attack.answers["redirection followed" if followed else "posted"] += 1
                    with lock:
                        answer = next(turn)
                    for piece, pause in answer():
                        link.sendall(piece)
                        time.sleep(pause)

        def accept() -> None:
            while True:
                link, _ = listener.accept()
                threading.Thread(target=_quietly, args=(serve, link), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        attack.kept.append(listener)

    return prepare


def _quietly(serve: Callable[[socket.socket], None], link: socket.socket) -> None:
    try:
        serve(link)
    except OSError:
        return  # the daemon has ended it


def _request(link: socket.socket) -> bytes | None:
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        if not (piece := link.recv(65536)):
            return None
        data += piece
    head = data[:end].lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
    while len(data) < end + 4 + length:
        if not (piece := link.recv(65536)):
            return None
        data += piece
    return data


def flood(attack: Attack) -> None:
    """Causes events: messages to users who are absent, rooms that are joined, sockets that come and go."""
    if attack.number == 0:
        while attack.on:
            try:
                attack.reader.end(attack.joined(f"{attack.user}x{time.monotonic_ns() % 500}").socket)
                attack.answers["rounds"] += 1
            except OSError as error:
                attack.count(error)
                time.sleep(0.02)
        return

    def data(_: Any) -> bytes:
        frames = [send(attack.user, f"absent{number}") for number in range(50)]
        frames += [event("Join", {"room": f"#r{number}"}, ack=1) for number in range(50)]
        return b"".join(frames)

    attack.flood(lambda: attack.joined(), data)


def _row(name: str, what: str, *answers: Answer) -> Row:
    return Row(
        name=f"hooks-{name}",
        kind="other ports",
        what=what,
        attack=flood,
        prepare=receives(*answers),
        settings={"undelivered_after": 1, "undelivered_every": 1},
        backend="sqlite",
        receives=True,
        answers=("posted",),
        never=("redirection followed",),
    )


ROWS: Final = (
    _row("flood", "causes events as fast as it may; the receiver is quick", quick),
    _row(
        "endless",
        "the receiver answers a gigabyte: body, chunks of a byte, headers",
        endless_body,
        endless_chunks,
        endless_head,
    ),
    _row("slow", "the receiver drips bytes, or never answers", drips, never),
    _row("wrong", "the receiver answers garbage, thousands of answers, redirections", garbage, many_answers, elsewhere),
)
