"""``Namespace``: middleware and handlers of events, by their names; the wire's ``Handler`` for them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.log_text import shown
from kschat.repeated_log import RepeatedLog
from kschat.server import values
from kschat.server.errors import Refused
from kschat.server.functions import Entry, Function, Handlers
from kschat.server.rooms import Rooms
from kschat.server.socket import BroadcastAckRequest, BroadcastOperator, Socket
from kschat.wire import connection
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.socketio import Ack, Connect, Event

#: npm's other name for it.
_CONNECTION: Final = "connection"

#: What ``on`` takes for something else than a client's event of that name, which no client may send.
CONNECT: Final = "connect"
DISCONNECTING: Final = "disconnecting"
DISCONNECT: Final = "disconnect"
ANY: Final = "*"


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a client, or an application for it, may take.

    Attributes:
        max_rooms: rooms that one socket is in.
        max_asked: acks that are awaited of one socket.
        max_running: handlers of one socket's events that have not ended; beyond it the connection is closed.
        max_dynamic: namespaces at once that a rule has made.
    """

    max_rooms: int = 1000
    max_asked: int = 1000
    max_running: int = 1000
    max_dynamic: int = 1000


class Namespace:
    """One namespace. Made by ``Server.of``.

    Args:
        name: with its leading slash.
        clock: for timeouts.
        bounds: of each of its sockets.
        handlers: shared with others; its own where there are none.

    Attributes:
        rooms: who is in which.
    """

    log = Logger()

    def __init__(self, name: str, *, clock: IReactorTime, bounds: Bounds, handlers: Handlers | None = None) -> None:
        self.name = name
        self.clock = clock
        self._repeated = RepeatedLog(clock)
        self.bounds = bounds
        self.rooms: Rooms[Socket] = Rooms(bounds.max_rooms)
        self._handlers = Handlers() if handlers is None else handlers
        # All that were let in; and those beside them that were not answered yet.
        self._sockets: dict[Socket, None] = {}
        self._waiting: dict[Socket, None] = {}

    # What an application says.

    def use(self, function: Function) -> Function:
        """Call ``function(socket)`` before a client is let in. It refuses by raising ``Refused``. Decorates."""
        self._handlers.middleware.append(function)
        return function

    def on(self, event: str) -> Callable[[Function], Function]:
        """Call a function for each event of a name; the one that was there before is replaced. Decorates.

        It is called with the socket and the event's arguments: JSON values, bytes where the client sent binary. What
        it returns is the ack, if the client asked for one: a tuple is several arguments, None is none. An event with
        more or fewer arguments than it takes is passed over, as are events without a function.

        Four names mean something else. ``connect`` (or ``connection``): called with each socket once it is let in.
        ``disconnecting``, and then ``disconnect``: called with each that has ended and the reason's text, while it is
        still in its rooms. ``*``: called with the socket, the name and the arguments of events that have no function.
        """
        return self._enter(event, once=False)

    def once(self, event: str) -> Callable[[Function], Function]:
        """The same for the next event of that name alone, whoever it comes from. Decorates."""
        return self._enter(event, once=True)

    def off(self, event: str) -> None:
        """Take away the function for an event."""
        self._handlers.events.pop(CONNECT if event == _CONNECTION else event, None)

    def on_any(self, function: Function) -> Function:
        """Call ``function(socket, name, *args)`` for each event that comes, before its own function. Decorates.

        What it returns is nothing to the client. ``off_any`` takes it away.
        """
        self._handlers.any.append(function)
        return function

    def off_any(self, function: Callable[..., Any]) -> None:
        """Take away what ``on_any`` or ``on_any_outgoing`` has put there."""
        for functions in (self._handlers.any, self._handlers.any_outgoing):
            if function in functions:
                functions.remove(function)

    def on_any_outgoing(self, function: Function) -> Function:
        """Call ``function(socket, name, *args)`` for each event that is sent to a socket. Decorates.

        Not for answers to a client's events. ``off_any`` takes it away.
        """
        self._handlers.any_outgoing.append(function)
        return function

    def _enter(self, event: str, once: bool) -> Callable[[Function], Function]:
        def decorate(function: Function) -> Function:
            self._handlers.events[CONNECT if event == _CONNECTION else event] = Entry.of(function, once)
            return function

        return decorate

    @property
    def max_asked(self) -> int:
        """Acks that may be awaited of one socket."""
        return self.bounds.max_asked

    @property
    def sockets(self) -> list[Socket]:
        """Who is in it."""
        return list(self._sockets)

    def select(self, rooms: Iterable[str], without: Iterable[str]) -> list[Socket]:
        if rooms:
            return self.rooms.select(rooms, without)
        if without:
            left_out = set(self.rooms.select(without, ()))
            return [socket for socket in self._sockets if socket not in left_out]
        return list(self._sockets)

    def to(self, *rooms: str) -> BroadcastOperator:
        """Those in any of ``rooms``."""
        return BroadcastOperator(self, frozenset(rooms))

    in_ = to

    def except_(self, *rooms: str) -> BroadcastOperator:
        """All but those in any of ``rooms``."""
        return BroadcastOperator(self, without=frozenset(rooms))

    @property
    def volatile(self) -> BroadcastOperator:
        return BroadcastOperator(self, droppable=True)

    def timeout(self, seconds: float) -> BroadcastAckRequest:
        return BroadcastOperator(self).timeout(seconds)

    def emit(self, event: str, *args: Any) -> None:
        """Send an event to all."""
        BroadcastOperator(self).emit(event, *args)

    def join(self, *rooms: str) -> None:
        """Let all join rooms."""
        BroadcastOperator(self).join(*rooms)

    def leave(self, *rooms: str) -> None:
        """Let all leave rooms."""
        BroadcastOperator(self).leave(*rooms)

    def disconnect(self, close: bool = False) -> None:
        """End all. ``close``: see ``Socket.disconnect``."""
        BroadcastOperator(self).disconnect(close)

    def going_out(self, socket: Socket, event: str, args: Sequence[Any]) -> None:
        """An event is about to be sent to a socket: tell ``on_any_outgoing``."""
        for function in self._handlers.any_outgoing:
            self._run(function, socket, (event, *args), name=event)

    @property
    def empty(self) -> bool:
        """Whether nobody is in it, or waits to be let in."""
        return not self._sockets and not self._waiting

    # What the wire says.

    def connect(self, socket: connection.Socket, wish: Connect) -> None:
        newcomer = socket.record = Socket(self, socket, wish)
        self._waiting[newcomer] = None
        self._follow(Deferred.fromCoroutine(self._admit(newcomer)), CONNECT)

    async def _admit(self, newcomer: Socket) -> None:
        wire = newcomer.wire
        try:
            for function in self._handlers.middleware:
                answer = function(newcomer)
                if isinstance(answer, Coroutine | Deferred):
                    await answer
        except Refused as refused:
            wire.refuse(refused.message, refused.json)
        except Exception:  # noqa: BLE001 - and is logged; what went wrong is not the client's to know
            self.log.failure("a socket could not be admitted to {namespace}", namespace=self.name)
            wire.refuse("The server failed")
        else:
            wire.accept()
        self._waiting.pop(newcomer, None)
        if wire.accepted:
            self._sockets[newcomer] = None
            self.rooms.join(newcomer, newcomer.id)
            self._call(newcomer, CONNECT, ())

    def event(self, socket: connection.Socket, event: Event) -> None:
        sender = socket.record
        if sender.running >= self.bounds.max_running:
            raise ProtocolError("too many events of a socket are not handled yet", Reason.FORCED_CLOSE)
        args = values.decode(event.args, event.attachments)
        for function in self._handlers.any:
            self._run(function, sender, (event.name, *args), name=event.name)
        own = event.name in sender.own or event.name in self._handlers.events
        if own and event.name not in (ANY, _CONNECTION):
            self._call(sender, event.name, args, number=event.id)
        else:
            self._call(sender, ANY, [event.name, *args], number=event.id)

    def acked(self, socket: connection.Socket, ack: Ack) -> None:
        socket.record.acks.came(ack)

    def confirmed(self, socket: connection.Socket, number: int) -> None:
        """Never called: no confirmation is asked for here."""

    def closing_socket(self, socket: connection.Socket, reason: Reason) -> None:
        """Nothing is sent at the end."""

    def disconnected(self, socket: connection.Socket, reason: Reason) -> None:
        gone, socket.record = socket.record, None
        self._waiting.pop(gone, None)
        if gone in self._sockets:
            del self._sockets[gone]
            self._call(gone, DISCONNECTING, (reason.text,))
            self._call(gone, DISCONNECT, (reason.text,))
            self.rooms.leave_all(gone)
        gone.acks.end()

    def _call(self, socket: Socket, name: str, args: Iterable[Any], *, number: int | None = None) -> None:
        """Call the function for ``name``, and answer ack ``number`` with what it returns."""
        place = socket.own if name in socket.own else self._handlers.events
        entry = place.get(name)
        if entry is None:
            return
        args = tuple(args)
        if not entry.least <= len(args) <= entry.most:
            self._repeated.info(
                self.log, "{event} arrived with the wrong number of arguments: {count}", event=name, count=len(args)
            )
            return
        if entry.once:
            del place[name]
        self._run(entry.function, socket, args, name=name, number=number)

    def _run(
        self, function: Callable[..., Any], socket: Socket, args: Sequence[Any], *, name: str, number: int | None = None
    ) -> None:
        try:
            answer = function(socket, *args)
            if isinstance(answer, Coroutine):
                answer = Deferred.fromCoroutine(answer)
            if not isinstance(answer, Deferred):
                self._answer(answer, socket, number)
                return
        except Exception:  # noqa: BLE001 - and is logged; it costs this client the answer, and others nothing
            self.log.failure("the handler of {event} in {namespace} failed", event=shown(name), namespace=self.name)
            return
        socket.running += 1
        answer.addBoth(_ended, socket)
        self._follow(answer.addCallback(self._answer, socket, number), name)

    def _answer(self, answer: Any, socket: Socket, number: int | None) -> None:
        if number is not None:
            socket.wire.ack(number, *values.encode(values.many(answer)))

    def _follow(self, deferred: Deferred[Any], event: str) -> None:
        deferred.addErrback(self._failed, event)

    def _failed(self, failure: Failure, event: str) -> None:
        self.log.failure(
            "the handler of {event} in {namespace} failed", failure, event=shown(event), namespace=self.name
        )


def _ended(result: Any, socket: Socket) -> Any:
    socket.running -= 1
    return result
