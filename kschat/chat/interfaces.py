"""The interfaces of the backends that the chat uses.

Every backend passes the tests in ``tests/contracts``, the in-memory ones included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Protocol

import msgspec
from msgspec import Raw
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from kschat.chat.message import Error, Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation


class Stored(msgspec.Struct, frozen=True, gc=False):
    """What a store says of one message.

    Attributes:
        message: as it is kept; the first one's where ``repeat``. Its ``mid`` may be another
            than was given, where that one was not later than all that were kept before.
        places: each recipient, with the offset in that user's inbox: 1, 2, 3, … without a
            hole. One for a message to a user; for one to a room, each member but the sender.
        repeat: the same sender and ``cid`` were known; nothing was stored now.
        whole: whether ``message`` has the ``msg`` and the attachments that are kept. A large first message is not read
            for a repeat, and ``message`` has what the repeat came with.
        refused: why this message alone was not kept; the others of its batch were.
        retry_in: seconds until it may be, where its sender has sent too many (TOO_MANY).
    """

    message: Message
    places: tuple[tuple[str, int], ...] = ()
    repeat: bool = False
    refused: Error | None = None
    retry_in: float | None = None
    whole: bool = True


#: Bytes of a first message that are read for a repeat of it.
MAX_READ_BACK = 4000


def repeat_of(first: Stored, repeat: Message) -> Stored:
    """What a store says of ``repeat``. Of a large first message, only what is beside its content counts."""
    message = first.message
    if first.whole and message.size <= MAX_READ_BACK and message.extra is None:
        return Stored(message, first.places, True)
    # What was edited or deleted since is not carried either: recipients read it from the store, as it is now.
    shown = msgspec.structs.replace(message, msg=repeat.msg, attachments=repeat.attachments, extra=None)
    return Stored(shown, first.places, True, whole=False)


class Blocks(msgspec.Struct, frozen=True, gc=False):
    """Who of some users does not want to hear of another one, or the other way round.

    Attributes:
        blocked: those whom the user blocks.
        blockers: those who block the user.
    """

    blocked: frozenset[str] = frozenset()
    blockers: frozenset[str] = frozenset()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One message in an inbox."""

    offset: int
    message: Message


class InboxState(msgspec.Struct, frozen=True, gc=False):
    """Where an inbox stands.

    Attributes:
        cursor: all up to this offset was confirmed; 0 before the first.
        first: the smallest offset that is kept; ``last + 1`` where none is.
        last: the greatest offset that was given; 0 before the first.
    """

    cursor: int = 0
    first: int = 1
    last: int = 0


#: More than anything is counted up to.
NO_BOUND = 2**31 - 1

#: No offset is greater.
MAX_OFFSET = 2**63 - 1


class InboxPage(msgspec.Struct, frozen=True, gc=False):
    """A part of an inbox, and how far the store that answered knows this inbox.

    Attributes:
        entries: the messages, by rising offset.
        first: the smallest offset that is kept; ``last + 1`` where none is.
        last: the greatest offset that this store gave; 0 before the first. Beyond the entries of an empty page and up
            to here nothing is kept any more; what lies beyond here, this store knows nothing about.
        ceiling: the greatest offset of the generation that this store is in. Only a later generation, of another
            server or of another life of this one, gives a greater one.
    """

    entries: Sequence[Entry]
    first: int = 1
    last: int = 0
    ceiling: int = MAX_OFFSET


class Page(msgspec.Struct, frozen=True, gc=False):
    """A part of a conversation, oldest first.

    Attributes:
        more: there are older ones.
        read, delivered: the mid of the newest message in it that the user wrote to another one, who has read it, or got
            it; "" if there is none, and in a room.
    """

    messages: tuple[Message, ...]
    more: bool
    read: str = ""
    delivered: str = ""


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """A conversation as one of its users sees it.

    Attributes:
        peer: the other user, or a room with its ``#``.
        last: the newest message, with its line (``lines``) for its ``msg``, and without attachments.
        unread: messages of others that the user did not mark as read, ``MAX_UNREAD`` at the most.
        cut: whether the line is not the whole ``msg``.
    """

    peer: str
    last: Message
    unread: int
    cut: bool = False


class Progress(msgspec.Struct, frozen=True):
    """What is kept beside the messages, and may lose its newest part in a crash.

    Attributes:
        cursors: by user; each only rises.
        seen: when a user's last socket ended, by user, in milliseconds since 1970; each only rises.
    """

    cursors: Mapping[str, int]
    seen: Mapping[str, int]


