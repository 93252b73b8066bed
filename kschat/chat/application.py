"""``Chat``: who may join, which event is which command, what is counted and logged.

It is the ``Application`` that the wire's connections ask.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.commands import COMMANDS
from kschat.chat.counters import Counters
from kschat.chat.delivery import Delivery
from kschat.chat.handshake import identify
from kschat.chat.hub import Hub
from kschat.chat.messages import Mids
from kschat.chat.tokens import Identity, TokenError, Verifier
from kschat.wire.connection import Connection, Socket
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from kschat.wire.socketio import Ack, Connect, Event

#: The namespace that the chat is on.
NAMESPACE = "/kschat"


class Chat:
    """The chat of one daemon.

    Args:
        clock: gives messages their time.
        verifier: says whose a token is.
        hub: knows who is here.
        delivery: takes messages.
        mids: makes their ids.
        limits: of the wire.
        counters: counts.

    Attributes:
        closing: whether the daemon is going down; then nothing new is taken.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        verifier: Verifier,
        hub: Hub,
        delivery: Delivery,
        mids: Mids,
        limits: Limits,
        counters: Counters,
    ) -> None:
        self.clock = clock
        self.verifier = verifier
        self.hub = hub
        self.delivery = delivery
        self.mids = mids
        self.limits = limits
        self.counters = counters
        self.closing = False

    def connect(self, socket: Socket, wish: Connect) -> None:
        """See ``wire.connection.Application``. ``/`` lets everybody in and serves nothing."""
        if socket.namespace == "/":
            socket.accept(serves=False)
            return
        if socket.namespace != NAMESPACE:
            self._deny(socket, "namespace", "Invalid namespace")
            return
        try:
            identity = identify(self.verifier, socket.connection.handshake, wish)
        except TokenError as error:
            self._deny(socket, error.reason, "Authentication error")
            return
        socket.record = identity
        bound = self.hub.join(identity.user, socket)
        bound.addCallbacks(self._joined, self._not_bound, callbackArgs=(socket, identity), errbackArgs=(socket,))
        bound.addErrback(self._failed)

    def _joined(self, _: None, socket: Socket, identity: Identity) -> None:
        socket.accept()
        self.log.info(
            "{user} joined from {peer}",
            user=identity.user,
            peer=socket.connection.handshake.peer,
            socket=socket.id,
        )

    def _not_bound(self, failure: Failure, socket: Socket) -> None:
        self.log.warn("a socket could not be bound: {why}", why=failure.getErrorMessage())
        self.hub.leave(socket.record.user, socket)
        self._deny(socket, "not_bound", "The server is not available")

    def _failed(self, failure: Failure) -> None:
        self.log.failure("a socket could not be let in", failure)

    def _deny(self, socket: Socket, reason: str, message: str) -> None:
        self.counters.denied[reason] += 1
        self.log.info(
            "a socket from {peer} was not let in: {reason}",
            peer=socket.connection.handshake.peer,
            reason=reason,
        )
        socket.refuse(message)

    def event(self, socket: Socket, event: Event) -> None:
        """See ``wire.connection.Application``. On ``/`` nothing is served."""
        if socket.namespace == NAMESPACE:
            command = COMMANDS.get(event.name)
            if command is not None:
                command(self, socket, event)

    def acked(self, socket: Socket, ack: Ack) -> None:
        """See ``wire.connection.Application``."""
        self.counters.confirmed += 1

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        """See ``wire.connection.Application``."""
        identity = socket.record
        if isinstance(identity, Identity):
            self.hub.leave(identity.user, socket)
            self.log.info("{user} left: {reason}", user=identity.user, reason=reason.text, socket=socket.id)

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        """See ``wire.connection.Application``."""
        self.counters.closed[reason.text] += 1
        if detail:
            self.log.info(
                "a connection from {peer} was closed: {reason} ({detail})",
                peer=connection.handshake.peer,
                reason=reason.text,
                detail=detail,
            )
