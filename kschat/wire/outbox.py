"""The frames of a polling session: those that wait, and those that were sent and are not confirmed.

A frame waits, is sent in a body, and is confirmed when the peer asks for the next body.
"""

from __future__ import annotations

from typing import Final

from kschat.wire import payload
from kschat.wire.engineio import Frame, Revision

#: What a frame costs beside its bytes, so that many small ones are bounded as well.
FRAME_COST: Final = 64


class Outbox:
    """Of one session.

    Args:
        revision: the session's.
        limit: bytes of one body.
        text_only: the peer can't read binary bodies.

    Attributes:
        unsent: bytes that wait, and what their frames cost.
        awaited: the number of the confirmation that is awaited, or None.
    """

    __slots__ = (
        "_frames",
        "_limit",
        "_read",
        "_revision",
        "_sent",
        "_text_only",
        "_until",
        "_went",
        "awaited",
        "unsent",
    )

    def __init__(self, revision: Revision, limit: int, text_only: bool = False) -> None:
        self.unsent = 0
        self.awaited: int | None = None
        self._revision: Revision = revision
        self._limit = limit
        self._text_only = text_only
        # (An empty deque takes 760 bytes, half of what a session took in all.)
        self._frames: list[Frame] = []
        # Counts: frames put in; of these, frames sent; of these, frames read; frames to be read for the confirmation.
        self._sent = self._went = self._read = self._until = 0

    def __bool__(self) -> bool:
        """Whether a frame waits."""
        return bool(self._frames)

    def put(self, data: bytes, binary: bool = False) -> None:
        """Add a frame."""
        self._frames.append(Frame(data, binary))
        self._sent += 1
        self.unsent += FRAME_COST + len(data)

    def take(self, text_only: bool = False) -> Frame:
        """Take a body of as many frames as fit. ``text_only`` holds for this body alone."""
        body, count = payload.encode(self._frames, self._revision, self._limit, text_only=text_only or self._text_only)
        for frame in self._frames[:count]:
            self.unsent -= FRAME_COST + len(frame.payload)
        del self._frames[:count]
        self._went += count
        return body

    def take_frames(self) -> list[Frame]:
        """Take all frames that wait."""
        frames, self._frames = self._frames, []
        self.unsent = 0
        return frames

    def alone(self, frame: Frame) -> Frame:
        """A body of this frame alone; the others go on waiting."""
        return payload.encode((frame,), self._revision, self._limit)[0]

    def await_confirmation(self, number: int) -> bool:
        """Await the confirmation that the peer has read all frames that were put in so far.

        Returns:
            Whether it has; then ``confirmed`` returns the number.
        """
        self.awaited, self._until = number, self._sent
        return self._read == self._sent

    def asked_for_more(self) -> None:
        """The peer has read all frames that were sent."""
        self._read = self._went

    def confirmed(self) -> int | None:
        """Return the number of the awaited confirmation once it is there, and await it no longer."""
        if self.awaited is None or self._until > self._read:
            return None
        number, self.awaited = self.awaited, None
        return number
