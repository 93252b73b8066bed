"""What many daemons keep and tell each other, by Redis.

- ``settings``    what an operator chooses
- ``address``     what a URL means
- ``finder``      where Redis is now: at its address, or where Sentinels say that the master is
- ``connection``  one connection: txredisapi's, mended; and one that is told what is published
- ``faults``      why Redis can't be used, in words
- ``teller``      says it in the log, once
- ``link``        connects again and again; a command fails at once while it is down
- ``store``       ``RedisStore``: what each daemon asks and writes
- ``packed``      messages as Redis keeps them
- ``scripts/``    what Redis does in one step

txredisapi is used nowhere else.
"""

from kschat.backends.redis.settings import Settings
from kschat.backends.redis.store import RedisStore
from kschat.backends.tls import AddressError

__all__ = ["AddressError", "RedisStore", "Settings"]
