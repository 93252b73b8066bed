"""What an ``EngineSession`` knows of those around it: below, above, and beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from kschat.wire.engineio import Frame
from kschat.wire.errors import Reason


class Transport(Protocol):
    """What carries the frames of a session."""

    def send(self, payload: bytes, binary: bool = False) -> None:
        """Write one frame. Must not raise, also when the peer is gone."""

    def close(self, reason: Reason) -> None:
        """Write what was sent, then end. Must not call back into the session."""

    def release(self) -> None:
        """Let a request that is parked for frames go (with a noop); others: nothing."""

    def ask_confirmation(self, number: int) -> None:
        """Ask the peer for a confirmation that it has read all that was sent so far.

        When it comes, ``session.confirmed`` is called with ``number``. One is asked at a time.
        """

    def ask_for_life(self) -> None:
        """Ask the peer for a sign of life that its library gives without the program; ``session.alive`` is called.

        That of revision 3 answers nothing by itself.
        """

    @property
    def congested(self) -> bool:
        """Whether the peer does not take what is sent as fast as it comes."""

    def take_unsent(self) -> Iterable[Frame]:
        """Frames that were sent but have not left, which a new transport takes over."""

    def take_unread(self) -> Iterator[Frame]:
        """Frames that came and that it has not handed on yet, of which the session reads before a new transport's.

        Where one of them is none, ProtocolError is raised.
        """

    def take_confirmation(self) -> int | None:
        """The number of a confirmation that was asked for and has not come, which a new transport asks for."""


class Listener(Protocol):
    """Who is above a session."""

    def text(self, data: bytes) -> None:
        """A message of UTF-8 text arrived. May raise ProtocolError."""

    def binary(self, data: bytes) -> None:
        """A binary message arrived. May raise ProtocolError."""

    def confirmed(self, number: int) -> None:
        """The peer has read all that was sent before ``ask_confirmation`` was called with ``number``."""

    def closing(self, reason: Reason) -> None:
        """The session is about to be ended by this side; a last word may still be sent."""

    def closed(self, reason: Reason, detail: str) -> None:
        """The session has ended; nothing can be sent. ``detail`` is for the log."""


class Timer(Protocol):
    """Something that happens once, at a time that may be changed. ``slot`` is the timer wheel's; it begins as None."""

    slot: int | None

    def alarm(self) -> None:
        """The time has come."""


class Timers(Protocol):
    """Schedules timers, those of all sessions."""

    def schedule(self, timer: Timer, seconds: float) -> None:
        """Call ``timer.alarm()`` that much later, and not at a time that was set before."""

    def cancel(self, timer: Timer) -> None:
        """Do not call it."""
