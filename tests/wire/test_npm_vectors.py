"""Our codecs against packets that npm's parsers made, in both directions and both revisions (``vectors/README.md``)."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire import engineio, payload, socketio
from kschat.wire.connection import Connection, Handshake
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.limits import Limits
from kschat.wire.session import EngineSession, HeartbeatTimes, Link
from tests.vectors import load
from tests.wire.fakes import FakeApplication, FakeTimers, FakeTransport
from tests.wire.strategies import mended, stringify, with_binary, without_binary

ENGINE_TYPES: Final = ("open", "close", "ping", "pong", "message", "upgrade", "noop")
CARRIERS: Final = {"websocket": False, "websocket b64": True}


def engine_packet(packet: dict[str, Any]) -> engineio.Packet:
    data = packet.get("data", "")
    binary = isinstance(data, bytes)
    return engineio.Packet(ENGINE_TYPES.index(packet["type"]), data if binary else data.encode(), binary)


class EngineTests(SynchronousTestCase):
    """``wire.engineio``."""

    def setUp(self) -> None:
        self.vectors = [vector for vector in load("engineio") if vector["carrier"] in CARRIERS]

    def test_what_npm_writes_is_read(self) -> None:
        for vector in self.vectors:
            (frame,), (packet,) = vector["frames"], vector["packets"]
            read = (
                engineio.decode_binary(frame, vector["revision"])
                if isinstance(frame, bytes)
                else engineio.decode_text(frame.encode(), vector["revision"])
            )
            self.assertEqual(read, engine_packet(packet), vector["name"])

    def test_what_we_write_is_what_npm_writes(self) -> None:
        for vector in self.vectors:
            (frame,), (packet,) = vector["frames"], vector["packets"]
            written = engineio.encode(engine_packet(packet), vector["revision"], CARRIERS[vector["carrier"]])
            self.assertEqual(written.payload if written.binary else written.payload.decode(), frame, vector["name"])

    def test_there_is_a_vector_for_every_type_and_carrier_of_both_revisions(self) -> None:
        covered = {(vector["revision"], vector["packets"][0]["type"]) for vector in self.vectors}
        self.assertEqual(covered, {(revision, kind) for revision in (3, 4) for kind in ENGINE_TYPES})
        self.assertEqual({vector["carrier"] for vector in self.vectors}, set(CARRIERS))

    def test_the_open_packet_is_that_of_npm(self) -> None:
        opens = {vector["revision"]: vector for vector in self.vectors if vector["packets"][0]["type"] == "open"}
        for revision, vector in opens.items():
            announced = json.loads(vector["packets"][0]["data"])
            ours = engineio.open_data(
                announced["sid"],
                upgrades=announced["upgrades"],
                ping_interval=announced["pingInterval"] / 1000,
                ping_timeout=announced["pingTimeout"] / 1000,
                max_payload=1_000_000,
            )
            if revision == 4:
                self.assertEqual(ours.decode(), vector["packets"][0]["data"])
            else:
                # One field more, which clients of revision 3 pass over.
                self.assertEqual(json.loads(ours), {**announced, "maxPayload": 1_000_000})


class PollingTests(SynchronousTestCase):
    """``wire.payload``."""

    def setUp(self) -> None:
        self.vectors = [vector for vector in load("engineio") if vector["carrier"] not in CARRIERS]

    def test_what_npm_writes_is_read(self) -> None:
        for vector in self.vectors:
            (body,) = vector["frames"]
            revision = vector["revision"]
            read = [
                engineio.decode_binary(frame.payload, revision)
                if frame.binary
                else engineio.decode_text(frame.payload, revision)
                for frame in payload.decode(body if isinstance(body, bytes) else body.encode(), revision)
            ]
            self.assertEqual(read, [engine_packet(packet) for packet in vector["packets"]], vector["name"])

    def test_what_we_write_is_what_npm_writes(self) -> None:
        for vector in self.vectors:
            (body,) = vector["frames"]
            revision = vector["revision"]
            frames = [engineio.encode(engine_packet(packet), revision) for packet in vector["packets"]]
            written, count = payload.encode(frames, revision, 10**6, text_only="b64" in vector["carrier"])
            self.assertEqual(count, len(frames))
            self.assertEqual(written.payload if written.binary else written.payload.decode(), body, vector["name"])

    def test_there_is_a_vector_for_every_carrier(self) -> None:
        covered = {(vector["revision"], vector["carrier"]) for vector in self.vectors}
        self.assertEqual(covered, {(3, "polling"), (3, "polling b64"), (4, "polling")})


class SocketTests(SynchronousTestCase):
    """``wire.socketio``."""

    #: Our ``Event.name`` is a string. A client that emits a number listens for its string as well.
    named_by_a_number = "event whose name is a number"

    def setUp(self) -> None:
        self.vectors = load("socketio")

    def read(self, frames: list[str | bytes]) -> socketio.Packet:
        decoder = socketio.Decoder(Limits())
        read = [decoder.binary(one) if isinstance(one, bytes) else decoder.text(one.encode()) for one in frames]
        self.assertEqual(read[:-1], [None] * (len(read) - 1))
        assert read[-1] is not None
        return read[-1]

    def test_what_npm_writes_is_read(self) -> None:
        for vector in self.vectors:
            expected = vector["packet"]
            packet = self.read(vector["frames"])
            name = vector["name"]
            self.assertEqual(packet.namespace, expected["namespace"], name)
            match packet:
                case socketio.Connect():
                    self.assertEqual("CONNECT", expected["type"], name)
                    self.assertEqual(packet.query, expected.get("query", ""), name)
                    self.assertEqual(json.loads(packet.data or "null"), expected.get("data"), name)
                case socketio.Disconnect():
                    self.assertEqual("DISCONNECT", expected["type"], name)
                case socketio.ConnectError():
                    self.assertEqual("CONNECT_ERROR", expected["type"], name)
                    self.assertEqual(json.loads(packet.data), expected["data"], name)
                case socketio.Event():
                    self.assert_array(packet, "EVENT", expected, name)
                    self.assertEqual(packet.name, str(expected["data"][0]), name)
                case socketio.Ack():
                    self.assert_array(packet, "ACK", expected, name)

    def assert_array(
        self, packet: socketio.Event | socketio.Ack, kind: str, expected: dict[str, Any], name: str
    ) -> None:
        self.assertEqual(kind if not packet.attachments else f"BINARY_{kind}", expected["type"], name)
        self.assertEqual(packet.id, expected.get("id"), name)
        values = [json.loads(bytes(argument)) for argument in packet.args]
        if packet.attachments:
            values = [with_binary(value, packet.attachments) for value in values]
        data = expected["data"][1:] if kind == "EVENT" else expected["data"]
        self.assertEqual(values, mended(data), name)

    def test_what_we_write_is_what_npm_writes(self) -> None:
        for vector in self.vectors:
            if not vector["write"] or vector["name"].startswith(self.named_by_a_number):
                continue
            text, attachments = socketio.encode(socket_packet(vector["packet"]))
            self.assertEqual([text.decode(), *attachments], vector["frames"], vector["name"])

    def test_a_name_that_is_a_number_is_written_as_its_string(self) -> None:
        for vector in self.vectors:
            if vector["name"].startswith(self.named_by_a_number):
                self.assertEqual(socketio.encode(socket_packet(vector["packet"])), (b'2["1",2]', ()))

    def test_what_npm_refuses_is_refused(self) -> None:
        taken = []
        for vector in load("refused"):
            with contextlib.suppress(ProtocolError):
                taken.append((vector["name"], self.read(vector["frames"])))
        self.assertEqual(taken, [])


class ConnectionTests(SynchronousTestCase):
    """The whole of the wire: what npm's clients write, in npm's frames, and what the application is told."""

    def test_a_connection_hears_what_npm_clients_say(self) -> None:
        for vector in load("socketio"):
            expected = socket_packet(vector["packet"])
            if isinstance(expected, socketio.ConnectError):
                continue  # which servers send alone
            self.assertEqual(self.heard(vector, expected), self.told(expected), vector["name"])

    def heard(self, vector: dict[str, Any], expected: socketio.Packet) -> list[tuple[Any, ...]]:
        """What an application is told of a vector, whose sender is in the namespace where it must be."""
        revision: engineio.Revision = 3 if vector["revision"] == 3 else 4
        application = FakeApplication()
        session = EngineSession("sid", revision, FakeTransport(), timers=FakeTimers(), times=HeartbeatTimes(25, 20))
        connection = session.listener = Connection(session, application, Handshake(), limits=Limits())
        session.open((), 1_000_000)
        if not isinstance(expected, socketio.Connect):
            session.receive(b"40" + expected.namespace.encode() + b",")
            self.assertIn(expected.namespace, connection.sockets)
            application.take()
        for frame in vector["frames"]:
            if isinstance(frame, bytes):
                session.receive(b"\x04" * (revision == 3) + frame, True)
            else:
                session.receive(b"4" + frame.encode())
        self.assertIsNot(session.link, Link.CLOSED, vector["name"])
        return [(what, namespace, comparable(said)) for what, namespace, said in application.take()]

    def told(self, packet: socketio.Packet) -> list[tuple[Any, ...]]:
        match packet:
            case socketio.Connect():
                return [("connect", packet.namespace, packet)]
            case socketio.Disconnect():
                return [("disconnected", packet.namespace, Reason.CLIENT_DISCONNECT)]
            case socketio.Event():
                return [("event", packet.namespace, comparable(packet))]
        return [("acked", packet.namespace, comparable(packet))]


def comparable(said: Any) -> Any:
    """Events and acks by the values of their arguments, with the binary in its places."""
    if not isinstance(said, socketio.Event | socketio.Ack):
        return said
    values = [mended(json.loads(bytes(argument))) for argument in said.args]
    if said.attachments:
        values = [with_binary(value, said.attachments) for value in values]
    return (getattr(said, "name", None), said.id, values)


def socket_packet(packet: dict[str, Any]) -> socketio.Packet:
    """The packet of a vector as ours."""
    namespace = packet["namespace"]
    written = stringify(packet["data"]) if "data" in packet and packet["type"].startswith("CONNECT") else b""
    match packet["type"]:
        case "CONNECT":
            return socketio.Connect(namespace, written, packet.get("query", ""))
        case "DISCONNECT":
            return socketio.Disconnect(namespace)
        case "CONNECT_ERROR":
            return socketio.ConnectError(namespace, written)
    attachments: list[bytes] = []
    args = [msgspec.Raw(stringify(without_binary(value, attachments))) for value in packet["data"]]
    if packet["type"].endswith("EVENT"):
        name = str(packet["data"][0])
        return socketio.Event(name, tuple(args[1:]), namespace, packet.get("id"), tuple(attachments))
    return socketio.Ack(packet["id"], tuple(args), namespace, tuple(attachments))
