"""What many daemons keep and tell each other, by Redis.

- ``store/``      ``RedisStore``: messages in Redis
- ``bus/``        ``RedisBus``: what daemons tell each other, and who is on which of them
- ``scripts/``    what Redis does in one step, for both
- ``packing``     values as one argument of a script
- ``settings``    what an operator chooses
- ``address``     what a URL means
- ``finder``      where Redis is now: at its address, or where Sentinels say that the master is
- ``connection``  one connection: txredisapi's, mended; and one that is told what is published
- ``faults``      why Redis can't be used, in words
- ``link``        connects again and again; a command fails at once while it is down
- ``kind``        what the store says of itself to the settings and the daemon
- ``probe``       whether a daemon that starts now could use it

txredisapi is used nowhere else.
"""

from kschat.backends.redis.address import check_url
from kschat.backends.redis.bus.bus import RedisBus
from kschat.backends.redis.kind import STORE, settings_of
from kschat.backends.redis.probe import probe
from kschat.backends.redis.settings import Settings
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
