"""Engine.IO without Socket.IO: a listener that sends back what comes."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kschat.front.engine import Engine, Registered
from kschat.wire.session import EngineSession


class PlainEngine(Engine):
    """Begins sessions whose open packet need not come together with the answer to the handshake.

    Args:
        pause: seconds that it waits.
        reactor: for that; and all others as with ``Engine``.
    """

    def __init__(self, *args: Any, pause: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self._pause = pause
        self._clock: IReactorTime = self.factory.reactor
        self._release: IDelayedCall | None = None

    def begin(self, *args: Any, **more: Any) -> EngineSession:
        """A session. What is sent on any WebSocket waits for a moment."""
        if self._release is not None and self._release.active():
            self._release.reset(self._pause)
        elif self._pause:
            self.cork.hold()
            self._release = self._clock.callLater(self._pause, self.cork.release)
        return super().begin(*args, **more)


class Echo(Registered):
    """Sends text back as text and binary as binary. It joins nothing."""

    serves = True

    def opened(self) -> None:
        """The session stands."""

    def text(self, data: bytes) -> None:
        """A message of text."""
        self.session.send_text(data)

    def binary(self, data: bytes) -> None:
        """A binary message."""
        self.session.send_binary(data)
