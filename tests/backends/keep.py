"""Run by tests as a process: keeps messages in a file and says what was answered, until it is killed.

``python -m tests.backends.keep PATH SEED`` prints a line of JSON for each batch that was answered: mid, recipient,
offset and cid of each message. ``python -m tests.backends.keep PATH full BYTES`` lets no file grow
beyond so many bytes, until it is sent a line.
"""

import json
import random
import resource
import sys
from typing import Any

from msgspec import Raw
from twisted.internet.defer import Deferred

from kschat.backends.sqlite import Settings, SqliteStore
from kschat.chat.interfaces import Stored, StoreUnavailable
from kschat.chat.message import Message
from kschat.chat.mids import Mids
from tests.backends.turns import Turns


def say(told: Any) -> None:
    """One line, at once."""
    print(json.dumps(told), flush=True)


def keep(path: str, seed: int) -> None:
    """Send batches, several at once, for ever."""
    chance = random.Random(seed)
    mids = Mids(f"{seed:08x}")
    turns = Turns()
    store = SqliteStore(Settings(path), turns, turns)
    store.start()
    asked: list[Deferred[list[Stored]]] = []
    number = batches = 0
    while True:
        while len(asked) < 4:
            batch = []
            batches += 1
            size = chance.randint(1, 40)
            for _ in range(size):
                number += 1
                sender, recipient = chance.sample("abcdefgh", 2)
                body = Raw(json.dumps([seed, batches, size, "x" * chance.randint(0, 3000)]).encode())
                cid = f"{seed} {number}" if chance.random() < 0.5 else None
                batch.append(Message(mids.make(number), sender, recipient, sender, recipient, body, number, cid))
            asked.append(store.append(batch))
        answers = turns.result(asked.pop(0))
        say([[answer.message.mid, *answer.places[0], answer.message.cid] for answer in answers])


def fill(path: str, most: int) -> None:
    """Send messages until the disk is full, and then until one is taken again."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    mids = Mids("00000000")
    turns = Turns()
    store = SqliteStore(Settings(path), turns, turns)
    store.start()
    kept = 0
    refused = ""
    while not refused:
        try:
            turns.result(store.append([Message(mids.make(1), "a", "b", "a", "b", Raw(b'"%s"' % (b"x" * 9000)), 1)]))
            kept += 1
        except StoreUnavailable as unavailable:
            refused = str(unavailable)
    say([kept, refused])
    for _ in range(5):
        turns.advance(10)
        try:
            turns.result(store.append([Message(mids.make(1), "a", "b", "a", "b", Raw(b'"%s"' % (b"x" * 9000)), 1)]))
            kept += 1
        except StoreUnavailable:
            pass
    say(kept)
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    turns.advance(10)
    turns.result(store.append([Message(mids.make(1), "a", "b", "a", "b", Raw(b"1"), 1)]))
    say(turns.result(store.inbox("b")).last - kept)
    turns.result(store.stop())


if __name__ == "__main__":
    if sys.argv[2] == "full":
        fill(sys.argv[1], int(sys.argv[3]))
    else:
        keep(sys.argv[1], int(sys.argv[2]))
