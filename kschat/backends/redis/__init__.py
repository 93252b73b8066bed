"""What many daemons keep and tell each other, by Redis.

- ``client/``   connections to Redis, made again and again
- ``store/``    ``RedisStore``: messages in Redis
- ``bus/``      ``RedisBus``: what daemons tell each other, and who is on which of them
- ``scripts/``  what Redis does in one step, for both
- ``kind``      what the store says of itself to the settings and the daemon
"""

from kschat.backends.redis.bus.bus import RedisBus
from kschat.backends.redis.client.address import check_url
from kschat.backends.redis.client.probe import probe
from kschat.backends.redis.client.settings import Settings
from kschat.backends.redis.kind import STORE, settings_of
from kschat.backends.redis.store.restored import restored
from kschat.backends.redis.store.store import RedisStore
from kschat.backends.tls import AddressError

__all__ = [
    "STORE",
    "AddressError",
    "RedisBus",
    "RedisStore",
    "Settings",
    "check_url",
    "probe",
    "restored",
    "settings_of",
]
