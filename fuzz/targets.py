"""What is fuzzed: each target reads bytes of somebody else, and catches the errors that the code names, no others."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
from autobahn.websocket.compress import PerMessageDeflateOffer
from twisted.logger import globalLogPublisher

from kschat.backends.amqp import codec as amqp
from kschat.backends.amqp.neighbours import Card, Neighbours
from kschat.backends.redis.store import codec as redis
from kschat.chat.cluster_commands import ClusterCommandError, unpacked
from kschat.chat.interfaces import Stored
from kschat.chat.message import Message
from kschat.front.channel import redacted
from kschat.front.clients import ClientAddress, ClientAddresses
from kschat.front.engine_request import EngineRequest
from kschat.front.frames import head_of
from kschat.front.origins import Origins
from kschat.front.session_ids import PeerAddress, SessionIds
from kschat.front.target import parse_target
from kschat.wire import engineio, jsonnumbers, jsonp, jsontext, msgpack, payload, socketio
from kschat.wire.connection import Connection, Handshake, Socket
from kschat.wire.engineio import Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.limits import Limits
from kschat.wire.session import EngineSession, HeartbeatTimes
from kschat.wire.socketio import Ack, Connect, Event
from tests.front.daemon import Daemon
from tests.front.frames import client_frame
from tests.wire.fakes import FakeTimers, FakeTransport

LIMITS: Final = Limits()
NAMED: Final = ProtocolError

#: Between two frames of one input; polling of revision 4 has it as well.
BETWEEN: Final = b"\x1e"


class Welcome:
    """An application that lets everybody in, reads all, and answers what asks for an ack."""

    def find(self, namespace: str, connection: Connection) -> Welcome:
        return self

    def connect(self, socket: Socket, wish: Connect) -> None:
        socket.accept(serves=socket.namespace != "/")

    def event(self, socket: Socket, event: Event) -> None:
        for argument in event.args:
            text, attachments = socketio.renumber(argument, event.attachments, LIMITS.max_depth, most=1000)
            socket.emit(b'["RESPRECEIVER",%b]' % text, attachments, ask=True)
        if event.id is not None:
            socket.ack(event.id, b"[]")

    def acked(self, socket: Socket, ack: Ack) -> None:
        socket.ask_confirmation(1)

    def confirmed(self, socket: Socket, number: int) -> None:
        """Nothing waits for it."""

    def closing_socket(self, socket: Socket, reason: Reason) -> None:
        socket.emit(b'["Goodbye"]')

    def disconnected(self, socket: Socket, reason: Reason) -> None:
        """Nothing was kept for it."""

    def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
        """Nothing was kept for it."""


def session(data: bytes) -> None:
    """Frames of a whole session: the first byte is the revision, a frame that begins with 01 is binary, 02 an alarm."""
    revision: Revision = 3 if data[:1] < b"\x80" else 4
    transport = FakeTransport()
    one = EngineSession("sid", revision, transport, timers=FakeTimers(), times=HeartbeatTimes(25, 20))
    connection = Connection(one, Welcome(), Handshake(), limits=LIMITS)
    one.listener = connection
    one.open((), LIMITS.max_payload)
    connection.opened()
    for part in data[1:].split(BETWEEN):
        if part[:1] == b"\x02":
            one.alarm()
        else:
            binary = part[:1] == b"\x01"
            one.receive(part[1:] if binary else part, binary)
    assert not transport.late


def packets(data: bytes) -> None:
    """One packet of Engine.IO, and what is encoded again."""
    for revision in (3, 4):
        for decode in (engineio.decode_text, engineio.decode_binary):
            try:
                packet = decode(data, revision)
            except NAMED:
                continue
            for base64 in (False, True):
                frame = engineio.encode(packet, revision, base64)
                decode_again = engineio.decode_binary if frame.binary else engineio.decode_text
                assert decode_again(frame.payload, revision) == packet


def bodies(data: bytes) -> None:
    """Bodies of polling, also as JSONP has them."""
    for revision in (3, 4):
        for body in (data, b"d=" + data):
            try:
                text = jsonp.form(body) if body is not data else body
                frames = list(payload.decode(text, revision))
            except NAMED:
                continue
            again, count = payload.encode(frames, revision, 1_000_000)
            assert count == len(frames)
            # An empty one comes as a noop where lengths are written as text.
            if revision == 3 and all(frame.payload for frame in frames):
                assert list(payload.decode(again.payload, 3)) == frames
    jsonp.script(b"1", data)


def events(data: bytes) -> None:
    """One packet of Socket.IO's JSON parser."""
    try:
        packet = socketio.Decoder(LIMITS).text(data)
        if isinstance(packet, Event):
            for argument in packet.args:
                jsontext.decode(argument, LIMITS.max_depth, jsonnumbers.MAX_REWRITTEN)
    except NAMED:
        return
    if packet is not None:
        socketio.encode(packet)


def msgpacks(data: bytes) -> None:
    """One packet of the msgpack parser."""
    try:
        packet = msgpack.MsgpackDecoder(LIMITS).binary(data)
    except NAMED:
        return
    if isinstance(packet, Event):
        body = b"[%b]" % b",".join([msgspec.json.encode(packet.name), *map(bytes, packet.args)])
        try:
            body, attachments = socketio.renumber(body, packet.attachments, 600)
        except NAMED:
            return
        msgpack.encode_array(
            2, body, attachments, namespace=packet.namespace, number=packet.id, max_depth=LIMITS.max_depth + 9
        )


