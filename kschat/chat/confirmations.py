"""Asks sockets to confirm what was written to them; for several messages that follow each other closely, once.

To ask costs a ping and a pong (RFC 6455), and reading the pong costs about as much as reading a message. So a socket
that was asked a moment ago is not asked again at once: what is written to it meanwhile is gathered, and the next write
after ``GATHER_SECONDS`` asks for all of it. If there is none, a timer asks. A socket that gets a message now and then
is asked at each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kschat.chat.stream import DeliveryStream, StreamState
from kschat.wire.connection import Socket

#: Seconds after a question in which a socket is not asked again by a write.
GATHER_SECONDS: Final = 0.2

#: Seconds after which it is asked without another write. (What is not confirmed when a connection breaks is written
#: again; when a daemon is killed, so is what was confirmed in the last ``write_behind.WRITE_BEHIND_WAIT`` seconds.)
MAX_GATHER_SECONDS: Final = 0.25

#: Seconds by which the timer asks earlier, so that one wake-up serves several sockets.
EARLIER_SECONDS: Final = 0.01

#: Messages in flight, and bytes of them, from which on a socket is asked at once: a small part of what makes it lag.
MAX_GATHERED: Final = 50
MAX_GATHERED_BYTES: Final = 64_000


class Confirming(Protocol):
    """A socket that confirms what it was sent: a ``ChatSession``.

    Attributes:
        asked: when it was asked last; -1.0 if never.
        gathers: since when it is to be asked; 0.0 if it is not.
    """

    socket: Socket
    stream: DeliveryStream
    asked: float
    gathers: float


class Confirmations:
    """Asks the sockets of one daemon.

    Args:
        clock: the reactor.

    Attributes:
        on: whether questions are gathered. Otherwise each socket is asked at once.
        wait: seconds after a write within which its socket is asked.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.on = False
        self.wait = MAX_GATHER_SECONDS
        self._clock = clock
        self._seconds: Callable[[], float] = clock.seconds
        # Those that are to be asked, each with the time since when, in this order.
        self._waiting: deque[tuple[float, Confirming]] = deque()
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many questions wait. (Some of them were asked with a later write.)"""
        return len(self._waiting)

    def ask(self, session: Confirming) -> None:
        """Ask a socket to confirm all that was written to it, now or a moment later."""
        if not self.on:
            session.socket.ask_confirmation(session.stream.at)
            return
        now = self._seconds()
        stream = session.stream
        in_flight = stream.in_flight
        if (
            now - session.asked < GATHER_SECONDS
            and in_flight.size < MAX_GATHERED_BYTES
            and len(in_flight) < MAX_GATHERED
            and stream.state is _LIVE
            and session.socket.connection.session.transport.asks_by_ping
        ):
            if not session.gathers:
                session.gathers = now
                self._waiting.append((now, session))
                if self._call is None:
                    self._wait()
            return
        self._ask(session, now)

    def ask_all(self) -> None:
        """Ask all that are to be asked, now; and gather no more: the daemon is going down."""
        self.on = False
        if self._call is not None:
            self._call.cancel()
            self._call = None
        while self._waiting:
            self._ask_late(*self._waiting.popleft())

    def _ask(self, session: Confirming, now: float) -> None:
        if session.socket.ask_confirmation(session.stream.at):
            session.asked = now
        # Otherwise it was asked before, and is asked again when it has confirmed that.
        session.gathers = 0.0

    def _ask_late(self, since: float, session: Confirming) -> None:
        # It may have been asked with a later write, or be gone.
        if session.gathers == since:
            session.gathers = 0.0
            if session.stream.in_flight.size:
                self._ask(session, self._seconds())

    def _wait(self) -> None:
        due = self._waiting[0][0] + self.wait
        self._call = self._clock.callLater(max(0.0, due - self._seconds()), self._due)

    def _due(self) -> None:
        self._call = None
        waiting = self._waiting
        # The first one at least: the call was for it.
        upto = max(self._seconds() - self.wait + EARLIER_SECONDS, waiting[0][0])
        while waiting and waiting[0][0] <= upto:
            self._ask_late(*waiting.popleft())
        if waiting:
            self._wait()


# Enums look their members up in Python.
_LIVE: Final = StreamState.LIVE
