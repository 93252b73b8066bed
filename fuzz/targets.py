"""The fuzzed code: each target parses untrusted bytes, and catches only the errors that the code documents."""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

import msgspec
from autobahn.exception import PayloadCorruptError, PayloadExceededError
from autobahn.websocket.compress import PerMessageDeflate, PerMessageDeflateOffer
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from kschat.backends.amqp import codec as amqp
from kschat.backends.amqp.neighbours import Card, Neighbours
from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.backends.redis import RedisBus
from kschat.backends.redis import Settings as RedisSettings
from kschat.backends.redis.client.connection import Connection as RedisConnection
from kschat.backends.redis.client.connection import Subscriber
from kschat.backends.redis.store import codec as redis
from kschat.chat import outgoing
from kschat.chat.cluster_commands import ClusterCommandError, unpacked
from kschat.chat.interfaces import Stored
from kschat.chat.keys import Keys, KeysError
from kschat.chat.message import Message
from kschat.chat.tokens import TokenError, Verifier
from kschat.counters import Counters
from kschat.front.channel import redacted
from kschat.front.clients import ClientAddress, ClientAddresses
from kschat.front.deflate import BoundedDeflate, accept
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
from tests.chat import peers
from tests.chat.daemon import NOW, SECRET
from tests.front.daemon import Daemon, Peer
from tests.front.frames import client_frame, deflated
from tests.wire.fakes import FakeTimers, FakeTransport

T = TypeVar("T")

LIMITS: Final = Limits()
NAMED: Final = ProtocolError

#: Between two frames of one input; polling of revision 4 has it as well.
BETWEEN: Final = b"\x1e"


class Welcome:
    """An application that accepts every socket, reads every argument, and answers events that ask for an ack."""

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
    """Frames of a whole session. The first byte chooses the revision; 01 begins a binary frame, 02 is an alarm."""
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
    """One packet of Engine.IO, decoded and encoded again."""
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
    """Bodies of polling, and of JSONP."""
    for revision in (3, 4):
        for body in (data, b"d=" + data):
            try:
                text = jsonp.form(body) if body is not data else body
                frames = list(payload.decode(text, revision))
            except NAMED:
                continue
            again, count = payload.encode(frames, revision, 1_000_000)
            assert count == len(frames)
            # With lengths as text, an empty packet is decoded as a noop.
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
    """JSON that is checked without being decoded."""
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
    """Commands that another daemon publishes on Redis."""
    try:
        unpacked(data)
    except ClusterCommandError:
        pass


MESSAGE: Final = Message("000000000000000100000000", "ann", "ben", "ann", "ben", msgspec.Raw(b'"x"'), 1)


