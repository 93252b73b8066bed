"""The healthy pair: ``python -m attack.pair PORT [tls] [demo]``, until its standard input ends.

Two users write to each other, 100 messages a second; a third one connects and joins every half second. On its standard
output stands a line for each: ``m`` (a message: until it was received and acknowledged) or ``j`` (a client that
joined), the time (monotonic) of its beginning, and its ms; ``x`` and the reason if one failed.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from attack.scenario import words
from attack.wire import Client, demo_token, send
from tests.support.tokens import token

#: The pair's address, and the newcomers'.
SOURCE: Final = "127.0.3.1"
RATE: Final = 100
JOIN_EVERY: Final = 0.5


def say(what: str, began: float, text: str) -> None:
    """One line."""
    sys.stdout.write(f"{what} {began:.4f} {text}\n")  # in one piece: two threads write
    sys.stdout.flush()


def talk(one: Client, other: Client, number: int) -> None:
    """One message, from ``Send`` until it was received and acknowledged."""
    mark = f"m{number:07d}"
    one.socket.sendall(send(one.user, other.user, mark, ack=number))
    while mark.encode() not in other.next()[1]:
        pass
    while not one.next()[1].startswith(b"43/kschat,"):
        pass


def newcomers(connect: Callable[..., Client], ended: threading.Event) -> None:
    """Clients that connect while the daemon is attacked."""
    number = 0
    while not ended.wait(JOIN_EVERY):
        number += 1
        began = time.monotonic()
        try:
            connect(source="127.0.3.2", user=f"newcomer{number % 50}").socket.close()
            say("j", began, f"{(time.monotonic() - began) * 1000:.2f}")
        except OSError as error:
            say("x", began, f"a newcomer: {words(error)}")


def main(port: int, tls: bool, demo: bool) -> None:
    """Talk. ``demo``: get tokens from the demo."""
    ended = threading.Event()
    token_of = partial(demo_token, port) if demo else token
    connect = partial(Client, port, join=True, tls=tls, token_of=token_of)

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    one, other = (connect(source=SOURCE, user=user) for user in ("alice", "bob"))
    threading.Thread(target=newcomers, args=(connect, ended), daemon=True).start()
    begin, number = time.monotonic(), 0
    while not ended.is_set():
        wait = begin + number / RATE - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        elif wait < -1:
            begin, number = time.monotonic(), 0
        number += 1
        began = time.monotonic()
        try:
            talk(one, other, number)
            one, other = other, one
        except OSError as error:
            say("x", began, f"the pair: {words(error)}")
            break
        say("m", began, f"{(time.monotonic() - began) * 1000:.2f}")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), "tls" in sys.argv[2:], "demo" in sys.argv[2:])
