"""``/socket.io/``: passes each request to its session, or to the engine to begin one."""

from __future__ import annotations

from collections.abc import Coroutine
from math import ceil
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from kschat.front.channel import BoundedRequest
from kschat.front.clients import ClientAddress
from kschat.front.engine import AllowRequest, Engine
from kschat.front.engine_request import EngineRequest, is_upgrade
from kschat.front.handover import hand_over
from kschat.front.handshake import FORBIDDEN, GOING_DOWN, TOO_MANY, UNKNOWN_SID, Refusal
from kschat.front.peers import CLIENT, PROOF, Peers
from kschat.front.responses import allow_origin, answer, answer_preflight
from kschat.front.session_ids import SessionIds
from kschat.server import Refused


class EngineResource(Resource):
    """``/socket.io/``: begins sessions, serves those that poll, and serves the client's script.

    Args:
        engine: the sessions.
        client: answers for a file's name below this path.
        peers: the other daemons; None if there are none.
    """

    isLeaf = True
    log = Logger()

    def __init__(self, engine: Engine, client: IResource, peers: Peers | None = None) -> None:
        super().__init__()
        self._engine = engine
        self._client = client
        self._peers = peers

    def head_arrived(self, request: Request, method: bytes, uri: bytes) -> None:
        """The head of a request has arrived: now it shows whether a session's POSTs overlap, and in which order."""
        if method == b"POST":
            polling = self._engine.polling(EngineRequest.of_uri(uri).sid)
            if polling is not None:
                polling.head_arrived(request)

    def takes_body(self, request: Request, method: bytes, uri: bytes) -> bool:
        """Whether a request's body has to be read: it is a POST to a session that is here, or on another daemon.

        So has the body of a handshake: what stands behind it are frames.
        """
        query = EngineRequest.of_uri(uri)
        if not is_upgrade(request) and (method != b"POST" or query.sid is None):
            return False
        if self._engine.check(request, query, method) is None:
            return True
        peers = self._peers
        return peers is not None and query.sid is not None and peers.session_ids.elsewhere(query.sid) is not None

    def render(self, request: Request) -> Any:
        """Answer a request: by a session, by another daemon, by a script, or by Engine.IO's error."""
        return self.serve(request, self._peers)

    def serve(self, request: Request, peers: Peers | None = None) -> Any:
        """Answer a request; sessions of these other daemons are forwarded."""
        if any(request.postpath or ()):
            return self._client.render(request)
        origin = request.getHeader(b"origin")
        welcome = self._engine.may_come_from(request)
        if welcome:
            allow_origin(request)
            if request.method == b"OPTIONS" and origin and request.getHeader(b"access-control-request-method"):
                return answer_preflight(request)
        query = EngineRequest.of(request.args)
        refusal = self._engine.check(request, query)
        if refusal is None and query.sid is None:
            refusal = self._engine.check_rate(request)
            if refusal is None and not self._engine.queue.admits():
                refusal = self._engine.queued(request, lambda: self._begin_late(request, query))
                if refusal is None:
                    return NOT_DONE_YET
        if refusal is None:
            self._begin(request, query)
            return NOT_DONE_YET
        if refusal is UNKNOWN_SID and welcome and request.method == b"GET" and query.transport == "polling":
            lingering = self._engine.sessions.take_lingering(query.sid)
            if lingering is not None:
                lingering.say_last_words(request, query)
                return NOT_DONE_YET
        if refusal is UNKNOWN_SID and peers is not None and query.sid is not None:
            address = peers.session_ids.elsewhere(query.sid)
            if address is not None:
                if peers.full:
                    return self._refuse(request, TOO_MANY)
                peers.hand_on(request, address).addCallback(self._handed_on, request).addErrback(self._failed)
                return NOT_DONE_YET
        return self._refuse(request, refusal)

    def _begin_late(self, request: Request, query: EngineRequest) -> None:
        """Serve a request that waited. Meanwhile a bound may be reached, and the daemon may be going down."""
        try:
            refusal = GOING_DOWN if self._engine.closed else self._engine.check(request, query)
            if refusal is None:
                self._begin(request, query)
            else:
                self._refuse(request, refusal)
        except Exception:  # noqa: BLE001 - and is logged; others wait behind it
            self.log.failure("a request that had waited could not be served")

    def _begin(self, request: Request, query: EngineRequest) -> None:
        if query.sid is None and self._engine.allow is not None:
            Deferred.fromCoroutine(self._ask(self._engine.allow, request, query)).addErrback(self._failed)
        else:
            self._serve(request, query)

    async def _ask(self, allow: AllowRequest, request: Request, query: EngineRequest) -> None:
        """Let the application decide whether a request may begin a session."""
        left: list[Failure] = []
        request.notifyFinish().addErrback(left.append)
        refusal: Refusal | None = None
        try:
            allowed = allow(self._engine.handshake_of(request))
            if isinstance(allowed, Coroutine | Deferred):
                allowed = await allowed
            if allowed is False:
                refusal = FORBIDDEN
        except Refused as refused:
            refusal = Refusal(FORBIDDEN.code, refused.message, FORBIDDEN.status)
        except Exception:  # noqa: BLE001 - and is logged; what went wrong is not the client's to know
            self.log.failure("the application failed to decide whether to admit a request")
            refusal = FORBIDDEN
        if left:
            return
        # Others may have come meanwhile.
        refusal = refusal or self._engine.check(request, query)
        if refusal is None:
            self._serve(request, query)
        else:
            self._refuse(request, refusal)

    def _handed_on(self, done: bool, request: Request) -> None:
        if not done:
            # The daemon is down, and the session with it: the client begins another.
            self._refuse(request, UNKNOWN_SID)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("a request could not be served", failure)

    def _refuse(self, request: Request, refusal: Refusal) -> Any:
        self._engine.context.refusals.refused(refusal, request)
        if is_upgrade(request):
            request.setHeader(b"connection", b"close")
            request.channel.persistent = False
        if refusal.retry_in is not None:
            request.setHeader(b"retry-after", b"%d" % ceil(refusal.retry_in))
        answer(request, refusal.body, b"application/json", status=refusal.status)
        return NOT_DONE_YET

    def _serve(self, request: Request, query: EngineRequest) -> None:
        engine = self._engine
        if query.transport == "websocket":
            self._upgrade(request, query)
            return
        polling = engine.polling(query.sid)
        if polling is None:
            engine.begin_polling(request, query)
        elif request.method == b"POST":
            polling.post(request, query)
        else:
            polling.get(request, query)

    def _upgrade(self, request: Request, query: EngineRequest) -> None:
        engine = self._engine
        assert query.revision is not None
        connection = engine.sessions.get(query.sid)
        protocol = engine.factory.for_request(
            revision=query.revision,
            handshake=engine.handshake_of(request),
            base64=query.base64,
            host=None if connection is None else connection.session,
        )
        hand_over(request, protocol)


