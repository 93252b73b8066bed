"""Transient events to a user's sockets: delivered here at once, and to other daemons by the bus.

All of these events may be lost: they are not stored, they are dropped first under pressure, and offline users do not
receive them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.chat import outgoing
from kschat.chat.bus import IBus, Wants
from kschat.chat.cluster_commands import (
    Carbon,
    ClusterCommand,
    Disconnect,
    Emit,
    EmitToMany,
    Erased,
    InboxGrew,
    Receipt,
    Replaced,
    Typing,
)
from kschat.chat.copies import Spread, copies_of
from kschat.chat.limiter import Limiter
from kschat.chat.message import Message
from kschat.chat.outgoing import Status
from kschat.chat.session import ChatSession, Options
from kschat.wire.errors import Reason

#: Messages that are remembered to have been told as delivered. Each daemon that has the recipient tells it.
MAX_DELIVERED: Final = 20_000

#: Users whose daemons are told of an event for each of them. To more users it is told once to all daemons.
FEW_USERS: Final = 8

#: Seconds that it is waited for other daemons to be told.
FLUSH_WAIT: Final = 1.0

#: Seconds in which a claim is heard in the order of all claims, or was lost.
CLAIM_WAIT: Final = 5.0


class Notifier:
    """Tells commands, and does what they say to the sockets here.

    Args:
        clock: the reactor.
        sessions: gives the sockets of a user here; of None everybody's.
        bus: tells other daemons.
        limiter: says how often what may be lost is multiplied for a user.
        spread: writes to many sockets.

    Attributes:
        receipts: whether any socket, on whatever daemon, asked for receipts.
        carbons: the same of carbons.
    """

    def __init__(
        self,
        clock: IReactorTime,
        sessions: Callable[[str | None], Sequence[ChatSession]],
        bus: IBus,
        *,
        limiter: Limiter,
        spread: Spread,
    ) -> None:
        self._clock = clock
        self._limiter = limiter
        self._spread = spread
        self._sessions = sessions
        self._bus = bus
        # The newest messages that were told as delivered; and the sockets here whose claims were not heard yet.
        self._delivered: dict[str, None] = {}
        self._claims: dict[str, float] = {}
        self._here = {Wants.RECEIPTS: 0, Wants.CARBONS: 0}
        self._elsewhere = Wants.NOTHING
        self.receipts = False
        self.carbons = False

    # Who asked.

    def joined(self, session: ChatSession) -> None:
        """A socket has come."""
        self._count(session.options, 1)

    def left(self, session: ChatSession) -> None:
        """A socket is gone."""
        self._claims.pop(session.socket.id, None)
        self._count(session.options, -1)

    def wanted(self, wants: Wants) -> None:
        """What sockets on other daemons ask for."""
        self._elsewhere = wants
        self._look()

    def _count(self, options: Options, one: int) -> None:
        if options.receipts or options.carbons:
            here = self._here
            before = self._wants_here()
            here[Wants.RECEIPTS] += one * options.receipts
            here[Wants.CARBONS] += one * options.carbons
            if (now := self._wants_here()) is not before:
                self._bus.want(now)
                self._look()

    def _wants_here(self) -> Wants:
        wants = Wants.NOTHING
        for want, count in self._here.items():
            if count:
                wants |= want
        return wants

    def _look(self) -> None:
        wants = self._wants_here() | self._elsewhere
        self.receipts = Wants.RECEIPTS in wants
        self.carbons = Wants.CARBONS in wants

    def asks_receipts(self, user: str) -> bool:
        """Whether a socket of ``user`` here asked for receipts."""
        return bool(self._here[Wants.RECEIPTS]) and any(session.options.receipts for session in self._sessions(user))

    # Telling.

    def receipt(self, sender: str, receipt: Receipt) -> None:
        """Tell those sockets of ``sender`` that asked for it what became of a message."""
        if self._here[Wants.RECEIPTS]:
            self.apply(sender, receipt)
        if Wants.RECEIPTS in self._elsewhere:
            self._bus.publish((sender,), receipt)

    def carbon(self, message: Message, origin: ChatSession | None) -> None:
        """Show the sender's other sockets, those that asked for it, what was sent. ``origin``: the one that sent it."""
        others = self._others(message.sender, origin)
        if others is not None:
            self._show(message.sender, others, Carbon(outgoing.carbon(message), message.attachments))

    def read_carbon(self, peer: str, mid: str, origin: ChatSession) -> None:
        """Tell the reader's other sockets that ``origin`` has read the conversation with ``peer`` up to ``mid``."""
        others = self._others(origin.user, origin)
        if others is not None:
            self._show(origin.user, others, Carbon(outgoing.read(peer, mid)))

    def _others(self, user: str, origin: ChatSession | None) -> list[ChatSession] | None:
        """The user's sockets here, but ``origin``, that asked for carbons; None where no carbon needs to be made."""
        others = [session for session in self._sessions(user) if session.options.carbons and session is not origin]
        return others if others or Wants.CARBONS in self._elsewhere else None

    def _show(self, user: str, others: Sequence[ChatSession], carbon: Carbon) -> None:
        if others:
            self._multiply(others, carbon)
        if Wants.CARBONS in self._elsewhere:
            self._bus.publish((user,), carbon)

    def notify(self, users: Sequence[str], command: ClusterCommand, but: ChatSession | None = None) -> None:
        """Tell each of ``users`` on whatever daemon; here all but one socket."""
        self._apply(self._sessions_of(users), command, but)
        if type(command) is Emit and len(users) > FEW_USERS:
            self._bus.publish_all(EmitToMany(tuple(users), command.body, command.attachments))
        else:
            self._bus.publish(users, command)

    def _sessions_of(self, users: Sequence[str]) -> list[ChatSession]:
        """All of their sockets here together, so that what they are written counts as one."""
        return [session for user in users for session in self._sessions(user)]

    def replaced(self, session: ChatSession, pid: str) -> None:
        """The client of ``session`` has shown ``pid``: end its other sockets, wherever they are.

        Two may do so at once, on two daemons. All daemons hear the claims in one order, their own among them, and the
        last one stays: what is heard while a claim of this daemon is not heard yet came before that.
        """
        command = Replaced(pid, session.socket.id)
        for other in self._sessions(session.user):
            if other is not session and pid in other.pids:
                _end_replaced(other)
        if self._bus.up:
            self._claims[command.socket] = self._clock.seconds()
        self._bus.publish((session.user,), command, echo=True)

    def hint(self, users: Sequence[str]) -> None:
        """Tell other daemons to look into the inboxes of ``users``. A daemon that misses it looks there later."""
        self._bus.publish(users, InboxGrew())

    def flushed(self) -> Deferred[None]:
        """Fires when what was told until now is on its way to all daemons, soon in any case. Never fails."""
        told = self._bus.flush()
        if not told.called:
            told.addTimeout(FLUSH_WAIT, self._clock, _give_up)
        return told

    def notify_all(self, command: ClusterCommand) -> None:
        """Tell everybody on whatever daemon."""
        self.apply(None, command)
        self._bus.publish_all(command)

    def tell_all_others(self, command: ClusterCommand) -> None:
        """Tell all other daemons, and not the sockets here."""
        self._bus.publish_all(command)

    def apply(self, user: str | None, command: ClusterCommand, but: ChatSession | None = None) -> None:
        """Do what a command says to the sockets of a user here, or to everybody's."""
        if type(command) is Replaced:
            self._claimed(user, command)
        elif type(command) is EmitToMany:
            self._apply(self._sessions_of(command.users), Emit(command.body, command.attachments), but)
        else:
            self._apply(self._sessions(user), command, but)

    def _apply(self, found: Sequence[ChatSession], command: ClusterCommand, but: ChatSession | None) -> None:
        sessions = [session for session in found if session is not but and session.socket.accepted]
        if sessions and not (
            type(command) is Receipt and command.status == Status.DELIVERED and self._was_told(command.mid)
        ):
            if type(command) is Receipt or type(command) is Carbon:
                self._multiply(sessions, command)
            else:
                _DO[type(command)](self._spread, sessions, command)

    def _multiply(self, sessions: Sequence[ChatSession], command: Receipt | Carbon) -> None:
        """Show a user's sockets what came of its messages, unless they have caused too much already."""
        user = sessions[0].allowance.user
        if self._limiter.may_copy(user):
            if isinstance(command, Receipt):
                copies = _receipt(self._spread, sessions, command)
            else:
                copies = _carbon(self._spread, sessions, command)
            self._limiter.copied(user, copies)

    def _was_told(self, mid: str) -> bool:
        """Whether the message was told as delivered before; from now on it was."""
        delivered = self._delivered
        if mid in delivered:
            return True
        delivered[mid] = None
        if len(delivered) > MAX_DELIVERED:
            del delivered[next(iter(delivered))]
        return False

    def _claimed(self, user: str | None, command: Replaced) -> None:
        """A claim is heard, in the order in which all daemons hear it."""
        if self._claims.pop(command.socket, None) is not None:
            return  # of a socket here; what its client had here was ended at once
        for session in self._sessions(user):
            if (
                command.pid in session.pids
                and session.socket.id != command.socket
                and not self._is_later(session.socket.id)
            ):
                _end_replaced(session)

    def _is_later(self, socket: str) -> bool:
        """Whether the claim of a socket here is not heard yet, and so comes behind all that is."""
        told = self._claims.get(socket)
        return told is not None and self._clock.seconds() - told < CLAIM_WAIT


