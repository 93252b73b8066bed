"""Changes messages that are in the tables: edits, deletions, reactions. Only the writer thread uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from kschat.backends.packed import extra_of, packed
from kschat.backends.sqlite.appender import MessageAppender
from kschat.backends.sqlite.rows import COLUMNS, message_of
from kschat.chat.changes import changed, update_of
from kschat.chat.conversations import conversation_key
from kschat.chat.interfaces import Stored
from kschat.chat.lines import line_of
from kschat.chat.message import DELETE, Error, Message
from kschat.chat.mids import number_of, parse_number

#: A message that is no update, with its conversation.
_TARGET: Final = f"SELECT m.conversation, {COLUMNS} FROM messages m WHERE m.id = ? AND m.total > 0"


def change(connection: sqlite3.Connection, appender: MessageAppender, update: Message) -> tuple[Stored, Message | None]:
    """Change a message, and append the update to it, in the open transaction.

    Returns:
        See ``IStore.change``; and the message as it is now, if it was changed.
    """
    if appender.knows(update):
        return Stored(update, (), True), None
    about = update_of(update)
    number = parse_number(about.target)
    row = None if number is None else connection.execute(_TARGET, (number,)).fetchone()
    target = None if row is None else message_of(row[1:])
    if row is None or target is None or target.mid != about.target or not _are_together(target, update):
        return Stored(update, (), False, Error.INVALID), None
    users = appender.users_of(update, also_blocked=about.kind == DELETE)
    if users is None:
        return Stored(update, (), False, Error.NOT_ALLOWED), None
    after = changed(target, update)
    if isinstance(after, Error):
        return Stored(update, (), False, after), None
    if after is target:
        return Stored(update, (), True), None
    _overwrite(connection.execute, after)
    return appender.append_update(update, row[0], users), after


def _are_together(target: Message, update: Message) -> bool:
    """Whether they are in the same conversation."""
    key = conversation_key(update.sender, update.recipient)
    return key == conversation_key(target.sender, target.recipient)


@contextmanager
def _wiping(execute: Callable[..., Any]) -> Iterator[None]:
    """Within, SQLite writes zeros over what it frees. All else that is deleted is not worth that."""
    (before,) = execute("PRAGMA secure_delete").fetchone()
    execute("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        execute(f"PRAGMA secure_delete = {before}")


def _overwrite(execute: Callable[..., Any], after: Message) -> None:
    """Write a message over the one before, of whose bytes the file keeps none."""
    number, line = number_of(after.mid), line_of(after)
    with _wiping(execute):
        execute(
            "UPDATE messages SET msg = ?, attachments = ?, extra = ? WHERE id = ?",
            (bytes(after.msg), packed(after.attachments), extra_of(after), number),
        )
        execute("DELETE FROM lines WHERE message = ?", (number,))
        if line is not None:
            execute("INSERT INTO lines VALUES (?, ?)", (number, bytes(line)))
