"""Refuses revoked tokens at connect, and ends their sockets.

Each daemon holds the whole list in memory, so that a connect does not wait for the store. The list is read from the
store before the first socket is let in, and again, from where it ended, when the bus or the store is back and at
intervals. Without a store (relay mode) it holds what the daemon has heard since it started.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import outgoing
from kschat.chat.bus import IBus
from kschat.chat.clocks import milliseconds
from kschat.chat.cluster_commands import Revoked
from kschat.chat.expiry import TURN
from kschat.chat.hub import Hub
from kschat.chat.interfaces import RETRY_WAIT, RevocationsFull, StoreUnavailable
from kschat.chat.revocation import MAX_REVOCATIONS, Revocation, RevocationList, user_of
from kschat.chat.session import ChatSession
from kschat.chat.tokens import Identity, TokenError
from kschat.counters import Counters
from kschat.log_text import shown
from kschat.outage_log import OutageLog

#: Seconds between two looks for revocations, where another daemon may have failed to tell of one.
LOOK_INTERVAL: Final = 1.0

#: Revocations of one page.
MAX_PAGE: Final = 1000


class Revoker:
    """The revoked tokens, as one daemon knows them.

    Args:
        hub: has the sockets, the store and the clocks.
        bus: tells other daemons.
        counters: counts.
        shared: whether other daemons write to the store.
    """

    log = Logger()

    def __init__(self, hub: Hub, bus: IBus, counters: Counters, *, shared: bool) -> None:
        self._hub = hub
        self._bus = bus
        self._counters = counters
        self._shared = shared
        self._list = RevocationList()
        self._prune_beyond = MAX_PAGE
        self._after = 0
        self._reading = False
        self._again = False
        self._waiting: deque[Deferred[None]] = deque()
        # Users whose sockets are to be looked at (None: all users), and sockets that are to be ended.
        self._suspects: set[str | None] = set()
        self._revoked: deque[ChatSession] = deque()
        self._slice: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        self._stopped = False
        self._outages = OutageLog(self.log, name="the list of revoked tokens")
        self._was_read = False
        hub.store_listeners.append(self)

    # At connect.

    @property
    def ready(self) -> bool:
        """Whether the list was read: from then on every revocation that the store keeps is known here."""
        return self._was_read or not self._hub.store.keeps

    def known(self) -> Deferred[None]:
        """Fires when the list was read. Until then nobody can be let in: a revoked token must not count."""
        if self.ready:
            return succeed(None)
        waits: Deferred[None] = Deferred()
        self._waiting.append(waits)
        if not self._reading:
            self.refresh()
        return waits

    def refuses(self, identity: Identity) -> bool:
        """Whether the token of ``identity`` is revoked."""
        return self._list.refuses(identity)

    def check(self, identity: Identity) -> None:
        """Raises TokenError if the token of ``identity`` is revoked."""
        if self._list.refuses(identity):
            raise TokenError("revoked")

    # Revoking.

    def revoke(self, revocation: Revocation) -> Deferred[None]:
        """Revoke tokens on all daemons.

        Returns:
            Fires when the store keeps it and all daemons were told. Fails with StoreUnavailable or RevocationsFull;
            then nothing was revoked.
        """
        now = milliseconds(self._hub.wall)

        def kept(_: None) -> Deferred[None]:
            self.heard([revocation])
            self._bus.publish_all(Revoked.of(revocation))
            return self._hub.notifier.flushed()

        if not self._hub.store.keeps and not self._has_room(revocation):
            return fail(RevocationsFull())
        return self._hub.store.revoke(revocation, now=now, most=MAX_REVOCATIONS).addCallback(kept)

    def heard(self, revocations: Sequence[Revocation]) -> None:
        """Other tokens are revoked, or are so no more: end the sockets here."""
        for one in revocations:
            if self._has_room(one):
                self._list.add(one)
            else:
                # The store has no more; so this is relay mode.
                self.log.error("a revocation was not remembered: there are {count} already", count=len(self._list))
        self._suspects.update(user_of(one.key) for one in revocations if not one.lifted)
        self._do_some()

    def _has_room(self, revocation: Revocation) -> bool:
        if len(self._list) >= self._prune_beyond:
            self._list.prune(milliseconds(self._hub.wall))
            self._prune_beyond = max(2 * len(self._list), MAX_PAGE)
        return revocation.lifted or len(self._list) < MAX_REVOCATIONS or revocation.key in self._list

    def _do_some(self) -> None:
        """End some sockets, or let some go on that wait for the list; the others in later turns."""
        if self._slice is not None:
            return
        # Revocations of single tokens may come by the thousand: all sockets are looked at once a turn.
        looked_at_all = None in self._suspects
        self._look_at_suspects()
        if self._was_read:
            for _ in range(min(len(self._waiting), TURN)):
                self._waiting.popleft().callback(None)
        self._end_some()
        if looked_at_all or self._revoked or (self._was_read and self._waiting):
            self._slice = self._hub.clock.callLater(0, self._go_on)

    def _look_at_suspects(self) -> None:
        users, self._suspects = self._suspects, set()
        if None in users:
            users = {None}
        refuses = self._list.refuses
        for user in users:
            for session in self._hub.sessions(user):
                if session.socket.accepted and refuses(session.identity):
                    self._revoked.append(session)

    def _go_on(self) -> None:
        self._slice = None
        self._do_some()

    def _end_some(self) -> None:
        if not self._revoked:
            return
        body = outgoing.goodbye("revoked", 0)
        with self._hub.writing():
            for _ in range(min(len(self._revoked), TURN)):
                session = self._revoked.popleft()
                if not session.socket.accepted:
                    continue
                self._counters.revoked += 1
                self.log.info("{user} is disconnected: its token was revoked", user=shown(session.user))
                if session.more:
                    session.socket.emit(body)
                session.socket.disconnect()

    # Reading the list.

    def start(self) -> None:
        """Read the list, and look for more at intervals."""
        self._look()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._slice is not None:
            self._slice.cancel()
            self._slice = None

    def renewed(self) -> None:
        """See ``StoreListener``. What was known holds on, and what is kept there now is added."""
        self._after = 0
        self.refresh()

    def reconnected(self) -> None:
        """See ``StoreListener``."""
        self.renewed()

    def refresh(self) -> None:
        """Read what was not read yet."""
        if not self._hub.store.keeps or self._stopped:
            return
        if self._reading:
            self._again = True
            return
        self._reading = True
        Deferred.fromCoroutine(self._read()).addErrback(self._failed)

    async def _read(self) -> None:
        try:
            more = True
            while more:
                self._again = False
                after = self._after
                page = await self._hub.store.revocations(after, MAX_PAGE)
                if self._after == after and page:
                    self._after = page[-1].number
                self.heard([one.revocation for one in page])
                more = self._again or len(page) >= MAX_PAGE
            self._done()
        except StoreUnavailable as error:
            if not self.ready:
                self._outages.down("{name} can't be read, so that nobody is let in: {reason}", str(error))
                self._look_later(RETRY_WAIT)
        finally:
            self._reading = False

    def _done(self) -> None:
        if not self._was_read:
            self._was_read = True
            self._outages.up()
            self._do_some()

    def _look(self) -> None:
        self._timer = None
        self.refresh()
        if self._shared:
            self._look_later(LOOK_INTERVAL)

    def _look_later(self, seconds: float) -> None:
        if self._timer is None and not self._stopped:
            self._timer = self._hub.clock.callLater(seconds, self._look)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("the list of revoked tokens could not be read", failure)
        self._look_later(RETRY_WAIT)
