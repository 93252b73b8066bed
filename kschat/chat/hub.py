"""Who is connected to this daemon; encode once, write to each socket."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kschat.chat import messages
from kschat.chat.counters import Counters
from kschat.chat.interfaces import IRouter, Stored
from kschat.wire.connection import Socket
from kschat.wire.cork import Cork


class Hub:
    """The sockets of this daemon, by user.

    Args:
        router: is told which users are here.
        cork: holds writes back while a batch is written.
        counters: counts what was delivered.
    """

    log = Logger()

    def __init__(self, router: IRouter, cork: Cork, counters: Counters) -> None:
        self._router = router
        self._cork = cork
        self._counters = counters
        self._users: dict[str, dict[Socket, None]] = {}
        router.attach(self.deliver)

    @property
    def users(self) -> int:
        """How many users have a socket here."""
        return len(self._users)

    @property
    def sockets(self) -> int:
        """How many sockets of users there are."""
        return sum(map(len, self._users.values()))

    def join(self, user: str, socket: Socket) -> Deferred[None]:
        """Deliver to ``socket`` what is for ``user``, from when this fires on."""
        sockets = self._users.get(user)
        if sockets is None:
            self._users[user] = {socket: None}
        else:
            sockets[socket] = None
        return self._router.bind(user)

    def leave(self, user: str, socket: Socket) -> None:
        """``socket`` is gone. A second time: nothing happens."""
        sockets = self._users.get(user)
        if sockets is not None and sockets.pop(socket, self) is None and not sockets:
            del self._users[user]
            self._router.unbind(user)

    def sockets_of(self, user: str) -> Sequence[Socket]:
        """The sockets of ``user`` on this daemon."""
        return tuple(self._users.get(user, ()))

    def deliver(self, batch: Sequence[Stored]) -> None:
        """Write each message to every socket of its recipient. One write a socket."""
        cork = self._cork
        outer = cork.held
        cork.held = True
        written = 0
        try:
            for stored in batch:
                message = stored.message
                sockets = self._users.get(message.recipient)
                if sockets is None:
                    continue
                body = messages.received(message, stored.offset)
                for socket in sockets:
                    if socket.accepted:
                        socket.emit(body, message.attachments, True)
                        written += 1
        finally:
            self._counters.delivered += written
            if not outer:
                cork.release()
