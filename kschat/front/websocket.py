"""Autobahn's WebSocket protocol as the transport of an ``EngineSession``.

Two paths are shorter than Autobahn's. Whole, masked, unfragmented text frames, which are what chat clients send, are
unmasked and delivered from ``dataReceived``; all other frames go through Autobahn. An outgoing message is framed by one
concatenation and sent by one ``transport.write`` or, on plain TCP with an empty buffer, by one system call.
(``python -m bench`` measures the cost.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from autobahn.websocket.types import ConnectionRequest
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.front import deflate
from kschat.front.autobahn_log import AutobahnLog
from kschat.front.compat_autobahn import AutobahnProtocol
from kschat.front.compat_twisted import unsent, write_now
from kschat.front.context import TransportContext
from kschat.front.frames import RSV1, frame
from kschat.front.pool import Place
from kschat.front.registry import has_joined
from kschat.wire.connection import Handshake
from kschat.wire.cork import Cork
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import Reason
from kschat.wire.session import EngineSession

_OPEN: Final = AutobahnProtocol.STATE_OPEN
_CLOSED: Final = AutobahnProtocol.STATE_CLOSED

#: Seconds that a client has to read what was written and to answer our close frame, until TCP is cut.
CLOSE_TIMEOUT: Final = 2


@implementer(IPushProducer)
class EngineProtocol(AutobahnProtocol):
    """One WebSocket, the ``Transport`` of one session.

    Made by ``factory.EngineFactory.for_request``.
    """

    logger = Logger()
    log = AutobahnLog()

    session: EngineSession | None = None
    #: its slot in the timer wheel, while it ends
    slot: int | None = None
    #: its place among the connections
    place: Place | None = None
    #: what was agreed on with the peer, or None
    compression: Any = None
    #: whether the socket may be written to directly, without two rounds through the reactor (plain TCP)
    _direct = False
    _paused = False
    _unsent = 0
    _asked = b""

    def __init__(
        self,
        context: TransportContext,
        *,
        revision: Revision,
        handshake: Handshake,
        base64: bool,
        host: EngineSession | None = None,
    ) -> None:
        super().__init__()
        self._host = host  # the session that this is offered to, until it takes it or not
        self._context = context
        self._revision: Revision = revision
        self._handshake = handshake
        self._base64 = base64
        self._cork: Cork = context.cork
        self._held: list[bytes] = []

    # Called by Autobahn.

    def onConnect(self, request: ConnectionRequest) -> None:
        """The request was checked before it came here; no subprotocol is spoken."""
        # Autobahn believes it has set this (LIBRARIES: 44 ms on each message after a write).
        try:
            self.transport.setTcpNoDelay(True)
        except (AttributeError, OSError):
            self.logger.debug("not a TCP socket: no TCP_NODELAY")

    def onOpen(self) -> None:
        """The handshake is done: the session begins."""
        self.transport.registerProducer(self, True)
        self._direct = isinstance(self.transport, Connection)
        self.compression = self.agreed_compression()
        # The handshake needed these; an idle connection must not keep them in memory.
        self.http_headers = self.http_request_params = {}
        self.http_request_data = self.http_response_data = b""
        host, self._host = self._host, None
        if host is None:
            self.session = self._context.sessions.begin(
                self, self._revision, handshake=self._handshake, base64=self._base64
            )
        elif not isinstance(host.transport, EngineProtocol) and host.offer(self, self._base64):
            self._host = host
            self._context.timers.schedule(self, self._context.upgrade_timeout)
        else:
            self.close(Reason.TRANSPORT_CLOSE)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A message by Autobahn's path: binary, fragmented, compressed, or split across reads."""
        if self.compression is not None:
            self.forget_inflater()
        self._received(payload, isBinary)

    def onPong(self, payload: bytes) -> None:
        """The client has read everything sent before our ping (RFC 6455, section 5.5.3)."""
        session = self.session
        if session is not None:
            session.alive()
        # An unsolicited pong is allowed; an empty one must not be taken for the answer to a ping.
        if session is not None and self._asked and payload == self._asked and self.state == _OPEN:
            self._asked = b""
            try:
                session.confirmed(int(payload))
            except Exception:  # noqa: BLE001 - see ``_received``
                self.logger.failure("a pong could not be handled")
                session.close(Reason.SERVER_ERROR)

    def too_large(self, reason: str) -> bool:
        """A message is larger than may be."""
        if self.session is None:
            return False
        self.failedByMe = True  # to Autobahn: throw away what comes of it
        self.session.close(Reason.TOO_LARGE, reason)
        return True

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """The WebSocket has ended."""
        session, self.session = self.session, None
        host, self._host = self._host, None
        if session is not None:
            session.lost()
        elif host is not None and host.candidate is self:
            host.candidate_gone()
        self._context.connections.leave(self.place)

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        """Close, also where the client broke RFC 6455. (``sendClose`` would refuse most codes.)"""
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self._context.timers.schedule(self, CLOSE_TIMEOUT)

    def dropConnection(self, abort: bool = False) -> None:
        """End TCP once everything written has left, or has taken too long.

        Never by a reset, as Autobahn would in part: it may cost the peer our close frame.
        """
        super().dropConnection()
        self._context.timers.schedule(self, CLOSE_TIMEOUT)

    def alarm(self) -> None:
        """The client took too long to close, or to change to this transport."""
        if self._host is not None and self._host.candidate is self:
            self._host.candidate_gone()
        else:
            self.transport.abortConnection()

    @property
    def proved(self) -> bool:
        """See ``pool.Holder``."""
        return has_joined(self.session or self._host)

    def give_way(self) -> None:
        """See ``pool.Holder``."""
        self.transport.abortConnection()

    def sendHttpErrorResponse(
        self, code: int, reason: str, responseHeaders: Iterable[tuple[str, str]] | None = None
    ) -> None:
        """Answer a bad WebSocket handshake with Engine.IO's JSON, not with Autobahn's text."""
        self.sendData(self._context.refusals.bad_handshake(code, responseHeaders))

    # Called by Twisted.

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """TCP has ended."""
        self._context.timers.cancel(self)
        if self._unsent:
            self._waits(0)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        """Bytes arrived. Whole text frames are handed on here; everything else takes Autobahn's path."""
        if self.state == _OPEN and self.between_frames:
            data = self._text_frames(data)
            if not data:
                return
        self.received_by_autobahn(data)

    def _text_frames(self, data: bytes) -> bytes:
        """Hand on the whole text frames at the start of ``data``, and return the rest."""
        position, end = 0, len(data)
        limit = self.maxMessagePayloadSize
        while end - position >= 6:
            first = data[position]
            if first != 0x81 and first != 0x8A:  # FIN and text, or FIN and pong; no extension
                break
            size = data[position + 1] - 0x80
            if 0 <= size < 126:
                start = position + 6
            elif size == 126 and first == 0x81 and end - position >= 8:
                size = (data[position + 2] << 8) | data[position + 3]
                if size < 126:
                    break
                start = position + 8
            else:
                break  # unmasked, or longer than 64 KiB
            stop = start + size
            if stop > end or size > limit:
                break
            mask = data[start - 4 : start]
            payload = (
                int.from_bytes(data[start:stop], "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
            ).to_bytes(size, "big")
            if first == 0x8A:
                position = stop
                self.onPong(payload)
            else:
                if not payload.isascii():
                    try:
                        payload.decode()
                    except UnicodeDecodeError:
                        break  # Autobahn fails the connection as RFC 6455 wants it
                position = stop
                self._received(payload, False)
            if self.state != _OPEN:
                break  # Autobahn waits for the peer's close frame, which may stand there
        return data[position:] if position else data

    def _received(self, payload: bytes, binary: bool) -> None:
        session = self.session
        if session is None:
            self._offered(payload, binary)
            return
        try:
            session.receive(payload, binary)
        except Exception:  # noqa: BLE001 - and is logged with its traceback
            # A bug of ours ends this connection and no other.
            self.logger.failure("a packet could not be handled")
            session.close(Reason.SERVER_ERROR)

    def _offered(self, payload: bytes, binary: bool) -> None:
        """A frame for a session that still has another transport."""
        if (host := self._host) is None:
            return
        try:
            host.receive_candidate(payload, binary)
        except Exception:  # noqa: BLE001 - see ``_received``
            self.logger.failure("a session could not change its transport")
            host.close(Reason.SERVER_ERROR)
        if host.transport is self:
            self._host = None
            self._context.timers.cancel(self)
            self.session = host

    def pauseProducing(self) -> None:
        """The socket does not keep up with writes. (Called at every write.)"""
        self._paused = True

    def resumeProducing(self) -> None:
        """Everything written has left."""
        self._paused = False
        if self._unsent:
            self._waits(0)

    def stopProducing(self) -> None:
        """The connection ends; ``onClose`` is what counts."""

    # The session's transport.

    def send(self, payload: bytes, binary: bool = False) -> None:
        if self.state != _OPEN:
            return
        compression = self.compression
        if compression is None or len(payload) < self._context.deflate_from:
            # As ``frame`` and ``_put``, without their calls.
            size = len(payload)
            if size < 126 or size >= 0x10000 or binary:
                framed = frame(payload, binary)
            else:
                framed = b"\x81\x7e" + size.to_bytes(2, "big") + payload
            if self._cork.held:
                if not self._held:
                    self._cork.dirty.append(self)
                self._held.append(framed)
            else:
                self._write(framed)
        else:
            framed = frame(deflate.deflated(payload, compression.server_max_window_bits), binary)
            self._put(bytes((framed[0] | RSV1,)) + framed[1:])

    def _put(self, framed: bytes) -> None:
        if self._cork.held:
            if not self._held:
                self._cork.dirty.append(self)
            self._held.append(framed)
        else:
            self._write(framed)

    def ask_confirmation(self, number: int) -> None:
        """Every client's WebSocket answers a ping by itself."""
        if self.state == _OPEN:
            self._asked = payload = b"%d" % number
            self._put(b"\x89%c%b" % (len(payload), payload))

    def ask_for_life(self) -> None:
        """A browser answers a ping while it lets the page's timers wait."""
        if self.state == _OPEN:
            self._put(b"\x89\x00")

    @property
    def congested(self) -> bool:
        return self._paused

    def flush(self) -> None:
        """Write what was held back, in one piece."""
        held = self._held
        if held:
            data = held[0] if len(held) == 1 else b"".join(held)
            self._held = []
            if self.state == _OPEN:
                self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self.transport
        if self._direct:
            data = write_now(transport, data)
            if not data:
                if self._unsent:
                    self._waits(0)  # nothing waited, or it would have been overtaken
                return
        transport.write(data)
        size = self._unsent + len(data)
        if size > self._context.max_unsent or not self._direct:
            # Some of it may have left since: Twisted says nothing until all has.
            size = unsent(transport)
        self._waits(size)
        if size > self._context.max_unsent and self.session is not None:
            self.session.close(Reason.SLOW_READER, f"{size} bytes unsent")

    def _waits(self, size: int) -> None:
        """So many bytes wait for the client, at most."""
        self._unsent = size
        self._context.budget.set(self, size)

    @property
    def held_for(self) -> str:
        """See ``budget.BufferHolder``."""
        return self._handshake.client

    def measure(self) -> int:
        """See ``budget.BufferHolder``."""
        self._unsent = size = unsent(self.transport)
        return size

    def end_largest(self) -> None:
        """See ``budget.BufferHolder``."""
        if self.session is not None and self.state == _OPEN:
            self.session.close(Reason.SLOW_READER, f"{self._unsent} bytes unsent, more than to anybody else")
        else:
            self.transport.abortConnection()

    def close(self, reason: Reason) -> None:
        """The close frame carries the reason."""
        self._host = None
        self.flush()
        if self.state == _OPEN:
            self.sendCloseFrame(reason.close_code, reason.text.encode())
        elif self.state != _CLOSED:
            self.dropConnection(abort=True)

    def release(self) -> None:
        """No request is parked here."""

    def take_unsent(self) -> Iterable[Frame]:
        """Nothing waits here: every frame has been written."""
        return ()

    def take_unread(self) -> Iterator[Frame]:
        """Nothing waits here: every frame is handed on as it arrives."""
        return iter(())

    def take_confirmation(self) -> int | None:
        """None: a session never changes from WebSocket to another transport."""
        return None
