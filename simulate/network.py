"""TCP between clients and daemons: bytes that take their time, come in pieces, stand still, or end."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.python.failure import Failure

from simulate.services import Enter, Wire
from tests.front.wires import Wire as ServerEnd

#: Seconds that bytes are under way.
DELAYS: Final = (0.0005, 0.001, 0.001, 0.002, 0.005, 0.02)

#: The same on a slow line.
SLOW: Final = (0.02, 0.05, 0.1, 0.3)

#: Bytes that the kernels take of what a client does not read.
SOCKET_BUFFER: Final = 4096


class Caller(Protocol):
    """The client's end."""

    def arrived(self, data: bytes) -> None:
        """Bytes came."""

    def ended(self) -> None:
        """The connection is over, by the other end or by the network."""


class Listener(Protocol):
    """What accepts connections: a daemon, if it lives."""

    def accept(self, end: TcpEnd) -> IProtocol | None:
        """The protocol of a connection; None where there is none."""


class TcpEnd(ServerEnd):
    """The daemon's end, whose bytes go to the network by themselves.

    Args:
        clock: of the daemon.
        connection: what it is an end of.
        peer: the client's address.
    """

    def __init__(self, clock: Any, connection: Connection, peer: str) -> None:
        self._connection = connection
        self._clock = clock
        self._pump_set = False
        self._fin: Failure | None = None
        super().__init__(clock, peer)

    def pump(self) -> None:
        super().pump()
        if self._fin is not None and self.connected and self.reading and not self._undelivered:
            self.connectionLost(self._fin)

    def fin(self, reason: Failure) -> None:
        """The client has closed: the daemon notices when it has read what came before."""
        self._fin = reason
        self.pump()

    def startReading(self) -> None:
        super().startReading()
        self._soon()

    def startWriting(self) -> None:
        super().startWriting()
        self._soon()

    def writeSomeData(self, data: Any) -> int:
        count = super().writeSomeData(data)
        if count:
            self._connection.written(bytes(data[:count]))
        self.taken.clear()
        return count

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._connection.server_ended()

    def _soon(self) -> None:
        if not self._pump_set:
            self._pump_set = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._pump_set = False
        self.pump()


class Connection:
    """One TCP connection of a client to a daemon.

    Args:
        clock: the world's.
        random: says how long bytes take, and into which pieces they fall.
        caller: the client's end.
        delays: of the line.
        pieces: whether bytes may come in pieces.
    """

    def __init__(
        self, clock: IReactorTime, random: Random, *, caller: Caller, delays: Sequence[float], pieces: bool
    ) -> None:
        self._random = random
        self._caller = caller
        self._pieces = pieces
        self._up, self._down = Wire(clock, random, delays), Wire(clock, random, delays)
        self._end: TcpEnd | None = None
        self._enter: Enter | None = None
        self._is_open = True
        self._server_is_open = True

    def open(self, listener: Listener, enter: Enter, clock: Any, peer: str) -> None:
        """Connect."""
        self._enter = enter

        def syn() -> None:
            end = TcpEnd(clock, self, peer)
            protocol = listener.accept(end)
            if protocol is None:
                self._refused()
                return
            self._end = end
            end.protocol = protocol
            enter(lambda: protocol.makeConnection(end))

        self._up.put(syn)

    # The client's side.

    def send(self, data: bytes) -> None:
        """The client writes."""
        if not self._is_open:
            return
        for piece in self._cut(data):
            self._up.put(lambda piece=piece: self._arrive(piece))  # type: ignore[misc]

    def close(self) -> None:
        """The client closes, in order."""
        if self._is_open:
            self._is_open = False
            self._up.put(self._finish)

    def stall(self) -> None:
        """The client does not read for now: the daemon's kernel takes a little, and then nothing."""
        if self._end is not None:
            self._end.room = SOCKET_BUFFER
            self._down.hold()

    def read_on(self) -> None:
        """The client reads again."""
        self._down.release()
        end = self._end
        if end is not None and end.room is not None and self._enter is not None:
            end.room = None
            self._enter(end.pump)

    # The network's.

    def cut(self) -> None:
        """It ends, and both ends hear of it, each in its time."""
        self._up.drop()
        self._down.drop()
        self._up.put(self._lost)
        self._down.put(self._ended)

    def hold(self, *, up: bool, down: bool) -> None:
        """Nothing comes through in these directions, and nobody hears of it."""
        if up:
            self._up.hold()
        if down:
            self._down.hold()

    def heal(self) -> None:
        """All comes through again."""
        self._up.release()
        self.read_on()

    def killed(self) -> None:
        """The daemon's process is no more: the client hears of it, if bytes come through."""
        self._server_is_open = False
        self._end = None
        self._up.drop()
        self._down.put(self._ended)

    # The daemon's side.

    def written(self, data: bytes) -> None:
        """The daemon wrote."""
        if self._is_open:
            for piece in self._cut(data):
                self._down.put(lambda piece=piece: self._deliver(piece))  # type: ignore[misc]

    def server_ended(self) -> None:
        """The daemon's end is closed."""
        if self._server_is_open:
            self._server_is_open = False
            self._down.put(self._ended)

    @property
    def is_over(self) -> bool:
        """Whether neither end has it any more."""
        return not self._is_open and not self._server_is_open

    def _refused(self) -> None:
        self._server_is_open = False
        self._down.put(self._ended)

    def _arrive(self, data: bytes) -> None:
        end = self._end
        if end is not None and self._enter is not None:
            self._enter(lambda: end.arrive(data) if end.connected else None)

    def _finish(self) -> None:
        end = self._end
        self._server_is_open = False
        if end is not None and self._enter is not None:
            self._enter(lambda: end.fin(Failure(ConnectionDone())) if end.lost is None else None)

    def _lost(self) -> None:
        end = self._end
        self._server_is_open = False
        if end is not None and self._enter is not None:
            self._enter(lambda: end.hang_up() if end.lost is None else None)

    def _deliver(self, data: bytes) -> None:
        if self._is_open:
            self._caller.arrived(data)

    def _ended(self) -> None:
        if self._is_open:
            self._is_open = False
            self._caller.ended()

    def _cut(self, data: bytes) -> Sequence[bytes]:
        if not self._pieces or len(data) < 2 or self._random.randrange(8):
            return (data,)
        at = self._random.randrange(1, len(data))
        return (data[:at], data[at:])
