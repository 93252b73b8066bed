"""One socket's way through its user's inbox, step by step. The store's answers and the news come from the test."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import inbox
from kschat.chat.hub import NOTE_WAIT
from kschat.chat.inbox import Way
from kschat.chat.interfaces import Stored
from tests.chat.peers import Client, Daemon, message
from tests.chat.stores import AskedStore, Shelves


class InboxTestCase(SynchronousTestCase):
    """A daemon, an inbox of Ben, and news that come when the test brings them."""

    def setUp(self) -> None:
        self.shelves = Shelves()
        self.store = AskedStore(self.shelves)
        self.daemon = Daemon(self.store)

    def put(self, count: int = 1, **fields: Any) -> list[Stored]:
        """Messages to Ben that are stored, and of which no news came."""
        return [self.shelves.put(message("ben", **fields)) for _ in range(count)]

    def bring(self, count: int = 1, **fields: Any) -> list[Stored]:
        """Messages to Ben of which news came, in one batch."""
        batch = self.put(count, **fields)
        self.daemon.news(*batch)
        return batch

    def joined(self, **query: str) -> Client:
        """A client of Ben's."""
        return self.daemon.joined("ben", query)

    def small(self, **bounds: int) -> None:
        """Make bounds of the inbox small for this test."""
        for name, value in bounds.items():
            self.patch(inbox, name, value)


class TestReading(InboxTestCase):
    def test_news_that_come_while_the_store_finds_nothing_are_not_taken_for_what_is_kept_no_longer(self) -> None:
        self.put(3)
        self.shelves.drop("ben", 3)
        self.store.held = self.store.prompt = True
        client = self.joined()
        self.store.questions.pop(0).answer()  # where the inbox stands: 1 to 3 are to be read
        (read,) = self.store.pending("read")
        self.bring()
        self.store.questions.remove(read)
        read.answer()
        self.store.answer_all()
        self.assertEqual(client.offsets(), [4])
        self.assertIs(client.feed.way, Way.LIVE)

    def test_a_backlog_of_large_messages_is_sent_no_faster_than_it_is_proved(self) -> None:
        self.put(40, msg=Raw(b'"%b"' % (b"x" * 100_000)))
        client = self.joined()
        most = 0
        while client.pipe.asked is not None:
            before = len(client.offsets())
            client.pong()
            most = max(most, len(client.offsets()) - before)
        self.assertEqual(client.offsets(), list(range(1, 41)))
        self.assertLessEqual(most, 3)

    def test_a_store_is_not_asked_again_and_again_for_large_messages_that_one_page_cannot_hold(self) -> None:
        self.put(100, msg=Raw(b'"%b"' % (b"x" * 300_000)))
        client = self.joined()
        while client.pong():
            pass
        self.assertEqual(len(client.offsets()), 100)
        self.assertLess(sum(limit for _, _, limit in self.store.calls("read")), 300)

    def test_attachments_count_as_much_as_text(self) -> None:
        self.put(3, msg=Raw(b'{"_placeholder":true,"num":0}'), attachments=(bytes(300_000),))
        client = self.joined()
        self.assertEqual(client.offsets(), [1])
        client.pong()
        self.assertEqual(client.offsets(), [1, 2])

    def test_what_comes_while_a_million_bytes_are_unproved_waits_in_the_store(self) -> None:
        client = self.joined()
        self.bring(40, msg=Raw(b'"%b"' % (b"x" * 100_000)))
        self.assertEqual(client.offsets(), list(range(1, 11)))
        self.assertIs(client.feed.way, Way.LAGGING)
        while client.pong():
            pass
        self.assertEqual(client.offsets(), list(range(1, 41)))
        self.assertIs(client.feed.way, Way.LIVE)


class TestCursor(InboxTestCase):
    def test_a_user_who_is_back_before_the_cursor_is_stored_is_not_sent_what_was_proved(self) -> None:
        client = self.joined()
        self.bring(3)
        client.pong()
        client.drop()
        self.store.held = True
        self.daemon.clock.advance(NOTE_WAIT)
        (note,) = self.store.pending("note")
        again = self.joined()
        (stands,) = self.store.pending("inbox")
        # The store had looked before it took the note, and answers after it.
        stands.look()
        note.answer()
        stands.answer()
        self.assertIs(again.feed.way, Way.LIVE)
        self.assertEqual(again.offsets(), [])
