"""Bytes that are meant to hurt: refused or read, with one connection closed at the most, at a bounded price.

The price is counted in calls and in memory at its peak, never in time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.connection import Connection, Handshake
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import Reason
from kschat.wire.limits import Limits
from kschat.wire.session import EngineSession, HeartbeatTimes, Link
from tests.wire.costs import calls, peak
from tests.wire.fakes import FakeApplication, FakeTimers, FakeTransport
from tests.wire.strategies import PROPERTY, any_bytes, conversations, revisions

MEGABYTE: Final = 1_000_000

#: Enough to see how a price grows, where counting it takes long.
PART: Final = 200_000


def filled(head: bytes, piece: bytes, tail: bytes = b"") -> Callable[[int], bytes]:
    """Makes texts of a size: ``head``, as many of ``piece`` as there is room for, ``tail``."""

    def make(size: int) -> bytes:
        return head + piece * ((size - len(head) - len(tail)) // len(piece)) + tail

    return make


#: What costs no more calls for a megabyte than for a kilobyte.
CHEAP: Final[dict[str, Callable[[int], bytes]]] = {
    "open brackets": filled(b"42", b"["),
    "open brackets of both kinds": filled(b"42", b'[{"":'),
    "open brackets after as many as are allowed": filled(b"42" + b"[" * 64 + b"]" * 64, b"["),
    "open brackets around as many as are allowed": filled(b"42", b"[", b"[" * 64 + b"]" * 64),
    "closed brackets": filled(b"42", b"]"),
    "brackets that close what they did not open": filled(b"42", b"[}"),
    "brackets in a string": filled(b'42["', b"[", b'"]'),
    "brackets in an argument": filled(b'42["x","', b"[", b'"]'),
    "brackets in strings, nested to the limit": filled(b"42" + b'["x",' * 64 + b'"', b"[", b'"' + b"]" * 64),
    "deep JSON in CONNECT": filled(b'40/kschat,{"":', b"["),
    "deep JSON in an ack": filled(b"430", b"["),
    "deep JSON in a binary event": filled(b"451-", b"["),
    "backslashes": filled(b'42["', b"\\"),
    "backslashes, closed": filled(b'42["x","', b"\\\\", b'"]'),
    "backslashes among brackets": filled(b"42" + b"[" * 70 + b'"', b"\\"),
    "quotes": filled(b"42", b'"'),
    "quotes among brackets": filled(b"42" + b"[" * 70, b'"'),
    "escapes that are cut off": filled(b'42["', b"\\u"),
    "digits": filled(b"42", b"9"),
    "digits of an id": filled(b"42/kschat,", b"9", b'["x"]'),
    "digits of a count": filled(b"45", b"9", b'-["x"]'),
    "digits of a name": filled(b"42[", b"9", b"]"),
    "digits of an argument": filled(b'42["x",', b"9", b"]"),
    "digits of an argument of a binary event": filled(b'451-["x",', b"9", b"]"),
    "digits of a fraction": filled(b'451-["x",0.', b"9", b"]"),
    "digits of an exponent": filled(b'451-["x",1e', b"9", b"]"),
    "digits of a placeholder": filled(b'451-["x",{"_placeholder":true,"num":', b"9", b"}]"),
    "a namespace": filled(b"40/", b"a"),
    "a namespace of an event": filled(b"42/", b"a", b',["x"]'),
    "slashes": filled(b"40", b"/"),
    "commas": filled(b"42/", b","),
    "question marks": filled(b"40/", b"?"),
    "spaces": filled(b"42", b" "),
    "spaces in CONNECT": filled(b"40", b" "),
    "spaces in an array": filled(b'42["x"', b" ", b"]"),
    "a name": filled(b'42["', b"a", b'"]'),
    "an argument": filled(b'42["x","', b"a", b'"]'),
    "arguments": filled(b'42["x"', b",1", b"]"),
    "arguments that are arrays": filled(b'42["x"', b",[]", b"]"),
    "arguments of an ack": filled(b"430[1", b",1", b"]"),
    "zero bytes": filled(b"42", b"\x00"),
    "bytes that are no UTF-8": filled(b'42["', b"\xff", b'"]'),
    "bytes of surrogates": filled(b'42["x","', b"\xed\xa0\x80", b'"]'),
    "base64": filled(b"b", b"AAAA"),
    "invalid base64": filled(b"b", b"="),
    "unknown type": filled(b"", b"x"),
    "ones": filled(b"", b"1"),
    "pongs": filled(b"", b"3"),
}

#: What is gone through in Python: so many calls a byte at the most.
COSTLY: Final[dict[str, tuple[float, Callable[[int], bytes]]]] = {
    "numbers as long as Python reads": (0.01, filled(b'451-["x",[0', b"," + b"9" * 4299, b"]]")),
    "halves of pairs": (0.5, filled(b'42["x","', b"\\ud800", b'"]')),
    "escaped backslashes before a half of a pair": (1, filled(b'42["x","\\ud800', b"\\\\", b'"]')),
    "arguments of a binary event": (6, filled(b'451-["x"', b",1", b"]")),
    "arrays in a binary event": (3, filled(b'451-["x",[[]', b",[]", b"]]")),
    "objects in a binary event": (3, filled(b'451-["x",[{}', b",{}", b"]]")),
    "placeholders": (1, filled(b'451-["x",[0', b',{"_placeholder":true,"num":0}', b"]]")),
    "placeholders as deep as is allowed": (
        3,
        filled(b'451-["x",[0', b"," + b"[" * 60 + b'{"_placeholder":true,"num":0}' + b"]" * 60, b"]]"),
    ),
}


class HostileTestCase(SynchronousTestCase):
    """One connection to be hurt."""

    def begin(self, revision: Revision = 4) -> EngineSession:
        self.transport = FakeTransport()
        self.application = FakeApplication()
        session = EngineSession("sid", revision, self.transport, timers=FakeTimers(), times=HeartbeatTimes(25, 20))
        self.connection = Connection(session, self.application, Handshake(), limits=Limits())
        session.listener = self.connection
        session.open((), MEGABYTE)
        self.connection.opened()
        return session


class AnyBytesTests(HostileTestCase):
    """Random bytes, and packets with faults, as frames of a connection."""

    @PROPERTY
    @given(revisions, st.lists(st.builds(Frame, any_bytes, st.booleans()), max_size=8))
    def test_any_frames_are_read_or_close_the_connection(self, revision: Revision, frames: list[Frame]) -> None:
        self.receive(revision, frames)

    @PROPERTY
    @given(revisions.flatmap(lambda revision: st.tuples(st.just(revision), conversations(revision))))
    def test_packets_with_faults_are_read_or_close_the_connection(self, drawn: tuple[Revision, list[Frame]]) -> None:
        self.receive(*drawn)

    def receive(self, revision: Revision, frames: list[Frame]) -> None:
        """No exception comes out; and either all was read, or the connection was closed, with a reason."""
        session = self.begin(revision)
        for frame in frames:
            session.receive(frame.payload, frame.binary)
        closed = session.link is Link.CLOSED
        self.assertEqual(len(self.transport.closed), closed)
        self.assertEqual([what[0] for what in self.application.log].count("ended"), closed)
        self.assertEqual(self.transport.late, [])


class PriceTests(HostileTestCase):
    """What a megabyte of the worst costs."""

    def receive(self, text: bytes) -> None:
        session = self.begin()
        session.receive(b"40")
        session.receive(b"40/kschat,")
        session.receive(text)

    def test_most_of_it_costs_the_same_whatever_its_size(self) -> None:
        for name, make in CHEAP.items():
            small, large = calls(self.receive, make(10_000)), calls(self.receive, make(MEGABYTE))
            self.assertLess(large, 250, name)
            self.assertLessEqual(large, small + 20, name)

    def test_what_python_goes_through_costs_so_much_a_byte(self) -> None:
        for name, (price, make) in COSTLY.items():
            small, large = calls(self.receive, make(PART // 10)), calls(self.receive, make(PART))
            self.assertLess(large, price * PART, name)
            self.assertLess(large, 11 * small, f"{name}: more than linear")

    def test_memory_stays_a_small_multiple_of_the_packet(self) -> None:
        """The worst are tiny values, and tiny pieces to be mended: two bytes each, and some 100 in Python's memory."""
        makes = [*CHEAP.items(), *((name, make) for name, (_, make) in COSTLY.items())]
        for name, make in makes:
            self.assertLess(peak(self.receive, make(PART)), 80 * PART, name)

    def test_a_refusal_keeps_nothing(self) -> None:
        for name in ("open brackets", "digits", "a namespace", "backslashes", "digits of a count"):
            text = CHEAP[name](MEGABYTE)
            session = self.begin()
            session.receive(text)
            self.assertIs(session.link, Link.CLOSED, name)
            self.assertEqual(len(self.transport.closed), 1, name)

    def test_texts_have_the_size_they_are_meant_to_have(self) -> None:
        for make in (*CHEAP.values(), *(make for _, make in COSTLY.values())):
            self.assertLessEqual(len(make(MEGABYTE)), MEGABYTE)
            self.assertGreater(len(make(MEGABYTE)), 0.99 * MEGABYTE)


class AttachmentsPriceTests(HostileTestCase):
    """What waits for attachments is bounded."""

    def test_no_more_is_kept_than_one_packet_may_hold(self) -> None:
        session = self.begin()
        session.receive(b"40/kschat,")
        for count in (Limits().max_attachments + 1, 1000, 999_999):
            session.receive(b'45%d-/kschat,["x"]' % count)
            self.assertIs(session.link, Link.CLOSED)
            session = self.begin()
            session.receive(b"40/kschat,")
        most = Limits().max_attachments
        session.receive(b'45%d-/kschat,["x",{"_placeholder":true,"num":0}]' % most)
        self.assertIsNot(session.link, Link.CLOSED)
        taken = 0
        while session.link is not Link.CLOSED:
            session.receive(b"x" * (2 * MEGABYTE // most), True)
            taken += 2 * MEGABYTE // most
        self.assertEqual(self.application.log[-1][1], Reason.TOO_LARGE)
        self.assertLessEqual(taken, MEGABYTE + 2 * MEGABYTE // most)
