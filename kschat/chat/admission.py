"""``Admission``: connects a socket (binding, subscription, cursor) and disconnects it."""

from __future__ import annotations

from functools import partial
from typing import Final

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.bus import IBus
from kschat.chat.clocks import milliseconds
from kschat.chat.hub import Hub
from kschat.chat.interfaces import RETRY_WAIT, InboxState, IRouter, RouterUnavailable, StoreUnavailable
from kschat.chat.session import ChatSession
from kschat.chat.stream import PAGE
from kschat.chat.write_behind import WRITE_BEHIND_WAIT

#: Seconds that a socket waits until it hears what other daemons tell its user. Beyond that it is let in without.
LISTEN_WAIT: Final = 1.0

#: Messages, and bytes of them, of which a client shows by one offset that it has them, and whose senders are told.
MAX_CLAIMED: Final = 1000
MAX_CLAIMED_BYTES: Final = 4_000_000


class Admission:
    """Lets sockets of users in, and out.

    Args:
        hub: knows who is here.
        router: is told which users are here.
        bus: brings what other daemons tell a user.

    Attributes:
        lingering: how many users who left are still listened for, until the store has their cursors.
    """

    log = Logger()

    def __init__(self, *, hub: Hub, router: IRouter, bus: IBus) -> None:
        self._hub = hub
        self._router = router
        self._bus = bus
        self.lingering = 0

    def join(self, session: ChatSession) -> Deferred[InboxState | None]:
        """Bind a socket's user, then look where the inbox stands.

        From here on the session is given messages. When this fires, ``begin`` is to be called.

        A user who can't be bound now is let in all the same: the router binds the user when it is up again, and what
        came meanwhile is in the store.

        Returns:
            The inbox's state; None where the store can't say now.
        """
        user = session.user
        self._hub.add(session)
        bound = self._router.bind(user, session.socket.id).addErrback(_none_if_away)
        return gatherResults([bound, self._listen(user)], consumeErrors=True).addCallbacks(
            lambda _: self._look(user), _unwrapped
        )

    def let_in(self, session: ChatSession) -> bool:
        """A socket was let in. Whether it is the first one of its user."""
        inbox = self._hub.inbox(session.user)
        if inbox is None:
            return False
        first, inbox.here = not inbox.here, True
        return first

    def _listen(self, user: str) -> Deferred[None]:
        # Whoever was let in may rely on it: what is told to all sockets of a user from then on reaches this one.
        listens = self._bus.listen(user)
        if not listens.called:
            listens.addTimeout(LISTEN_WAIT, self._hub.clock, _let_in)
        return listens

    def _lingered(self, user: str) -> None:
        self.lingering -= 1
        self._unlisten(user)

    def _unlisten(self, user: str) -> None:
        if self._hub.inbox(user) is None:
            self._bus.unlisten(user)

    def _look(self, user: str) -> Deferred[InboxState | None]:
        # A socket begins at the cursor that the store has. If it began at one that is not stored yet, and the daemon
        # crashed, the skipped messages would be delivered again, after newer ones.
        if not self._hub.store.keeps:
            return self._state(user)
        return self._hub.cursors.settled(user).addCallback(lambda _: self._state(user))

    def _state(self, user: str) -> Deferred[InboxState | None]:
        return self._hub.store.inbox(user).addErrback(self._not_known)

    def _not_known(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("the end of an inbox could not be read", failure)

    def begin(self, session: ChatSession, state: InboxState | None, claim: int | None = None) -> None:
        """A socket was let in: write what it missed, then what comes.

        Args:
            session: the socket's.
            state: of the user's inbox; None where the store can't say. Then it is asked again.
            claim: the offset up to which the client shows that it has all.
        """
        inbox = self._hub.inbox(session.user)
        if inbox is None or session.closed:
            return
        if state is None:
            self._hub.clock.callLater(RETRY_WAIT, self._look_again, session, claim)
            return
        before = inbox.cursor = max(inbox.cursor, state.cursor, self._hub.write_behind.cursor(session.user))
        if claim is None:
            session.stream.on_opened(min(state.cursor, state.last), state.last)
        else:
            self._hub.delivered(session, claim, ())
            session.stream.on_opened(claim, state.last)
        if claim is not None and claim > before and self._hub.notifier.receipts:
            Deferred.fromCoroutine(self._delivered_before(session.user, before, claim)).addErrback(self._failed)

    async def _delivered_before(self, user: str, after: int, upto: int) -> None:
        """Tell the senders of what a client shows that it has, and no socket had confirmed."""
        hub = self._hub
        after = max(after, upto - MAX_CLAIMED)
        size = 0
        while after < upto and size < MAX_CLAIMED_BYTES:
            read = partial(hub.store.read, user, after, PAGE)
            try:
                page = await hub.reads.ask(user, read, backlog=True)
            except StoreUnavailable:
                return  # receipts may be lost
            size += sum(entry.message.size for entry in page.entries)
            hub.tell_senders(user, [entry.message for entry in page.entries if entry.offset <= upto])
            after = page.entries[-1].offset if page.entries else upto

    def _look_again(self, session: ChatSession, claim: int | None) -> None:
        if not session.closed:
            looked = self._look(session.user)
            looked.addCallback(lambda state: self.begin(session, state, claim)).addErrback(self._failed)

    def leave(self, session: ChatSession) -> bool:
        """A socket is gone, or was not let in. Whether its user was here, and has no other."""
        user = session.user
        inbox = self._hub.remove(session)
        if inbox is None:
            return False
        self._router.unbind(user, session.socket.id)
        if inbox.sessions:
            return False
        if self._hub.write_behind.cursor(user):
            # Until the store knows it, a daemon that the user comes to next must be able to ask for it.
            self.lingering += 1
            self._hub.clock.callLater(WRITE_BEHIND_WAIT, self._lingered, user)
        else:
            self._bus.unlisten(user)
        if not inbox.here:
            return False
        self._hub.write_behind.left(user, milliseconds(self._hub.wall))
        return True

    def _failed(self, failure: Failure) -> None:
        self.log.failure("a socket could not be connected or disconnected", failure)


def _none_if_away(failure: Failure) -> None:
    failure.trap(RouterUnavailable)


def _let_in(_: object, __: float) -> None:
    """It is not known to listen, and is let in all the same: Redis stands still."""


def _unwrapped(failure: Failure) -> Failure:
    error = failure.value
    return error.subFailure if isinstance(error, FirstError) else failure
