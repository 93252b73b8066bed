"""``Server``: namespaces and their handlers. It is the ``Application`` of the wire's connections."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kschat.repeated_log import RepeatedLog
from kschat.server.functions import Handlers
from kschat.server.namespace import Bounds, Namespace
from kschat.wire.connection import Connection, Handler, Socket
from kschat.wire.errors import Reason
from kschat.wire.socketio import Ack, Connect, Event

__all__ = ["Bounds", "Server", "ServerObserver"]

_DEFAULT = "/"


class ServerObserver(Protocol):
    """Is told what belongs to no namespace. Its methods must not raise."""

    def not_served(self, connection: Connection, namespace: str) -> None:
        """A client asked to join a namespace that does not exist."""

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        """A session has ended, after its sockets. ``detail`` is for the log."""


class Server:
    """The namespaces of one server. One that is not named here is refused with ``Invalid namespace``.

    ``/`` is always there, since clients 1.x and 2.x join it by themselves: until an application asks for it, it lets
    everybody in, serves nothing, and is no reason for a connection to stay.

    Args:
        clock: the reactor, or a test's clock.
        bounds: of each socket.
        observer: is told instead of the log.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, bounds: Bounds | None = None, observer: ServerObserver | None = None
    ) -> None:
        self._clock = clock
        self._repeated = RepeatedLog(clock)
        self._bounds = Bounds() if bounds is None else bounds
        self._observer = observer
        self._handlers: dict[str, Handler] = {_DEFAULT: Lobby()}
        self._rules: list[tuple[Callable[[str], bool], Handlers]] = []
        self._made: dict[str, Namespace] = {}

    def of(self, name: str = _DEFAULT) -> Namespace:
        """The namespace of that name; it is there from now on. Raises ValueError where others serve it."""
        if not name.startswith("/"):
            name = "/" + name
        handler = self._handlers.get(name)
        if isinstance(handler, Namespace):
            return handler
        if handler is not None and not isinstance(handler, Lobby):
            raise ValueError(f"{name} is served by a handler that was mounted")
        namespace = self._handlers[name] = Namespace(name, clock=self._clock, bounds=self._bounds)
        return namespace

    def of_each(self, rule: Callable[[str], bool] | re.Pattern[str]) -> Namespace:
        """Namespaces that are made when a client wishes to join them; empty ones make room for others.

        Args:
            rule: says of a name, with its leading slash, whether it is one of them: a function, or a pattern that is
                found in it. It is not asked of names that ``of`` knows.

        Returns:
            What their functions are put on. It has no sockets itself: use ``socket.namespace`` in the functions.
        """
        handlers = Handlers()
        takes = (lambda name: rule.search(name) is not None) if isinstance(rule, re.Pattern) else rule
        self._rules.append((takes, handlers))
        return Namespace("*", clock=self._clock, bounds=self._bounds, handlers=handlers)

    def mount(self, name: str, handler: Handler) -> None:
        """Let ``handler`` serve ``name`` on the wire's own terms, without what a ``Namespace`` does for each event."""
        self._handlers[name] = handler

    # What the wire says.

    def find(self, namespace: str, connection: Connection) -> Handler | None:
        handler = self._handlers.get(namespace) or self._dynamic(namespace)
        if handler is None:
            if self._observer is not None:
                self._observer.not_served(connection, namespace)
            else:
                self._repeated.info(
                    self.log, "a request for an unknown namespace was refused", peer=connection.handshake.peer
                )
        return handler

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        if self._observer is not None:
            self._observer.ended(connection, reason, detail)
        elif detail:
            self._repeated.info(
                self.log,
                "a connection from {peer} was closed: {reason} ({detail})",
                peer=connection.handshake.peer,
                kind=f"connections that were closed: {reason.text}",
                reason=reason.text,
                detail=detail,
            )

    def _dynamic(self, name: str) -> Namespace | None:
        made = self._made.get(name)
        if made is not None:
            return made
        for rule, handlers in self._rules:
            if rule(name):
                if len(self._made) >= self._bounds.max_dynamic:
                    self._made = {name: one for name, one in self._made.items() if not one.empty}
                    if len(self._made) >= self._bounds.max_dynamic:
                        return None
                made = self._made[name] = Namespace(name, clock=self._clock, bounds=self._bounds, handlers=handlers)
                return made
        return None


class Lobby:
    """``/`` where no application asked for it."""

    def connect(self, socket: Socket, wish: Connect) -> None:
        """Everybody is let in."""
        socket.accept(serves=False)

    def event(self, socket: Socket, event: Event) -> None:
        """Nothing is served."""

    def acked(self, socket: Socket, ack: Ack) -> None:
        """Nobody asked."""

    def confirmed(self, socket: Socket, number: int) -> None:
        """Nobody asked."""

    def closing_socket(self, socket: Socket, reason: Reason) -> None:
        """There is no last word."""

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        """Nothing was kept."""
