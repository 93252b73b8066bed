"""Engine.IO without Socket.IO: a listener that sends back what comes."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kschat.front.registry import SessionRegistry, TrackedConnection
from kschat.wire.cork import Cork
from kschat.wire.session import EngineSession


class PausingRegistry(SessionRegistry):
    """Begins sessions whose open packet need not come together with the answer to the handshake.

    Args:
        cork: holds it back.
        pause: seconds that it waits.
        clock: for that; and all others as with ``SessionRegistry``.
    """

    def __init__(self, *args: Any, cork: Cork, pause: float, clock: IReactorTime, **more: Any) -> None:
        super().__init__(*args, **more)
        self._cork = cork
        self._pause = pause
        self._clock = clock
        self._release: IDelayedCall | None = None

    def begin(self, *args: Any, **more: Any) -> EngineSession:
        """A session. What is sent on any WebSocket waits for a moment."""
        if self._release is not None and self._release.active():
            self._release.reset(self._pause)
        elif self._pause:
            self._cork.hold()
            self._release = self._clock.callLater(self._pause, self._cork.release)
        return super().begin(*args, **more)


class Echo(TrackedConnection):
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
