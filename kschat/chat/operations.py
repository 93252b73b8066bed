"""Chat operations without a socket: used by the chat's own commands and by requests from other daemons.

Each reaches the sockets on all daemons. A socket receives these events without asking for them, because an application
that emits its own events knows its clients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import nsmallest
from itertools import chain
from math import inf
from typing import Final

from msgspec import Raw
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.approvals import Approvals
from kschat.chat.bus import BusEvent, Wants
from kschat.chat.changes import NO_TEXT, peer_of
from kschat.chat.clocks import milliseconds
from kschat.chat.cluster_commands import (
    BlockChange,
    ClusterCommand,
    CursorRequest,
    CursorWritten,
    DaemonStatus,
    Disconnect,
    Emit,
    Erased,
    InboxGrew,
    OnlineListed,
    OnlineRequest,
    Revoked,
    SocketInfo,
    SocketsListed,
    SocketsRequest,
    StatusRequest,
    StatusTold,
)
from kschat.chat.composer import Composer, Draft
from kschat.chat.copies import COPY_BYTES, MANY_USERS
from kschat.chat.delivery import Delivery, Submission
from kschat.chat.editing import as_update, ensure_may
from kschat.chat.hub import Hub
from kschat.chat.inquiries import Inquiries
from kschat.chat.interfaces import Conversation, IStore, Page, Stored, StoreUnavailable
from kschat.chat.message import Error, Message, Refused, Update
from kschat.chat.presence import Presence, State
from kschat.chat.push import PushSubscription
from kschat.chat.reads import ReadQueue
from kschat.chat.recipients import ensure_may_write
from kschat.chat.replies import DeferredReply
from kschat.chat.reporter import Reporter
from kschat.chat.revocation import RevocationRequest, user_of
from kschat.chat.revoker import Revoker
from kschat.chat.session import ChatSession
from kschat.chat.tokens import Identity
from kschat.counters import Counters

#: Users that one daemon lists for a page of those who are online.
MAX_ONLINE: Final = 1001


class Operations:
    """The operations of one daemon's chat. It is the bus's ``BusListener``.

    Args:
        hub: knows the sockets here.
        presence: knows who watches whom.
        store: has messages, and the members of rooms.
        reads: asks it for messages, in turns.
        composer: makes messages of drafts.
        delivery: stores and routes messages.
        revoker: refuses revoked tokens.
        revocation_days: how long a revocation without an end of its own is kept; 0 for ever.
        counters: counts.
        inquiries: asks other daemons.
        reporter: reports the status of this daemon.
        approvals: has what users have sent and nobody has allowed yet; None if nobody is asked.
    """

    log = Logger()

    def __init__(
        self,
        *,
        hub: Hub,
        presence: Presence,
        store: IStore,
        reads: ReadQueue,
        composer: Composer,
        delivery: Delivery,
        revoker: Revoker,
        revocation_days: float,
        counters: Counters,
        inquiries: Inquiries,
        reporter: Reporter,
        approvals: Approvals | None = None,
    ) -> None:
        self._hub = hub
        self._presence = presence
        self._store = store
        self._reads = reads
        self._composer = composer
        self._delivery = delivery
        self._revoker = revoker
        self._keep = int(revocation_days * 86_400_000)
        self._counters = counters
        self._inquiries = inquiries
        self._reporter = reporter
        self._approvals = approvals

    # For whoever asks.

    def send(self, identity: Identity, draft: Draft) -> Deferred[Stored]:
        """Send a message as ``identity``: to the recipient's inbox and sockets, and to the sender's own as carbons.

        Returns:
            Fires when the message is durable, with its mid and its places in inboxes; ``repeat`` where the sender's
            ``cid`` was known. Fails with Refused as ``Send`` is refused: INVALID, TOO_LARGE, NOT_ALLOWED (no member of
            the room, or ``identity.to``), BUSY, NO_STORE, NO_BROKER (relay mode), GOING_DOWN.
        """
        reply = DeferredReply()
        try:
            self._delivery.ensure_open()
            message = self._composer.compose_draft(identity.user, draft, identity.name)
            if identity.to is not None:
                ensure_may_write(identity.to, message.recipient)
            self._delivery.submit(Submission(message, reply))
        except Refused as refused:
            self._counters.refused[refused.error] += 1
            return fail(refused)
        return reply.answer

    def update(
        self,
        identity: Identity,
        update: Update,
        *,
        peer: str | None = None,
        msg: Raw = NO_TEXT,
        cid: str | None = None,
        asker: str,
    ) -> Deferred[Stored]:
        """Edit, delete, or react to a message as ``identity``, however old it is.

        Args:
            identity: the sender, for an edit or a deletion (or whoever moderates the room); else who reacts.
            update: what is to be done.
            peer: the conversation that the message is in; None to look through all of the user's.
            msg: the text, of an edit.
            cid: the user's own id of this change.
            asker: whose turn it is.

        Returns:
            Fires when it is durable; see ``IStore.change``. Fails with Refused, as a socket is refused, or
            StoreUnavailable.
        """

        def found(target: Message | None) -> Deferred[Stored]:
            now = milliseconds(self._hub.wall)
            reply = DeferredReply()
            try:
                target = ensure_may(update.kind, target, identity, within=inf, now=now)
                draft = Draft(recipient=peer_of(target, identity.user), msg=msg, cid=cid)
                made = self._composer.compose_draft(identity.user, draft, identity.name)
                self._delivery.update(Submission(as_update(made, target, update), reply))
            except Refused as refused:
                self._counters.refused[refused.error] += 1
                raise
            return reply.answer

        return self._reads.ask(asker, lambda: self._store.find(identity.user, update.target, peer)).addCallback(found)

    def emit_to_users(self, users: Sequence[str], body: bytes, attachments: Sequence[bytes] = ()) -> None:
        """Emit an event to each socket of ``users``.

        Args:
            users: each once.
            body: the JSON array of the event's name and arguments (``outgoing.event``).
            attachments: what placeholders in it refer to.

        Raises:
            Refused: BUSY, for a large event, or one to many users, while too much waits to be written.
        """
        event = self._admitted(Emit(body, tuple(attachments)), len(users))
        self._in_one_write(lambda: self._hub.notifier.notify(users, event))

    def emit_to_room(self, room: str, body: bytes, attachments: Sequence[bytes] = ()) -> Deferred[int]:
        """Emit an event to each socket of the members of ``room`` (with its ``#``).

        Returns:
            How many members there are, whether they have sockets or not. Fails with StoreUnavailable, or as above.
        """

        def found(members: list[str]) -> int:
            self.emit_to_users(members, body, attachments)
            return len(members)

        return self._store.members(room).addCallback(found)

    def emit_to_all(self, body: bytes, attachments: Sequence[bytes] = ()) -> None:
        """Emit an event to every socket there is. Raises Refused as above."""
        event = self._admitted(Emit(body, tuple(attachments)), self._hub.users)
        self._in_one_write(lambda: self._hub.notifier.notify_all(event))

    def _admitted(self, event: Emit, users: int) -> Emit:
        """The event to so many users, if it may be written now. Raises Refused."""
        if self._hub.is_full and (event.size >= COPY_BYTES or users > MANY_USERS):
            self._counters.refused[Error.BUSY] += 1
            raise Refused(Error.BUSY, "Too much waits to be written to sockets; try again.")
        return event

    def disconnect(self, user: str, reason: str, but: ChatSession | None = None) -> Deferred[None]:
        """End each socket of ``user``, or all but one here. Goodbye names the reason; no client comes back alone.

        Returns:
            Fires when all daemons were told: sockets that come after that are not meant. Soon in any case; never fails.
        """
        self._hub.notifier.notify((user,), Disconnect(reason), but)
        return self._hub.notifier.flushed()

    def logout_everywhere(self, user: str, but: ChatSession | None = None) -> Deferred[None]:
        """End each socket of ``user``, as ``disconnect`` does, and let no browser of the user get pushes any more."""
        self._unsubscribe(user)
        return self.disconnect(user, "logout", but)

    def _unsubscribe(self, user: str) -> None:
        """Forget the push subscriptions of ``user``. Nobody waits for it: a push tells how many messages wait."""
        if self._store.keeps:
            self._store.unsubscribe(user, None).addErrback(self._not_unsubscribed)

    def _not_unsubscribed(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("push subscriptions could not be forgotten", failure)
        else:
            self.log.warn("push subscriptions of a user were not forgotten: the store is not available")

    async def erase(self, user: str) -> int:
        """Erase a user: end the sockets on all daemons, then delete what is kept. See ``IStore.erase``.

        With a valid token the user may come back, and is then a new one.

        Returns:
            How many messages were deleted. Fails with StoreUnavailable; then it is to be done again.
        """
        self._hub.notifier.notify((user,), Erased())
        self._forget(user)
        await self._hub.notifier.flushed()
        return await self._store.erase(user)

    def _forget(self, user: str) -> None:
        """Write nothing more of a user who is erased."""
        self._hub.write_behind.forget(user)
        if self._approvals is not None:
            self._approvals.forget(user)

    def revoke(self, request: RevocationRequest) -> Deferred[None]:
        """Revoke tokens on all daemons, or lift that: their sockets get Goodbye, and no other is let in with them.

        Returns:
            Fires when it is in the store and all daemons were told; a daemon that could not be told reads it within
            ``LOOK_INTERVAL`` of being back. Fails with ValueError (the request is not valid; one sentence),
            StoreUnavailable, or RevocationsFull; then nothing was revoked.
        """
        try:
            revocation = request.revocation(milliseconds(self._hub.wall), self._keep)
        except ValueError:
            return fail()
        user = user_of(revocation.key)

        def revoked(_: None) -> None:
            if user is not None and not revocation.lifted:
                self._unsubscribe(user)

        return self._revoker.revoke(revocation).addCallback(revoked)

    def replaced(self, session: ChatSession, pid: str) -> None:
        """The client of ``session`` has shown that it had a socket with this ``pid``: end that one, wherever it is."""
        self._hub.notifier.replaced(session, pid)

    def presence(self, users: Sequence[str]) -> Deferred[dict[str, State]]:
        """Who of ``users`` is online, on whatever daemon; what can't be known now is unknown."""
        return self._presence.of(users)

    async def sockets(self, user: str) -> tuple[list[SocketInfo], bool]:
        """The sockets of ``user`` on all daemons that answer in time; and whether all did. Never fails."""
        here = self._sockets_here(user)
        answers = await self._inquiries.ask_about(user, SocketsRequest)
        return [*here, *chain.from_iterable(answers.found)], answers.complete

    async def status(self) -> tuple[list[DaemonStatus], bool]:
        """The status of each daemon that answers in time, this one first; and whether all did. Never fails."""
        answers = await self._inquiries.ask(StatusRequest)
        return [self._reporter.status(), *answers.found], answers.complete

    async def online(self, after: str, limit: int) -> tuple[list[str], bool, bool]:
        """A page of the users who are online, on whatever daemon, by their ids. Never fails.

        Args:
            after: the last user of the page before; "" for the first page.
            limit: users of the page.

        Returns:
            The users; whether there are more; whether all daemons answered in time.
        """
        # One more than asked for tells whether there are more.
        answers = await self._inquiries.ask(lambda id_: OnlineRequest(id_, after, limit + 1))
        users = set(self._online_here(after, limit + 1)).union(*answers.found)
        page = nsmallest(limit + 1, users)
        return page[:limit], len(page) > limit, answers.complete

    def _online_here(self, after: str, limit: int) -> list[str]:
        return nsmallest(limit, (user for user in self._hub.everybody if user > after and self._hub.is_here(user)))

    def _sockets_here(self, user: str) -> list[SocketInfo]:
        found = []
        for session in self._hub.sessions(user):
            connection = session.socket.connection
            if session.socket.accepted:
                handshake = connection.handshake
                found.append(
                    SocketInfo(session.socket.id, handshake.peer, int(connection.session.revision), handshake.time)
                )
        return found

    def join(self, room: str, user: str, most: int, *, most_rooms: int) -> Deferred[bool]:
        """Make ``user`` a member of ``room``, whatever its token allows; see ``IStore.join``."""
        return self._store.join(room, user, most, most_rooms=most_rooms)

    def leave(self, room: str, user: str) -> Deferred[bool]:
        """Make ``user`` no member of ``room``; see ``IStore.leave``."""
        return self._store.leave(room, user)

    def members(self, room: str) -> Deferred[list[str]]:
        """Who is a member of ``room``, in no order."""
        return self._store.members(room)

    def rooms(self, user: str) -> Deferred[list[str]]:
        """The rooms that ``user`` is a member of, in no order."""
        return self._store.rooms(user)

    def blocked(self, user: str) -> Deferred[list[str]]:
        """Whom ``user`` blocks, in no order."""
        return self._store.blocked(user)

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        """The push subscriptions of ``user``, the oldest first."""
        return self._store.subscriptions(user)

    def last_seen(self, user: str) -> Deferred[int | None]:
        """When ``user`` was last seen, in milliseconds since 1970; None where that is not known."""
        return self._hub.write_behind.last_seen((user,)).addCallback(lambda found: found.get(user))

    @property
    def keeps(self) -> bool:
        """Whether messages are kept."""
        return bool(self._store.keeps)

    def history(
        self, user: str, peer: str, *, before: str | None, limit: int, asker: str | None = None
    ) -> Deferred[Page]:
        """A page of a conversation; see ``IStore.history``. ``asker``: whose turn it is; the user's, unless given."""
        begin = lambda: self._store.history(user, peer, before=before, limit=limit)  # noqa: E731
        return self._reads.ask(user if asker is None else asker, begin)

    def conversations(
        self, user: str, limit: int, *, before: str | None = None, expected: int, asker: str
    ) -> Deferred[list[Conversation]]:
        """Conversations of a user, when it is the turn of ``asker``; see ``IStore.conversations``."""
        return self._reads.ask(asker, lambda: self._store.conversations(user, limit, before=before), expected=expected)

    def _in_one_write(self, do: Callable[[], None]) -> None:
        with self._hub.writing():
            do()

    # At the command of others.

    def on_commands(self, user: str | None, commands: Sequence[ClusterCommand]) -> None:
        """See ``BusListener``."""
        self._counters.commands_received += len(commands)
        revoked = [command.revocation for command in commands if type(command) is Revoked]
        if revoked:
            self._revoker.heard(revoked)
        with self._hub.writing():
            for command in commands:
                if type(command) is Revoked:
                    continue
                if type(command) is BlockChange:
                    self._presence.blocks.heard(command)
                    continue
                if type(command) is SocketsListed:
                    self._inquiries.answered(command.id, command.sockets)
                elif type(command) is SocketsRequest:
                    if user is not None:
                        answer = SocketsListed(command.id, tuple(self._sockets_here(user)))
                        self._hub.notifier.tell_all_others(answer)
                elif type(command) is StatusRequest:
                    self._hub.notifier.tell_all_others(StatusTold(command.id, self._reporter.status()))
                elif type(command) is StatusTold:
                    self._inquiries.answered(command.id, command.status)
                elif type(command) is OnlineRequest:
                    listed = self._online_here(command.after, min(command.limit, MAX_ONLINE))
                    self._hub.notifier.tell_all_others(OnlineListed(command.id, tuple(listed)))
                elif type(command) is OnlineListed:
                    self._inquiries.answered(command.id, command.users)
                elif type(command) is CursorWritten:
                    self._hub.cursors.answered(command)
                elif type(command) is InboxGrew:
                    if user is not None:
                        self._hub.catch_up.resync((user,))
                elif type(command) is CursorRequest:
                    if user is not None:
                        self._hub.cursors.asked(user, command)
                else:
                    self._hub.notifier.apply(user, command)
                    if type(command) is Erased and user is not None:
                        self._forget(user)

    def on_presence(self, user: str, online: bool | None, last_seen: int | None) -> None:
        """See ``BusListener``."""
        self._presence.changed(user, online, last_seen)

    def on_daemon_lost(self, users: Sequence[str], last_seen: int) -> None:
        """See ``BusListener``."""
        self._presence.lost(users, last_seen)

    def on_wants(self, wants: Wants) -> None:
        """See ``BusListener``."""
        self._hub.notifier.wanted(wants)

    def on_bus_event(self, event: BusEvent) -> None:
        """See ``BusListener``."""
        self._counters.bus_events[event.name.lower()] += 1
        if event is BusEvent.UP:
            self._revoker.refresh()
            self._presence.resync()
            self._hub.catch_up.resync(self._hub.everybody)
