"""Autobahn's WebSocket protocol as the transport of an ``EngineSession``.

Two paths are shorter than Autobahn's. Whole, masked, unfragmented text frames, which are what chat clients send, pings
and pongs are unmasked and delivered from here; all other frames go through Autobahn, one at a time. An outgoing message
is framed by one concatenation and sent by one ``transport.write`` or, on plain TCP with an empty buffer, by one system
call. (``python -m bench`` measures the cost.)

What arrived at once is read in several turns of the reactor (``turns``)::

    bytes arrive    a few packets are read; the rest waits, and nothing is read from the socket meanwhile
    a large packet  waits for the rotation
    TCP has ended   what arrived before is read to its end, then the session ends
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from autobahn.websocket.types import ConnectionRequest
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.compat_tcp import is_direct, write_now
from kschat.front import deflate
from kschat.front.autobahn_log import AutobahnLog
from kschat.front.compat_autobahn import AutobahnProtocol
from kschat.front.compat_twisted import unsent
from kschat.front.context import TransportContext
from kschat.front.frames import RSV1, Head, frame, head_of
from kschat.front.pool import Place
from kschat.front.registry import has_joined
from kschat.front.turns import ARRIVAL_SECONDS, LARGE, LOOK_BYTES, PACKETS, READ_ON_BELOW
from kschat.wire.connection import Handshake
from kschat.wire.cork import Cork
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.session import EngineSession

_CONNECTING: Final = AutobahnProtocol.STATE_CONNECTING
_OPEN: Final = AutobahnProtocol.STATE_OPEN
_CLOSED: Final = AutobahnProtocol.STATE_CLOSED

#: Seconds that a client has to read what was written and to answer our close frame, until TCP is cut.
CLOSE_TIMEOUT: Final = 2

#: Fragments of one message, and one more for so many bytes of it. Each is kept until the last one, and an empty one is
#: no byte of the message.
MAX_FRAGMENTS: Final = 1_000
FRAGMENT_BYTES: Final = 32

#: A compressed packet counts as so many times its size when it is asked whether it is large.
INFLATES: Final = 64

#: In the rotation no packet is too large to be read.
_ANY_SIZE: Final = 1 << 62


@implementer(IPushProducer)
class EngineProtocol(AutobahnProtocol):
    """One WebSocket, the ``Transport`` of one session.

    Made by ``factory.EngineFactory.for_request``.
    """

    logger = Logger()
    log = AutobahnLog()

    #: See ``wire.roles.Transport``.
    asks_by_ping = True

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
    #: bytes that wait for another turn
    _rest = b""
    #: whether this is in the rotation
    _waits = False
    #: whether its large packet has waited already until others were dealt with
    _was_parked = False
    #: whether the next byte begins a frame and a message, for a session, and nothing waits before it
    _fresh = False
    #: frames of the transport before this one, which are read before those that arrived here
    _first: Iterator[Frame] | None = None
    #: payload of the current frame that has not arrived; -1 while its head has not arrived whole
    _left = 0
    #: what has arrived of that head
    _head = b""
    #: of the current message: payload of its frames so far, frames after the first, whether it is compressed
    _total = 0
    _fragments = 0
    _compressed = False
    #: payload of the message that the current frame completes; 0 if it completes none
    _completes = 0
    #: packets that may be read in this turn, and until when; valid after ``_whole_frames`` has stopped early
    _packets = 0
    _until = 0.0
    #: bytes of a message that has not arrived whole, and of those that wait for their turn
    _unread = 0
    #: whether the client must read before more is read from it
    _stalled = False
    #: whether nothing is read from the socket
    _stopped = False
    #: the payload of the last ping that could not be answered yet
    _pong: bytes | None = None
    #: how TCP ended, while what arrived before is read
    _lost: Failure | None = None

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
        self._turns = context.turns
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
        self._direct = is_direct(self.transport)
        self.compression = self.agreed_compression(deflate.BoundedDeflate)
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

    def onPing(self, payload: bytes) -> None:
        """Answer a ping of RFC 6455. While the client does not read, the last one alone (section 5.5.3)."""
        if self.state != _OPEN:
            return
        if self._paused:
            self._pong = payload
        else:
            self._put(b"\x8a%c%b" % (len(payload), payload))

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

    @property
    def has_joined(self) -> bool:
        """Whether its bytes are read before those of newcomers."""
        return self.proved

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
        if self._waits and self.state == _OPEN:
            self._lost = reason  # what the client sent before is read first
            return
        self._context.timers.cancel(self)
        if self._unsent or self._unread:
            self._unread = 0
            self._holds(0)
        self._rest = self._head = b""
        self._first = None
        super().connectionLost(reason)
        self.forget_received()

    def dataReceived(self, data: bytes) -> None:
        """Bytes arrived: read what this turn may, and the rest in others."""
        turns = self._turns
        if self._fresh and self.state == _OPEN:
            position = self._whole_frames(data, 0, packets=turns.packets, large=turns.large, until=0.0)
            if position != len(data):
                self._read(data[position:], packets=self._packets, large=turns.large, until=self._until)
        elif self._waits:
            self._rest += data
        elif self.state == _CONNECTING:
            self.received_by_autobahn(data)
        else:
            self._read(data, packets=turns.packets, large=turns.large, until=0.0)

    def read_on(self, until: float) -> None:
        """It is this connection's turn. See ``turns.Reader``."""
        self._waits = False
        rest, self._rest = self._rest, b""
        if self._first is not None and not self._read_first(self._first, until):
            self._wait(rest)
            return
        was_parked, self._was_parked = self._was_parked, False
        if not self._turns.is_full():
            self._read(rest, packets=PACKETS, large=_ANY_SIZE, until=until)
        elif was_parked:
            self._read(rest, packets=1, large=_ANY_SIZE, until=until)
        else:
            self._read(rest, packets=PACKETS, large=LARGE, until=until, parks=True)
        if self._waits:
            return
        lost, self._lost = self._lost, None
        if lost is not None:
            self.connectionLost(lost)
        else:
            self._mind_reading()

    def read_first(self, frames: Iterator[Frame]) -> None:
        self._first = frames  # ``_read`` is reading the packet that changes the transport, and looks

    def _wait(self, rest: bytes, parks: bool = False) -> None:
        """Read ``rest`` in another turn, and nothing from the socket until then.

        ``parks``: its first packet is large, and others are to be dealt with before.
        """
        self._rest = rest
        self._waits = True
        if parks:
            self._was_parked = True
            self._turns.park(self)
        else:
            self._turns.enter(self)
        self._mind_reading()

    def _mind_reading(self) -> None:
        stopped = self._waits or self._stalled
        if stopped is not self._stopped and self.state != _CLOSED:
            self._stopped = stopped
            if stopped:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def _read_first(self, frames: Iterator[Frame], until: float) -> bool:
        """Read frames of the transport before this one. Returns whether that were all."""
        left = PACKETS
        try:
            for frame in frames:
                self._received(frame.payload, frame.binary)
                left -= 1
                if self.state != _OPEN:
                    break
                if not left or self._turns.seconds() >= until:
                    return False
        except ProtocolError as error:
            if self.session is not None:
                self.session.close(error.reason, error.detail)
        self._first = None
        return True

    def _read(self, data: bytes, *, packets: int, large: int, until: float, parks: bool = False) -> None:
        """Read the frames in ``data``; let the rest wait.

        Args:
            data: bytes that follow those that were read before.
            packets: how many may be read.
            large: bytes of a packet that must wait.
            until: when to stop; 0 for ``ARRIVAL_SECONDS`` from the first look at the clock.
            parks: whether the rest waits until others are dealt with, if it begins with such a packet.
        """
        rest = self._read_frames(data, packets=packets, large=large, until=until)
        if rest is not None and self.state != _CLOSED:
            self._wait(rest, parks and len(rest) >= len(data))
        partial = self._left or self.inside_message
        self._fresh = not (self._waits or partial or self.session is None)
        unread = max(self._total - max(self._left, 0), 0) + len(self._rest) if partial else len(self._rest)
        if unread != self._unread and self.state != _CLOSED:
            self._unread = unread
            self._holds(self._unsent)

    def _read_frames(self, data: bytes, *, packets: int, large: int, until: float) -> bytes | None:
        """The same. Returns what has to wait; None for nothing."""
        if self._head:
            data, self._head = self._head + data, b""
            self._left = 0
        position, end = 0, len(data)
        while packets:
            if not self._left and self.state == _OPEN and not self.inside_message and self.session is not None:
                position = self._whole_frames(data, position, packets=packets, large=large, until=until)
                if position == end:
                    return None
                packets, until = self._packets, self._until
                if not packets:
                    break
            if position == end or self.state == _CLOSED:
                return None
            before, position = position, self._frame(data, position, large)
            if position == before:
                break
            packets, until = self._look(packets - 1, until)
            if self._first is not None:
                break
        return data[position:]

    def _look(self, packets: int, until: float) -> tuple[int, float]:
        """How many packets may be read still, and until when."""
        now = self._turns.seconds()
        if not until:
            return packets, now + ARRIVAL_SECONDS
        return (packets if now < until else 0), until

    def _whole_frames(self, data: bytes, position: int, *, packets: int, large: int, until: float) -> int:
        """Read whole text frames, pings and pongs. Returns where the next frame begins."""
        end = len(data)
        limit = self.maxMessagePayloadSize
        while end - position >= 6:
            first = data[position]
            if first != 0x81 and first != 0x89 and first != 0x8A:  # FIN and text, ping or pong; no extension
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
            if stop > end or size > limit or size > large:
                break
            mask = data[start - 4 : start]
            payload = (
                int.from_bytes(data[start:stop], "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")
            ).to_bytes(size, "big")
            if first == 0x81:
                if not payload.isascii():
                    try:
                        payload.decode()
                    except UnicodeDecodeError:
                        break  # Autobahn fails the connection as RFC 6455 wants it
                position = stop
                self._received(payload, False)
            else:
                position = stop
                if first == 0x8A:
                    self.onPong(payload)
                else:
                    self.onPing(payload)
            if position == end:
                return end
            packets -= 1
            if self.state != _OPEN:
                break  # Autobahn waits for the peer's close frame, which may stand there
            if size > LOOK_BYTES or not packets & 7:
                packets, until = self._look(packets, until)
                if not packets:
                    break
        self._packets, self._until = packets, until
        return position

    def _frame(self, data: bytes, position: int, large: int) -> int:
        """Let Autobahn read one frame, or the part of it that is there.

        Returns:
            Where it ends; ``position`` if it has to wait for the rotation.
        """
        head: Head | None = None
        start, size = position, self._left
        total, completes, compressed = self._total, self._completes, self._compressed
        if size <= 0:
            head = head_of(data, position)
            if head is None:
                self._left, self._head = -1, data[position:]
                return len(data)
            start, size = head.start, head.size
            if not head.control:
                compressed = head.compressed if head.begins else compressed
                total = size if head.begins else total + size
            completes = total if head.fin and not head.control else 0
        stop = min(start + size, len(data))
        weight = completes if stop == start + size else 0
        if compressed:
            weight = INFLATES * max(weight, stop - start)
        if weight > large:
            return position
        if head is not None:
            self._total, self._completes, self._compressed = total, completes, compressed
            if not head.control:
                self._fragments = 0 if head.begins else self._fragments + 1
                if compressed or total > self.maxMessagePayloadSize:
                    self._raise_limit()
                if self._fragments > MAX_FRAGMENTS + total // FRAGMENT_BYTES:
                    self.too_large("too many fragments")
        self._left = start + size - stop
        self.received_by_autobahn(data[position:stop])
        return stop

    def _raise_limit(self) -> None:
        """A client that has joined may send more."""
        if self.session is not None:
            self.maxFramePayloadSize = self.maxMessagePayloadSize = self.session.max_payload

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
        self._paused = self._stalled = False
        if self._unsent:
            self._holds(0)
        pong, self._pong = self._pong, None
        if pong is not None:
            self.onPing(pong)
        self._mind_reading()

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
                    self._holds(0)  # nothing waited, or it would have been overtaken
                return
        transport.write(data)
        size = self._unsent + len(data)
        if size > self._context.max_unsent * READ_ON_BELOW or not self._direct:
            # Some of it may have left since: Twisted says nothing until all has.
            size = unsent(transport)
        self._holds(size)
        bound = self._context.max_unsent
        if size > bound and self.session is not None:
            self.session.close(Reason.SLOW_READER, f"{size} bytes unsent")
        elif size > bound * READ_ON_BELOW:
            # Much waits for the client: read no more from it until that has left.
            self._stalled = True
            self._mind_reading()

    def _holds(self, size: int) -> None:
        """So many bytes wait for the client, at most, beside those of a message that has not arrived whole."""
        self._unsent = size
        self._context.budget.set(self, size + self._unread)

    @property
    def held_for(self) -> str:
        """See ``budget.BufferHolder``."""
        return self._handshake.client

    def measure(self) -> int:
        """See ``budget.BufferHolder``."""
        self._unsent = size = unsent(self.transport)
        return size + self._unread

    def end_largest(self) -> None:
        """See ``budget.BufferHolder``."""
        if self.session is not None and self.state == _OPEN:
            size = self._unsent + self._unread
            self.session.close(Reason.SLOW_READER, f"{size} bytes are held, more than for anybody else")
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

    def take_unread(self) -> None:
        """None: a session never changes from WebSocket to another transport."""

    def take_confirmation(self) -> int | None:
        """None: a session never changes from WebSocket to another transport."""
        return None
