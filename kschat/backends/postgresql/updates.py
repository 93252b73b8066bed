"""Changes messages that are in the tables: edits, deletions, reactions. Only the writer thread uses it."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from kschat.backends.packed import extra_of, packed
from kschat.backends.postgresql.rows import COLUMNS, NAMED, message_of, spelled
from kschat.backends.postgresql.settings import SendRate
from kschat.chat.changes import changed, update_of, without_text
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import Stored
from kschat.chat.lines import line_of
from kschat.chat.message import DELETE, EDIT, Error, Message
from kschat.chat.mids import number_of, parse_number, renumbered, suffix_of

_TARGET: Final = f"SELECT {COLUMNS} FROM messages m {NAMED} WHERE m.conversation = %s AND m.id = %s"

_FINISH: Final = (
    "SELECT * FROM finish_change(to_timestamp(%s), %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
)


def change(
    connection: psycopg.Connection[Any], update: Message, *, deadline: float, beyond: int, rate: SendRate
) -> Stored:
    """See ``IStore.change``.

    Args:
        connection: in no transaction.
        update: the change.
        deadline: when it is too late, in seconds since 1970 of the server's clock.
        beyond: its number is greater.
        rate: of a sender.

    Raises:
        psycopg.Error: as PostgreSQL does.
    """
    number = parse_number(update_of(update).target)
    if number is None:
        return Stored(update, (), False, Error.INVALID)
    with connection.transaction():
        return _change(connection, update, number, deadline=deadline, beyond=beyond, rate=rate)


def _change(
    connection: psycopg.Connection[Any], update: Message, number: int, *, deadline: float, beyond: int, rate: SendRate
) -> Stored:
    about = update_of(update)
    sender, recipient = update.sender.encode(), update.recipient.encode()
    cid = None if update.cid is None else update.cid.encode()
    target_suffix = suffix_of(about.target).encode()
    row = connection.execute(
        "SELECT * FROM begin_change(to_timestamp(%s), %s, %s, %s, %s, %s)",
        (deadline, sender, recipient, number, target_suffix, cid),
        binary=True,
    ).fetchone()
    assert row is not None
    known, found, is_member, is_blocked, talk = row
    if known:
        return Stored(update, (), True)
    if not found:
        return Stored(update, (), False, Error.INVALID)
    if not is_member or (is_blocked and about.kind != DELETE and not is_room(update.recipient)):
        return Stored(update, (), False, Error.NOT_ALLOWED)
    kept = connection.execute(_TARGET.encode(), (talk, number), binary=True).fetchone()
    if kept is None:
        # Its sender was erased.
        return Stored(update, (), False, Error.INVALID)
    target = message_of(kept)
    after = changed(target, update)
    if isinstance(after, Error):
        return Stored(update, (), False, after)
    if after is target:
        return Stored(update, (), True)
    if rate.cost:
        (wait,) = connection.execute(
            "SELECT take_send(%s, %s, %s)", (rate.cost, rate.span, sender), binary=True
        ).fetchone() or (0,)
        if wait:
            return Stored(update, (), False, Error.TOO_MANY, wait / 1_000_000)
    line = line_of(after)
    answer = connection.execute(
        _FINISH.encode(),
        (
            deadline,
            talk,
            number,
            after.size,
            bytes(after.msg),
            packed(after.attachments),
            extra_of(after),
            None if line is None else bytes(line),
            max(number_of(update.mid), beyond + 1),
            suffix_of(update.mid).encode(),
            sender,
            recipient,
            about.kind == EDIT,
            spelled(update),
            update.time,
            cid,
            extra_of(without_text(update)),
        ),
        binary=True,
    ).fetchone()
    assert answer is not None
    given, names, places = answer
    if given != number_of(update.mid):
        update = renumbered(update, given)
    pairs = zip(names or (), places or (), strict=True)
    return Stored(update, tuple([(name.decode(), place) for name, place in pairs]))
