"""A program: sends bad frames to a daemon from many connections at once, and reads what comes back.

    python -m tests.e2e.attack PORT FRAMES CONNECTIONS SEED USER

The token of USER is made with the secret of the tests. Half of the FRAMES are random, half are mutated valid ones. A
connection does a real handshake (some a damaged one), joins /kschat (most of them), then sends frames of one of the
two kinds in batches, each with a ping of RFC 6455 behind it, whose pong tells that the daemon has read them all. A
connection that was closed is replaced by the next one. What stands in a batch behind a frame that closes the
connection is sent, and dropped by the daemon unread (tests/wire/test_bad_frames.py has each one read): at the end one
line of JSON says how many frames and connections there were, and how many of the frames were read for sure.
"""

from __future__ import annotations

import json
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from typing import Any

from tests.mutations import PING, Mutations, frame
from tests.support.tokens import token

#: Frames in a batch. Nearly every random frame closes its connection, of the mutated ones about a third.
RANDOM_BATCH, MUTATED_BATCH = 16, 6
#: Batches on one connection, if it lives that long.
BATCHES = 10
#: Seconds without an answer, after which a connection is left: its damaged length made the daemon wait for more.
SILENCE = 0.25

END_OF_BATCH = b"end of batch"


class Peer:
    """One connection: waits for the handshake's answer, then sends batches until it is closed or has sent enough."""

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
        pick = attack.mutations.random
        self.revision: int = pick.choice((3, 4))
        self.kind = attack.next_kind()
        self.upgraded = False
        self.batches = self.in_batch = 0
        self.buffer = b""
        self.deadline = 0.0
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", attack.port))
        make = attack.mutations.mutated_request if pick.random() < 0.03 else attack.mutations.request
        self.unsent = make(self.revision)
        attack.selector.register(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        attack.count["connections"] += 1
        self.deadline = time.monotonic() + 4 * SILENCE

    def ready(self, events: int) -> None:
        """The socket can be read or written. Whatever goes wrong with it ends this peer alone."""
        try:
            if events & selectors.EVENT_WRITE and self.unsent:
                self._write()
            if events & selectors.EVENT_READ:
                self._read()
        except BlockingIOError:
            return
        except OSError:
            self.end("closed by the daemon")

    def end(self, why: str) -> None:
        """Leaves, by a reset half of the times."""
        self.attack.count[why] += 1
        self.attack.selector.unregister(self.socket)
        if self.attack.mutations.random.random() < 0.5:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.attack.peers.discard(self)

    def _write(self) -> None:
        self.unsent = self.unsent[self.socket.send(self.unsent) :]
        if not self.unsent:
            self.attack.selector.modify(self.socket, selectors.EVENT_READ, self)

    def _send(self, data: bytes) -> None:
        self.unsent += data
        self.deadline = time.monotonic() + SILENCE
        self.attack.selector.modify(self.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)
        self._write()

    def _read(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            self.end("closed by the daemon")
            return
        self.buffer += data
        if not self.upgraded:
            self._read_handshake()
        while self.upgraded and self._read_frame():
            pass

    def _read_handshake(self) -> None:
        head, end, rest = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self.end("handshake refused")
            return
        self.buffer, self.upgraded = rest, True
        join = self.attack.mutations.join() if self.attack.mutations.random.random() < 0.9 else b""
        self._send_batch(join)

    def _read_frame(self) -> bool:
        """Takes one frame of the daemon off the buffer. False when there is no whole one, or the connection is over."""
        buffer = self.buffer
        if len(buffer) < 2:
            return False
        size, start = buffer[1] & 0x7F, 2
        if size == 126 and len(buffer) >= 4:
            size, start = struct.unpack("!H", buffer[2:4])[0], 4
        elif size == 127 and len(buffer) >= 10:
            size, start = struct.unpack("!Q", buffer[2:10])[0], 10
        elif size > 125:
            return False
        if len(buffer) < start + size:
            return False
        payload, self.buffer = buffer[start : start + size], buffer[start + size :]
        opcode = buffer[0] & 0x0F
        if opcode == 8:
            self.end("closed by the daemon")
            return False
        if opcode == 10 and payload == END_OF_BATCH:
            self.attack.count["batches read"] += 1
            self.attack.count[f"{self.kind} frames read for sure"] += self.in_batch - 1
            if self.batches >= BATCHES:
                self.end("enough")
                return False
            self._send_batch()
        return self in self.attack.peers

    def _send_batch(self, first: bytes = b"") -> None:
        self.batches += 1
        frames = self.attack.take(self.kind, self.revision)
        if not frames:
            self.end("enough")
            return
        # Whatever happens, the first one is read.
        self.in_batch = len(frames)
        self.attack.count[f"{self.kind} frames read for sure"] += 1
        self._send(first + b"".join(frames) + frame(END_OF_BATCH, PING))


class Attack:
    """All peers, and how many frames are left to send."""

    def __init__(self, port: int, frames: int, connections: int, mutations: Mutations) -> None:
        self.port = port
        self.left = {"random": frames // 2, "mutated": frames // 2}
        self.connections = connections
        self.mutations = mutations
        self.selector = selectors.DefaultSelector()
        self.peers: set[Peer] = set()
        self.count: Counter[str] = Counter()

    def next_kind(self) -> str:
        """Which kind of frames the next connection sends: the one of which more are left."""
        return max(self.left, key=self.left.__getitem__)

    def take(self, kind: str, revision: int) -> list[bytes]:
        """The next frames of a kind; fewer at the end."""
        number = min(RANDOM_BATCH if kind == "random" else MUTATED_BATCH, self.left[kind])
        self.left[kind] -= number
        self.count[f"{kind} frames"] += number
        if kind == "random":
            return [self.mutations.random_frame() for _ in range(number)]
        return [self.mutations.mutated_frame(revision) for _ in range(number)]

    def run(self) -> None:
        """Until all frames are sent and all connections ended."""
        checked = time.monotonic()
        while any(self.left.values()) or self.peers:
            while any(self.left.values()) and len(self.peers) < self.connections:
                self.peers.add(Peer(self))
            for key, events in self.selector.select(SILENCE):
                if key.data in self.peers:
                    key.data.ready(events)
            now = time.monotonic()
            if now - checked > SILENCE / 5:
                checked = now
                for peer in [peer for peer in self.peers if peer.deadline < now]:
                    peer.end("left in silence")


def main(arguments: list[str]) -> None:
    """See the module's text."""
    port, frames, connections, seed = map(int, arguments[:4])
    user = arguments[4]
    attack = Attack(port, frames, connections, Mutations(seed, user, token(user)))
    began = time.monotonic()
    attack.run()
    summary: dict[str, Any] = {**attack.count, "seconds": round(time.monotonic() - began, 2)}
    print(json.dumps(summary))


if __name__ == "__main__":
    main(sys.argv[1:])
