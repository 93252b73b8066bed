"""A push service on this machine, and a browser that subscribes to it: it decrypts with another library than kschat."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.ssl import PrivateCertificate
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from kschat.chat.push import PushSubscription, text_of
from tests.support.certificates import Authority
from tests.support.waiting import real_reactor, within

HOST = "127.0.0.1"


class Pushed(NamedTuple):
    """A request that has arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


class PushService:
    """Takes pushes by TLS.

    Attributes:
        authority: signs its certificate.
        requests: what has arrived.
        answers: by path: a status and headers; 201 for others. A status of 0: no answer at all.
        port: of its socket.
    """

    def __init__(self, test: TestCase) -> None:
        directory = Path(test.mktemp())
        directory.mkdir()
        self.authority = Authority(directory)
        self.requests: list[Pushed] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self._waiting: list[tuple[int, Deferred[None]]] = []
        certificate, key = self.authority.sign(HOST)
        pem = certificate.read_bytes() + key.read_bytes()
        self._site = _CountingSite(_Endpoints(self))
        reactor = real_reactor()
        self._port: IListeningPort = reactor.listenSSL(
            0, self._site, PrivateCertificate.loadPEM(pem).options(), interface=HOST
        )
        self.port: int = self._port.getHost().port
        test.addCleanup(self.stop)

    async def stop(self) -> None:
        """Take no more pushes, and wait until all connections have ended. Their clients end them."""
        await maybeDeferred(self._port.stopListening)
        await within(self._site.ended(), "connections to the push service to end", lambda: "")

    @property
    def ca(self) -> str:
        """The file with the certificate that its own is verified by."""
        return str(self.authority.ca.absolute())

    @property
    def origin(self) -> str:
        return f"https://{HOST}:{self.port}"

    def url(self, path: str) -> str:
        return f"{self.origin}/{path}"

    def arrived(self, count: int) -> Deferred[None]:
        """Fires when so many requests have arrived."""
        waited: Deferred[None] = Deferred()
        self._waiting.append((count, waited))
        self._look()
        return within(waited, f"{count} pushes", lambda: repr([one.path for one in self.requests]))

    def take(self, request: Request) -> Any:
        """A request is here."""
        path = request.path.decode().lstrip("/")
        headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        assert request.content is not None
        self.requests.append(Pushed(path, headers, request.content.read()))
        self._look()
        status, answer, body = self.answers.get(path, (201, {}, b""))
        if not status:
            return NOT_DONE_YET
        request.setResponseCode(status)
        for name, value in answer.items():
            request.setHeader(name.encode(), value.encode())
        return body

    def _look(self) -> None:
        due = [one for one in self._waiting if one[0] <= len(self.requests)]
        self._waiting = [one for one in self._waiting if one[0] > len(self.requests)]
        for _, waited in due:
            waited.callback(None)


class _CountingSite(Site):
    """Knows which connections are open."""

    noisy = False

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource)
        self._open = 0
        self._waiting: list[Deferred[None]] = []

    def buildProtocol(self, addr: Any) -> Any:
        protocol: Any = super().buildProtocol(addr)
        inner = protocol.connectionLost

        def lost(reason: Any) -> None:
            inner(reason)
            self._open -= 1
            if not self._open:
                waiting, self._waiting = self._waiting, []
                for one in waiting:
                    one.callback(None)

        protocol.connectionLost = lost
        self._open += 1
        return protocol

    def ended(self) -> Deferred[None]:
        """Fires when none is open."""
        if not self._open:
            return succeed(None)
        waited: Deferred[None] = Deferred()
        self._waiting.append(waited)
        return waited


class _Endpoints(Resource):
    isLeaf = True

    def __init__(self, service: PushService) -> None:
        super().__init__()
        self._service = service

    def render_POST(self, request: Request) -> Any:
        return self._service.take(request)

    def render_GET(self, request: Request) -> Any:
        return self._service.take(request)


class Subscriber:
    """A browser with one subscription."""

    def __init__(self, endpoint: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)
        public = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.subscription = PushSubscription(endpoint, text_of(public), text_of(self._auth))

    @property
    def json(self) -> dict[str, Any]:
        """As the browser's ``toJSON``."""
        one = self.subscription
        keys = {"p256dh": one.p256dh, "auth": one.auth}
        return {"endpoint": one.endpoint, "expirationTime": None, "keys": keys}

    def text(self, body: bytes) -> bytes:
        """What was pushed."""
        found = http_ece.decrypt(body, private_key=self._key, auth_secret=self._auth, version="aes128gcm")
        assert isinstance(found, bytes)
        return found

    def read(self, body: bytes) -> Any:
        """The same, as JSON."""
        return json.loads(self.text(body))


def is_signed(pushed: Pushed) -> bool:
    """Whether a push is signed by the key that it names."""
    return bool(Vapid02.verify(pushed.headers["authorization"]))
