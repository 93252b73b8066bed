"""The default store: one SQLite file, used by one daemon.

- ``store``        ``SqliteStore``: ``IStore`` on top of the threads; what happens while the file cannot be used
- ``writer``       the writer thread; all jobs that wait share one commit
- ``reader``       a reader thread with a connection of its own
- ``transactions`` what is written in a transaction, from opening the file to its first failure
- ``appender``     ``MessageAppender``: gives messages ids and offsets, recognises repeats, makes rows
- ``updates``      changes messages that are in the tables, and leaves nothing of their earlier texts
- ``identities``   ``IdentityMap``: ids of users, the ends of inboxes, members of rooms
- ``memtable``     ``MemTable``: messages that are durable and not yet in the index tables
- ``index``        moves messages into the index tables (inbox, thread, cids)
- ``retention``    deletes messages that are too old or too many
- ``erasure``      erases a user
- ``queries``      reads from the tables and the ``MemTable`` together
- ``revoked``      the table of revoked tokens
- ``subscriptions``  the table of push subscriptions
- ``outbox``       ``SqliteOutbox``: ``IOutbox``, for hooks; ``hooks`` has its tables
- ``rows``         converts a message to a row and back
- ``database``     opens the file: one daemon at a time, schema versions, errors as sentences
- ``highwater``    the file beside the database that reveals a restored database
- ``backup``       copies the file while it is used; for the command line
- ``archive``      reads all of the file, to move it to another store
- ``kind``         what settings and daemon need to know about the store
- ``probe``        checks whether the file could be used, without changing it
- ``schema/``      the upgrade steps of the schema
"""

from kschat.backends.sqlite.database import Settings
from kschat.backends.sqlite.kind import STORE
from kschat.backends.sqlite.probe import probe
from kschat.backends.sqlite.store import SqliteStore

__all__ = ["STORE", "Settings", "SqliteStore", "probe"]
