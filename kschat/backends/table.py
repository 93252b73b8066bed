"""The backends that come with kschat."""

from typing import Final

from kschat.backends import memory, null, postgresql, redis, sqlite
from kschat.backends.kinds import Backends

#: One line a store: the settings, the daemon and ``kschat check-config`` read what it says of itself.
BACKENDS: Final = Backends(stores=(sqlite.STORE, memory.STORE, redis.STORE, postgresql.STORE, null.STORE))