def texts(data: bytes) -> None:
    """JSON that is looked at without being decoded."""
    for read in (
        lambda: jsontext.check_values(data),
        lambda: jsontext.check_depth(data, 64),
        lambda: jsontext.split_array(data, 64),
        lambda: jsontext.decode(data, 64, 1000),
        lambda: jsontext.structure(data, 64),
        lambda: jsonnumbers.whole(data),
    ):
        try:
            read()
        except NAMED:
            pass
    jsontext.mend_surrogates(data)
    jsonnumbers.as_javascript(data)


def commands(data: bytes) -> None:
    """What another daemon publishes on Redis."""
    try:
        unpacked(data)
    except ClusterCommandError:
        pass


MESSAGE: Final = Message("000000000000000100000000", "ann", "ben", "ann", "ben", msgspec.Raw(b'"x"'), 1)


def stored(data: bytes) -> None:
    """What scripts of Redis answer with."""
    for read in (
        lambda: redis.message_of(b"1-1", data),
        lambda: redis.listed_of(b"1-1", data, False),
        lambda: redis.listed_of(data, b"\x98", True),
        lambda: redis.answers([MESSAGE], [1], [(1, b"m", b"1-1", data)]),
        lambda: redis.answers([MESSAGE], [1], [(1, b"r", b"1-1", data, b"1 1 1-1", data)]),
    ):
        try:
            read()
        except redis.StoredError:
            pass


def routed(data: bytes) -> None:
    """A message from RabbitMQ: batches, the tutorial's JSON, and its header."""
    for kind in (amqp.BATCH, amqp.TUTORIAL, None):
        _routed(kind, None, data)
    header, _, body = data.partition(BETWEEN)
    _routed(None, {amqp.PLACE: header}, body or b'{"uId":1,"pId":2,"msg":"x","msgTime":1}')


def _routed(kind: str | None, headers: dict[str, Any] | None, body: bytes) -> None:
    try:
        found, _ = amqp.read(kind, headers, body, lambda: MESSAGE.mid)
    except amqp.CodecError:
        return
    for one in found:
        _is_whole(one)


def _is_whole(one: Stored) -> None:
    """What a daemon does next with a message."""
    assert int(one.message.mid[:16], 16) >= 0
    amqp.packed([one])
    redis.BatchEncoder().encode([one.message])


class _Properties:
    reply_to = None


def cards(data: bytes) -> None:
    """What daemons announce of themselves."""
    neighbours = Neighbours(None, "x", Card("1", "kschat", True), lambda card: None)
    neighbours._heard(None, None, _Properties(), data)


IDS: Final = SessionIds(b"secret", PeerAddress("127.0.0.1", 3000))
ORIGINS: Final = Origins(["https://example.org", "https://*.example.net"])
ADDRESSES: Final = ClientAddresses(["127.0.0.0/8", "10.0.0.0/8", "::1"])
HOP: Final = ClientAddress("127.0.0.1", 1, "127.0.0.1")


def requests(data: bytes) -> None:
    """Heads of HTTP requests: target, query, headers."""
    found = parse_target(data, (b"/socket.io",))
    if found is not None:
        EngineRequest.of_uri(found.uri)
    redacted(data)
    ORIGINS.allow(data, b"example.org:3000", True)
    ORIGINS.allow(b"https://example.org", data)
    ADDRESSES.of_request(HOP, data.split(b"\n"))
    IDS.elsewhere(data.decode("latin-1"))
    IDS.elsewhere(data.decode("utf-8", "replace"))
    IDS.proofs.check(data, method=b"GET", uri=data, client=data)
    for position in range(min(len(data), 20)):
        head_of(data, position)


def inflated(data: bytes) -> None:
    """Compressed frames of a WebSocket: bytes as they come, and what they are when they are inflated."""
    from kschat.front.deflate import BoundedDeflate, accept

    agreed = accept([PerMessageDeflateOffer()])
    assert agreed is not None
    from autobahn.websocket.compress import PerMessageDeflate

    one = BoundedDeflate(PerMessageDeflate.create_from_offer_accept(True, agreed))
    one.start_decompress_message()
    from autobahn.exception import PayloadExceededError

    try:
        one.decompress_message_data(data)
        one.end_decompress_message()
    except (zlib.error, PayloadExceededError):
        pass


class _Front:
    """A front in memory, which is replaced after so many clients, and the failures that it has logged."""

    def __init__(self) -> None:
        self.daemon = Daemon(Welcome(), access_log=False)
        self.left = 200
        self.failures: list[Any] = []

    def __call__(self, event: Any) -> None:
        if "log_failure" in event:
            self.failures.append(event["log_failure"])


_front: list[_Front] = []


def sockets(data: bytes) -> None:
    """Bytes on a connection that is a WebSocket and has joined: as they come, and as frames."""
    if not _front or not _front[0].left:
        for old in _front:
            globalLogPublisher.removeObserver(old)  # type: ignore[arg-type]
        _front[:] = [_Front()]
        globalLogPublisher.addObserver(_front[0])  # type: ignore[arg-type]
    front = _front[0]
    front.left -= 1
    peer = front.daemon.joined()
    raw, _, rest = data.partition(b"\x00\x1e")
    if rest or data[:1] < b"\x80":
        for part in (raw + BETWEEN + rest).split(BETWEEN):
            peer.arrive(client_frame(part[1:], 2) if part[:1] == b"\x01" else client_frame(part))
    else:
        peer.arrive(data)
    front.daemon.take_turns()
    if peer.wire.connected:
        peer.wire.finish()
    front.daemon.take_turns()
    front.daemon._wires.clear()
    failures, front.failures = front.failures, []
    for failure in failures:
        failure.raiseException()


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    one.__name__: one
    for one in (
        session, packets, bodies, events, msgpacks, texts, commands, stored, routed, cards, requests, inflated, sockets
    )
}  # fmt: skip
