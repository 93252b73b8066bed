"""Engine.IO without Socket.IO: a listener that sends back what comes."""

from __future__ import annotations

from kschat.front.engine import Registered


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
