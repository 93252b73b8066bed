"""HTTP servers that answer as a test says: rightly, wrongly, without an end."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from kschat.front.endpoints import server_endpoint
from tests.support.waiting import real_reactor

#: The endpoint of a server, unless another is given.
LOOPBACK = "tcp:0:interface=127.0.0.1"


class Server(Protocol):
    """Answers each request as the test says.

    Attributes:
        received: what its client has sent.
        lost: fires when the connection has ended.
    """

    def __init__(self, answer: Callable[[Server], None]) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        head, _, body = self.received.rpartition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower().rpartition(b"post ")[2])
        if length is not None and len(body) == int(length[1]):
            self._answer(self)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    def write(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)

    def close(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


def says(text: bytes, close: bool = False) -> Callable[[Server], None]:
    """Answers with these bytes."""

    def answer(server: Server) -> None:
        server.write(text)
        if close:
            server.close()

    return answer


def ok(body: bytes = b"yes") -> bytes:
    """An answer in good order."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Endless:
    """A server that sends the same again and again, as long as somebody reads."""

    def __init__(self, first: bytes, again: bytes) -> None:
        self._first = first
        self._again = again

    def __call__(self, server: Server) -> None:
        server.write(self._first)
        transport: Any = server.transport
        self._transport = transport
        transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self._transport.write(self._again)

    def pauseProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


async def served(
    test: TestCase, servers: list[Server], *answers: Callable[[Server], None], description: str = LOOPBACK
) -> str:
    """The URL of a server until the test's end; its connections give these answers, the last one again and again.

    Args:
        test: at whose end it stops.
        servers: each connection is added to.
        answers: see ``Server``.
        description: of its endpoint.
    """
    left = list(answers)

    def build(_: object) -> Server:
        server = Server(left.pop(0) if len(left) > 1 else left[0])
        servers.append(server)
        return server

    factory = Factory()
    factory.buildProtocol = build  # type: ignore[method-assign, assignment]
    port: Any = await server_endpoint(real_reactor(), description).listen(factory)
    test.addCleanup(port.stopListening)
    scheme = "https" if description.startswith("ssl") else "http"
    return f"{scheme}://127.0.0.1:{port.getHost().port}/hook?x=1"