def _give_up(_: object, __: float) -> None:
    """Redis stands still: it tells what it can when it goes on."""


def _typing(spread: Spread, sessions: Sequence[ChatSession], command: Typing) -> None:
    body = outgoing.typing(command.user)
    told = [session for session in sessions if session.more and not session.congested]
    spread.each(told, lambda session: session.socket.emit(body))


def _receipt(spread: Spread, sessions: Sequence[ChatSession], command: Receipt) -> int:
    """Returns how many copies it was."""
    told = [session for session in sessions if session.options.receipts and not session.congested]
    if told:
        peer = int(command.peer) if command.number else command.peer
        body = outgoing.status(peer, command.mid, command.status)
        spread.each(told, lambda session: session.socket.emit(body))
    return len(told)


def _carbon(spread: Spread, sessions: Sequence[ChatSession], command: Carbon) -> int:
    """The same."""
    told = [session for session in sessions if session.options.carbons and session.socket.accepted]
    size = command.size
    spread.each(told, lambda session: session.socket.emit(command.body, command.attachments), size)
    return len(told) * copies_of(size)


def _emit(spread: Spread, sessions: Sequence[ChatSession], command: Emit) -> None:
    spread.each(sessions, lambda session: session.socket.emit(command.body, command.attachments), command.size)


def _disconnect(spread: Spread, sessions: Sequence[ChatSession], command: Disconnect) -> None:
    body = outgoing.goodbye(command.reason, 0)

    def end(session: ChatSession) -> None:
        if session.more:
            session.socket.emit(body)
        session.socket.disconnect()

    # Behind what waits for them.
    spread.each(sessions, end, needed=True)


def _erased(spread: Spread, sessions: Sequence[ChatSession], command: Erased) -> None:
    _disconnect(spread, sessions, Disconnect("erased"))


def _end_replaced(session: ChatSession) -> None:
    session.socket.connection.session.close(Reason.REPLACED)


_DO: Final[dict[type, Callable[..., None]]] = {
    Typing: _typing,
    Emit: _emit,
    Disconnect: _disconnect,
    Erased: _erased,
}
