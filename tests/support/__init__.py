"""What end-to-end tests stand on: the real daemon, the real npm clients, and waiting that ends.

* ``needs``: is node there, is Chromium there; else a skip that says what is missing.
* ``tokens``: tokens as a chat's own web application would issue them, and broken ones.
* ``waiting``: waits that are bounded and say what they had seen when they end in vain.
* ``daemon``: ``twistd kschat`` as a subprocess, for one test or for many.
* ``npm``: an npm socket.io client of any major version, driven over its stdin and stdout.
"""

from tests.support.daemon import Daemon, SharedDaemon, shared_daemon
from tests.support.needs import NODE_DIRECTORY, REPOSITORY, require_chromium, require_node
from tests.support.npm import Event, NodeClient, NodeSocket
from tests.support.tokens import SECRET, bad_tokens, token
from tests.support.waiting import WaitedTooLong, repeated_until, within

__all__ = [
    "NODE_DIRECTORY",
    "REPOSITORY",
    "SECRET",
    "Daemon",
    "Event",
    "NodeClient",
    "NodeSocket",
    "SharedDaemon",
    "WaitedTooLong",
    "bad_tokens",
    "repeated_until",
    "require_chromium",
    "require_node",
    "shared_daemon",
    "token",
    "within",
]
