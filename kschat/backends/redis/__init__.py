"""What many daemons keep and tell each other, by Redis.

- ``settings``    what an operator chooses
- ``address``     what a URL means
- ``finder``      where Redis is now: at its address, or where Sentinels say that the master is
- ``connection``  one connection: txredisapi's, mended; and one that is told what is published
- ``faults``      why Redis can't be used, in words
- ``teller``      says it in the log, once
- ``link``        connects again and again; a command fails at once while it is down
- ``store``       ``RedisStore``: what each daemon asks and writes
- ``session``     Redis as the store sees it: two links, the scripts, whether it is still the same
- ``lane``        what writes, in order, and no more at once than Redis does in a moment
- ``retention``   deletes what is to be kept no longer
- ``packed``      messages as Redis keeps them
- ``scripts/``    what Redis does in one step
- ``packing``     many values as one argument
- ``script``      a script, by its hash
- ``replica``     ``RedisBus``: what daemons tell each other
- ``subscriptions``  the channels that are listened to
- ``outbox``      what is told in one turn
- ``roster``      who is where, and which daemons live
- ``roster_scripts``  what is kept of that, and the scripts that change it
- ``pace``        how often a daemon says that it lives, and when it is dead
- ``kind``        what the store says of itself to the settings and the daemon
- ``probe``       whether a daemon that starts now could use it

txredisapi is used nowhere else.
"""

from kschat.backends.redis.address import check_url
from kschat.backends.redis.kind import STORE, settings_of
from kschat.backends.redis.probe import probe
from kschat.backends.redis.replica import RedisBus
from kschat.backends.redis.settings import Settings
from kschat.backends.redis.store import RedisStore
from kschat.backends.tls import AddressError

__all__ = [
    "STORE",
    "AddressError",
    "RedisBus",
    "RedisStore",
    "Settings",
    "check_url",
    "probe",
    "settings_of",
]
