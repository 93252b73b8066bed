"""Moves messages from the message table into the index tables: inbox, thread, cids.

A message to a room is many inbox rows. These are inserted first, in as many transactions as needed. The last
transaction inserts all other rows up to a message and advances ``progress.indexed``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import Final

_FRESH: Final = "messages.id > (SELECT indexed FROM progress)"

_DIRECT: Final = f"INSERT INTO inbox SELECT recipient, place, id FROM messages WHERE {_FRESH} AND place IS NOT NULL"

#: What is left of messages to rooms by a process that was killed: some of it may be in the inboxes already.
_LEFT: Final = (
    "INSERT INTO inbox SELECT json_extract(value, '$[0]') AS user, json_extract(value, '$[1]') AS place, messages.id "
    f"FROM messages, json_each(messages.places) WHERE {_FRESH} AND places IS NOT NULL AND NOT EXISTS ("
    "SELECT 1 FROM inbox WHERE inbox.user = json_extract(value, '$[0]') "
    "AND inbox.offset = json_extract(value, '$[1]') AND inbox.message = messages.id)"
)

_THREADS: Final = (
    # (Updates have no total, and are in no thread.)
    (
        "INSERT INTO thread SELECT conversation, id, sender, total, own FROM messages "
        f"WHERE {_FRESH} AND id <= :upto AND total > 0"
    ),
    f"INSERT INTO cids SELECT sender, cid, id FROM messages WHERE {_FRESH} AND id <= :upto AND cid IS NOT NULL",
    "UPDATE progress SET indexed = max(indexed, :upto)",
)

#: Rows of one statement, most first; see ``appender``.
_ROWS: Final = (256, 64, 16, 4, 1)
_PLACES: Final = {count: "INSERT INTO inbox VALUES " + ", ".join(["(?, ?, ?)"] * count) for count in _ROWS}


def index_what_was_left(connection: sqlite3.Connection) -> None:
    """Index all messages, in the open transaction, after a crash. Raises sqlite3.Error."""
    connection.execute(_LEFT)
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()
    index(connection, last)


def index(connection: sqlite3.Connection, upto: int) -> None:
    """Finish indexing up to the message ``upto``, in the open transaction; rooms' inbox rows are there already.

    Raises:
        sqlite3.Error: as SQLite does.
    """
    connection.execute(f"{_DIRECT} AND id <= ?", (upto,))
    for statement in _THREADS:
        connection.execute(statement, {"upto": upto})


def index_places(connection: sqlite3.Connection, places: Iterator[int], most: int) -> bool:
    """Insert inbox rows of messages to rooms, in the open transaction.

    Args:
        connection: in a transaction.
        places: user, offset, message, user, ….
        most: how many rows to insert.

    Returns:
        Whether there may be more.

    Raises:
        sqlite3.Error: as SQLite does.
    """
    while most > 0:
        values = list(islice(places, 3 * min(most, _ROWS[0])))
        if not values:
            return False
        most -= _ROWS[0]
        start = 0
        for count in _ROWS:
            while len(values) - start >= 3 * count:
                connection.execute(_PLACES[count], values[start : start + 3 * count])
                start += 3 * count
    return True


def renumber(connection: sqlite3.Connection) -> None:
    """Give all messages that are not indexed new offsets and counts, in the order of their ids.

    This repairs a file to which two daemons wrote at the same time: both used the same offsets. Clients know both, so
    the caller must first raise ``progress.base`` and begin a new epoch. Of two messages with the same sender and cid
    the second loses its cid.

    Raises:
        sqlite3.Error: as SQLite does.
    """
    execute = connection.execute
    base: int = execute("SELECT base FROM progress").fetchone()[0]
    offsets: dict[int, int] = {}
    totals: dict[int, int] = {}
    owns: dict[tuple[int, int], int] = {}
    cids: set[tuple[int, str]] = set()

    def offset(user: int) -> int:
        offsets[user] = given = offsets.get(user, base) + 1
        return given

    rows = execute(
        f"SELECT id, conversation, sender, recipient, places, cid, total FROM messages WHERE {_FRESH} ORDER BY id"
    ).fetchall()
    for id_, conversation, sender, recipient, places, cid, total in rows:
        if total == 0:
            # An update is counted nowhere. Its cid is worth less than the file's being opened.
            given = json.dumps([[user, offset(user)] for user, _ in json.loads(places)])
            execute("UPDATE messages SET places = ?, cid = NULL WHERE id = ?", (given, id_))
            continue
        if conversation not in totals:
            row = execute(
                "SELECT total FROM thread WHERE conversation = ? ORDER BY message DESC LIMIT 1", (conversation,)
            ).fetchone()
            totals[conversation] = row[0] if row is not None else 0
        if (conversation, sender) not in owns:
            owns[conversation, sender] = _own(connection, conversation, sender)
        totals[conversation] += 1
        owns[conversation, sender] += 1
        if cid is not None:
            repeated = (sender, cid) in cids or execute(
                "SELECT 1 FROM cids WHERE sender = ? AND cid = ?", (sender, cid)
            ).fetchone()
            cids.add((sender, cid))
            cid = None if repeated else cid
        own = owns[conversation, sender]
        execute(
            "UPDATE messages SET place = ?, places = ?, total = ?, own = ?, cid = ? WHERE id = ?",
            (
                None if recipient is None else offset(recipient),
                None if recipient is not None else json.dumps([[user, offset(user)] for user, _ in json.loads(places)]),
                totals[conversation],
                -own if recipient is None else own,
                cid,
                id_,
            ),
        )


def _own(connection: sqlite3.Connection, conversation: int, sender: int) -> int:
    """How many messages of a conversation are of ``sender``, as its newest one in the table counts."""
    execute = connection.execute
    (room,) = execute("SELECT room FROM conversations WHERE id = ?", (conversation,)).fetchone() or (None,)
    if room is not None:
        row = execute(
            "SELECT -own FROM thread WHERE conversation = ? AND sender = ? AND own < 0 ORDER BY message DESC LIMIT 1",
            (conversation, sender),
        ).fetchone()
        return int(row[0]) if row is not None else 0
    row = execute(
        "SELECT sender, total, own FROM thread WHERE conversation = ? ORDER BY message DESC LIMIT 1", (conversation,)
    ).fetchone()
    if row is None:
        return 0
    last, total, own = row
    return int(own if last == sender else total - own)
