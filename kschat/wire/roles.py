"""The interfaces between an ``EngineSession`` and its transport, its listener and its timers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from kschat.wire.engineio import Frame
from kschat.wire.errors import Reason


class Transport(Protocol):
    """Carries the frames of a session."""

    def send(self, payload: bytes, binary: bool = False) -> None:
        """Write one frame. Must not raise, even if the peer is gone."""

    def close(self, reason: Reason) -> None:
        """Write what was sent, then close. Must not call back into the session."""

    @property
    def asks_by_ping(self) -> bool:
        """Whether a confirmation costs a frame each way. If not, it costs nothing, but an early question matters."""

    def release(self) -> None:
        """Answer a request that is parked for frames with a noop. Transports without such requests do nothing."""

    def ask_confirmation(self, number: int) -> None:
        """Ask the peer to confirm that it has read all that was sent so far.

        The confirmation arrives as ``session.confirmed(number)``. At most one is awaited at a time.
        """

    def ask_for_life(self) -> None:
        """Ask the peer for a sign of life, which arrives as ``session.alive()``.

        The client's transport gives it, not its program: clients of revision 3 do not answer packets of Engine.IO.
        """

    @property
    def congested(self) -> bool:
        """Whether the peer reads more slowly than frames are sent."""

    def take_unsent(self) -> Iterable[Frame]:
        """Frames that were sent and not written yet; a new transport takes them over."""

    def take_unread(self) -> Iterator[Frame] | None:
        """Frames that arrived and were not handed on yet; a new transport hands them on. None if there are none.

        Raises ProtocolError at a frame that is invalid.
        """

    def read_first(self, frames: Iterator[Frame]) -> None:
        """Hand these frames on, in turns, before those that arrive here. They come from the transport before."""

    def take_confirmation(self) -> int | None:
        """The number of a confirmation that is still awaited; a new transport asks for it again."""


class Listener(Protocol):
    """The layer above a session."""

    @property
    def max_payload(self) -> int:
        """Bytes of a packet that the peer may send now."""

    def text(self, data: bytes) -> None:
        """A text message arrived, in UTF-8. May raise ProtocolError."""

    def binary(self, data: bytes) -> None:
        """A binary message arrived. May raise ProtocolError."""

    def confirmed(self, number: int) -> None:
        """The peer has read all that was sent before ``ask_confirmation`` was called with ``number``."""

    def closing(self, reason: Reason) -> None:
        """This side is about to end the session; one more message may be sent."""

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
