"""The cork: transports are flushed once each, in the order in which they got something."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.cork import Cork


class CorkedTransport:
    """A transport that does what ``wire.cork`` asks of it."""

    def __init__(self, cork: Cork, name: str, writes: list[str]) -> None:
        self.cork = cork
        self.name = name
        self.writes = writes
        self.held: list[str] = []

    def send(self, data: str) -> None:
        if not self.cork.held:
            self.writes.append(f"{self.name}: {data}")
            return
        if not self.held:
            self.cork.dirty.append(self)
        self.held.append(data)

    def flush(self) -> None:
        held, self.held = self.held, []
        self.writes.append(f"{self.name}: {'+'.join(held)}")


class CorkTests(SynchronousTestCase):
    """``Cork``."""

    def setUp(self) -> None:
        self.cork = Cork()
        self.writes: list[str] = []
        self.one, self.two = (CorkedTransport(self.cork, name, self.writes) for name in ("one", "two"))

    def test_nothing_is_held_at_first(self) -> None:
        self.one.send("a")
        self.assertEqual(self.writes, ["one: a"])

    def test_each_transport_is_written_to_once_a_batch(self) -> None:
        self.cork.hold()
        for data in "abc":
            self.two.send(data)
            self.one.send(data.upper())
        self.assertEqual(self.writes, [])
        self.cork.release()
        self.assertEqual(self.writes, ["two: a+b+c", "one: A+B+C"])

    def test_after_the_release_nothing_is_held(self) -> None:
        self.cork.hold()
        self.one.send("a")
        self.cork.release()
        self.one.send("b")
        self.cork.release()
        self.assertEqual(self.writes, ["one: a", "one: b"])
        self.assertEqual(self.cork.dirty, [])

    def test_what_a_flush_leads_to_is_written_at_once(self) -> None:
        """A slow reader's close frame, say."""
        flush = self.one.flush

        def flush_and_more() -> None:
            flush()
            self.two.send("more")

        self.one.flush = flush_and_more  # type: ignore[method-assign]
        self.cork.hold()
        self.one.send("a")
        self.cork.release()
        self.assertEqual(self.writes, ["one: a", "two: more"])

    def test_two_corks_do_not_know_each_other(self) -> None:
        Cork().hold()
        self.one.send("a")
        self.assertEqual(self.writes, ["one: a"])
