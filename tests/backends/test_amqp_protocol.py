"""What is written to RabbitMQ, and when. (Whether RabbitMQ likes it: ``test_amqp``.)"""

from typing import Any

import pika
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.amqp.protocol import AmqpProtocol


class Transport(StringTransport):
    """Keeps each piece that was written."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)
        super().write(data)

    def setTcpNoDelay(self, enabled: bool) -> None:
        """As a TCP connection's."""


class Gathered(SynchronousTestCase):
    def setUp(self) -> None:
        self.protocol = AmqpProtocol(pika.ConnectionParameters(), Clock(), lambda: "")
        self.transport = Transport()
        self.protocol.makeConnection(self.transport)
        assert self.protocol.ready is not None
        self.protocol.ready.addErrback(lambda _: None)
        # The protocol's header was written.
        self.transport.pieces.clear()

    def frames(self, *frames: bytes) -> None:
        """Write as pika does."""
        implementation: Any = self.protocol._impl
        for frame in frames:
            implementation._adapter_emit_data(frame)

    def test_a_frame_is_written_when_nothing_is_held(self) -> None:
        self.frames(b"a", b"b")
        self.assertEqual(self.transport.pieces, [b"a", b"b"])

    def test_frames_that_are_held_go_out_in_one_piece(self) -> None:
        self.assertTrue(self.protocol.hold())
        self.frames(b"a", b"b", b"c")
        self.assertEqual(self.transport.pieces, [])
        self.protocol.release()
        self.assertEqual(self.transport.pieces, [b"abc"])
        self.frames(b"d")
        self.assertEqual(self.transport.pieces, [b"abc", b"d"])

    def test_who_began_to_hold_releases(self) -> None:
        self.assertTrue(self.protocol.hold())
        self.assertFalse(self.protocol.hold())
        self.frames(b"a")
        self.protocol.release()
        self.assertTrue(self.protocol.hold())

    def test_nothing_is_written_where_nothing_was_held(self) -> None:
        self.protocol.hold()
        self.protocol.release()
        self.assertEqual(self.transport.pieces, [])

    def test_what_is_held_is_sent_before_the_end(self) -> None:
        self.protocol.hold()
        self.frames(b"close-ok")
        self.protocol.transport.loseConnection()
        self.assertEqual(self.transport.pieces, [b"close-ok"])
        self.assertTrue(self.transport.disconnecting)
        self.protocol.release()

    def test_what_one_read_brought_is_answered_in_one_piece(self) -> None:
        def answer() -> None:
            self.frames(b"a", b"b")

        self.protocol.after_read = answer
        self.protocol.dataReceived(b"")
        self.assertEqual(self.transport.pieces, [b"ab"])

    def test_a_failure_holds_nothing_back_for_ever(self) -> None:
        def fail() -> None:
            self.frames(b"a")
            raise RuntimeError("wrong")

        self.protocol.after_read = fail
        self.assertRaises(RuntimeError, self.protocol.dataReceived, b"")
        self.assertEqual(self.transport.pieces, [b"a"])
        self.assertTrue(self.protocol.hold())