def stored(data: bytes) -> None:
    """Messages in the answers of Redis scripts."""
    for read in (
        lambda: redis.message_of(b"1-1", data),
        lambda: redis.listed_of(b"1-1", data, False),
        lambda: redis.listed_of(data, b"\x98", True),
        lambda: redis.update_as_read(b"1-1", *data.split(BETWEEN, 1)) if BETWEEN in data else None,
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
    """Do what a daemon does next with a message."""
    assert int(one.message.mid[:16], 16) >= 0
    json.loads(outgoing.piece(one.message, 1))
    amqp.packed([one])
    redis.BatchEncoder().encode([one.message])


class _Properties:
    reply_to = None


def cards(data: bytes) -> None:
    """Announcements of other daemons."""
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
    """Compressed frames of a WebSocket: the input as compressed bytes, and compressed first."""
    agreed = accept([PerMessageDeflateOffer()])
    assert agreed is not None
    one = BoundedDeflate(PerMessageDeflate.create_from_offer_accept(True, agreed))
    one.start_decompress_message()
    try:
        one.decompress_message_data(data)
        one.end_decompress_message()
    except (PayloadCorruptError, PayloadExceededError):
        pass
    front = _DEFLATING.get()
    with _no_failures():
        peer = front.websocket(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
        for part in (deflated(b"40/kschat,"), data, deflated(data)):
            peer.arrive(client_frame(part, rsv=4))
        _finish(front, peer)


@contextmanager
def _no_failures() -> Iterator[None]:
    """Raise each failure that is logged meanwhile."""
    logged: list[Failure] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            logged.append(event["log_failure"])

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)
        for failure in logged:
            failure.raiseException()


#: Inputs after which a shared object is replaced, so that it does not grow.
INPUTS: Final = 200


class _Renewed(Generic[T]):
    """An object that takes long to make, and so serves several inputs."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._left = 0

    def get(self) -> T:
        """The one for the next input."""
        if not self._left:
            self._one, self._left = self._make(), INPUTS
        self._left -= 1
        return self._one

    def drop(self) -> None:
        """Make another one for the next input."""
        self._left = 0


_FRONT: Final = _Renewed(lambda: Daemon(Welcome(), access_log=False))
_DEFLATING: Final = _Renewed(lambda: Daemon(Welcome(), access_log=False, deflate=True))


def sockets(data: bytes) -> None:
    """Bytes on a WebSocket that has joined: raw, and as frames."""
    front = _FRONT.get()
    with _no_failures():
        peer = front.joined()
        raw, _, rest = data.partition(b"\x00\x1e")
        if rest or data[:1] < b"\x80":
            for part in (raw + BETWEEN + rest).split(BETWEEN):
                peer.arrive(client_frame(part[1:], 2) if part[:1] == b"\x01" else client_frame(part))
        else:
            peer.arrive(data)
        _finish(front, peer)


def _finish(front: Daemon, peer: Peer) -> None:
    """Close a client's connection."""
    front.take_turns()
    if peer.wire.connected:
        peer.wire.finish()
    front.take_turns()
    front._wires.clear()


#: Frames sent to a client after which it reconnects.
MAX_FRAMES: Final = 1000


class _Chat:
    """A whole chat in memory, on a bus of Redis that is never connected; and two of its clients."""

    def __init__(self) -> None:
        clock = Clock()
        clock.advance(NOW)
        settings = RedisSettings(url="redis://127.0.0.1:1")
        self.bus = RedisBus(settings, settings, clock, Counters())
        store = MemoryStore(10_000, 10_000_000)
        self.daemon = peers.Daemon(store, MemoryRouter(), clock, bus=self.bus)
        self.clients = {user: self.joined(user) for user in ("ann", "ben")}

    def joined(self, user: str) -> peers.Client:
        """A client with all options."""
        client = self.daemon.client(user, rooms="*")
        return client.join(receipts=True, carbons=True, typing=True, batch=True, updates=True)

    def last_mid(self) -> str:
        """The mid of the message that ``ann`` sent last; inputs name it by the mid of ``MESSAGE``."""
        sent = [one["mid"] for one in self.clients["ann"].events("RESPSEND") if "mid" in one]
        return sent[-1] if sent else MESSAGE.mid

    def settle(self) -> None:
        """Let gathered events be sent, and clients confirm them."""
        for client in self.clients.values():
            self.daemon.clock.advance(1)
            client.pong()
        self.daemon.clock.advance(1)

    def renew(self) -> bool:
        """Reconnect clients that were disconnected; True if all are connected."""
        for user, client in self.clients.items():
            if client.alive and len(client.pipe.frames) > MAX_FRAMES:
                client.drop()
            if not client.alive:
                self.clients[user] = self.joined(user)
        return all(client.alive for client in self.clients.values())


_CHATS: Final = _Renewed(_Chat)


def commands_of_clients(data: bytes) -> None:
    """Events of a client for the chat, as arrays, or any frames."""
    chat = _CHATS.get()
    with _no_failures():
        session = chat.clients["ann"].session
        for number, part in enumerate(data.split(BETWEEN)):
            if part[:1] == b"\x01":
                session.receive(part[1:], True)
            else:
                part = part.decode("utf-8", "replace").encode()  # as a WebSocket has done before
                part = part.replace(MESSAGE.mid.encode(), chat.last_mid().encode())
                session.receive(b"42/kschat,%d%b" % (number, part) if part[:1] == b"[" else part)
            chat.daemon.clock.advance(0)
        chat.settle()
        for client in chat.clients.values():
            client.read()  # everything can be decoded
        assert chat.renew()


#: Another chat, in which tokens may be revoked.
_HEARING: Final = _Renewed(_Chat)


def published(data: bytes) -> None:
    """Publications on the channels that a daemon is subscribed to, and their effects on its clients.

    The body of an event is trusted.
    """
    chat = _HEARING.get()
    bus = chat.bus
    name, _, body = data[1:].partition(BETWEEN)
    channels = (bus._user + b"ann", bus._all, bus._user + name, bus._presence + name, bus._wants)
    with _no_failures():
        bus._arrived(channels[data[0] % len(channels)] if data else b"", body)
        chat.settle()
        if not chat.renew():
            _HEARING.drop()


class _Link:
    """The transport of a connection to Redis."""

    def __init__(self) -> None:
        self.aborted = False

    def write(self, data: bytes) -> None:
        """Nothing is sent."""

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, on: bool) -> None:
        """This is not a socket."""

    def setTcpKeepAlive(self, on: bool) -> None:
        """This is not a socket."""


def replies(data: bytes) -> None:
    """Replies of Redis, on a connection for commands and on one for subscriptions."""
    if re.search(rb"[0-9]{6}", data):
        return  # lengths of a Redis are trusted
    clock = Clock()
    for one in (RedisConnection(clock), Subscriber(clock, lambda channel, body: None)):
        link: Any = _Link()
        one.makeConnection(link)
        for command in (("SUBSCRIBE", "a", "b"), ("PING",)):
            one.execute_command(*command).addErrback(lambda _: None)
        for part in (data[: len(data) // 2], data[len(data) // 2 :]):
            if not link.aborted:
                one.dataReceived(part)
        one.connectionLost(Failure(ConnectionLost()))


_VERIFIER: Final = Verifier(Keys.from_secret(SECRET), ("HS256",), lambda: NOW)
_HEADER: Final = b'{"alg":"HS256"}'


def tokens(data: bytes) -> None:
    """Tokens: the input itself, and as claims with a valid signature; and JWK Sets."""
    head, between, claims = data.partition(BETWEEN)
    if not between:
        head, claims = _HEADER, data
    signed = b"%b.%b" % (_unpadded(head), _unpadded(claims))
    signature = _unpadded(hmac.digest(SECRET, signed, "sha256"))
    for token in (data.decode("latin-1"), data.decode("utf-8", "replace"), f"{signed.decode()}.{signature.decode()}"):
        try:
            identity = _VERIFIER.verify(token)
        except TokenError:
            continue
        assert identity.user
        if identity.to is not None:
            identity.to.allow("ben")
    for strict in (True, False):
        try:
            Keys.from_jwks(data, strict=strict)
        except KeysError:
            pass


def _unpadded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "session": session,
    "packets": packets,
    "bodies": bodies,
    "events": events,
    "msgpacks": msgpacks,
    "texts": texts,
    "sockets": sockets,
    "requests": requests,
    "inflated": inflated,
    "tokens": tokens,
    "chat": commands_of_clients,
    "commands": commands,
    "published": published,
    "replies": replies,
    "stored": stored,
    "routed": routed,
    "cards": cards,
}
