"""The store and the bus of a cluster, over Redis.

- ``client/``   reconnecting connections to Redis
- ``store/``    ``RedisStore``: messages in Redis
- ``bus/``      ``RedisBus``: events between daemons, and the presence registry
- ``scripts/``  the atomic Lua scripts of both
- ``revoke``    revokes tokens without a daemon, for ``kschat revoke``
- ``kind``      how the store describes itself to the settings and the daemon
"""

from kschat.backends.redis.bus.bus import RedisBus
from kschat.backends.redis.client.address import check_url
from kschat.backends.redis.client.probe import probe
from kschat.backends.redis.client.settings import Settings
from kschat.backends.redis.kind import STORE, given_settings, patience, settings_of
from kschat.backends.redis.revoke import revoke
from kschat.backends.redis.store.restored import restored
from kschat.backends.redis.store.store import RedisStore
from kschat.tls import AddressError

__all__ = [
    "STORE",
    "AddressError",
    "RedisBus",
    "RedisStore",
    "Settings",
    "check_url",
    "given_settings",
    "patience",
    "probe",
    "restored",
    "revoke",
    "settings_of",
]