#: A greater number of unread messages is counted as this one.
MAX_UNREAD = 1000


#: Bytes of the messages in a page of an inbox or a conversation. A larger message has a page of its own.
PAGE_BYTES = 256_000


def within_page(entries: Iterable[Entry]) -> list[Entry]:
    """The first entries that have no more than ``PAGE_BYTES``; at least one, where there is any."""
    page: list[Entry] = []
    size = 0
    for entry in entries:
        size += entry.message.size
        if size > PAGE_BYTES and page:
            break
        page.append(entry)
    return page


#: Seconds after which a call that failed with StoreUnavailable is made again.
RETRY_WAIT = 1.0


class StoreUnavailable(Exception):
    """The store can't do it now. Of a batch, nothing was stored."""


class LimitReached(Exception):
    """There is as much of something as there may be; nothing was changed."""


class RoomFull(LimitReached):
    """A room has as many members as it may have."""


class BlockListFull(LimitReached):
    """A user blocks as many others as a user may."""


class RevocationsFull(LimitReached):
    """As many revocations are kept as may be kept."""


class TooManyRooms(LimitReached):
    """A user is a member of as many rooms as a user may be."""


class RouterUnavailable(Exception):
    """The router can't carry messages now."""


class StoreListener(Protocol):
    """Is told what happens to a store (the hub)."""

    def renewed(self) -> None:
        """The store is another one now: its ``epoch`` is new, and offsets of before mean nothing."""

    def reconnected(self) -> None:
        """The store can be read again, perhaps on another server. Earlier pages and ends may have been out of date."""


class RouterEvent(Enum):
    """What happened to a router.

    UP: from here on messages to all who are bound arrive; what was published before may not have.
    DOWN: nothing arrives, and nothing can be published.
    CANCELLED: the broker took a queue away; an UP follows when there is another.
    """

    UP = auto()
    DOWN = auto()
    CANCELLED = auto()


class RouterListener(Protocol):
    """Who takes what arrives at a router (the hub)."""

    def deliver(self, batch: Sequence[Stored], socket: str | None = None) -> None:
        """Messages for users that are bound here, in the order of publishing.

        Where a router keeps a queue for each socket, ``socket`` is the one that these are for; else
        they are for every socket of their recipients. The same message may arrive more than once where its
        offsets tell so (they are not 0). Offset 0 is that of a message which has no place in an inbox: of a store that
        keeps none, or of another server that does not know inboxes.
        """

    def missed(self, users: Iterable[str]) -> None:
        """There is a message to each of ``users`` that can't be brought whole: the store has it."""

    def on_router_event(self, event: RouterEvent, socket: str | None = None) -> None:
        """Something happened to the router, or the queue of ``socket`` alone."""


