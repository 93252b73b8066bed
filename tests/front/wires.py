"""TCP connections in memory that keep Twisted's own rules of buffers, producers and ends."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IProtocol, ITCPTransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer


class _Readiness:
    """The part of a reactor that a file descriptor needs; says who wants to read and write."""

    def __init__(self, clock: Clock) -> None:
        self.callLater = clock.callLater
        self.reading = False
        self.writing = False

    def addReader(self, reader: object) -> None:
        self.reading = True

    def removeReader(self, reader: object) -> None:
        self.reading = False

    def addWriter(self, writer: object) -> None:
        self.writing = True

    def removeWriter(self, writer: object) -> None:
        self.writing = False


@implementer(ITCPTransport)
class Wire(FileDescriptor):
    """The server's end of a connection. The test is the network and the peer.

    Twisted's ``FileDescriptor`` does the buffering, so a producer is paused and resumed, and a close waits for what
    was written, exactly as on a socket.

    Attributes:
        protocol: what the server put on it; set it before ``arrive``.
        room: bytes that the peer will still take; None for all.
        taken: bytes that the peer took.
        writes: how many times the server wrote.
        lost: why it ended, or None.
        options: what was set on the socket.
    """

    def __init__(self, clock: Clock, peer: str | IAddress = "192.0.2.7", port: int = 54321) -> None:
        self._readiness = _Readiness(clock)
        super().__init__(self._readiness)  # type: ignore[arg-type]
        self.protocol: IProtocol | None = None
        self.connected = 1
        self.room: int | None = None
        self.taken = bytearray()
        self.writes = 0
        self.lost: Failure | None = None
        self.options: dict[str, object] = {}
        self._peer = IPv4Address("TCP", peer, port) if isinstance(peer, str) else peer
        self._undelivered = bytearray()
        self._aborting = False
        self.startReading()

    # The network's side.

    def arrive(self, data: bytes) -> None:
        """Bytes come from the peer; a transport that doesn't read gets them when it does."""
        self._undelivered += data
        self.pump()

    def pump(self) -> None:
        """Let everything happen that can happen now without time passing."""
        while self.connected:
            if self._readiness.reading and self._undelivered and not self._aborting:
                data = bytes(self._undelivered)
                self._undelivered.clear()
                assert self.protocol is not None
                self.protocol.dataReceived(data)
            elif self._readiness.writing and not self._aborting and (self.room is None or self.room > 0):
                done = self.doWrite()
                if done is not None:
                    self.connectionLost(Failure(done))
            else:
                break

    def hang_up(self) -> None:
        """The peer is gone without a word."""
        self.connectionLost(Failure(ConnectionLost()))

    def finish(self) -> None:
        """The peer closes its end."""
        self.connectionLost(Failure(ConnectionDone()))

    @property
    def reading(self) -> bool:
        """Whether the server reads."""
        return self._readiness.reading

    @property
    def unsent(self) -> int:
        """Bytes that the server wrote and the peer did not take."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    @property
    def aborted(self) -> bool:
        """Whether the server cut the connection."""
        return self._aborting

    # The server's side.

    def write(self, data: bytes) -> None:
        self.writes += 1
        super().write(data)

    def writeSomeData(self, data: Any) -> int:
        count = len(data) if self.room is None else min(self.room, len(data))
        self.taken += data[:count]
        if self.room is not None:
            self.room -= count
        return count

    def abortConnection(self) -> None:
        if self.connected and not self._aborting:
            self._aborting = True
            self.stopReading()
            self.stopWriting()
            self._readiness.callLater(0, self._aborted)

    def _aborted(self) -> None:
        if self.connected:
            self.connectionLost(Failure(ConnectionAborted()))

    def connectionLost(self, reason: Failure) -> None:
        assert self.lost is None
        self.lost = reason
        super().connectionLost(reason)
        if self.protocol is not None:
            self.protocol.connectionLost(reason)

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 3000)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.options["no_delay"] = enabled

    def getTcpNoDelay(self) -> bool:
        return bool(self.options.get("no_delay"))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.options["keep_alive"] = enabled

    def getTcpKeepAlive(self) -> bool:
        return bool(self.options.get("keep_alive"))

    def loseWriteConnection(self) -> None:
        raise AssertionError("nobody half-closes here")
