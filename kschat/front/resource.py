"""``/socket.io/``: hands each request to the session it is for, or to the engine to begin one."""

from __future__ import annotations

from typing import Any, Final

from twisted.protocols.policies import ProtocolWrapper
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request

from kschat.front.asking import Asked, answer, answer_preflight, handshake_of, is_upgrade, name_origin
from kschat.front.channel import Channel
from kschat.front.engine import Engine
from kschat.front.refusals import UNKNOWN_SID, Refusal
from kschat.front.websocket import EngineProtocol

#: The headers of a WebSocket handshake. Autobahn is shown these, and never the URL: a token may
#: stand there, and Autobahn logs what it is shown. Nor the Origin, which is checked here: Autobahn refuses
#: those it can't parse.
_HANDSHAKE_HEADERS: Final = (
    b"Host",
    b"Upgrade",
    b"Connection",
    b"Sec-WebSocket-Key",
    b"Sec-WebSocket-Version",
    b"Sec-WebSocket-Protocol",
    b"Sec-WebSocket-Extensions",
)


class EngineResource(Resource):
    """``/socket.io/``: begins sessions, serves those that poll, and hands out the client's script.

    Args:
        engine: the sessions.
        client: what answers for a file's name below this path.
    """

    isLeaf = True

    def __init__(self, engine: Engine, client: IResource) -> None:
        super().__init__()
        self._engine = engine
        self._client = client

    def arriving(self, request: Request, method: bytes, uri: bytes) -> None:
        """The head of a request is there: the time to see that a session's POSTs overlap, and in which order."""
        if method == b"POST":
            polling = self._engine.polling(Asked.of_uri(uri).sid)
            if polling is not None:
                polling.arriving(request)

    def render(self, request: Request) -> Any:
        """Answer a request: by a session, a script, or Engine.IO's error."""
        if any(request.postpath or ()):
            return self._client.render(request)
        origin = request.getHeader(b"origin")
        welcome = self._engine.may_come_from(origin, request.getHeader(b"host"))
        if welcome:
            name_origin(request)
            if request.method == b"OPTIONS" and origin and request.getHeader(b"access-control-request-method"):
                return answer_preflight(request)
        asked = Asked.of(request.args)
        refusal = self._engine.check(request, asked)
        if refusal is None:
            self._serve(request, asked)
            return NOT_DONE_YET
        if refusal is UNKNOWN_SID and welcome and request.method == b"GET" and asked.transport == "polling":
            lingering = self._engine.take_lingering(asked.sid)
            if lingering is not None:
                lingering.say_last_words(request, asked)
                return NOT_DONE_YET
        return self._refuse(request, refusal)

    def _refuse(self, request: Request, refusal: Refusal) -> Any:
        self._engine.rejected(refusal, request)
        if is_upgrade(request):
            request.setHeader(b"connection", b"close")
            request.channel.persistent = False
        answer(request, refusal.body, b"application/json", refusal.status)
        return NOT_DONE_YET

    def _serve(self, request: Request, asked: Asked) -> None:
        engine = self._engine
        if asked.transport == "websocket":
            self._upgrade(request, asked)
            return
        polling = engine.polling(asked.sid)
        if polling is None:
            engine.begin_polling(request, asked)
        elif request.method == b"POST":
            polling.post(request, asked)
        else:
            polling.get(request, asked)

    def _upgrade(self, request: Request, asked: Asked) -> None:
        engine = self._engine
        assert asked.revision is not None
        connection = None if asked.sid is None else engine.sessions[asked.sid]
        protocol = engine.factory.for_request(
            asked.revision,
            handshake_of(request),
            asked.base64,
            None if connection is None else connection.session,
        )
        hand_over(request, protocol)


def hand_over(request: Request, protocol: EngineProtocol) -> None:
    """Let ``protocol`` answer a WebSocket handshake, and have the connection."""
    head = [b"GET / HTTP/1.1"]
    for name in _HANDSHAKE_HEADERS:
        values = request.requestHeaders.getRawHeaders(name)
        if values:
            head.append(name + b": " + b",".join(values))
    channel = request.channel
    assert isinstance(channel, Channel)
    take_over(channel, protocol)
    protocol.dataReceived(b"\r\n".join(head) + b"\r\n\r\n")


def take_over(channel: Channel, protocol: EngineProtocol) -> None:
    """Put ``protocol`` in the place of ``channel``, which lets go of all it holds."""
    transport = channel.let_go(protocol)
    if isinstance(transport, ProtocolWrapper):  # TLS
        transport.wrappedProtocol = protocol
    elif isinstance(transport.protocol, ProtocolWrapper):
        transport.protocol.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    transport.resumeProducing()
