"""Listens at an endpoint while the service runs, and stops the daemon if it cannot.

It does not know what is served there.
"""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.front.backlog import ENOUGH, small_backlog
from kschat.front.bindable import reason
from kschat.front.compat_twisted import bound_accepts


# SystemExit makes Python end with the sentence on stderr (which twistd logs), status 1 and no traceback. Exception
# makes a twistd that has forked remove its pid file and tell its parent, which prints it and exits with 1.
class CannotListen(SystemExit, Exception):
    """The endpoint cannot be listened at; its text is one sentence."""


class ListeningService(Service):
    """Listens at ``endpoint`` with ``factory``.

    ``description`` is the endpoint's text and ``setting`` its setting, for the sentence; ``says`` is what it does
    there, and ``path`` where its URLs begin, for the log.

    Where it serves is logged once the ``reactor`` runs: whoever waits for that line may then send a signal or connect.
    Unlike with ``StreamServerEndpointService`` a busy port does not leave a daemon that serves nothing: starting it
    raises ``CannotListen``.
    """

    log = Logger()

    def __init__(
        self,
        endpoint: IStreamServerEndpoint,
        factory: IProtocolFactory,
        *,
        description: str,
        reactor: Any,
        says: str = "serving",
        path: str = "/",
        setting: str = "listen",
    ) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._description = description
        self._reactor = reactor
        self._says = says
        self._path = path
        self._setting = setting
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Binds while the process still has the right to low ports."""
        super().privilegedStartService()
        failures: list[Failure] = []
        # All of Twisted's endpoints listen at once, though the interface allows a delay.
        self._endpoint.listen(self._factory).addCallbacks(self._listening, failures.append)
        if failures:
            why = reason(failures[0])
            raise CannotListen(f"kschat: {self._setting}: cannot listen at {self._description}: {why}")

    def startService(self) -> None:
        """Binds now if nobody called ``privilegedStartService``."""
        if self._port is None:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> Deferred[Any] | None:
        """Stops listening; connections that are there stay."""
        super().stopService()
        port, self._port = self._port, None
        return port.stopListening() if port is not None else None

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        bound_accepts(port)
        backlog = small_backlog(self._description)
        if backlog is not None and self._setting == "listen":
            self.log.warn(
                "only {backlog} connections can wait to be accepted (net.core.somaxconn): when more clients than that "
                "connect at once, the others retry after a second or later; {enough} is the usual value",
                backlog=backlog,
                enough=ENOUGH,
            )
        self._reactor.callWhenRunning(self._announce, port.getHost())

    def _announce(self, address: Any) -> None:
        if hasattr(address, "port"):
            scheme = "https" if self._description.startswith("ssl") else "http"
            host = f"[{address.host}]" if ":" in address.host else address.host
            self.log.info(
                "{says} on {scheme}://{host}:{port}{path}",
                says=self._says,
                scheme=scheme,
                host=host,
                port=address.port,
                path=self._path,
            )
        else:
            self.log.info("{says} on {address}", says=self._says, address=address)
