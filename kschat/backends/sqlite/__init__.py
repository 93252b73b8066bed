"""The default store: an SQLite file, for one daemon.

- ``store``     ``SqliteStore``: the threads behind ``IStore``, and what is done while the file can't be used
- ``writer``    the thread that writes, and shares a commit among all that wait
- ``reader``    a thread that reads
- ``session``   what is written in a transaction, from opening the file to its first failure
- ``ledger``    what messages become on their way into the tables: ids, offsets, repeats, rows
- ``register``  who has which id, how far each inbox goes and who is in which room
- ``index``     how the inbox, thread and cid tables follow
- ``retention`` deletes what is older or more than is to be kept
- ``recent``    the newest messages, in memory
- ``queries``   what is asked of the tables and of the newest messages together
- ``rows``      a message as a row, and back
- ``database``  opening the file: one daemon alone, versions of the schema, failures as sentences
- ``given``     the file beside it that tells a file that was put back to an older state
- ``backup``    copies the file while it is used, for the command line
- ``kind``      what the store says of itself to the settings and the daemon
- ``probe``     whether the file could be used, looked at without a change
- ``schema/``   the steps from each version of the schema to the next
"""

from kschat.backends.sqlite.database import Settings
from kschat.backends.sqlite.kind import STORE
from kschat.backends.sqlite.probe import probe
from kschat.backends.sqlite.store import SqliteStore

__all__ = ["STORE", "Settings", "SqliteStore", "probe"]
