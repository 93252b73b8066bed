"""One socket's way through its user's inbox, step by step. The store's answers and the news come from the test."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

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
        return self.daemon.joined("ben", **query)

    def small(self, **bounds: int) -> None:
        """Make bounds of the inbox small for this test."""
        patched = patch.multiple("kschat.chat.inbox", **bounds)
        patched.start()
        self.addCleanup(patched.stop)


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
        (inbox,) = self.store.pending("inbox")
        # The store had looked before it took the note, and answers after it.
        inbox.look()
        note.answer()
        inbox.answer()
        self.assertIs(again.feed.way, Way.LIVE)
        self.assertEqual(again.offsets(), [])
