"""``Inbox``: one user on this daemon, with the cursor and the sockets.

Only a confirmation moves the cursor: the pong of a ping that followed the message (every client's WebSocket answers it
by itself), the ack of the event, or an offset that the client shows. What was not confirmed is written again to the
user's next socket.
"""

from __future__ import annotations

from collections.abc import Sequence

from kschat.chat.inflight import Written
from kschat.chat.message import Message
from kschat.chat.session import ChatSession
from kschat.wire.connection import Socket


class Inbox:
    """One user on this daemon.

    Args:
        user: the user's id.
        cursor: where it begins.

    Attributes:
        cursor: all up to this offset was confirmed, without a hole.
        sessions: the user's sockets here, also those that were not let in yet.
        here: whether one was let in.
        late: messages that are not written to all of its sockets yet; others are written behind them.
    """

    __slots__ = ("cursor", "here", "late", "sessions", "user")

    def __init__(self, user: str, cursor: int) -> None:
        self.user = user
        self.cursor = cursor
        self.sessions: dict[Socket, ChatSession] = {}
        self.here = False
        self.late = 0

    def sessions_of(self, socket: str) -> list[ChatSession]:
        """The session of the socket with this id, if it is here."""
        return [session for session in self.sessions.values() if session.socket.id == socket]

    def confirmed(self, upto: int, entries: Sequence[Written]) -> list[Message]:
        """A socket has all up to an offset.

        Args:
            upto: the offset.
            entries: the newest of what it was written up to there.

        Returns:
            Those messages that no socket of the user had before.
        """
        before = self.cursor
        if upto <= before:
            return []
        self.cursor = upto
        return [entry[2] for entry in entries if entry[0] > before]
