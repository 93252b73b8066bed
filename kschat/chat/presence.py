"""Tracks online users and notifies the sockets that follow them. No notification waits for the disk.

The bus knows which users are online on any daemon. Each socket receives only differences from what it was sent before,
so it does not matter how often, or from where, a change is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat import outgoing
from kschat.chat.blocks import BlockLists
from kschat.chat.bus import IBus
from kschat.chat.clocks import milliseconds
from kschat.chat.cluster_commands import BlockChange
from kschat.chat.copies import MAX_WRITES
from kschat.chat.hub import Hub
from kschat.chat.interfaces import RETRY_WAIT, Blocks, StoreUnavailable
from kschat.chat.session import ChatSession

#: Whether a user is online (None: that can't be known now), and when it was last seen, where it is not.
State: TypeAlias = tuple[bool | None, int | None]

#: How a user stands whom a socket may not see.
UNSEEN: Final[State] = (False, None)

#: Users that are asked for in one call.
MAX_ASKED: Final = 500


class Presence:
    """Which sockets watch which users. Its size is bounded by what each socket may watch.

    Args:
        hub: knows who is here.
        bus: knows who is elsewhere.
        interval: seconds for which changes are gathered. Of a user who comes and goes all the time, each watcher is
            told the last state, once an interval; the bus at the most that the user came, and that it left.
        restricted: whether a user sees only those whom its token lets it write to.

    Attributes:
        interval: see above; it may change.
        mark: called with users whose first socket here came or whose last one went, and with those of a dead daemon.
        blocks: the block lists: a blocked user sees the one who blocks as offline.
    """

    log = Logger()

    def __init__(self, hub: Hub, bus: IBus, interval: float = 0.0, *, restricted: bool = False) -> None:
        self._hub = hub
        self._bus = bus
        self.interval = interval
        self.mark: Callable[[str], None] = _nobody
        self._restricted = restricted
        self.blocks = BlockLists(hub, bus, self._block_changed)
        # Sockets whose blockers are to be asked for again, and whether they are being asked for.
        self._stale: dict[ChatSession, None] = {}
        self._refreshing = False
        self._stale_timer: IDelayedCall | None = None
        # What is gathered: who has left, and when; and the changes to tell.
        self._leaving: dict[str, int] = {}
        self._changes: dict[str, State] = {}
        self._due: IDelayedCall | None = None
        self._watchers: dict[str, dict[ChatSession, None]] = {}
        # Whose state is to be asked for.
        self._unsure: dict[str, None] = {}
        self._asking = False
        # For each question that is unanswered, what is heard meanwhile: it is newer than the answer.
        self._heard: list[dict[str, State]] = []
        self._timer: IDelayedCall | None = None

    # Coming and going, here.

    def came(self, user: str) -> None:
        """The first socket of ``user`` on this daemon was let in. Other daemons know it at once."""
        if self._leaving.pop(user, None) is None:
            self._bus.here(user)
        self.mark(user)

    def left(self, user: str) -> None:
        """The last socket of ``user`` on this daemon is gone. One who comes back soon never was away."""
        self._leaving[user] = self._hub.write_behind.seen(user) or milliseconds(self._hub.wall)
        self._gather()
        self.mark(user)

    def _gather(self) -> None:
        if self._due is not None:
            return
        if not self.interval:
            self._tell_gathered()
        else:
            self._due = self._hub.clock.callLater(self.interval, self._tell_gathered)

    def stop(self) -> None:
        """The daemon ends: what was gathered is told now."""
        while self._due is not None:
            self._due.cancel()
            self._tell_gathered()
        self._stale.clear()
        if self._stale_timer is not None:
            self._stale_timer.cancel()
            self._stale_timer = None

    def _tell_gathered(self) -> None:
        try:
            leaving, self._leaving = self._leaving, {}
            for user, seen in leaving.items():
                self._bus.gone(user, seen)
            # A bus that is alone has told of those by now.
            self._tell_changes()
        finally:
            self._due = self._hub.clock.callLater(0, self._tell_gathered) if self._changes else None

    def _tell_changes(self) -> None:
        left = MAX_WRITES
        with self._hub.writing():
            while self._changes and left > 0:
                user = next(iter(self._changes))
                state = self._changes.pop(user)
                left -= self._tell(self._watchers.get(user, ()), user, state)

    # Watching.

    def watch(self, session: ChatSession, users: Sequence[str]) -> Deferred[dict[str, State]]:
        """Tell ``session`` of changes of ``users``, and of no others any more.

        Returns:
            How it stands with them; what can't be known now is unknown.
        """
        before = session.watched
        session.watched = {user: before.get(user) for user in users}
        for user in users:
            watchers = self._watchers.get(user)
            if watchers is None:
                watchers = self._watchers[user] = {}
                self._bus.watch(user)
            watchers[session] = None
        self._drop(session, [user for user in before if user not in session.watched])
        watched = session.watched
        # Until it is known who of them blocks the user, none is seen.
        session.hidden = frozenset(users)
        asked = self.blocks.between(session.user, users)
        asked.addCallbacks(
            self._hide, self._not_hidden, callbackArgs=(session, watched), errbackArgs=(session, watched)
        )
        return asked.addCallback(lambda _: self._asked(users)).addCallback(self._answered, session, watched)

    def _hide(self, blocks: Blocks, session: ChatSession, watched: dict[str, State | None]) -> None:
        if session.watched is watched:
            session.hidden = blocks.blockers

    def _not_hidden(self, failure: Failure, session: ChatSession, watched: dict[str, State | None]) -> None:
        # Presence does not wait for the store: nobody is hidden until it can be asked.
        if failure.check(StoreUnavailable) is None:
            self._failed(failure)
        if session.watched is watched:
            session.hidden = frozenset()
            self._stale[session] = None
            self._refresh_later(RETRY_WAIT)

    def _sees(self, session: ChatSession, user: str) -> bool:
        """Whether a socket may see whether ``user`` is online."""
        if user in session.hidden:
            return False
        to = session.identity.to
        return not self._restricted or to is None or to.allow(user)

    def _answered(
        self, found: dict[str, State], session: ChatSession, watched: dict[str, State | None]
    ) -> dict[str, State]:
        found = {user: state if self._sees(session, user) else UNSEEN for user, state in found.items()}
        watched.update(found)
        for user, (online, _) in found.items():
            if online is None:
                self._ask_again(user)
        return found

    def forget(self, session: ChatSession) -> None:
        """Tell ``session`` nothing more."""
        watched, session.watched = session.watched, {}
        session.hidden = frozenset()
        self._stale.pop(session, None)
        self._drop(session, watched)

    def _drop(self, session: ChatSession, users: Iterable[str]) -> None:
        for user in users:
            watchers = self._watchers.get(user)
            if watchers is not None:
                watchers.pop(session, None)
                if not watchers:
                    del self._watchers[user]
                    self._bus.unwatch(user)
        if not self._watchers:
            self._unsure.clear()
            if self._stale_timer is not None:
                self._stale_timer.cancel()
                self._stale_timer = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _asked(self, users: Sequence[str]) -> Deferred[dict[str, State]]:
        """How it stands with ``users`` when that is answered."""
        heard: dict[str, State] = {}
        self._heard.append(heard)

        def hear_no_more() -> None:
            # By what it is, and not by what it is equal to.
            self._heard = [one for one in self._heard if one is not heard]

        def answered(found: dict[str, State]) -> dict[str, State]:
            hear_no_more()
            return {user: heard.get(user, state) for user, state in found.items()}

        def failed(failure: Failure) -> Failure:
            hear_no_more()
            return failure

        asked: Deferred[dict[str, State]] = self.of(users).addCallbacks(answered, failed)
        return asked

    def of(self, users: Sequence[str]) -> Deferred[dict[str, State]]:
        """How it stands with ``users``; what can't be known now is unknown."""
        if self._leaving:
            for user in users:
                if (seen := self._leaving.pop(user, None)) is not None:
                    self._bus.gone(user, seen)
        return self._bus.online(users).addCallback(self._with_seen)

    def _with_seen(self, online: dict[str, bool | None]) -> Deferred[dict[str, State]]:
        away = [user for user, known in online.items() if not known and not self._hub.is_here(user)]

        def found(seen: dict[str, int]) -> dict[str, State]:
            return {
                user: (True, None) if known or self._hub.is_here(user) else (known, seen.get(user))
                for user, known in online.items()
            }

        return self._hub.write_behind.last_seen(away).addCallback(found)

    # Notifier.

    def changed(self, user: str, online: bool | None, last_seen: int | None) -> None:
        """``user`` came or went: tell who watches and was not told so; those that do not keep up, when they do."""
        watchers = self._watchers.get(user)
        if not watchers or (not online and self._hub.is_here(user)):
            return
        for heard in self._heard:
            heard[user] = (online, last_seen)
        self._changes[user] = (online, last_seen)
        self._gather()

    def _tell(self, sessions: Iterable[ChatSession], user: str, state: State) -> int:
        body = b""
        count = 0
        for session in tuple(sessions):
            known = session.watched.get(user)
            if not self._sees(session, user) or (known is not None and known[0] is state[0]):
                continue
            if session.congested:
                self._ask_again(user)  # it is told how that stands once it keeps up
            else:
                session.watched[user] = state
                body = body or outgoing.presence(user, *state)
                session.socket.emit(body)
                count += 1
        return count

    def lost(self, users: Sequence[str], last_seen: int) -> None:
        """``users`` were on a daemon that has died, and are nowhere now: keep when they were last seen."""
        notes = self._hub.write_behind

        def note(known: dict[str, int]) -> None:
            for user in users:
                if known.get(user, 0) < last_seen and not self._hub.is_here(user):
                    notes.left(user, last_seen)

        notes.last_seen(users).addCallback(note).addErrback(self._failed)
        for user in users:
            self.mark(user)

    # After the bus was away.

    def resync(self) -> None:
        """Changes may have been missed: ask for all who are watched, and tell what differs."""
        self.blocks.forget()
        if self._hub.store.keeps:
            self._stale.update({session: None for watchers in self._watchers.values() for session in watchers})
            self._refresh()
        self._unsure.update(dict.fromkeys(self._watchers))
        self._ask()

    # Who blocks whom.

    def _block_changed(self, change: BlockChange) -> None:
        """``change.peer`` sees ``change.user`` no more, or again."""
        for session in self._hub.sessions(change.peer):
            if change.user in session.watched:
                self._set_hidden(
                    session, (session.hidden | {change.user}) if change.blocked else (session.hidden - {change.user})
                )

    def _set_hidden(self, session: ChatSession, hidden: frozenset[str]) -> None:
        before, session.hidden = session.hidden, hidden
        for user in hidden - before:
            known = session.watched.get(user)
            if known is not None and known[0] is not False:
                session.watched[user] = UNSEEN
                session.socket.emit(outgoing.presence(user, *UNSEEN))
        shown = [user for user in before - hidden if user in session.watched]
        if shown:
            self._unsure.update(dict.fromkeys(shown))
            self._ask()

    def _refresh(self) -> None:
        """Changes of block lists may have been missed: ask for those of each socket, one after another."""
        if self._refreshing or not self._stale:
            return
        session = next(iter(self._stale))
        del self._stale[session]
        self._refreshing = True

        def found(blocks: Blocks) -> None:
            self._set_hidden(session, blocks.blockers & session.watched.keys())

        def failed(failure: Failure) -> None:
            if failure.check(StoreUnavailable) is None:
                self._failed(failure)
            if session.watched:
                self._stale[session] = None
            self._refreshing = False
            self._refresh_later(RETRY_WAIT)

        def done(_: None) -> None:
            self._refreshing = False
            self._refresh_later(0)

        asked = self.blocks.between(session.user, tuple(session.watched)).addCallback(found)
        asked.addCallbacks(done, failed).addErrback(self._failed)

    def _refresh_later(self, seconds: float) -> None:
        if self._stale and self._stale_timer is None:
            self._stale_timer = self._hub.clock.callLater(seconds, self._refresh_now)

    def _refresh_now(self) -> None:
        self._stale_timer = None
        self._refresh()

    def _ask_again(self, user: str) -> None:
        # What is unknown while the bus is away is asked for when it is back.
        if user in self._watchers and self._bus.up:
            self._unsure[user] = None
            if self._timer is None:
                self._timer = self._hub.clock.callLater(RETRY_WAIT, self._look)

    def _look(self) -> None:
        self._timer = None
        self._ask()

    def _ask(self) -> None:
        if self._asking or not self._unsure or not self._bus.up:
            return
        users = list(islice(self._unsure, MAX_ASKED))
        for user in users:
            del self._unsure[user]
        self._asking = True
        asked = self._asked([user for user in users if user in self._watchers])
        asked.addCallback(self._found).addErrback(self._failed).addCallback(self._go_on)

    def _found(self, states: dict[str, State]) -> None:
        for user, state in states.items():
            if state[0] is None:
                self._ask_again(user)
            else:
                # Whoever has asked and waits for the answer is told by that.
                watchers = [
                    session for session in self._watchers.get(user, ()) if session.watched.get(user) is not None
                ]
                self._tell(watchers, user, state)

    def _go_on(self, _: None) -> None:
        self._asking = False
        if self._timer is None:
            self._ask()

    def _failed(self, failure: Failure) -> None:
        self.log.failure("presence could not be read", failure)


def _nobody(_: str) -> None:
    """Do nothing."""
