"""The connections between daemons and a service, and what may be wrong with them: nothing is lost, and neither end is
told."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.task import deferLater

from chaos.proxy import Link, Proxy
from tests.support.launch import free_port

#: What may be wrong: nothing passes; daemons hear nothing; the service hears nothing; all passes in bursts, late.
KINDS: Final = ("cut off", "unheard", "unreached", "slowed")

#: Directions that carry nothing, of each kind: to daemons, and to the service.
_HELD: Final = {"cut off": (True, True), "unheard": (True, False), "unreached": (False, True)}

#: Seconds between two bursts of a slow link, and of a burst.
_PAUSE: Final = 0.3
_BURST: Final = 0.02


class ServiceProxy(Proxy):
    """The proxy before one service. It has its port from the beginning, so that clients can be given its address.

    Args:
        reactor: the real one.
        target: the service's port of 127.0.0.1.

    Attributes:
        held: whether nothing passes to clients, and to the service.
    """

    def __init__(self, reactor: Any, target: int) -> None:
        super().__init__(reactor, target)
        self.port = free_port()
        self.held = (False, False)

    def begin(self, link: Link) -> None:
        """A client connects, whatever is wrong: its connection may be accepted, and carry nothing."""
        self._apply(link)
        super().begin(link)

    def hold(self, *, to_client: bool = True, to_service: bool = True) -> None:
        """Carry nothing in these directions, also on connections that begin later."""
        self.held = (to_client, to_service)
        for link in list(self.links):
            self._apply(link)

    def release(self) -> None:
        """Carry all again."""
        self.hold(to_client=False, to_service=False)

    async def befall(self, kind: str, seconds: float) -> None:
        """Let something be wrong for so long.

        Args:
            kind: one of ``KINDS``.
            seconds: how long.
        """
        try:
            if kind in _HELD:
                to_client, to_service = _HELD[kind]
                self.hold(to_client=to_client, to_service=to_service)
                await deferLater(self._reactor, seconds)
                return
            end = self._reactor.seconds() + seconds
            while self._reactor.seconds() < end:
                self.hold()
                await deferLater(self._reactor, _PAUSE)
                self.release()
                await deferLater(self._reactor, _BURST)
        finally:
            self.release()

    def _apply(self, link: Link) -> None:
        to_client, to_service = self.held
        link.server.stall(to_client)
        link.client.stall(to_service)