class PeerResource(Resource):
    """``/socket.io/`` on the port for other daemons: serves what they forward, and forwards nothing itself.

    Args:
        session_ids: tells peers from others.
        resource: serves.
    """

    isLeaf = True

    def __init__(self, session_ids: SessionIds, resource: EngineResource) -> None:
        super().__init__()
        self._session_ids = session_ids
        self._resource = resource

    def takes_body(self, request: Request, method: bytes, uri: bytes) -> bool:
        """Whether a request's body has to be read: it is another daemon's."""
        assert isinstance(request, BoundedRequest)
        request.digest = self._checked(request, method, uri)
        return bool(request.digest)

    def _checked(self, request: Request, method: bytes, uri: bytes) -> bytes:
        proof, client = request.getHeader(PROOF) or b"", request.getHeader(CLIENT) or b""
        return self._session_ids.proofs.check(proof, method=method, uri=uri, client=client) or b""

    def render(self, request: Request) -> Any:
        """Serve a request of a peer."""
        assert isinstance(request, BoundedRequest)
        body = b"" if request.content is None else request.content.read()
        if request.digest is None:
            # It has no body, so nobody has looked at its head.
            request.digest = self._checked(request, request.method, request.uri)
        if not request.digest or not self._session_ids.proofs.fits(request.digest, body):
            request.channel.site.refused["403"] += 1
            request.setResponseCode(403)
            return b""
        if request.content is not None:
            request.content.seek(0)
        request.client_address = ClientAddress.from_header(request.getHeader(CLIENT) or b"")
        if not request.channel.attribute(request.client_address):
            request.setResponseCode(503)
            return b""
        return self._resource.serve(request)
