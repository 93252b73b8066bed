"""Canaries: what of Twisted's privates more than one floor uses; and what is written at once."""

import socket
from typing import Any

from twisted.internet.tcp import Connection
from twisted.trial.unittest import SynchronousTestCase

from kschat import compat_tcp
from kschat.compat_tcp import is_direct, write_now
from tests.canary import Canary, Private


class Nobody:
    """In the place of a reactor and of a protocol."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def connection(of: socket.socket) -> Any:
    """A connection of Twisted's that nobody reads or writes."""
    nobody: Any = Nobody()
    made = Connection(of, nobody, nobody)
    made.connected = True
    return made


def without() -> Any:
    """One without a socket below."""
    none: Any = Nobody()
    return connection(none)


class Tcp(Canary, SynchronousTestCase):
    module = compat_tcp
    names = (
        Private(without, "_tempDataBuffer", "twisted", "write_now needs, or what waits would be overtaken"),
        Private(without, "dataBuffer", "twisted", "write_now needs, or what waits would be overtaken"),
        Private(without, "writeSomeData", "twisted", "write_now needs"),
    )

    def setUp(self) -> None:
        here, self.there = socket.socketpair()
        self.addCleanup(here.close)
        self.addCleanup(self.there.close)
        here.setblocking(False)
        self.transport = connection(here)

    def test_what_is_written_leaves_at_once(self) -> None:
        self.assertTrue(is_direct(self.transport))
        self.assertEqual(write_now(self.transport, b"abc"), b"")
        self.assertEqual(self.there.recv(10), b"abc")

    def test_nothing_overtakes_what_waits(self) -> None:
        self.transport.write(b"first")
        self.assertEqual(write_now(self.transport, b"second"), b"second")

    def test_the_rest_is_left_to_twisted(self) -> None:
        much = b"x" * 50_000_000
        rest = write_now(self.transport, much)
        self.assertTrue(0 < len(rest) < len(much))

    def test_what_can_not_be_written_is_left_to_twisted_which_finds_out_why(self) -> None:
        self.there.close()
        self.assertEqual(write_now(self.transport, b"abc"), b"abc")

    def test_a_connection_that_has_ended_is_not_written_to(self) -> None:
        self.transport.connected = False
        self.assertEqual(write_now(self.transport, b"abc"), b"abc")
