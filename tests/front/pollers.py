"""A client that polls, by raw HTTP on wires in memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

from kschat.wire import payload
from kschat.wire.engineio import Frame, Revision
from tests.front.daemon import Daemon, Peer, Response, handshake
from tests.front.wires import Wire


def request(method: str, query: str, body: bytes = b"", *headers: str) -> bytes:
    """One request on ``/socket.io/``."""
    lines = [f"{method} /socket.io/?{query} HTTP/1.1", "Host: chat.example", *headers]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class PendingRequest:
    """A request on its way.

    Attributes:
        wire: its connection.
    """

    def __init__(self, wire: Wire, data: bytes) -> None:
        self.wire = wire
        self._before = len(wire.taken)
        wire.arrive(data)

    @property
    def parked(self) -> bool:
        """Whether there is no answer."""
        self.wire.pump()
        return len(self.wire.taken) == self._before

    @property
    def response(self) -> Response:
        """The answer, which must be there."""
        assert not self.parked, "no answer"
        return Response(bytes(self.wire.taken[self._before :]))

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def code(self) -> int:
        """Of Engine.IO's error."""
        number: int = self.response.json["code"]
        return number


class Poller:
    """One client.

    Args:
        daemon: where it is.
        revision: of Engine.IO.
        more: of the query of every request.
        headers: of every request.
        peer: its address.

    Attributes:
        opening: its first request.
    """

    def __init__(
        self,
        daemon: Daemon,
        revision: Revision = 4,
        more: str = "",
        headers: Sequence[str] = (),
        peer: str = "192.0.2.7",
    ) -> None:
        self.daemon = daemon
        self.revision: Revision = revision
        self._query = f"EIO={revision}&transport=polling{more}"
        self._headers = headers
        self._peer = peer
        self.opening = self.ask("GET")
        self.sid = ""
        if self.opening.status == 200:
            self.opened: dict[str, Any] = json.loads(self.frames(self.opening)[0].payload[1:])
            self.sid = self.opened["sid"]
            self._query += f"&sid={self.sid}"

    def ask(
        self, method: str, body: bytes = b"", more: str = "", wire: Wire | None = None, *headers: str
    ) -> PendingRequest:
        """Any request of this client."""
        data = request(method, self._query + more, body, *self._headers, *headers)
        return PendingRequest(self.daemon.connect(peer=self._peer) if wire is None else wire, data)

    def get(self, more: str = "") -> PendingRequest:
        """Wait for what comes."""
        return self.ask("GET", more=more)

    def post(self, *packets: str) -> PendingRequest:
        """Send packets of text."""
        body, _ = payload.encode([Frame(packet.encode()) for packet in packets], self.revision, 10**9)
        return self.ask("POST", body.payload)

    def frames(self, asked: PendingRequest) -> list[Frame]:
        """What came with an answer."""
        response = asked.response
        assert response.status == 200, response.status
        body = response.body
        if response.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return list(payload.decode(body, self.revision))

    def texts(self, asked: PendingRequest) -> list[str]:
        """The same, all of which must be text."""
        return [frame.payload.decode() for frame in self.frames(asked)]

    def take(self) -> list[str]:
        """What there is now."""
        return self.texts(self.get())

    def join(self) -> None:
        """Join /kschat, and read the answer."""
        assert self.post("40/kschat,").response.body == b"ok"
        assert any(text.startswith("40/kschat") for text in self.take())
        self.daemon.recorder.log.clear()

    def websocket(self, more: str = "", peer: str = "") -> Peer:
        """A WebSocket for the same session. ``peer``: its address, if it is another."""
        query = self._query.replace("polling", "websocket") + more
        wire = self.daemon.connect(peer=peer or self._peer)
        wire.arrive(handshake(query))
        head = bytes(wire.taken).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        assert head.startswith(b"HTTP/1.1 101 "), head
        return Peer(self.daemon, wire, head)

    @property
    def lives(self) -> bool:
        """Whether its session is there."""
        return self.sid in self.daemon.sessions
