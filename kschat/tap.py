"""Makes the service: the only place that knows all the parts and wires them together."""

import os
import secrets
import signal
import sys
from types import FrameType
from typing import Any

import msgspec
from twisted.application.service import IService, MultiService, Service
from twisted.internet.endpoints import serverFromString
from twisted.web.resource import NoResource
from twisted.web.server import Site
from twisted.web.static import Data

from kschat.config import Config, ConfigError, load
from kschat.front.port import ListeningService
from kschat.options import Options

__all__ = ["Options", "makeService", "make_service"]


def makeService(options: Options) -> IService:
    """The service that ``twistd kschat`` runs. An unusable configuration ends the process: one sentence, status 1."""
    # Here and nowhere else: an import at the top would install the reactor before `twistd --reactor` chooses one.
    from twisted.internet import reactor

    try:
        config = load(options.given(), os.environ)
        if config.demo:
            config = msgspec.structs.replace(config, secret=secrets.token_urlsafe(32))
        service = make_service(config, reactor)
    except ConfigError as error:
        # twistd calls this before it forks and before it logs, so stderr is still the caller's.
        sys.stderr.write(f"kschat: {error}\n")
        raise SystemExit(1) from None
    whole = MultiService()
    CleanExit(reactor).setServiceParent(whole)
    service.setServiceParent(whole)
    return whole


def make_service(config: Config, reactor: Any) -> IService:
    """The service of a ``config`` whose key is there, in a demo too. Raises ``ConfigError``."""
    try:
        endpoint = serverFromString(reactor, config.listen)
    except Exception as error:  # noqa: BLE001 - each kind of endpoint, plugins among them, raises what it likes
        reason = " ".join(str(error).split())
        raise ConfigError(f"listen: {config.listen!r} is not an endpoint that Twisted can use: {reason}") from None
    root = NoResource()
    root.putChild(b"healthz", Data(b"ok\n", "text/plain"))
    return ListeningService(endpoint, Site(root), config.listen)


class CleanExit(Service):
    """Makes SIGTERM and SIGINT stop the reactor and the process end with status 0; a second signal ends it at once.

    With the reactor's own handlers twistd, once all is stopped, kills itself with the signal, so that the status is
    143 and a supervisor cannot tell an orderly end from another.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def startService(self) -> None:
        """Takes the signals over once the reactor has installed its own handlers."""
        super().startService()
        self._reactor.callWhenRunning(self._take_over)

    def _take_over(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._reactor.callFromThread(self._reactor.stop)