class IStore(Interface):
    """Keeps messages, each once; inboxes and conversations refer to them.

    Each method fails with StoreUnavailable, soon, where it can't be done now. A store that could
    not, and then can, needs no restart.
    """

    epoch = Attribute("A str: it changes when offsets start over, which makes earlier offsets void.")
    keeps = Attribute("A bool: whether messages are kept. Where not, offsets are all 0 and inboxes empty (relay mode).")
    up = Attribute("A bool: whether it answered when it was last asked, or looked at in the background.")
    outbox = Attribute("An IOutbox, if hooks are on; else None, and then nothing is kept for them.")

    def attach(listener: StoreListener) -> None:
        """Set the listener. Called once, before all else."""

    def start() -> None:
        """Begin. What is not there yet (a disk, a server) is waited for in the background."""

    def stop() -> Deferred[None]:
        """Finish what was begun, and end."""

    def append(batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """Keep a batch: all of it that is not refused, or nothing.

        Each message gets the next offset of each recipient's inbox. (Of a store that may have lost the newest of what
        it had confirmed, a far greater one: no offset is given twice in an epoch.) A message whose
        ``recipient`` begins with ``#`` goes to that room's members, and is refused with
        NOT_ALLOWED where its sender is none. One to a user who blocks its sender is refused with NOT_ALLOWED, unless it
        is a repeat of one that was kept before that. Batches are kept and answered in the order of the calls.

        Args:
            batch: at least one message, in the order in which they arrived.

        Returns:
            One ``Stored`` a message, in the batch's order, once they are durable.
        """

    def change(update: Message) -> Deferred[Stored]:
        """Change a message by an update (``extra`` is an ``Update``), and put that into inboxes.

        The update has a place in the inbox of both users, or of each member of the room, also of its sender. From then
        on inboxes and pages of history show the changed message; no earlier text is kept. The caller has checked that
        the sender may do so.

        Returns:
            The update with its text, and its places, once all is durable. ``repeat`` and no places if the sender's
            ``cid`` was known, or if the change changes nothing. Refused: INVALID if the message is not there, or was
            deleted; TOO_MANY if too many users have reacted to it, or, with ``retry_in``, if the sender has sent too
            many; NOT_ALLOWED if the sender is not a member of the room, or if the recipient blocks the sender (who may
            delete all the same).
        """

    def find(user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        """The message with this ``mid``, as it is now, in a conversation that ``user`` may see; None if there is none.

        Args:
            user: who asks.
            mid: of a message, and of no update.
            peer: the other user or the room (with its ``#``) of the conversation; None if it is not known, and all that
                ``user`` has are looked through.
        """

    def readers(room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        """Which recipients of a message to ``room`` have marked it, or a later one, as read; in no order.

        Those that have left are not listed. None if ``user`` is no member, or if there is no such message.
        """

    def inbox(user: str) -> Deferred[InboxState]:
        """Where the inbox of ``user`` stands; all zero for one who never got a message."""

    def ends(users: Sequence[str]) -> Deferred[dict[str, int]]:
        """``InboxState.last`` of many users in one call; of one who never got a message: 0, or nothing."""

    def read(user: str, after: int, limit: int) -> Deferred[InboxPage]:
        """A page of an inbox: what is kept beyond ``after``, ``limit`` entries at the most, and how far the inbox goes.

        A page holds at most ``PAGE_BYTES`` of messages, or one larger message. An empty page says that nothing beyond
        ``after`` is kept. Updates are among the entries, each with the text that its message has now (``with_text``).
        """

    def is_outdated(offset: int) -> None:
        """An offset beyond an inbox's end was seen. If it is of a later generation, look for the server that gave it.

        Returns at once. If such a server is found, the store connects to it and calls ``reconnected``. An offset that
        no server gave (a mistake, a forgery) changes nothing. May be called often.
        """

    def save_progress(progress: Progress) -> Deferred[None]:
        """Keep what is kept beside the messages. A cursor beyond the inbox's end counts as its end."""

    def last_seen(users: Sequence[str]) -> Deferred[dict[str, int]]:
        """When each of ``users`` was last seen, for those of whom it is known."""

    def history(user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        """The newest messages of a conversation, or the newest before a ``mid``.

        A page holds at most ``PAGE_BYTES`` of messages, or one larger message.

        ``peer`` is a user or, with its ``#``, a room; of a room that ``user`` is no member of: nothing.
        """

    def conversations(user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        """The conversations of ``user``, the one with the newest message first, rooms among them.

        ``before`` is a ``mid``: only those whose newest message came before it, so that the last one's ``last.mid`` of
        a page gives the next page. What is no ``mid`` gives nothing.

        Lines are made when messages are stored: to list conversations, no large message is read.
        """

    def mark_read(user: str, peer: str, mid: str) -> Deferred[bool]:
        """All messages of others in a conversation up to ``mid`` are read. Whether any was not before."""

    def join(room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        """Make ``user`` a member of ``room`` (with its ``#``); whether it was none before.

        What was written there before counts as read. Fails with RoomFull where ``most`` members
        are there already, with TooManyRooms where ``user`` is a member of ``most_rooms`` other rooms.
        """

    def leave(room: str, user: str) -> Deferred[bool]:
        """Make ``user`` no member of ``room``; whether it was one before."""

    def members(room: str) -> Deferred[list[str]]:
        """Who is a member of ``room`` (with its ``#``), in no order."""

    def rooms(user: str) -> Deferred[list[str]]:
        """The rooms (with their ``#``) that ``user`` is a member of, in no order."""

    def block(user: str, peer: str, most: int) -> Deferred[bool]:
        """Keep no message to ``user`` whose sender is ``peer``; whether it was so before, False.

        Messages to rooms are kept. Fails with BlockListFull where ``user`` blocks ``most`` others already.
        """

    def unblock(user: str, peer: str) -> Deferred[bool]:
        """Keep them again; whether ``peer`` was blocked."""

    def blocked(user: str) -> Deferred[list[str]]:
        """Whom ``user`` blocks, in no order."""

    def blocks(user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        """Which of ``peers`` ``user`` blocks, and which of them block ``user``."""

    def subscribe(user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        """Keep a Web Push subscription of ``user``.

        One with the same endpoint is replaced, whosever it was: that browser has another user now. If ``user`` has
        more than ``most``, the oldest are forgotten.
        """

    def unsubscribe(user: str, endpoint: str | None) -> Deferred[int]:
        """Forget the subscription of ``user`` with this endpoint, or all of ``user``; how many were forgotten."""

    def subscriptions(user: str) -> Deferred[list[PushSubscription]]:
        """The Web Push subscriptions of ``user``, the oldest first."""

    def erase(user: str) -> Deferred[int]:
        """Delete what is kept of ``user``; the number of messages that were deleted.

        These are the user's conversations of two, with all messages; what the user wrote in rooms; the inbox, cursor
        and read marks; memberships; block lists, and the user in those of others; push subscriptions; when the user was
        last seen; the ``cid`` of each message. What others wrote in rooms stays. Offsets that were given are not given
        again, neither in the inboxes of others, where deleted messages leave holes, nor to the user who comes back.

        It is done in small steps, and another call does what one that failed has left. What is written to the user
        meanwhile may stay.
        """

    def revoke(revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        """Keep a revocation, or that one was lifted, with a greater number than all that were kept before.

        If one with the same key is kept, what holds is ``revocation.after`` it. Those that are kept no longer
        (``until``) may be deleted. Fails with RevocationsFull if ``most`` others are there.

        Args:
            revocation: what is revoked.
            now: milliseconds since 1970.
            most: how many are kept.
        """

    def revocations(after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        """Revocations with numbers greater than ``after``, by rising number; ``limit`` at the most."""


class IRouter(Interface):
    """Carries messages to the daemons where their recipients are.

    Where it can't (a broker is away), each method says so soon; it comes back by itself, binds all that
    was asked for, and then says UP.
    """

    up = Attribute("A bool: whether it carries.")
    alone = Attribute("A bool: whether it carries for this daemon only, so that there are no others to be told.")
    figures = Attribute("A mapping: what it counts, by name. The names are its own, and few.")

    def attach(listener: RouterListener) -> None:
        """Say who takes what arrives here. Called once, before all else."""

    def start() -> None:
        """Begin. What is not there yet (a broker) is waited for in the background."""

    def stop() -> Deferred[None]:
        """Finish what was begun, as far as that can be done soon, and end."""

    def bind(user: str, socket: str) -> Deferred[None]:
        """From when it fires on, messages to ``user`` arrive here, for (at least) the socket of this id.

        Fails with RouterUnavailable, soon; the wish stands all the same, until ``unbind``, and is
        fulfilled when the router is UP again.
        """

    def unbind(user: str, socket: str) -> None:
        """The socket needs no messages to ``user`` any more. Of one that is not bound: nothing."""

    def publish(batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        """Carry a batch to whoever is bound to a user in its messages' places, in order.

        Also where it fails, messages with offsets are delivered to users that are bound right here.

        Args:
            batch: messages with at least one place each.
            exact: whether each message's word must be its own, and right; else that of several may be one (the batch
                may travel as one), and may be True where nobody was bound.

        Returns:
            A word on each message, in order: whether anybody was bound. Fails with
            RouterUnavailable; then some may have been carried.
        """


class IMeasured(Interface):
    """A store, a router or a bus that can be behind: it asks something else than this process."""

    lag = Attribute(
        "A float: seconds that the last probe took, or that one has been unanswered, if that is longer. A probe takes "
        "the path of the batches (of a bus: of what it publishes and hears) and is sent about once a second. None "
        "before the first one, and while it is not up."
    )
    measures = Attribute("A mapping of floats: what else it measures, by the name of the metric without ``kschat_``.")


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Whether a user may do something.

    Attributes:
        allowed: whether.
        why: why not, as one plain sentence for the user; "" for none.
        msg: what the message is to say instead, as JSON; None if it stays as it is.
        silent: whether nobody has decided, and the operator's default holds.
    """

    allowed: bool
    why: str = ""
    msg: Raw | None = None
    silent: bool = False


class IAuthorizer(Interface):
    """Decides what users may do, as the operator's own back end says.

    Each method returns a ``Decision`` if it is known at once, else a Deferred of one, which never fails and fires
    within a bounded time.
    """

    def may_join(user: str, room: str) -> Decision | Deferred[Decision]:
        """Whether ``user`` may become a member of ``room`` (with its ``#``)."""

    def may_write(user: str, to: str) -> Decision | Deferred[Decision]:
        """Whether ``user`` may write to another user, or to a room (with its ``#``)."""

    def may_send(message: Message) -> Decision | Deferred[Decision]:
        """Whether a message, or an edit of one, may say what it says."""
