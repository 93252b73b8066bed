"""``PushClient``: sends pushes to push services.

The URL of a push is a stranger's. So it is sent to hosts that the operator named, by ``https:`` alone, and only to
public addresses: the name is looked up once, and the connection goes to the address that was found good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver, IStreamClientEndpoint
from zope.interface import implementer

from kschat import __version__
from kschat.chat.clocks import WallClock
from kschat.chat.push import PushRefused, PushSubscription
from kschat.hooks.push_hosts import HTTPS, PushHosts, is_public
from kschat.hooks.vapid import Vapid
from kschat.hooks.webpush import encrypt
from kschat.http_answers import HttpFault
from kschat.http_client import HttpClient, retry_after

#: Seconds that a push may take in all; and to connect to one address.
TIMEOUT: Final = 10.0
CONNECT_TIMEOUT: Final = 4.0

#: Bytes of an answer's body. Nothing of it is used.
MAX_ANSWER: Final = 4096

#: Connections that are kept for each push service.
CONNECTIONS: Final = 4

#: Addresses of a push service that are tried.
MAX_TRIED: Final = 3

#: Seconds for which a push service keeps a push for a browser that it does not reach (RFC 8030, section 5.2).
TTL: Final = 86400

#: Of pushes with the same topic the service keeps the last (RFC 8030, section 5.4): each tells how many messages wait.
TOPIC: Final = b"kschat"


class Sent(Enum):
    """What became of a push."""

    DONE = "sent"
    GONE = "gone"  # the subscription is no more
    LATER = "later"  # the service wants it to be tried again, or cannot be reached
    REFUSED = "refused"  # the service does not want it, or it may not be sent there


class PushResult(NamedTuple):
    """What became of a push, and why.

    Attributes:
        sent: what became of it.
        host: of the push service; ``push_hosts`` if that does not allow it.
        why: for the log; "" if it was sent.
        wait: seconds until it may be tried again, if the service said so.
    """

    sent: Sent
    host: str = ""
    why: str = ""
    wait: float | None = None


class PushSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where pushes may go.

    Attributes:
        hosts: see ``PushHosts``.
        private: whether to addresses that are not public too.
        ca: file with the certificates that push services are trusted by; empty for the system's.
    """

    hosts: tuple[str, ...]
    private: bool = False
    ca: str = ""


class PushClient:
    """Sends pushes. It is a ``chat.push.PushService``.

    Args:
        settings: where they may go.
        vapid: signs them.
        reactor: Twisted's.
        wall: the time of day, in seconds since 1970.

    Raises:
        ValueError: one of the hosts is none.
        AddressError: the file of certificates can't be used.
    """

    def __init__(self, settings: PushSettings, *, vapid: Vapid, reactor: Any, wall: WallClock) -> None:
        self._hosts = PushHosts(settings.hosts)
        self._vapid = vapid
        self._wall = wall

        def connect(host: str, port: int) -> IStreamClientEndpoint:
            return PublicEndpoint(reactor, host, port, allowed=_any if settings.private else is_public)

        self._client = HttpClient(
            reactor, max_body=MAX_ANSWER, connections=CONNECTIONS, ca=settings.ca, setting="push", connect=connect
        )

    @property
    def public_key(self) -> str:
        """See ``PushService``."""
        return self._vapid.public_key

    def check(self, endpoint: str) -> None:
        """That pushes may be sent to an endpoint, as far as its URL tells. Raises PushRefused."""
        self._hosts.target(endpoint)

    def push(self, subscription: PushSubscription, text: bytes) -> Deferred[PushResult]:
        """Send ``text`` to a browser. Never fails, but for CancelledError after ``stop``.

        Args:
            subscription: of the browser.
            text: what its page is given, ``webpush.MAX_TEXT`` bytes at the most.
        """
        return Deferred.fromCoroutine(self._push(subscription, text))

    async def _push(self, subscription: PushSubscription, text: bytes) -> PushResult:
        try:
            # The settings may have changed since it was given.
            target = self._hosts.target(subscription.endpoint)
        except PushRefused as refused:
            return PushResult(Sent.REFUSED, "push_hosts", str(refused).rstrip("."))
        host = f"[{target.host}]" if ":" in target.host else target.host
        origin = f"https://{host}" if target.port == HTTPS else f"https://{host}:{target.port}"
        headers = {
            b"Authorization": self._vapid.authorization(origin).encode(),
            b"Content-Encoding": b"aes128gcm",
            b"Content-Type": b"application/octet-stream",
            b"TTL": b"%d" % TTL,
            b"Topic": TOPIC,
            b"Urgency": b"normal",
            b"User-Agent": f"kschat/{__version__}".encode(),
        }
        body = encrypt(subscription, text)
        try:
            answer = await self._client.request(b"POST", subscription.endpoint, headers, body, timeout=TIMEOUT)
        except HttpFault as fault:
            return PushResult(Sent.LATER, host, str(fault))
        return _result(answer.status, host, retry_after(answer.headers, self._wall()))

    def stop(self) -> Deferred[Any]:
        """Cancel what is being sent, and close all connections."""
        return self._client.stop()


def _result(status: int, host: str, wait: float | None) -> PushResult:
    """What an answer says (RFC 8030, sections 5, 7.3 and 8.4)."""
    if 200 <= status < 300:
        return PushResult(Sent.DONE, host)
    why = f"status {status}"
    if status in (404, 410):
        return PushResult(Sent.GONE, host, why)
    if status in (408, 429) or status >= 500:
        return PushResult(Sent.LATER, host, why, wait)
    return PushResult(Sent.REFUSED, host, why)


def _any(address: str) -> bool:
    return True


@implementer(IStreamClientEndpoint)
class PublicEndpoint:
    """A host, connected to by the addresses that are allowed; the first ``MAX_TRIED`` of those, one after another.

    Args:
        reactor: looks names up, and connects.
        host: a name or an address.
        port: of TCP.
        allowed: whether an address is.
    """

    def __init__(self, reactor: Any, host: str, port: int, *, allowed: Callable[[str], bool]) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._allowed = allowed

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: Any) -> Any:
        addresses = await self._addresses()
        if not addresses:
            raise error.DNSLookupError("its name has no address")
        good = [one for one in addresses if self._allowed(one.host)][:MAX_TRIED]
        if not good:
            raise error.ConnectError(string="its address is not public")
        failed: error.ConnectError | None = None
        for one in good:
            kind = TCP6ClientEndpoint if isinstance(one, IPv6Address) else TCP4ClientEndpoint
            try:
                return await maybeDeferred(
                    kind(self._reactor, one.host, self._port, timeout=CONNECT_TIMEOUT).connect, factory
                )
            except error.ConnectError as refused:
                failed = refused
        assert failed is not None
        raise failed

    def _addresses(self) -> Deferred[Sequence[IPv4Address | IPv6Address]]:
        found = _Found()
        self._reactor.nameResolver.resolveHostName(found, self._host, self._port)
        return found.all


@implementer(IResolutionReceiver)
class _Found:
    """Gathers the addresses of a name."""

    def __init__(self) -> None:
        self.all: Deferred[Sequence[IPv4Address | IPv6Address]] = Deferred()
        self._addresses: list[IPv4Address | IPv6Address] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """There is nothing to remember of it: a look-up by the system cannot be cancelled."""

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and address not in self._addresses:
            self._addresses.append(address)

    def resolutionComplete(self) -> None:
        if not self.all.called:
            self.all.callback(self._addresses)
