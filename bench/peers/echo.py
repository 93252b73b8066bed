"""A plain Twisted TCP echo: the least that a message can cost on this machine, Python and Twisted.

It gets the same frames from the same load and sends them back unread. A figure divided by the echo's, of the same run,
can be compared across machines.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from bench.peers.base import Running
from bench.services import Services
from bench.spawn import spawn
from tests.support.launch import free_port


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """The echo as a peer."""

    name: str = "echo"
    load: tuple[str, ...] = ("--echo",)
    chats: bool = False

    def missing(self) -> str:
        """Nothing is."""
        return ""

    def start(self, directory: Path, secret: str, services: Services) -> Running:
        """Start the echo and return when it serves. Raises PeerError."""
        port = free_port()
        argv = [sys.executable, "-m", "bench.peers.echo", str(port)]
        return Running((port,), (spawn(argv, directory / "echo.log", b"serving"),))


def serve(port: int) -> None:
    """Echo on a port of the loopback until SIGTERM."""
    from twisted.internet import protocol, reactor, tcp

    class EchoProtocol(protocol.Protocol):
        """Sends back what it gets."""

        transport: tcp.Server

        def connectionMade(self) -> None:
            self.transport.setTcpNoDelay(True)

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

    factory = protocol.ServerFactory()
    factory.protocol = EchoProtocol
    reactor.listenTCP(port, factory, interface="127.0.0.1")
    print("serving", flush=True)
    reactor.run()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
