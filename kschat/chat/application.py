"""``Chat``: admits sockets, counts and logs, and passes events to their commands.

It is the ``Handler`` of one namespace, which it is mounted on a ``Server`` for, and that server's ``ServerObserver``.
"""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import commands, outgoing
from kschat.chat.connect_request import ConnectRequest, is_pid_of, new_pid
from kschat.chat.context import ChatContext
from kschat.chat.interfaces import InboxState
from kschat.chat.operations import Operations
from kschat.chat.session import ChatSession
from kschat.chat.tokens import Identity, TokenError
from kschat.log_text import shown
from kschat.wire.connection import Connection, Socket
from kschat.wire.errors import Reason
from kschat.wire.socketio import Ack, Connect, Event

#: The namespace that the chat is on.
NAMESPACE = "/kschat"

#: What Goodbye calls a reason, and the least and the most seconds until a new connection is
#: welcome; many clients that must go at once shall not come back at once.
FAREWELLS = {
    Reason.SHUTTING_DOWN: ("drain", 1.0, 5.0),
    Reason.SLOW_READER: ("slow", 1.0, 1.0),
    Reason.TOO_LARGE: ("too large", 0.0, 0.0),
    Reason.REPLACED: ("replaced", 0.0, 0.0),
}


class Chat:
    """The chat of one daemon: its sockets' coming and going, and what they say.

    Args:
        context: its parts.
    """

    log = Logger()

    def __init__(self, context: ChatContext) -> None:
        self.context = context
        self._draining = False

    @property
    def operations(self) -> Operations:
        """What can be asked of it without a socket."""
        return self.context.operations

    @property
    def closing(self) -> bool:
        """Whether the daemon is going down. It may still serve those who are here."""
        return self._draining or self.context.delivery.closed

    def drain(self) -> None:
        """The daemon is going to go down, and serves until ``close``."""
        self._draining = True

    def close(self) -> None:
        """Take nothing new: the daemon is going down."""
        self.context.delivery.close()
        if self.context.approvals is not None:
            self.context.approvals.close()

    def settled(self) -> Deferred[None]:
        """Fires when all that was sent is answered."""
        delivery, approvals = self.context.delivery, self.context.approvals
        if approvals is None:
            return delivery.drained()
        return approvals.settled().addCallback(lambda _: delivery.drained())

    def connect(self, socket: Socket, wish: Connect) -> None:
        """See ``wire.connection.Handler``."""
        client = socket.connection.handshake.client
        if self.context.addresses.join(client):
            self._too_often(socket, "too many joins, or failed tokens, of its address")
            return
        revoker = self.context.revoker
        if not revoker.ready:
            # Right after the start. (``connect_timeout`` ends a connection that waits too long.)
            revoker.known().addCallback(lambda _: self._connect(socket, wish)).addErrback(self._failed)
            return
        self._connect(socket, wish)

    def _connect(self, socket: Socket, wish: Connect) -> None:
        if not socket.is_asking:
            return  # it has left meanwhile
        request = ConnectRequest.of(socket.connection.handshake, wish)
        try:
            identity = self.context.authenticator.identify(request.identify)
        except TokenError as error:
            self._not_identified(error, socket)
            return
        if isinstance(identity, Deferred):
            identity.addCallbacks(
                self._identified, self._not_identified_later, callbackArgs=(socket, request), errbackArgs=(socket,)
            )
            identity.addErrback(self._failed)
        else:
            self._identified(identity, socket, request)

    def _not_identified(self, error: TokenError, socket: Socket) -> None:
        self.context.authenticator.refused(socket.connection, error)
        socket.refuse("Authentication error")

    def _not_identified_later(self, failure: Failure, socket: Socket) -> None:
        error = failure.value
        if not isinstance(error, TokenError):
            failure.raiseException()
        self._not_identified(error, socket)

    def _identified(self, identity: Identity, socket: Socket, request: ConnectRequest) -> None:
        if not socket.is_asking:
            return  # it has left while newer keys were asked for
        allowance, wait = self.context.limiter.join(identity.user)
        if wait:
            self._too_often(socket, "too many joins of its user")
            return
        options = request.options()
        if options.recover and not self.context.store.keeps:
            options = msgspec.structs.replace(options, recover=False)  # there is nothing to recover from
        self._make_place(identity.user)
        session = socket.record = ChatSession(socket, identity, options, allowance=allowance)
        joined = self.context.admission.join(session)
        joined.addCallbacks(
            self._joined, self._not_bound, callbackArgs=(session, request.claim()), errbackArgs=(session,)
        )
        joined.addErrback(self._failed)

    def _too_often(self, socket: Socket, why: str) -> None:
        """End a connection that joins too often.

        Stock clients of all versions connect again by themselves, later each time, when a connection ends; after a
        CONNECT_ERROR none does.
        """
        self.context.counters.denied["rate"] += 1
        socket.connection.session.close(Reason.RATE, why)

    def _make_place(self, user: str) -> None:
        """Let the oldest socket of a user go where it has as many as it may.

        The newest stays: the oldest may be a connection that the client has lost and the daemon not noticed yet. No
        stock client connects again by itself after that, or the sockets would replace each other for ever.
        """
        inbox = self.context.hub.inbox(user)
        most = self.context.limiter.max_sockets
        if inbox is not None and 0 < most <= len(inbox.sessions):
            self.context.counters.limited["user_sockets"] += 1
            oldest = next(iter(inbox.sessions.values()))
            if oldest.more:
                oldest.socket.emit(outgoing.goodbye("replaced", 0))
            oldest.socket.disconnect()

    def _joined(self, state: InboxState | None, session: ChatSession, claim: tuple[str, int] | None) -> None:
        if session.closed:
            return
        if self.context.revoker.refuses(session.identity):  # meanwhile
            self._leave(session)
            self._deny(session.socket, "revoked", "Authentication error")
            return
        pid, offset = None, None
        if session.options.recover:
            pid = new_pid(session.user, self.context.store.epoch)
            session.pids = (pid,)
            if claim is not None and is_pid_of(session.user, self.context.store.epoch, claim[0]):
                session.pids = (pid, claim[0])
                self.context.operations.replaced(session, claim[0])
                # All that was missed must still be there, else it is a new beginning.
                if state is not None and state.first - 1 <= claim[1] <= state.last:
                    pid, offset = claim
                elif state is not None and claim[1] > state.last:
                    self.context.store.is_outdated(claim[1])
        session.socket.accept(pid=pid)
        self.log.info(
            "{user} joined from {peer}",
            user=shown(session.user),
            peer=session.socket.connection.handshake.peer,
            socket=session.socket.id,
        )
        self.context.expiry.watch(session)
        if self.context.admission.let_in(session):
            self.context.presence.came(session.user)
        self.context.admission.begin(session, state, offset)
        if not self.context.store.keeps and not self.context.hub.routed:
            session.socket.emit(outgoing.NO_BROKER, ask=True)

    def _not_bound(self, failure: Failure, session: ChatSession) -> None:
        self.log.warn("a socket could not be bound: {why}", why=failure.getErrorMessage())
        self._leave(session)
        self._deny(session.socket, "not_bound", "The server is not available")

    def _failed(self, failure: Failure) -> None:
        self.log.failure("a socket could not be connected", failure)

    def _deny(self, socket: Socket, reason: str, message: str) -> None:
        self._denied(socket.connection, reason)
        socket.refuse(message)

    def _denied(self, connection: Connection, reason: str) -> None:
        self.context.counters.denied[reason] += 1
        self.context.repeated.info(
            self.log,
            "a socket from {peer} was rejected: {reason}",
            kind=f"sockets that were rejected: {reason}",
            peer=connection.handshake.peer,
            reason=reason,
        )

    def event(self, socket: Socket, event: Event) -> None:
        """See ``wire.connection.Handler``."""
        commands.run(self.context, socket.record, event)

    def acked(self, socket: Socket, ack: Ack) -> None:
        """See ``wire.connection.Handler``."""
        socket.record.stream.on_acked(ack.id)

    def confirmed(self, socket: Socket, number: int) -> None:
        """See ``wire.connection.Handler``."""
        socket.record.stream.on_confirmed(number)

    def closing_socket(self, socket: Socket, reason: Reason) -> None:
        """See ``wire.connection.Handler``."""
        farewell = FAREWELLS.get(reason)
        session = socket.record
        if reason is Reason.RATE:
            farewell = ("rate", session.allowance.retry_in, session.allowance.retry_in)
        if farewell is not None and session.more:
            name, least, most = farewell
            socket.emit(outgoing.goodbye(name, self.context.uniform(least, most)))

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        """See ``wire.connection.Handler``."""
        session, socket.record = socket.record, None
        if isinstance(session, ChatSession):
            self.context.presence.forget(session)
            self._leave(session)
            self.log.info("{user} left: {reason}", user=shown(session.user), reason=reason.text, socket=socket.id)

    def _leave(self, session: ChatSession) -> None:
        self.context.limiter.leave(session.allowance)
        self.context.expiry.forget(session)
        if self.context.admission.leave(session):
            self.context.presence.left(session.user)
        if self.context.hub.inbox(session.user) is None:
            self.context.presence.blocks.left(session.user)

    def not_served(self, connection: Connection, namespace: str) -> None:
        """See ``server.ServerObserver``."""
        self._denied(connection, "namespace")

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        """See ``server.ServerObserver``."""
        self.context.counters.closed[reason.text] += 1
        if detail:
            self.context.repeated.info(
                self.log,
                "a connection from {peer} was closed: {reason} ({detail})",
                kind=f"connections that were closed: {reason.text}",
                peer=connection.handshake.peer,
                reason=reason.text,
                detail=detail,
            )
