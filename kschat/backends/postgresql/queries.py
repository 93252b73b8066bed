"""What is read, by functions that get a connection on a reader thread. No statement goes through a whole table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from kschat.backends.generations import ceiling_of
from kschat.backends.postgresql.rows import COLUMNS, NAMED, message_of
from kschat.chat.changes import peer_of, with_text
from kschat.chat.conversations import is_room
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
from kschat.chat.mids import MAX_NUMBER, number_of, parse_number, suffix_of
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation

Connection = psycopg.Connection[Any]

#: More than any offset that is stored, and still a number of PostgreSQL's.
_MAX: Final = 2**63 - 1

INBOX: Final = "SELECT cursor, floor + 1, last FROM users WHERE name = %s"
ENDS: Final = "SELECT name, last FROM users WHERE name = ANY (%s)"
STANDING: Final = "SELECT u.id, u.floor, u.last, s.generation FROM state s LEFT JOIN users u ON u.name = %s"

#: Entries of an inbox: which messages they are is read first, and only the messages that the page holds.
READ: Final = (
    "WITH k AS MATERIALIZED (SELECT i.place, i.conversation, i.message, m.id IS NULL AS is_update, "
    "row_number() OVER (ORDER BY i.place) AS n, "
    "sum(coalesce(m.size, CASE WHEN d.edits THEN coalesce(t.size, 4) ELSE 4 END)) OVER (ORDER BY i.place) AS size "
    "FROM (SELECT * FROM inbox WHERE user_id = %(user)s AND place > %(after)s ORDER BY place LIMIT %(limit)s) AS i "
    "LEFT JOIN messages m ON m.conversation = i.conversation AND m.id = i.message "
    "LEFT JOIN updates d ON d.conversation = i.conversation AND d.id = i.message AND m.id IS NULL "
    "LEFT JOIN messages t ON t.conversation = d.conversation AND t.id = d.target "
    "WHERE m.id IS NOT NULL OR d.id IS NOT NULL) "
    f"SELECT k.place, NULL::bigint, {COLUMNS} FROM k "
    f"JOIN messages m ON m.conversation = k.conversation AND m.id = k.message {NAMED} "
    f"WHERE NOT k.is_update AND (k.size <= {PAGE_BYTES} OR k.n = 1) UNION ALL "
    "SELECT k.place, CASE WHEN m.edits THEN m.target END, "
    + COLUMNS.replace("m.msg", "'\\x6e756c6c'").replace("m.attachments", "NULL")
    + f" FROM k JOIN updates m ON m.conversation = k.conversation AND m.id = k.message {NAMED} "
    f"WHERE k.is_update AND (k.size <= {PAGE_BYTES} OR k.n = 1) ORDER BY 1"
)

#: The messages that edits are of, as they are now.
TARGETS: Final = (
    f"SELECT t.n, {COLUMNS} FROM unnest(%s::bytea[], %s::bytea[], %s::bigint[]) "
    "WITH ORDINALITY AS t (sender, peer, id, n) "
    f"JOIN messages m ON m.conversation = conversation_of(t.sender, t.peer) AND m.id = t.id {NAMED}"
)

#: The conversation, the user, and what the user has read; of a room only where the user is a member.
MINE: Final = (
    "SELECT c.id, p.user_id, c.gone FROM conversations c JOIN users u ON u.name = %(user)s "
    "JOIN participants p ON p.user_id = u.id AND p.conversation = c.id WHERE c.id = conversation_of(%(user)s, %(peer)s)"
)

#: (With OFFSET each message is looked up by its key. The planner would else go through all of a conversation that it
#: takes for a short one.)
HISTORY: Final = (
    "WITH k AS MATERIALIZED (SELECT id, row_number() OVER (ORDER BY id DESC) AS n, "
    "sum(size) OVER (ORDER BY id DESC) AS size, count(*) OVER () AS found "
    "FROM (SELECT id, size FROM messages WHERE conversation = %(talk)s AND id < %(before)s AND total > %(gone)s "
    "ORDER BY id DESC LIMIT %(limit)s + 1) AS newest) "
    f"SELECT k.found, m.place, {COLUMNS} FROM k CROSS JOIN LATERAL "
    "(SELECT * FROM messages WHERE conversation = %(talk)s AND id = k.id OFFSET 0) AS m "
    f"{NAMED} WHERE k.n <= %(limit)s AND (k.size <= {PAGE_BYTES} OR k.n = 1) ORDER BY m.id DESC"
)

PEER: Final = (
    "SELECT p.read, u.cursor FROM users u JOIN participants p ON p.user_id = u.id AND p.conversation = %s "
    "WHERE u.name = %s"
)

#: The newest conversations of a user, before one. Of each, all is counted in two rows. Of two users one is the user,
#: and so only the other's name is read; of a room, the sender's.
CONVERSATIONS: Final = (
    "WITH mine AS MATERIALIZED (SELECT p.user_id, c.id, c.newest, c.tail, c.room AS name_of_room, "
    "CASE WHEN c.room IS NULL THEN CASE c.one WHEN p.user_id THEN c.other ELSE c.one END END AS peer, "
    "c.total - p.own - greatest(p.read_count, c.gone - p.own_gone) AS unread "
    "FROM participants p JOIN conversations c ON c.id = p.conversation "
    "WHERE p.user_id = (SELECT id FROM users WHERE name = %(user)s) AND c.newest > 0 "
    "AND (c.newest, c.tail) < (%(number)s, %(tail)s::bytea) AND c.total > c.gone "
    "ORDER BY c.newest DESC, c.tail DESC LIMIT %(limit)s), "
    "named AS (SELECT mine.user_id, mine.newest, mine.tail, mine.peer, mine.unread, m.sender, m.line, m.msg, m.ids, "
    "m.extra, m.time, m.cid, coalesce(mine.name_of_room, peer.name) AS peer_name, "
    "CASE WHEN m.sender = mine.user_id THEN %(user)s::bytea ELSE coalesce(s.name, peer.name) END AS sender_name "
    "FROM mine JOIN messages m ON m.conversation = mine.id AND m.id = mine.newest "
    "LEFT JOIN users peer ON peer.id = mine.peer "
    "LEFT JOIN users s ON s.id = CASE WHEN mine.peer IS NULL THEN nullif(m.sender, mine.user_id) END) "
    "SELECT peer_name, unread, line IS NOT NULL, newest, tail, sender_name, "
    "CASE WHEN peer IS NULL OR sender = user_id THEN peer_name ELSE %(user)s::bytea END, "
    "ids, extra, coalesce(line, msg), time, cid, NULL::bytea FROM named "
    "WHERE peer_name IS NOT NULL AND sender_name IS NOT NULL ORDER BY newest DESC, tail DESC"
)

#: A message in any conversation of a user.
FIND: Final = (
    f"SELECT {COLUMNS} FROM participants p JOIN messages m ON m.conversation = p.conversation AND m.id = %s {NAMED} "
    "WHERE p.user_id = (SELECT id FROM users WHERE name = %s) AND m.suffix = %s AND m.total > c.gone"
)

READERS: Final = (
    "SELECT u.name FROM messages m JOIN participants p ON p.conversation = m.conversation AND p.read >= m.id "
    "JOIN users u ON u.id = p.user_id WHERE m.conversation = (SELECT id FROM conversations WHERE room = %s) "
    "AND m.id = %s AND p.user_id = ANY (m.members)"
)

MEMBERS: Final = (
    "SELECT u.name FROM conversations c JOIN participants p ON p.conversation = c.id JOIN users u ON u.id = p.user_id "
    "WHERE c.room = %s"
)

ROOMS: Final = (
    "SELECT c.room FROM participants p JOIN conversations c ON c.id = p.conversation "
    "WHERE p.user_id = (SELECT id FROM users WHERE name = %s) AND c.room IS NOT NULL"
)

SEEN: Final = "SELECT name, seen FROM users WHERE name = ANY (%s) AND seen IS NOT NULL"

BLOCKED: Final = (
    "SELECT u.name FROM blocks b JOIN users u ON u.id = b.peer WHERE b.user_id = (SELECT id FROM users WHERE name = %s)"
)

BLOCKS: Final = (
    "SELECT v.name, EXISTS (SELECT FROM blocks b WHERE b.user_id = u.id AND b.peer = v.id), "
    "EXISTS (SELECT FROM blocks b WHERE b.user_id = v.id AND b.peer = u.id) "
    "FROM users u, users v WHERE u.name = %s AND v.name = ANY (%s)"
)

SUBSCRIPTIONS: Final = (
    "SELECT endpoint, p256dh, auth FROM subscriptions WHERE user_id = (SELECT id FROM users WHERE name = %s) "
    "ORDER BY number"
)

REVOCATIONS: Final = (
    "SELECT number, key, before, until, lifted FROM revocations WHERE number > %s ORDER BY number LIMIT %s"
)


def _rows(connection: Connection, statement: str, parameters: Any) -> list[Any]:
    return connection.execute(statement.encode(), parameters, prepare=True, binary=True).fetchall()


def _encoded(names: Sequence[str]) -> list[bytes]:
    return [name.encode() for name in names]


def inbox(connection: Connection, user: str) -> InboxState:
    rows = _rows(connection, INBOX, (user.encode(),))
    return InboxState(*rows[0]) if rows else InboxState()


def ends(connection: Connection, users: Sequence[str]) -> dict[str, int]:
    return {name.decode(): last for name, last in _rows(connection, ENDS, (_encoded(users),))}


def read(connection: Connection, user: str, after: int, limit: int) -> InboxPage:
    # The ends first: what is kept while the entries are read is beyond them, and not taken for deleted.
    ((number, floor, last, generation),) = _rows(connection, STANDING, (user.encode(),))
    ceiling = ceiling_of(generation)
    if number is None:
        return InboxPage([], 1, 0, ceiling)
    rows = _rows(connection, READ, {"user": number, "after": min(after, _MAX), "limit": limit})
    entries = [Entry(row[0], message_of(row[2:])) for row in rows]
    edits = [(at, row[1]) for at, row in enumerate(rows) if row[1] is not None]
    if edits:
        names = [entries[at].message for at, _ in edits]
        asked = (
            _encoded([one.sender for one in names]),
            _encoded([one.recipient for one in names]),
            [target for _, target in edits],
        )
        found = {row[0]: message_of(row[1:]) for row in _rows(connection, TARGETS, asked)}
        for n, (at, _) in enumerate(edits, 1):
            entries[at] = Entry(entries[at].offset, with_text(entries[at].message, found.get(n)))
    return InboxPage(within_page(entries), floor + 1, last, ceiling)


def last_seen(connection: Connection, users: Sequence[str]) -> dict[str, int]:
    return {name.decode(): seen for name, seen in _rows(connection, SEEN, (_encoded(users),))}


def history(connection: Connection, user: str, peer: str, before: str | None, limit: int) -> Page:
    number = MAX_NUMBER if before is None else parse_number(before)
    mine = _rows(connection, MINE, {"user": user.encode(), "peer": peer.encode()})
    if number is None or not mine:
        return Page((), False)
    talk, _, gone = mine[0]
    rows = _rows(connection, HISTORY, {"talk": talk, "before": number, "limit": limit, "gone": gone})
    newest_first = [message_of(row[2:]) for row in rows]
    more = bool(rows) and rows[0][0] > len(rows)
    read = delivered = ""
    own = [(row[1], one) for row, one in zip(rows, newest_first, strict=True) if one.sender == user]
    if own and peer != user and not is_room(peer):
        reached, cursor = (_rows(connection, PEER, (talk, peer.encode())) or [(0, 0)])[0]
        read = next((one.mid for _, one in own if number_of(one.mid) <= reached), "")
        delivered = next((one.mid for place, one in own if place <= cursor), "")
    return Page(tuple(reversed(newest_first)), more, read, delivered)


def conversations(connection: Connection, user: str, limit: int, before: str | None) -> list[Conversation]:
    number, tail = MAX_NUMBER, b""
    if before is not None:
        parsed = parse_number(before)
        if parsed is None:
            return []
        number, tail = parsed, suffix_of(before).encode()
    found = []
    asked = {"user": user.encode(), "number": number, "tail": tail, "limit": limit}
    for peer, unread, cut, *row in _rows(connection, CONVERSATIONS, asked):
        found.append(Conversation(peer.decode(), message_of(row), max(0, min(unread, MAX_UNREAD)), cut))
    return found


def find(connection: Connection, user: str, mid: str, peer: str | None) -> Message | None:
    number = parse_number(mid)
    if number is None:
        return None
    rows = _rows(connection, FIND, (number, user.encode(), suffix_of(mid).encode()))
    for row in rows:
        found = message_of(row)
        if peer is None or peer_of(found, user) == peer:
            return found
    return None


def readers(connection: Connection, room: str, user: str, mid: str) -> list[str] | None:
    if find(connection, user, mid, room) is None:
        return None
    return [name.decode() for (name,) in _rows(connection, READERS, (room.encode(), number_of(mid)))]


def members(connection: Connection, room: str) -> list[str]:
    return [name.decode() for (name,) in _rows(connection, MEMBERS, (room.encode(),))]


def rooms(connection: Connection, user: str) -> list[str]:
    return [room.decode() for (room,) in _rows(connection, ROOMS, (user.encode(),))]


def blocked(connection: Connection, user: str) -> list[str]:
    return [name.decode() for (name,) in _rows(connection, BLOCKED, (user.encode(),))]


def blocks(connection: Connection, user: str, peers: Sequence[str]) -> Blocks:
    rows = _rows(connection, BLOCKS, (user.encode(), _encoded(peers)))
    return Blocks(
        frozenset(name.decode() for name, blocks_it, _ in rows if blocks_it),
        frozenset(name.decode() for name, _, is_blocked in rows if is_blocked),
    )


def subscriptions(connection: Connection, user: str) -> list[PushSubscription]:
    rows = _rows(connection, SUBSCRIPTIONS, (user.encode(),))
    return [PushSubscription(*(part.decode() for part in row)) for row in rows]


def revocations(connection: Connection, after: int, limit: int) -> list[NumberedRevocation]:
    rows = _rows(connection, REVOCATIONS, (after, limit))
    return [
        NumberedRevocation(number, Revocation(key.decode(), before, until, lifted))
        for number, key, before, until, lifted in rows
    ]
