"""A store that kschat does not know, in a dozen lines: as the one in memory, and each message has a line in a file.

``python -m tests.backends.newcomer PORT FILE`` is a daemon with it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from kschat.backends.kinds import StoreKind
from kschat.backends.memory import MemoryStore
from kschat.backends.table import BACKENDS
from kschat.chat.interfaces import IStore, Stored
from kschat.settings import load
from kschat.tap import make_service


@implementer(IStore)
class LoggedStore(MemoryStore):
    def __init__(self, path: str) -> None:
        super().__init__(1000, 10**6)
        self.path = Path(path)

    def append(self, batch: Any) -> Deferred[list[Stored]]:
        with self.path.open("ab") as file:
            file.writelines(bytes(message.msg) + b"\n" for message in batch)
        return super().append(batch)


LOGGED = StoreKind(
    name="logged",
    argument="PATH",
    example="logged:chat.log",
    shared=False,
    keeps=True,
    needs={"amqp_exchange": "needs a name for nothing"},
    make=lambda config, argument, *, reactor, wall, counters: LoggedStore(argument),
    look=lambda argument: f"{argument} it is",
)

WITH_IT = BACKENDS.with_store(LOGGED)


def main(port: str, path: str) -> None:
    from twisted.internet import reactor
    from twisted.python.log import startLogging

    startLogging(sys.stdout)
    given = {"listen": f"tcp:{port}:interface=127.0.0.1", "store": f"logged:{path}"}
    service: Any = make_service(load(given, os.environ, WITH_IT), reactor, backends=WITH_IT)
    service.privilegedStartService()
    service.startService()
    loop: Any = reactor
    loop.addSystemEventTrigger("before", "shutdown", service.stopService)
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
