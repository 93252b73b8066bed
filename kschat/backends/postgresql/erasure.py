"""Erases a user, in small steps, each a transaction of the writer thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

import psycopg

from kschat.backends.packed import extra_of
from kschat.backends.postgresql.rows import COLUMNS, NAMED, message_of
from kschat.chat.changes import without_reaction

T = TypeVar("T")

Connection = psycopg.Connection[Any]

#: Messages of one step, and inbox rows of these; more only if a single message has more.
STEP_MESSAGES: Final = 200
STEP_ROWS: Final = 2000

#: Conversations, or changed messages, that one step looks through.
LOOK_THROUGH: Final = 2000

#: Of candidates ``k`` with ``conversation``, ``id`` and ``cost``, those of one step.
STEP: Final = (
    "SELECT array_agg(conversation), array_agg(id) FROM (SELECT conversation, id, "
    "sum(cost) OVER (ORDER BY conversation, id) AS cost, row_number() OVER (ORDER BY conversation, id) AS n FROM k) "
    f"AS s WHERE n = 1 OR cost <= {STEP_ROWS}"
)

_DIRECT: Final = (
    "SELECT p.conversation FROM participants p JOIN conversations c ON c.id = p.conversation "
    "WHERE p.user_id = %(user)s AND c.room IS NULL"
)

#: What is in the user's conversations of two, and what the user wrote in some rooms.
_PARTS: Final = (
    f"SELECT m.conversation, m.id, 2 AS cost FROM messages m WHERE m.conversation IN ({_DIRECT})",
    f"SELECT u.conversation, u.id, 3 AS cost FROM updates u WHERE u.conversation IN ({_DIRECT})",
    (
        "SELECT u.conversation, u.id, 1 + cardinality(u.members) AS cost FROM updates u "
        "WHERE u.sender = %(user)s AND u.recipient IS NULL"
    ),
)
_IN_ROOMS: Final = (
    "SELECT m.conversation, m.id, 1 + cardinality(m.members) AS cost FROM messages m "
    "WHERE m.conversation = ANY (%(rooms)s) AND m.sender = %(user)s AND m.recipient IS NULL"
)

#: The next rooms: the last one's id, and those in which the user wrote.
_ROOMS: Final = (
    "SELECT max(id), array_agg(id) FILTER (WHERE room IS NOT NULL AND EXISTS (SELECT FROM messages m "
    "WHERE m.conversation = c.id AND m.sender = %(user)s AND m.recipient IS NULL)) "
    f"FROM (SELECT id, room FROM conversations WHERE id > %(after)s ORDER BY id LIMIT {LOOK_THROUGH}) AS c"
)

_CHANGED: Final = (
    "SELECT conversation, id, position(%(name)s::bytea IN extra) > 0 FROM messages WHERE extra IS NOT NULL "
    f"AND (conversation, id) > (%(talk)s, %(id)s) ORDER BY conversation, id LIMIT {LOOK_THROUGH}"
)

_LOCK: Final = b"SELECT FROM conversations WHERE id = ANY (%s::bigint[]) ORDER BY id FOR NO KEY UPDATE"


async def erase(work: Callable[[Callable[[Connection], Any]], Awaitable[Any]], name: str) -> int:
    """Erase a user; how many messages were deleted.

    Args:
        work: calls a function with the connection, on the writer thread, in a transaction. Fails with StoreUnavailable:
            another call does what this one has left.
        name: of the user.
    """
    erased = 0

    async def remove(part: str, user: int, rooms: list[int]) -> None:
        nonlocal erased
        while removed := await work(partial(_remove, part=part, user=user, rooms=rooms)):
            erased += removed

    async def take_back_reactions() -> None:
        at: tuple[int, int] | None = (0, 0)
        while at is not None:
            at = await work(partial(_reactions, name=name, after=at))

    user, _ = await work(partial(_begin, name=name))
    if user is None:
        return 0
    last: int | None = 0
    while last is not None:
        last, rooms = await work(partial(_rooms, user=user, after=last))
        if rooms:
            await remove(_IN_ROOMS, user, rooms)
    await take_back_reactions()
    while True:
        # A client may have connected again meanwhile, and joined rooms, subscribed, or written.
        again, rooms = await work(partial(_begin, name=name))
        if again != user:
            # Another call has erased the user.
            return erased
        if rooms:
            await remove(_IN_ROOMS, user, rooms)
            await take_back_reactions()
        for part in _PARTS:
            await remove(part, user, [])
        while await work(partial(_inbox, user=user)):
            pass
        if await work(partial(_finish, user=user)):
            return erased


def _one(connection: Connection, statement: str, parameters: Any) -> Any:
    return connection.execute(statement.encode(), parameters, binary=True).fetchone()


def _begin(connection: Connection, name: str) -> tuple[int | None, list[int]]:
    """The user's number, None for nobody; and the rooms that the user was a member of."""
    user, rooms = _one(connection, "SELECT * FROM begin_erasing(%s)", (name.encode(),))
    return user, rooms or []


def _rooms(connection: Connection, user: int, after: int) -> tuple[int | None, list[int]]:
    last, found = _one(connection, _ROOMS, {"user": user, "after": after})
    return last, found or []


def _remove(connection: Connection, part: str, user: int, rooms: list[int]) -> int:
    step = f"WITH k AS MATERIALIZED ({part} LIMIT {STEP_MESSAGES}) {STEP}"
    talks, numbers = _one(connection, step, {"user": user, "rooms": rooms})
    if not talks:
        return 0
    (removed,) = _one(connection, "SELECT remove(%s::bigint[], %s::bigint[], false)", (talks, numbers))
    return int(removed)


def _reactions(connection: Connection, name: str, after: tuple[int, int]) -> tuple[int, int] | None:
    talk, number = after
    rows = connection.execute(
        _CHANGED.encode(), {"name": name.encode(), "talk": talk, "id": number}, binary=True
    ).fetchall()
    # Else a change that has read a message already would put the reaction back.
    connection.execute(_LOCK, ([row[0] for row in rows if row[2]],))
    for conversation, id_, reacted in rows:
        if reacted:
            row = _one(
                connection,
                f"SELECT {COLUMNS} FROM messages m {NAMED} WHERE m.conversation = %s AND m.id = %s",
                (conversation, id_),
            )
            if row is not None:
                connection.execute(
                    "UPDATE messages SET extra = %s WHERE conversation = %s AND id = %s",
                    (extra_of(without_reaction(message_of(row), name)), conversation, id_),
                )
    return (rows[-1][0], rows[-1][1]) if len(rows) == LOOK_THROUGH else None


def _inbox(connection: Connection, user: int) -> int:
    """Empty a part of the inbox: what is left are messages to rooms."""
    connection.execute("SELECT FROM users WHERE id = %s FOR NO KEY UPDATE", (user,))
    return connection.execute(
        "DELETE FROM inbox WHERE user_id = %s AND place IN ("
        f"SELECT place FROM inbox WHERE user_id = %s ORDER BY place LIMIT {STEP_ROWS})",
        (user, user),
    ).rowcount


def _finish(connection: Connection, user: int) -> bool:
    return bool(_one(connection, "SELECT finish_erasing(%s)", (user,))[0])
