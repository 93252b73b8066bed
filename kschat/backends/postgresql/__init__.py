"""PostgreSQL as the store, of one daemon or many. Needs psycopg: ``pip install kschat[postgresql]``.

- ``store``        ``PostgresqlStore``: ``IStore`` on top of the threads; what happens while PostgreSQL cannot be used
- ``writer``       the writer thread: everything that writes, in order; batches that wait share a statement
- ``jobs``         what the writer thread does, and what becomes of the answers
- ``pipeline``     statements in flight on one connection
- ``readers``      the threads that read, each with a connection of its own
- ``session``      one connection: found among the hosts of the URL, set up, greeted
- ``updates``      changes messages that are in the tables
- ``hooks``        what is kept for hooks
- ``outbox``       ``PostgresqlOutbox``: that, for the daemon that makes events
- ``erasure``      erases a user
- ``retention``    deletes messages that are too old or too many
- ``queries``      what is read
- ``rows``         converts a message to what is kept and back
- ``wire``         PostgreSQL's binary form of parameters
- ``address``      reads the URL as libpq does
- ``faults``       explains errors in words
- ``schema_versions``  brings the tables up to date; ``schema/`` has the steps
- ``kind``         what settings and daemon need to know about the store
- ``settings``     the operator's settings
- ``archive``      reads and fills all tables, to move a store
- ``restored``     marks a database as restored from an older copy
- ``probe``        checks whether the database could be used, without changing it
"""

from kschat.backends.postgresql.kind import STORE, tell_restored
from kschat.backends.postgresql.settings import Settings

__all__ = ["STORE", "Settings", "tell_restored"]
