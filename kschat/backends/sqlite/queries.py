"""Reads the tables and the newest messages together. Only the reader thread uses it.

Each method uses the ``memtable`` from before it began: every other message is in the tables.
No statement scans a table; a test checks the query plans.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from heapq import nlargest
from itertools import chain, islice
from typing import Any, Final, TypeAlias

from kschat.backends.sqlite import revoked, subscriptions
from kschat.backends.sqlite.memtable import MemTable
from kschat.backends.sqlite.rows import COLUMNS, LINE_COLUMNS, WIDTH, listed_of, message_of
from kschat.chat.changes import is_update, peer_of, update_of, with_text
from kschat.chat.conversations import conversation_key, is_room
from kschat.chat.interfaces import (
    MAX_UNREAD,
    PAGE_BYTES,
    Blocks,
    Conversation,
    Entry,
    InboxPage,
    InboxState,
    Page,
    within_page,
)
from kschat.chat.message import Message
from kschat.chat.mids import MAX_NUMBER, first_mid, number_of, parse_number
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation

#: What is recent, by conversation.
Threads: TypeAlias = Mapping[tuple[str, str] | str, Sequence[Message]]

INBOX: Final = (
    "SELECT cursor, floor, max(floor, given, coalesce((SELECT max(offset) FROM inbox WHERE user = users.id), 0)) "
    "FROM users WHERE name = ?"
)

READ: Final = (
    f"SELECT inbox.offset, {COLUMNS} FROM inbox CROSS JOIN messages m ON m.id = inbox.message "
    "WHERE inbox.user = (SELECT id FROM users WHERE name = ?) AND inbox.offset > ? ORDER BY inbox.offset LIMIT ?"
)

#: Of :user and :peer, or of the room :peer where :user is a member: the conversation, and up to where it is read.
_MINE_WITH_USER: Final = (
    "SELECT p.user, p.conversation, p.read FROM users u CROSS JOIN users v "
    "CROSS JOIN conversations c ON c.one = min(u.id, v.id) AND c.other = max(u.id, v.id) "
    "CROSS JOIN participants p ON p.user = u.id AND p.conversation = c.id WHERE u.name = :user AND v.name = :peer"
)
_MINE_OF_ROOM: Final = (
    "SELECT p.user, p.conversation, p.read FROM users u CROSS JOIN conversations c "
    "CROSS JOIN participants p ON p.user = u.id AND p.conversation = c.id WHERE u.name = :user AND c.room = :peer"
)

#: Messages, a part at a time: whose they are.
LOOKED_THROUGH: Final = "SELECT id, sender, recipient, extra FROM messages WHERE id > ? ORDER BY id LIMIT ?"

HISTORY: Final = (
    f"SELECT {COLUMNS} FROM thread CROSS JOIN messages m ON m.id = thread.message "
    "WHERE thread.conversation = ? AND thread.message < ? ORDER BY thread.message DESC LIMIT ?"
)

#: The conversations of a user whose indexed messages are the newest, before one.
_NEWEST: Final = (
    "SELECT * FROM (SELECT p.user, p.conversation, p.read, "
    "(SELECT max(message) FROM thread WHERE conversation = p.conversation) AS newest "
    "FROM participants p WHERE p.user = (SELECT id FROM users WHERE name = ?)) "
    "WHERE newest < ? OR newest IS NULL ORDER BY newest DESC LIMIT ?"
)

#: Of conversations ``mine``: the newest message, and how many of others were not read: how far all messages, and one's
#: own, were counted in the newest message and in the last one that was read (or that was deleted). In a conversation of
#: two each message tells both counts; in a room there is an index of each member's own.
_READ_ROW: Final = "FROM thread WHERE conversation = c.id AND message <= mine.read ORDER BY message DESC LIMIT 1"
_FIRST_ROW: Final = "FROM thread WHERE conversation = c.id ORDER BY message LIMIT 1"
_OWN_ROW: Final = "FROM thread WHERE conversation = c.id AND sender = mine.user AND own < 0"
UNREAD: Final = (
    "CASE WHEN l.message IS NULL OR l.message <= mine.read THEN 0 "
    "WHEN c.room IS NOT NULL THEN "
    f"l.total - coalesce((SELECT total {_READ_ROW}), (SELECT total - 1 {_FIRST_ROW})) "
    f"- coalesce((SELECT -own {_OWN_ROW} ORDER BY message DESC LIMIT 1) "
    f"- coalesce((SELECT -own {_OWN_ROW} AND message <= mine.read ORDER BY message DESC LIMIT 1), "
    f"(SELECT -own - 1 {_OWN_ROW} ORDER BY message LIMIT 1)), 0) "
    "ELSE CASE l.sender WHEN mine.user THEN l.total - l.own ELSE l.own END - coalesce("
    f"(SELECT CASE sender WHEN mine.user THEN total - own ELSE own END {_READ_ROW}), "
    f"(SELECT CASE sender WHEN mine.user THEN total - own ELSE own - 1 END {_FIRST_ROW})) END"
)
_OVERVIEW: Final = (
    "SELECT mine.conversation, mine.read, "
    "coalesce(c.room, (SELECT name FROM users WHERE id = CASE c.one WHEN mine.user THEN c.other ELSE c.one END)), "
    f"min({MAX_UNREAD}, {UNREAD}), "
    f"{LINE_COLUMNS} FROM mine CROSS JOIN conversations c ON c.id = mine.conversation "
    "LEFT JOIN thread l ON l.conversation = c.id AND l.message = mine.newest "
    "LEFT JOIN messages m ON m.id = l.message LEFT JOIN lines s ON s.message = l.message"
)

CONVERSATIONS: Final = f"WITH mine AS ({_NEWEST}) {_OVERVIEW}"

_WITH_NEWEST: Final = "SELECT *, (SELECT max(message) FROM thread WHERE conversation = one.conversation) AS newest FROM"
ONE_WITH_USER: Final = f"WITH one AS ({_MINE_WITH_USER}), mine AS ({_WITH_NEWEST} one) {_OVERVIEW}"
ONE_OF_ROOM: Final = f"WITH one AS ({_MINE_OF_ROOM}), mine AS ({_WITH_NEWEST} one) {_OVERVIEW}"

#: A message that is no update, in a conversation of a user; the text of one, of whomever.
FIND: Final = (
    f"SELECT {COLUMNS} FROM messages m CROSS JOIN participants p ON p.user = (SELECT id FROM users WHERE name = ?) "
    "AND p.conversation = m.conversation WHERE m.id = ? AND m.total > 0"
)
TARGET: Final = f"SELECT {COLUMNS} FROM messages m WHERE m.id = ?"

#: How far a user has read a conversation, and got what is in the inbox.
PEER: Final = (
    "SELECT p.read, u.cursor FROM users u CROSS JOIN participants p ON p.user = u.id AND p.conversation = ? "
    "WHERE u.name = ?"
)

#: The newest of some messages to a user that has arrived.
ARRIVED: Final = "SELECT max(id) FROM messages WHERE id IN ({}) AND place <= ?"

#: Of those whose inboxes got a message to a room, and who are members still: who has marked it as read.
READERS: Final = (
    "SELECT u.name FROM messages m CROSS JOIN participants p ON p.conversation = m.conversation AND p.read >= m.id "
    "CROSS JOIN users u ON u.id = p.user "
    "WHERE m.id = ? AND p.user IN (SELECT json_extract(value, '$[0]') FROM json_each(m.places))"
)

MEMBERS: Final = (
    "SELECT u.name FROM conversations c CROSS JOIN participants p ON p.conversation = c.id "
    "CROSS JOIN users u ON u.id = p.user WHERE c.room = ?"
)

#: The rooms that a user is in.
ROOMS: Final = (
    "SELECT c.room FROM participants p CROSS JOIN conversations c ON c.id = p.conversation "
    "WHERE p.user = (SELECT id FROM users WHERE name = ?) AND c.room IS NOT NULL"
)

SEEN: Final = "SELECT name, seen FROM users WHERE name IN ({}) AND seen IS NOT NULL"

BLOCKED: Final = (
    "SELECT u.name FROM blocks b CROSS JOIN users u ON u.id = b.peer "
    "WHERE b.user = (SELECT id FROM users WHERE name = ?)"
)

#: Of some users: whom a user blocks, and who blocks the user.
BLOCKED_AMONG: Final = (
    "SELECT v.name FROM users u CROSS JOIN users v CROSS JOIN blocks b ON b.user = u.id AND b.peer = v.id "
    "WHERE u.name = ? AND v.name IN ({})"
)
BLOCKERS_AMONG: Final = (
    "SELECT v.name FROM users u CROSS JOIN users v CROSS JOIN blocks b ON b.user = v.id AND b.peer = u.id "
    "WHERE u.name = ? AND v.name IN ({})"
)

#: Messages that are looked through by one query.
LOOK_THROUGH: Final = 2000

#: Names of one statement.
_NAMES: Final = 500


class Queries:
    """The questions of one connection, which is open for reading."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.execute

    def inbox(self, memtable: MemTable, user: str) -> InboxState:
        row = self._execute(INBOX, (user,)).fetchone()
        if row is None:
            return InboxState()
        cursor, floor, last = row
        newest = memtable.inboxes.get(user)
        if newest:
            last = max(last, newest[-1].offset)
        return InboxState(cursor, floor + 1, last)

    def ends(self, memtable: MemTable, users: Sequence[str]) -> dict[str, int]:
        return {user: self.inbox(memtable, user).last for user in users}

    def members(self, memtable: MemTable, room: str) -> list[str]:
        return [name for (name,) in self._execute(MEMBERS, (room,)).fetchall()]

    def read(self, memtable: MemTable, user: str, after: int, limit: int) -> InboxPage:
        # The ends first: what is kept while the entries are read is beyond them, and not taken for deleted.
        state = self.inbox(memtable, user)
        return InboxPage(self._entries(memtable, user, after, limit), state.first, state.last)

    def _entries(self, memtable: MemTable, user: str, after: int, limit: int) -> list[Entry]:
        newest = memtable.inboxes.get(user)
        if newest and newest[0].offset <= after + 1:
            skip = after + 1 - newest[0].offset
            return within_page(map(self._as_read, newest[skip : skip + limit]))
        return within_page(islice(self._indexed_and_newest(newest or (), user, after, limit), limit))

    def _indexed_and_newest(self, newest: Sequence[Entry], user: str, after: int, limit: int) -> Iterator[Entry]:
        at = after
        # No more rows are read than the page takes, and the one that is too large for it.
        for at, *row in self._execute(READ, (user, after, limit)):
            yield self._as_read(Entry(at, message_of(row)))
        for entry in newest:
            if entry.offset > at:
                yield self._as_read(entry)

    def _as_read(self, entry: Entry) -> Entry:
        """An entry as it is read: an edit with the text that its message has now."""
        message = entry.message
        if message.extra is None or not is_update(message):
            return entry
        mid = update_of(message).target
        row = self._execute(TARGET, (number_of(mid),)).fetchone()
        target = None if row is None else message_of(row)
        return Entry(entry.offset, with_text(message, target if target is not None and target.mid == mid else None))

    def find(self, memtable: MemTable, user: str, mid: str, peer: str | None) -> Message | None:
        number = parse_number(mid)
        row = None if number is None else self._execute(FIND, (user, number)).fetchone()
        found = None if row is None else message_of(row)
        if found is None or found.mid != mid or (peer is not None and peer_of(found, user) != peer):
            return None
        return found

    def readers(self, memtable: MemTable, room: str, user: str, mid: str) -> list[str] | None:
        found = self.find(memtable, user, mid, room)
        if found is None:
            return None
        return [name for (name,) in self._execute(READERS, (number_of(mid),)).fetchall()]

    def last_seen(self, memtable: MemTable, users: Sequence[str]) -> dict[str, int]:
        seen: dict[str, int] = {}
        for start in range(0, len(users), _NAMES):
            some = users[start : start + _NAMES]
            seen.update(self._execute(SEEN.format(", ".join("?" * len(some))), list(some)).fetchall())
        return seen

    def history(self, memtable: MemTable, user: str, peer: str, before: str | None, limit: int) -> Page:
        number = MAX_NUMBER if before is None else parse_number(before)
        mine = self._execute(
            _MINE_OF_ROOM if is_room(peer) else _MINE_WITH_USER, {"user": user, "peer": peer}
        ).fetchone()
        if number is None or mine is None:
            return Page((), False)
        bound = first_mid(number)
        newest = [one for one in memtable.threads.get(conversation_key(user, peer), ()) if one.mid < bound][
            -limit - 1 :
        ]
        upto = number_of(newest[0].mid) if newest else number
        # One more than asked for tells whether there are more.
        older = self._execute(HISTORY, (mine[1], upto, limit + 1 - len(newest))) if len(newest) <= limit else ()
        page: list[Message] = []
        size = 0
        for message in chain(reversed(newest), map(message_of, older)):
            size += message.size
            if len(page) == limit or (size > PAGE_BYTES and page):
                return Page(tuple(reversed(page)), True, *self._reached(user, peer, mine[1], page))
            page.append(message)
        return Page(tuple(reversed(page)), False, *self._reached(user, peer, mine[1], page))

    def _reached(self, user: str, peer: str, conversation: int, newest_first: Sequence[Message]) -> tuple[str, str]:
        """``read`` and ``delivered`` of a page."""
        own = {number_of(one.mid): one.mid for one in newest_first if one.sender == user}
        if is_room(peer) or peer == user or not own:
            return "", ""
        read, cursor = self._execute(PEER, (conversation, peer)).fetchone() or (0, 0)
        arrived = self._execute(ARRIVED.format(", ".join("?" * len(own))), [*own, cursor]).fetchone()[0]
        return next((mid for number, mid in own.items() if number <= read), ""), own.get(arrived, "")

    def rooms(self, memtable: MemTable, user: str) -> list[str]:
        return [room for (room,) in self._execute(ROOMS, (user,)).fetchall()]

    def conversations(self, memtable: MemTable, user: str, limit: int, before: str | None = None) -> list[Conversation]:
        number = MAX_NUMBER if before is None else parse_number(before)
        if number is None:
            return []
        threads, bound = memtable.threads, first_mid(number)
        # At once, since another thread may sort what is recent meanwhile.
        mine: set[tuple[str, str] | str] = set(memtable.direct.get(user, ()))
        # In one transaction, since unread messages are counted here by what is beyond the tables.
        self._execute("BEGIN")
        try:
            mine |= {room for (room,) in self._execute(ROOMS, (user,)) if room in threads}
            # Those that a newer message puts on an earlier page take no place on this one.
            beyond = {key for key in mine if threads[key][-1].mid >= bound} if before is not None else set()
            rows = self._execute(CONVERSATIONS, (user, number, limit + len(beyond))).fetchall()
            newest = nlargest(limit, mine - beyond, key=lambda key: threads[key][-1].mid)
            rows += [row for key in newest if (row := self._overview_of(user, key)) is not None]
        finally:
            self._execute("COMMIT")
        found = {}
        for row in rows:
            one = _conversation(user, row, threads, memtable)
            if one is not None and one.last.mid < bound:
                found[one.peer] = one
        return sorted(found.values(), key=lambda one: one.last.mid, reverse=True)[:limit]

    def blocked(self, memtable: MemTable, user: str) -> list[str]:
        return [name for (name,) in self._execute(BLOCKED, (user,)).fetchall()]

    def blocks(self, memtable: MemTable, user: str, peers: Sequence[str]) -> Blocks:
        found: list[set[str]] = []
        for statement in (BLOCKED_AMONG, BLOCKERS_AMONG):
            names: set[str] = set()
            for start in range(0, len(peers), _NAMES):
                some = peers[start : start + _NAMES]
                asked = self._execute(statement.format(", ".join("?" * len(some))), [user, *some])
                names.update(name for (name,) in asked.fetchall())
            found.append(names)
        return Blocks(frozenset(found[0]), frozenset(found[1]))

    def messages_of(
        self, memtable: MemTable, user: int, name: str, after: int
    ) -> tuple[list[int], list[int], int | None]:
        """Among the next messages, those from and to a user; those of others that may have a reaction of the user; and
        after which one to go on, None at the end."""
        rows = self._execute(LOOKED_THROUGH, (after, LOOK_THROUGH)).fetchall()
        found = [id_ for id_, sender, recipient, _ in rows if user in (sender, recipient)]
        encoded = name.encode()
        reacted = [id_ for id_, *of, extra in rows if extra is not None and encoded in extra and user not in of]
        return found, reacted, rows[-1][0] if len(rows) == LOOK_THROUGH else None

    def subscriptions(self, memtable: MemTable, user: str) -> list[PushSubscription]:
        return subscriptions.listed(self.connection, user)

    def revocations(self, memtable: MemTable, after: int, limit: int) -> list[NumberedRevocation]:
        return revoked.after(self.connection, after, limit)

    def _overview_of(self, user: str, key: tuple[str, str] | str) -> Any:
        """What is known of a recent conversation, where it is one of ``user``'s."""
        if isinstance(key, str):
            return self._execute(ONE_OF_ROOM, {"user": user, "peer": key}).fetchone()
        peer = key[0] if key[1] == user else key[1]
        return self._execute(ONE_WITH_USER, {"user": user, "peer": peer}).fetchone()


def _conversation(user: str, row: Sequence[Any], threads: Threads, memtable: MemTable) -> Conversation | None:
    """A conversation by its row and what is recent in it; None for a room where nothing was written."""
    _, read, peer, unread, *rest = row
    assert len(rest) == WIDTH
    last, cut = listed_of(rest) if rest[0] is not None else (None, False)
    beyond, unread_from = last.mid if last is not None else "", first_mid(read + 1)
    recent = threads.get(conversation_key(user, peer), ())
    if recent and recent[-1].mid > beyond:
        last, cut = memtable.listed(recent[-1])
    for message in recent:
        if message.sender != user and message.mid >= unread_from and message.mid > beyond and unread < MAX_UNREAD:
            unread += 1
    return None if last is None else Conversation(peer, last, unread, cut)
