"""A store and a router inside this process, for one daemon. The messages are lost when the process exits."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import compress, islice, takewhile
from secrets import token_urlsafe
from time import time
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kschat.backends.kinds import StoreKind
from kschat.backends.memory_index import BY_NUMBER, IndexedMessage, MemoryConversation, MemoryInbox
from kschat.backends.memory_outbox import MemoryOutbox
from kschat.chat.changes import changed, update_of, with_text, without_reaction, without_text
from kschat.chat.clocks import WallClock, milliseconds
from kschat.chat.conversations import is_room, pair_key
from kschat.chat.interfaces import (
    NO_BOUND,
    PAGE_BYTES,
    BlockListFull,
    Blocks,
    Conversation,
    Entry,
    InboxPage,
    InboxState,
    IRouter,
    IStore,
    Page,
    Progress,
    RevocationsFull,
    RoomFull,
    RouterListener,
    Stored,
    StoreListener,
    TooManyRooms,
    repeat_of,
    within_page,
)
from kschat.chat.lines import MAX_LINE, line_of
from kschat.chat.message import DELETE, Error, Message, Update
from kschat.chat.mids import number_of, parse_number, renumbered
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import FOREVER, NumberedRevocation, Revocation
from kschat.counters import Counters

#: What a message costs beside its body and attachments, in bytes: a rough count of its objects.
OVERHEAD = 600

#: What each further recipient of a message to a room costs, in bytes.
PLACE = 120

#: Conversations of one user from which on the newest are found by going through the messages, newest first: to look at
#: each of 100,000 took 36 ms.
MANY_CONVERSATIONS = 1000


@implementer(IStore)
class MemoryStore:
    """Keeps the newest messages in memory; what is beyond its bounds is forgotten, oldest first.

    All else lives as long as a message it belongs to, but for four: when users were last seen, the members of rooms,
    whom users block, and push subscriptions. Of each, as many are kept as there may be messages.

    Args:
        max_messages: how many are kept.
        max_bytes: of their bodies and attachments, with ``OVERHEAD`` each and ``PLACE`` a recipient.
        wall: the time of day, in seconds since 1970.
        hooks: whether it has an outbox.
        counters: count what is forgotten.
    """

    keeps = True
    up = True

    def __init__(
        self,
        max_messages: int,
        max_bytes: int,
        *,
        wall: WallClock = time,
        hooks: bool = False,
        counters: Counters | None = None,
    ) -> None:
        self._wall = wall
        self._counters = Counters() if counters is None else counters
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._bytes = 0
        self._number = 0
        # Offsets of inboxes that were forgotten whole end here; new ones go on from it, so
        # that an offset never comes twice. (Keeping each would keep every id ever written to.)
        self._floor = 0
        self._inboxes: dict[str, MemoryInbox] = {}
        self._pairs: dict[tuple[str, ...], MemoryConversation] = {}
        self._rooms: dict[str, MemoryConversation] = {}
        self._threads_of: dict[str, dict[MemoryConversation, None]] = {}
        self._order: deque[MemoryConversation] = deque()
        # The numbers of the messages that ``_order`` stands for, which rise.
        self._numbers: deque[int] = deque()
        # Updates are in no conversation, and are forgotten in their turn.
        self._updates = MemoryConversation(())
        self._known: dict[tuple[str, str], Stored] = {}
        self._seen: dict[str, int] = {}
        self._memberships = 0
        # Whom each user blocks, and how many these are in all.
        self._blocks: dict[str, dict[str, None]] = {}
        self._blocked = 0
        # The push subscriptions of each user, and whose each endpoint is; the oldest first.
        self._subscriptions: dict[str, dict[str, PushSubscription]] = {}
        self._subscribers: dict[str, str] = {}
        # How many rooms each member of any is in.
        self._rooms_of: dict[str, int] = {}
        # By their keys, in the order of their numbers.
        self._revocations: dict[str, NumberedRevocation] = {}
        # Until then none is to be forgotten.
        self._first_until = FOREVER
        self._revoked = 0
        self.epoch = token_urlsafe(6)
        self.outbox = MemoryOutbox(self._logged, lambda: self._number, self._cursors) if hooks else None

    def attach(self, listener: StoreListener) -> None:
        """See ``IStore``. It stays the same for as long as it runs."""

    def start(self) -> None:
        """See ``IStore``. There is nothing to wait for."""

    def stop(self) -> Deferred[None]:
        """See ``IStore``. There is nothing to finish."""
        return succeed(None)

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """See ``IStore``. It is as durable as this process."""
        result = [self._append(message) for message in batch]
        self._forget()
        return succeed(result)

    def change(self, update: Message) -> Deferred[Stored]:
        """See ``IStore``. It is as durable as this process."""
        stored = self._change(update)
        self._forget()
        return succeed(stored)

    def find(self, user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        thread = self._thread_with(mid, user) if peer is None else self._thread(user, peer)
        found = None if thread is None else thread.find(mid)
        return succeed(None if found is None else found.stored.message)

    def readers(self, room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        thread = self._thread(user, room)
        found = None if thread is None else thread.find(mid)
        if thread is None or found is None:
            return succeed(None)
        places = found.stored.places
        return succeed([member for member, _ in places if thread.read.get(member, -1) >= found.number])

    def inbox(self, user: str) -> Deferred[InboxState]:
        inbox = self._inboxes.get(user)
        return succeed(InboxState() if inbox is None else InboxState(inbox.cursor, inbox.first, inbox.last))

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return succeed({user: self._inboxes[user].last for user in users if user in self._inboxes})

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        inbox = self._inboxes.get(user)
        if inbox is None:
            # Forgotten whole, perhaps: its offsets ended at the floor at the latest, and go on behind it.
            return succeed(InboxPage([], self._floor + 1, self._floor))
        entries = within_page(
            Entry(entry.offset, self._as_read(entry.message)) for entry in islice(inbox.beyond(after), limit)
        )
        return succeed(InboxPage(entries, inbox.first, inbox.last))

    def is_outdated(self, offset: int) -> None:
        """See ``IStore``. There is no other."""

    def save_progress(self, progress: Progress) -> Deferred[None]:
        for user, cursor in progress.cursors.items():
            inbox = self._inboxes.get(user)
            if inbox is not None:
                inbox.cursor = max(inbox.cursor, min(cursor, inbox.last))
        for user, seen in progress.seen.items():
            # Out and in again, so that the first of the dict is the one noted longest ago.
            self._seen[user] = max(self._seen.pop(user, 0), seen)
        while len(self._seen) > self._max_messages:
            del self._seen[next(iter(self._seen))]
        return succeed(None)

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return succeed({user: self._seen[user] for user in users if user in self._seen})

    def history(self, user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        thread = self._thread(user, peer)
        number = self._number + 1 if before is None else parse_number(before)
        if thread is None or number is None:
            return succeed(Page((), False))
        kept = thread.kept
        end = bisect_left(kept, number, key=BY_NUMBER)
        start = end
        size = 0
        while start > max(end - limit, 0):
            size += kept[start - 1].stored.message.size
            if size > PAGE_BYTES and start < end:
                break
            start -= 1
        page = [kept[index] for index in range(start, end)]
        messages = tuple(one.stored.message for one in page)
        return succeed(Page(messages, start > 0, *self._reached(user, peer, thread, page)))

    def _reached(
        self, user: str, peer: str, thread: MemoryConversation, page: Sequence[IndexedMessage]
    ) -> tuple[str, str]:
        """``read`` and ``delivered`` of a page."""
        if is_room(peer) or peer == user:
            return "", ""
        inbox, read, delivered = self._inboxes.get(peer), thread.read.get(peer, -1), ""
        cursor = 0 if inbox is None else inbox.cursor
        for one in reversed(page):
            if one.stored.message.sender != user:
                continue
            if not delivered and one.stored.places[0][1] <= cursor:
                delivered = one.stored.message.mid
            if one.number <= read:
                return one.stored.message.mid, delivered
        return "", delivered

    def conversations(self, user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        bound = self._number + 1 if before is None else parse_number(before)
        if bound is None:
            return succeed([])
        mine = self._threads_of.get(user, {})
        if len(mine) > MANY_CONVERSATIONS:
            threads = self._newest(mine, limit, bound)
        else:
            threads = [thread for thread in mine if thread.kept and thread.kept[-1].number < bound]
            threads.sort(key=lambda thread: thread.kept[-1].number, reverse=True)
        return succeed([_listed(thread, user) for thread in threads[:limit]])

    def _newest(self, mine: Mapping[MemoryConversation, None], limit: int, bound: int) -> list[MemoryConversation]:
        """So many of one user's conversations, by their newest messages, of those that end before ``bound``."""
        found: list[MemoryConversation] = []
        beyond = len(self._numbers) - bisect_left(self._numbers, bound)
        for thread, number in islice(zip(reversed(self._order), reversed(self._numbers), strict=True), beyond, None):
            if thread in mine and thread.kept[-1].number == number:
                found.append(thread)
                if len(found) >= limit:
                    break
        return found

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        thread = self._thread(user, peer)
        number = parse_number(mid)
        if thread is None or number is None:
            return succeed(False)
        upto = min(number, thread.last)
        read = thread.read.get(user, 0)
        if upto <= read:
            return succeed(False)
        thread.read[user] = upto
        return succeed(any(message.sender != user for message in thread.between(read, upto)))

    def join(self, room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        thread = self._rooms.get(room) or MemoryConversation((room,))
        if user in thread.read:
            return succeed(False)
        if len(thread.read) >= most:
            return fail(RoomFull())
        rooms = self._rooms_of.get(user, 0)
        if rooms >= most_rooms:
            return fail(TooManyRooms())
        self._rooms_of[user] = rooms + 1
        self._rooms[room] = thread
        thread.read[user] = thread.last
        self._threads_of.setdefault(user, {})[thread] = None
        self._memberships += 1
        self._forget_rooms(thread)
        if self.outbox is not None:
            self.outbox.joined(room, user, milliseconds(self._wall))
        return succeed(True)

    def leave(self, room: str, user: str) -> Deferred[bool]:
        thread = self._rooms.get(room)
        if thread is None or user not in thread.read:
            return succeed(False)
        self._remove(thread, user)
        return succeed(True)

    def members(self, room: str) -> Deferred[list[str]]:
        thread = self._rooms.get(room)
        return succeed([] if thread is None else list(thread.read))

    def rooms(self, user: str) -> Deferred[list[str]]:
        return succeed([thread.key[0] for thread in self._threads_of.get(user, ()) if thread.is_room])

    def block(self, user: str, peer: str, most: int) -> Deferred[bool]:
        mine = self._blocks.get(user, {})
        if peer in mine:
            return succeed(False)
        if len(mine) >= most or self._blocked >= self._max_messages:
            return fail(BlockListFull())
        self._blocks[user] = mine
        mine[peer] = None
        self._blocked += 1
        return succeed(True)

    def unblock(self, user: str, peer: str) -> Deferred[bool]:
        mine = self._blocks.get(user, {})
        if peer not in mine:
            return succeed(False)
        del mine[peer]
        self._blocked -= 1
        if not mine:
            del self._blocks[user]
        return succeed(True)

    def blocked(self, user: str) -> Deferred[list[str]]:
        return succeed(list(self._blocks.get(user, ())))

    def blocks(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        mine = self._blocks.get(user, {})
        blockers = frozenset(peer for peer in peers if user in self._blocks.get(peer, ()))
        return succeed(Blocks(frozenset(peer for peer in peers if peer in mine), blockers))

    def subscribe(self, user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        endpoint = subscription.endpoint
        self._unsubscribe(endpoint)
        self._subscribers[endpoint] = user
        mine = self._subscriptions.setdefault(user, {})
        mine[endpoint] = subscription
        for old in list(mine)[: max(len(mine) - most, 0)]:
            self._unsubscribe(old)
        if len(self._subscribers) > self._max_messages:
            self._unsubscribe(next(iter(self._subscribers)))
        return succeed(None)

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        mine = self._subscriptions.get(user, {})
        found = [one for one in mine if endpoint in (None, one)]
        for one in found:
            self._unsubscribe(one)
        return succeed(len(found))

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return succeed(list(self._subscriptions.get(user, {}).values()))

    def _unsubscribe(self, endpoint: str) -> None:
        user = self._subscribers.pop(endpoint, None)
        if user is not None:
            mine = self._subscriptions[user]
            del mine[endpoint]
            if not mine:
                del self._subscriptions[user]

    def erase(self, user: str) -> Deferred[int]:
        """See ``IStore``. It is done in one turn of the reactor, which looks through the user's messages and rooms."""
        for thread in [one for one in self._threads_of.get(user, ()) if one.is_room]:
            self._remove(thread, user)
        erased = self._erase_messages(user)
        inbox = self._inboxes.pop(user, None)
        if inbox is not None:
            self._floor = max(self._floor, inbox.last)
        self._seen.pop(user, None)
        self.unsubscribe(user, None)
        self._blocked -= len(self._blocks.pop(user, ()))
        for other in [other for other, mine in self._blocks.items() if user in mine]:
            self.unblock(other, user)
        if self.outbox is not None:
            self.outbox.forget(user)
        return succeed(erased)

    def _logged(self, after: int, upto: int, limit: int) -> list[Stored]:
        """The oldest messages and updates whose numbers are greater than ``after``, and not greater than ``upto``."""
        newest = zip(reversed(self._order), reversed(self._numbers), strict=True)
        newer = [(thread, number) for thread, number in takewhile(lambda one: one[1] > after, newest) if number <= upto]
        found = newer[: -limit - 1 : -1]
        return [thread.kept[bisect_left(thread.kept, number, key=BY_NUMBER)].stored for thread, number in found]

    def _cursors(self, users: Sequence[str]) -> dict[str, int]:
        return {user: self._inboxes[user].cursor for user in users if user in self._inboxes}

    def _erase_messages(self, user: str) -> int:
        """Delete the messages from and to a user, and take the user out of the places of others."""
        inbox = self._inboxes.get(user)
        # Whoever has left a room may still have messages in it.
        threads = [*self._threads_of.get(user, ()), *self._rooms.values(), self._updates]
        placed = set() if inbox is None else {message.mid for message in inbox.kept if message is not None}
        gone: set[int] = set()
        for thread in threads:
            kept: deque[IndexedMessage] = deque()
            for one in thread.kept:
                message = one.stored.message
                if user in (message.sender, message.recipient):
                    gone.add(one.number)
                    self._erase(one.stored)
                elif message.extra is not None or message.mid in placed:
                    kept.append(self._without(one, user))
                else:
                    kept.append(one)
            thread.kept = kept
            if not kept:
                self._drop_if_idle(thread)
        if gone:
            stay = [number not in gone for number in self._numbers]
            self._order = deque(compress(self._order, stay))
            self._numbers = deque(compress(self._numbers, stay))
        return len(gone)

    def _erase(self, stored: Stored) -> None:
        self._bytes -= _size(stored)
        for name, offset in stored.places:
            inbox = self._inboxes.get(name)
            if inbox is not None:
                inbox.erase(offset)
                self._drop_if_empty(inbox)
        if stored.message.cid is not None:
            self._known.pop((stored.message.sender, stored.message.cid), None)

    def _without(self, one: IndexedMessage, user: str) -> IndexedMessage:
        """A message without the place of a user in it, and without the user's reaction."""
        before = one.stored
        places = tuple([place for place in before.places if place[0] != user])
        message = without_reaction(before.message, user)
        if len(places) == len(before.places) and message is before.message:
            return one
        stored = msgspec.structs.replace(before, places=places, message=message)
        self._bytes -= PLACE * (len(before.places) - len(places))
        if message is not before.message:
            for name, offset in places:
                inbox = self._inboxes[name]
                inbox.kept[offset - inbox.first] = message
        if stored.message.cid is not None:
            self._known[(stored.message.sender, stored.message.cid)] = stored
        return msgspec.structs.replace(one, stored=stored)

    def revoke(self, revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        if now >= self._first_until:
            # To look at each of 50,000 takes 5 ms.
            self._revocations = {key: one for key, one in self._revocations.items() if one.revocation.until > now}
            self._first_until = min([one.revocation.until for one in self._revocations.values()], default=FOREVER)
        earlier = self._revocations.get(revocation.key)
        if earlier is None and len(self._revocations) >= most:
            return fail(RevocationsFull())
        self._revoked += 1
        after = revocation.after(None if earlier is None else earlier.revocation)
        self._revocations.pop(after.key, None)
        self._revocations[after.key] = NumberedRevocation(self._revoked, after)
        self._first_until = min(self._first_until, after.until)
        return succeed(None)

    def revocations(self, after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        newer = (one for one in self._revocations.values() if one.number > after)
        return succeed(list(islice(newer, limit)))

    def _append(self, message: Message) -> Stored:
        if message.cid is not None:
            known = self._known.get((message.sender, message.cid))
            if known is not None:
                return repeat_of(known, message)
        if self._blocks and message.sender in self._blocks.get(message.recipient, ()):
            return Stored(message, (), False, Error.NOT_ALLOWED)
        thread = self._thread_for(message)
        if thread is None:
            return Stored(message, (), False, Error.NOT_ALLOWED)
        number = number_of(message.mid)
        if number <= self._number:
            number = self._number + 1
            message = renumbered(message, number)
        self._number = thread.last = number
        if thread.is_room:
            places = tuple([(user, self._place(user, message)) for user in thread.read if user != message.sender])
        else:
            places = ((message.recipient, self._place(message.recipient, message)),)
        stored = Stored(message, places)
        if len(message.msg) > MAX_LINE or message.attachments:
            thread.kept.append(IndexedMessage(stored, number, line_of(message)))
        else:
            thread.kept.append(IndexedMessage(stored, number))
        self._order.append(thread)
        self._numbers.append(number)
        self._bytes += _size(stored)
        if message.cid is not None:
            self._known[(message.sender, message.cid)] = stored
        return stored

    def _change(self, update: Message) -> Stored:
        if update.cid is not None and (update.sender, update.cid) in self._known:
            return Stored(update, (), True)
        about = update_of(update)
        if about.kind != DELETE and update.sender in self._blocks.get(update.recipient, ()):
            return Stored(update, (), False, Error.NOT_ALLOWED)
        thread = self._thread(update.sender, update.recipient)
        if thread is None:
            return Stored(update, (), False, Error.NOT_ALLOWED if is_room(update.recipient) else Error.INVALID)
        found = thread.find(about.target)
        after = Error.INVALID if found is None else changed(found.stored.message, update)
        if found is None or isinstance(after, Error):
            return Stored(update, (), False, after if isinstance(after, Error) else Error.INVALID)
        if after is found.stored.message:
            return Stored(update, (), True)
        self._replace(thread, found, after)
        self._number = number = max(self._number + 1, number_of(update.mid))
        update = renumbered(update, number)
        kept = without_text(update)
        users = thread.read if thread.is_room else dict.fromkeys(thread.key)
        places = tuple([(user, self._place(user, kept)) for user in users])
        stored = Stored(kept, places)
        self._updates.kept.append(IndexedMessage(stored, number))
        self._order.append(self._updates)
        self._numbers.append(number)
        self._bytes += _size(stored)
        if update.cid is not None:
            self._known[(update.sender, update.cid)] = stored
        return Stored(update, places)

    def _replace(self, thread: MemoryConversation, found: IndexedMessage, after: Message) -> None:
        """Put a message that was changed in the place of the one before, wherever that is kept."""
        places = found.stored.places
        stored = Stored(after, places)
        thread.replace(found, IndexedMessage(stored, found.number, line_of(after)))
        for user, offset in places:
            inbox = self._inboxes[user]
            inbox.kept[offset - inbox.first] = after
        self._bytes += _size(stored) - _size(found.stored)
        if after.cid is not None and (after.sender, after.cid) in self._known:
            self._known[(after.sender, after.cid)] = stored

    def _as_read(self, message: Message) -> Message:
        """A message of an inbox as it is read: with the text that it has now."""
        if message.extra is None or not isinstance(message.extra, Update):
            return message
        thread = self._conversation_of(message)
        found = None if thread is None else thread.find(message.extra.target)
        return with_text(message, None if found is None else found.stored.message)

    def _conversation_of(self, message: Message) -> MemoryConversation | None:
        if is_room(message.recipient):
            return self._rooms.get(message.recipient)
        return self._pairs.get(pair_key(message.sender, message.recipient))

    def _place(self, user: str, message: Message) -> int:
        inbox = self._inboxes.get(user)
        if inbox is None:
            inbox = self._inboxes[user] = MemoryInbox(user, self._floor)
        inbox.last += 1
        inbox.kept.append(message)
        return inbox.last

    def _thread_for(self, message: Message) -> MemoryConversation | None:
        """The conversation that ``message`` belongs to; None where its sender is no member of the room."""
        if is_room(message.recipient):
            thread = self._rooms.get(message.recipient)
            return thread if thread is not None and message.sender in thread.read else None
        key = pair_key(message.sender, message.recipient)
        thread = self._pairs.get(key)
        if thread is None:
            thread = self._pairs[key] = MemoryConversation(key)
            for user in key:
                self._threads_of.setdefault(user, {})[thread] = None
        return thread

    def _thread_with(self, mid: str, user: str) -> MemoryConversation | None:
        """The conversation that a message is in, where it is one of ``user``. Its user may have many thousands."""
        number = parse_number(mid)
        at = len(self._numbers) if number is None else bisect_left(self._numbers, number)
        if at == len(self._numbers) or self._numbers[at] != number:
            return None
        thread = self._order[at]
        return thread if thread in self._threads_of.get(user, ()) else None

    def _thread(self, user: str, peer: str) -> MemoryConversation | None:
        """The conversation of ``user`` with ``peer``, where there is one and it is the user's to see."""
        if not is_room(peer):
            return self._pairs.get(pair_key(user, peer))
        thread = self._rooms.get(peer)
        return thread if thread is not None and user in thread.read else None

    def _forget(self) -> None:
        while len(self._order) > self._max_messages or (self._bytes > self._max_bytes and self._order):
            # A conversation stands in ``_order`` once a message, so its oldest is the one meant;
            # and so it is with the inboxes.
            thread = self._order.popleft()
            self._numbers.popleft()
            self._counters.forgotten += 1
            stored = thread.kept.popleft().stored
            self._bytes -= _size(stored)
            for user, _ in stored.places:
                inbox = self._inboxes[user]
                inbox.forget_oldest()
                self._drop_if_empty(inbox)
            message = stored.message
            if message.cid is not None:
                self._known.pop((message.sender, message.cid), None)
            if not thread.kept:
                self._drop_if_idle(thread)

    def _drop_if_empty(self, inbox: MemoryInbox) -> None:
        if not inbox.kept:
            del self._inboxes[inbox.user]
            self._floor = max(self._floor, inbox.last)

    def _forget_rooms(self, newest: MemoryConversation) -> None:
        """Keep the memberships within their bound: the rooms that were made first lose their members."""
        while self._memberships > self._max_messages:
            thread = next((one for one in self._rooms.values() if one is not newest and one.read), newest)
            for user in list(thread.read)[: self._memberships - self._max_messages]:
                self._remove(thread, user)

    def _remove(self, thread: MemoryConversation, user: str) -> None:
        del thread.read[user]
        self._memberships -= 1
        self._rooms_of[user] -= 1
        if not self._rooms_of[user]:
            del self._rooms_of[user]
        self._unlist(thread, user)
        self._drop_if_idle(thread)

    def _drop_if_idle(self, thread: MemoryConversation) -> None:
        if thread.kept or (thread.is_room and thread.read) or thread is self._updates:
            return
        if thread.is_room:
            del self._rooms[thread.key[0]]
            return
        del self._pairs[thread.key]
        for user in set(thread.key):
            self._unlist(thread, user)

    def _unlist(self, thread: MemoryConversation, user: str) -> None:
        threads = self._threads_of[user]
        del threads[thread]
        if not threads:
            del self._threads_of[user]


def _listed(thread: MemoryConversation, user: str) -> Conversation:
    newest = thread.kept[-1]
    last, line = newest.stored.message, newest.line
    if line is not None:
        last = msgspec.structs.replace(last, msg=line, attachments=())
    return Conversation(thread.peer_of(user), last, thread.unread(user), line is not None)


def _size(stored: Stored) -> int:
    return OVERHEAD + PLACE * len(stored.places) + stored.message.size


@implementer(IRouter)
class MemoryRouter:
    """Carries messages to the one daemon there is: this one."""

    up = True
    alone = True
    figures: Mapping[str, int] = MappingProxyType({})

    def __init__(self) -> None:
        self._listener: RouterListener | None = None
        self._bound: dict[str, set[str]] = {}

    def attach(self, listener: RouterListener) -> None:
        self._listener = listener

    def start(self) -> None:
        """See ``IRouter``. There is nothing to wait for."""

    def stop(self) -> Deferred[None]:
        """See ``IRouter``. There is nothing to finish."""
        return succeed(None)

    def bind(self, user: str, socket: str) -> Deferred[None]:
        self._bound.setdefault(user, set()).add(socket)
        return succeed(None)

    def unbind(self, user: str, socket: str) -> None:
        sockets = self._bound.get(user)
        if sockets is not None:
            sockets.discard(socket)
            if not sockets:
                del self._bound[user]

    def publish(self, batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        """See ``IRouter``. Each word is exact."""
        bound = self._bound
        carried = [any(user in bound for user, _ in stored.places) for stored in batch]
        if self._listener is not None:
            self._listener.deliver([one for one, here in zip(batch, carried, strict=True) if here])
        return succeed(carried)


class Configured(Protocol):
    """What the store reads of the daemon's configuration."""

    @property
    def store_messages(self) -> int:
        """How many messages are kept."""

    @property
    def store_bytes(self) -> int:
        """How many bytes of them."""

    @property
    def hooks(self) -> bool:
        """Whether the store has an outbox."""


def _make(config: Configured, argument: str, *, reactor: Any, wall: WallClock, counters: Counters) -> MemoryStore:
    return MemoryStore(config.store_messages, config.store_bytes, wall=wall, hooks=config.hooks, counters=counters)


STORE = StoreKind(
    name="memory",
    example="memory",
    shared=False,
    keeps=True,
    settings=("store_messages", "store_bytes"),
    make=_make,
)
