"""One socket's way through its user's inbox, step by step. The store's answers and the news come from the test."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import inflight, stream
from kschat.chat.interfaces import RETRY_WAIT, Progress, Stored
from kschat.chat.stream import GAP_WAIT, MAX_REREADS, StreamState
from kschat.chat.write_behind import WRITE_BEHIND_WAIT
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

    def state(self, client: Client) -> StreamState:
        """As a function, lest mypy thinks it never changes."""
        return client.stream.state

    def sizes(self, client: Client) -> list[int]:
        """How many messages each RESPRECEIVER has."""
        return [len(event["MSG"]) for event in client.events("RESPRECEIVER")]

    def cursor(self) -> int:
        """What the store has, once it was told."""
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        return self.shelves.shelf("ben").cursor

    def small(self, **bounds: int) -> None:
        """Make bounds of the inbox small for this test."""
        for name, value in bounds.items():
            self.patch(inflight if hasattr(inflight, name) else stream, name, value)


class TestGaps(InboxTestCase):
    """News that come in another order than they were stored, twice, or never."""

    def test_what_comes_in_order_is_written_at_once_and_the_store_is_not_asked(self) -> None:
        client = self.joined()
        self.bring(3)
        self.bring(2)
        self.assertEqual(client.offsets(), [1, 2, 3, 4, 5])
        self.assertEqual(self.store.calls("read"), [])

    def test_what_comes_twice_is_cut(self) -> None:
        client = self.joined()
        batch = self.bring(2)
        self.daemon.news(*batch, *batch)
        self.assertEqual(client.offsets(), [1, 2])

    def test_early_ones_wait_for_the_gap_to_fill(self) -> None:
        client = self.joined()
        one, two, three, four = self.put(4)
        self.daemon.news(three)
        self.daemon.news(four, two)
        self.assertEqual(client.offsets(), [])
        self.daemon.news(one)
        self.assertEqual(client.offsets(), [1, 2, 3, 4])
        self.assertEqual((self.store.calls("read"), client.stream._early), ([], {}))
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual(self.store.calls("read"), [])

    def test_a_gap_that_stays_is_read_from_the_store(self) -> None:
        client = self.joined()
        self.daemon.news(self.put(3)[2])
        self.daemon.clock.advance(GAP_WAIT - 0.001)
        self.assertEqual(client.offsets(), [])
        self.daemon.clock.advance(0.001)
        self.assertEqual(client.offsets(), [1, 2, 3])
        self.assertIs(self.state(client), StreamState.LIVE)

    def test_a_gap_is_not_waited_for_longer_because_more_comes_early(self) -> None:
        client = self.joined()
        batch = self.put(9)
        for stored in batch[1:]:
            self.daemon.news(stored)
            self.daemon.clock.advance(GAP_WAIT / 7)
        self.assertEqual(client.offsets()[:5], [1, 2, 3, 4, 5])

    def test_a_second_gap_behind_one_that_was_filled_is_read(self) -> None:
        client = self.joined()
        batch = self.put(5)
        self.daemon.news(batch[1], batch[4])
        self.daemon.news(batch[0])
        self.assertEqual(client.offsets(), [1, 2])
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual(client.offsets(), [1, 2, 3, 4, 5])

    def test_more_early_ones_than_are_kept_are_read_once_the_gap_is_filled(self) -> None:
        self.small(MAX_EARLY=3)
        client = self.joined()
        batch = self.put(8)
        self.daemon.news(*batch[1:])
        self.assertEqual(len(client.stream._early), 3)
        self.daemon.news(batch[0])
        self.assertEqual(client.offsets(), list(range(1, 9)))
        self.assertIs(self.state(client), StreamState.LIVE)

    def test_one_who_leaves_while_a_gap_is_waited_for_leaves_no_timer(self) -> None:
        client = self.joined()
        self.daemon.news(self.put(2)[1])
        client.drop()
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual(self.daemon.clock.getDelayedCalls(), [])
        self.assertEqual(self.store.calls("read"), [])

    def test_what_was_dropped_by_retention_is_no_gap_for_ever(self) -> None:
        client = self.joined()
        batch = self.put(4)
        self.shelves.drop("ben", 3)
        self.daemon.news(batch[3])
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual(client.offsets(), [4])
        self.assertIs(self.state(client), StreamState.LIVE)
        self.bring()
        self.assertEqual(client.offsets(), [4, 5])

    def test_a_store_that_lost_the_newest_and_goes_on_far_beyond_cuts_nobody_off(self) -> None:
        clients = [self.joined(), self.joined(batch="1")]
        self.bring(5)
        self.shelves.lose("ben", 2)
        late = self.joined()
        (after,) = self.bring()
        ((_, offset),) = after.places
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual([client.offsets() for client in clients], [[1, 2, 3, 4, 5, offset]] * 2)
        self.assertEqual(late.offsets(), [1, 2, 3, offset])
        for client in clients * 2:
            client.pong()
        self.assertEqual(self.cursor(), offset)
        self.bring()
        self.assertEqual([client.offsets()[-1] for client in [*clients, late]], [offset + 1] * 3)

    def test_news_of_what_the_store_has_lost_hide_nothing_that_comes_after(self) -> None:
        client = self.joined()
        batch = self.put(5)
        self.daemon.news(*batch[:3])
        self.shelves.lose("ben", 2)
        self.daemon.news(batch[4])  # late, and nobody has the one before it
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual(client.offsets(), [1, 2, 3])
        (after,) = self.bring()
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual(client.offsets(), [1, 2, 3, after.places[0][1]])


class TestOutdatedStore(InboxTestCase):
    """After a failover the store answers from the old master for a while, and news come from the new one."""

    #: What separates the offsets of the new master from those of the old.
    JUMP = 1000

    def setUp(self) -> None:
        super().setUp()
        # Both masters have the first message. From then on messages go to the new one alone.
        self.new = Shelves()
        self.new.put(self.put()[0].message)
        self.new.lose("ben", 0, self.JUMP)
        self.client = self.joined()

    def bring_from_the_new(self) -> int:
        """A message that the new master has stored; its offset."""
        stored = self.new.put(message("ben"))
        self.daemon.news(stored)
        return stored.places[0][1]

    def fail_over(self) -> None:
        """From here on the store answers from the new master."""
        self.store.inner = self.new

    def test_a_message_that_the_old_master_does_not_have_is_not_skipped(self) -> None:
        two = self.bring_from_the_new()
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual(self.client.offsets(), [1])
        three = self.bring_from_the_new()
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual((self.client.offsets(), self.client.stream.at), ([1], 1))
        self.fail_over()
        self.daemon.hub.reconnected()
        self.assertEqual(self.client.offsets(), [1, two, three])

    def test_the_store_is_told_that_it_is_out_of_date(self) -> None:
        two = self.bring_from_the_new()
        self.daemon.clock.advance(GAP_WAIT)
        self.assertEqual(self.store.calls("is_outdated"), [(two,)])

    def test_it_is_read_again_though_nobody_says_that_the_store_has_reconnected(self) -> None:
        two = self.bring_from_the_new()
        self.daemon.clock.advance(GAP_WAIT)
        self.fail_over()
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(self.client.offsets(), [1, two])
        self.assertIs(self.state(self.client), StreamState.LIVE)
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(self.daemon.clock.getDelayedCalls(), [])

    def test_a_socket_that_joined_the_old_master_misses_nothing_of_the_new(self) -> None:
        two = self.bring_from_the_new()
        self.daemon.clock.advance(GAP_WAIT)
        late = self.joined()
        self.assertEqual(late.offsets(), [1])
        three = self.bring_from_the_new()
        self.daemon.clock.advance(GAP_WAIT)
        self.fail_over()
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(late.offsets(), [1, two, three])

    def test_however_late_the_store_learns_of_it_nothing_is_missed(self) -> None:
        two = self.bring_from_the_new()
        for _ in range(10 * MAX_REREADS):
            self.daemon.clock.advance(RETRY_WAIT)
        three = self.bring_from_the_new()
        self.fail_over()
        self.daemon.hub.reconnected()
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(self.client.offsets(), [1, two, three])

    def test_a_backlog_on_the_new_master_is_read_whole(self) -> None:
        self.small(PAGE=2, FIRST_PAGE=2)
        offsets = [self.bring_from_the_new() for _ in range(7)]
        self.daemon.clock.advance(GAP_WAIT)
        self.fail_over()
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(self.client.offsets(), [1, *offsets])

    def test_a_socket_that_leaves_meanwhile_leaves_no_timer(self) -> None:
        self.bring_from_the_new()
        self.daemon.clock.advance(GAP_WAIT)
        self.client.drop()
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual(self.daemon.clock.getDelayedCalls(), [])

    def test_a_recovery_and_a_sync_from_beyond_the_end_tell_the_store(self) -> None:
        claims = self.joined(recover="1")
        claims.read()
        again = self.daemon.client("ben", {"recover": "1"}).join(pid=claims.pid, offset="777")
        self.assertEqual((again.offsets(), again.pid == claims.pid), ([1], False))
        self.assertEqual(again.ask("Sync", {"offset": 888}), {"MSG": [], "more": False})
        self.assertEqual(self.store.calls("is_outdated"), [(777,), (888,)])
        self.bring()
        self.assertEqual(again.offsets(), [1, 2])


class TestMistakenNews(InboxTestCase):
    """News of offsets that the store never gave, by mistake or by forgery."""

    def forge(self, offset: int) -> None:
        self.daemon.news(Stored(message("ben"), (("ben", offset),)))

    def test_a_high_offset_hides_nothing_that_comes_after(self) -> None:
        for offset in (3, 1000, 2**40, 2**53, 2**63 - 1):
            self.setUp()
            clients = [self.joined(), self.joined(batch="1"), self.joined(recover="1")]
            self.bring()
            self.forge(offset)
            self.daemon.clock.advance(GAP_WAIT)
            late = self.joined()
            self.bring()
            self.daemon.clock.advance(RETRY_WAIT)
            self.bring()
            for client in [*clients, late]:
                while client.pong():
                    pass
                self.assertEqual(client.offsets(), [1, 2, 3], offset)
            self.assertEqual(self.cursor(), 3)

    def test_what_comes_is_written_at_once_all_the_while(self) -> None:
        client = self.joined()
        self.forge(1000)
        for count in range(1, 40):
            self.bring()
            self.assertEqual(client.offsets(), list(range(1, count + 1)))
            self.daemon.clock.advance(GAP_WAIT)

    def test_out_of_order_news_are_waited_for_as_always(self) -> None:
        client = self.joined()
        self.forge(1000)
        self.daemon.clock.advance(GAP_WAIT)
        one, two = self.put(2)
        self.daemon.news(two)
        self.daemon.news(one)
        self.assertEqual(client.offsets(), [1, 2])

    def test_the_inbox_is_read_again_only_so_often(self) -> None:
        self.joined()
        self.forge(1000)
        for _ in range(1000):
            self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(len(self.store.calls("read")), 1 + MAX_REREADS)
        self.assertEqual(self.daemon.clock.getDelayedCalls(), [])

    def test_more_of_them_cause_no_more_reads_than_time_allows(self) -> None:
        client = self.joined()
        for offset in range(1000, 2000):
            self.forge(offset)
            self.daemon.clock.advance(GAP_WAIT / 10)
        self.assertLess(len(self.store.calls("read")), 1000 / 10 + 10)
        self.bring()
        self.assertEqual(client.offsets(), [1])

    def test_news_while_a_page_is_read_are_looked_at_too(self) -> None:
        self.store.held = True
        client = self.joined()
        self.store.answer_all()
        self.forge(1000)
        self.daemon.clock.advance(GAP_WAIT)
        self.bring(2)
        self.assertEqual(client.offsets(), [])
        self.store.answer_all()
        self.daemon.clock.advance(RETRY_WAIT)
        self.store.answer_all()
        self.assertEqual(client.offsets(), [1, 2])

    def test_a_cursor_beyond_the_end_of_the_inbox_counts_as_its_end(self) -> None:
        self.put(2)
        self.shelves.shelf("ben").cursor = 50
        client = self.joined()
        self.bring()
        self.assertEqual(client.offsets(), [3])


class TestReading(InboxTestCase):
    """What was missed comes in pages."""

    def test_a_backlog_comes_first_and_then_what_comes(self) -> None:
        self.put(3)
        self.store.held = True
        client = self.joined()
        self.bring()
        self.store.questions.pop(0).answer()
        self.bring()
        self.assertEqual(client.offsets(), [])
        self.store.answer_all()
        self.assertEqual(client.offsets(), [1, 2, 3, 4, 5])
        self.store.held = False
        self.bring()
        self.assertEqual(client.offsets(), [1, 2, 3, 4, 5, 6])

    def test_an_empty_backlog_asks_for_no_page(self) -> None:
        self.assertIs(self.state(self.joined()), StreamState.LIVE)
        self.assertEqual(self.store.calls("read"), [])

    def test_a_page_that_is_proved_brings_the_next(self) -> None:
        self.small(PAGE=10, LAG=10)
        self.put(35)
        client = self.joined()
        seen = []
        while client.pipe.asked is not None:
            seen.append(len(client.offsets()))
            client.pong()
        self.assertEqual(seen, [10, 20, 30, 35])
        self.assertEqual(client.offsets(), list(range(1, 36)))

    def test_pages_grow_to_50(self) -> None:
        self.put(1000)
        client = self.joined()
        while client.pong():
            pass
        self.assertEqual(len(client.offsets()), 1000)
        self.assertEqual([limit for _, _, limit in self.store.calls("read")][:4], [25, 50, 50, 50])

    def test_without_proof_no_more_than_some_pages_are_written(self) -> None:
        self.put(1000)
        client = self.joined()
        self.bring(10)
        self.assertEqual(len(client.offsets()), 225)
        self.assertIs(self.state(client), StreamState.LAGGING)

    def test_a_store_that_gives_shorter_pages_is_asked_again(self) -> None:
        self.shelves.page = 2
        self.put(7)
        self.assertEqual(self.joined().offsets(), list(range(1, 8)))

    def test_a_store_that_is_away_is_asked_again_after_a_second(self) -> None:
        self.put(2)
        self.store.held = True
        client = self.joined()
        self.store.questions.pop(0).answer()
        self.store.questions.pop(0).refuse()
        self.store.held = False
        self.bring()
        self.assertEqual(client.offsets(), [])
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(client.offsets(), [1, 2, 3])

    def test_a_store_that_fails_otherwise_is_logged_and_asked_again(self) -> None:
        self.put(2)
        self.store.held = True
        client = self.joined()
        self.store.questions.pop(0).answer()
        self.store.questions.pop(0).refuse(ZeroDivisionError("a bug in the store"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.store.held = False
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(client.offsets(), [1, 2])

    def test_a_socket_is_let_in_though_the_store_is_away_and_gets_its_inbox_when_it_is_back(self) -> None:
        for error in (None, ZeroDivisionError("a bug in the store")):
            self.setUp()
            self.put(2)
            self.store.away = True
            self.store.error = error or self.store.error
            client = self.joined()
            client.read()
            self.assertIsNotNone(client.sid, error)
            self.daemon.clock.advance(RETRY_WAIT)
            self.store.away = False
            self.bring()
            self.assertEqual(client.offsets(), [])
            self.daemon.clock.advance(RETRY_WAIT)
            self.assertEqual(client.offsets(), [1, 2, 3])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2 * (error is not None))

    def test_one_who_leaves_while_a_page_is_read_is_written_nothing_and_leaves_no_timer(self) -> None:
        self.put(2)
        self.store.held = True
        client = self.joined()
        self.store.questions.pop(0).answer()
        client.drop()
        self.store.answer_all()
        self.store.held = False
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual(client.offsets(), [])
        self.assertEqual(self.daemon.clock.getDelayedCalls(), [])

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
        self.assertIs(client.stream.state, StreamState.LIVE)

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
        self.assertIs(client.stream.state, StreamState.LAGGING)
        while client.pong():
            pass
        self.assertEqual(client.offsets(), list(range(1, 41)))
        self.assertIs(client.stream.state, StreamState.LIVE)


class TestProof(InboxTestCase):
    """Only proof moves the cursor."""

    def test_what_is_only_written_moves_nothing_and_is_written_again(self) -> None:
        client = self.joined()
        self.bring(3)
        client.drop()
        self.assertEqual(self.cursor(), 0)
        self.assertEqual(self.joined().offsets(), [1, 2, 3])

    def test_the_pong_of_a_ping_proves_all_that_was_written_before_it(self) -> None:
        client = self.joined()
        self.bring(3)
        client.pong()
        self.assertEqual(self.cursor(), 3)
        self.assertEqual(self.joined().offsets(), [])

    def test_it_proves_nothing_that_was_written_after_it(self) -> None:
        client = self.joined()
        self.bring(2)
        self.bring(2)
        client.pong()
        self.assertEqual(self.cursor(), 2)
        client.pong()
        self.assertEqual(self.cursor(), 4)

    def test_one_proof_is_asked_at_a_time_and_one_more_for_all_that_came_meanwhile(self) -> None:
        client = self.joined()
        for _ in range(10):
            self.bring(5)
        self.assertEqual(client.pipe.proofs, 1)
        client.pong()
        self.assertEqual((client.pipe.proofs, client.pipe.asked), (2, (50, len(client.pipe.frames))))
        client.pong()
        self.assertEqual((client.pipe.proofs, client.pipe.asked), (2, None))

    def test_the_ack_of_an_event_proves_it_and_what_came_before(self) -> None:
        client = self.joined()
        self.bring(3)
        client.ack(client.read()[1].id or 0)
        self.assertEqual(self.cursor(), 2)

    def test_the_ack_of_another_event_after_it_proves_it_as_well(self) -> None:
        client = self.joined()
        self.bring(2)
        number = client.connection.sockets["/kschat"].emit(b'["RESPSEND",{}]', ask=True)
        client.ack(number or 0)
        self.assertEqual(self.cursor(), 2)

    def test_an_ack_that_was_not_asked_for_yet_is_no_proof_of_what_comes(self) -> None:
        client = self.joined()
        client.ack(0)
        self.bring()
        self.assertEqual(self.cursor(), 0)

    def test_any_device_moves_the_cursor_and_each_gets_every_message(self) -> None:
        first, second = self.joined(), self.joined()
        self.bring(3)
        second.pong()
        self.assertEqual(self.cursor(), 3)
        first.pong()
        self.bring(1)
        self.assertEqual((first.offsets(), second.offsets()), ([1, 2, 3, 4], [1, 2, 3, 4]))
        self.assertEqual(self.cursor(), 3)

    def test_a_slower_device_does_not_move_it_back(self) -> None:
        first, second = self.joined(), self.joined()
        self.bring(2)
        self.bring(2)
        for client in (first, first, second):
            client.pong()
        self.assertEqual(self.cursor(), 4)

    def test_what_comes_while_much_is_unproved_waits_in_the_store(self) -> None:
        self.small(MAX_IN_FLIGHT=5)
        client = self.joined()
        self.bring(8)
        self.assertEqual(client.offsets(), [1, 2, 3, 4, 5])
        self.assertIs(self.state(client), StreamState.LAGGING)
        self.bring(2)
        client.pong()
        self.assertEqual(client.offsets(), list(range(1, 11)))
        client.pong()
        self.assertIs(self.state(client), StreamState.LIVE)
        self.assertEqual(self.cursor(), 10)

    def test_acks_alone_keep_a_backlog_moving(self) -> None:
        self.put(500)
        client = self.joined()
        acked = -1
        while client.offsets()[-1] < 500:
            last = client.read()[-1].id
            assert last is not None
            self.assertGreater(last, acked)
            acked = last
            client.ack(acked)
        self.assertEqual(client.offsets(), list(range(1, 501)))

    def test_of_a_client_that_acks_a_pong_proves_nothing(self) -> None:
        client = self.joined()
        self.bring(1)
        client.ack(client.read()[0].id or 0)
        client.pong()
        self.bring(3)
        client.pong()
        self.assertEqual(self.cursor(), 1)
        client.ack(client.read()[2].id or 0)
        self.assertEqual(self.cursor(), 3)
        client.drop()
        self.assertEqual(self.joined().offsets(), [4])

    def test_a_client_that_acks_late_is_known_by_it(self) -> None:
        client = self.joined()
        for _ in range(3):
            self.bring(1)
            client.pong()
        client.ack(client.read()[1].id or 0)
        self.bring(1)
        client.pong()
        self.assertEqual(self.cursor(), 3)
        client.drop()
        self.assertEqual(self.joined().offsets(), [4])

    def test_of_a_client_that_acks_other_events_alone_a_pong_proves_on(self) -> None:
        client = self.joined()
        self.bring(1)
        client.ack(client.connection.sockets["/kschat"].emit(b'["RESPSEND",{}]', ask=True) or 0)
        client.pong()
        self.bring(2)
        client.pong()
        self.assertEqual(self.cursor(), 3)

    def test_a_pong_lets_more_be_written_to_a_client_that_acks(self) -> None:
        self.small(MAX_IN_FLIGHT=5)
        client = self.joined()
        self.bring(1)
        client.ack(client.read()[0].id or 0)
        client.pong()
        self.bring(8)
        self.assertIs(self.state(client), StreamState.LAGGING)
        while client.pong():
            pass
        self.assertEqual(client.offsets(), list(range(1, 10)))
        self.assertEqual(self.cursor(), 1)
        self.assertIs(self.state(client), StreamState.LIVE)

    def test_of_too_many_that_were_read_and_not_acked_the_oldest_count_as_delivered(self) -> None:
        self.small(MAX_UNACKED=4)
        client = self.joined()
        self.bring(1)
        client.ack(client.read()[0].id or 0)
        for _ in range(4):
            self.bring(2)
            while client.pong():
                pass
        self.assertEqual(self.cursor(), 9 - 4)
        client.ack(client.read()[-1].id or 0)
        self.assertEqual(self.cursor(), 9)

    def test_of_too_many_bytes_as_well(self) -> None:
        self.small(MAX_UNACKED_BYTES=400)
        client = self.joined()
        self.bring(1)
        client.ack(client.read()[0].id or 0)
        while client.pong():
            pass
        for _ in range(8):
            self.bring(1)
            client.pong()
        self.assertGreater(self.cursor(), 1)
        self.assertLess(self.cursor(), 9)

    def test_pings_end_when_all_was_read_though_no_ack_comes(self) -> None:
        client = self.joined()
        self.bring(1)
        client.ack(client.read()[0].id or 0)
        self.bring(3)
        for _ in range(5):
            client.pong()
        self.assertFalse(client.pong())

    def test_what_comes_early_is_let_go_when_its_socket_lags(self) -> None:
        self.small(MAX_IN_FLIGHT=2)
        client = self.joined()
        stored = self.put(4)
        self.daemon.news(*stored[:2], stored[3])
        self.daemon.news(stored[2])
        self.assertIs(self.state(client), StreamState.LAGGING)
        while client.pong():
            pass
        self.assertEqual(client.offsets(), [1, 2, 3, 4])
        self.assertFalse(client.stream._early)

    def test_a_late_ack_proves_nothing_to_the_next_socket_of_its_connection(self) -> None:
        client = self.joined()
        self.bring(2)
        late = client.read()[-1].id or 0
        client.leave()
        client.join()
        self.bring(1)
        client.ack(late)
        self.assertEqual(self.cursor(), 0)
        self.assertNotIn(late, [one.id for one in client.read()])

    def test_a_socket_that_comes_back_on_its_connection_is_proved_what_it_is_sent(self) -> None:
        client = self.joined()
        self.bring(2)
        client.leave()
        client.join()
        self.assertEqual(client.offsets(), [1, 2])
        client.pong()
        self.assertEqual(self.cursor(), 0)
        client.pong()
        self.assertEqual(self.cursor(), 2)


class TestGroups(InboxTestCase):
    """``batch=1``: several messages in one event."""

    def test_what_comes_in_one_batch_comes_in_one_event(self) -> None:
        client, other = self.joined(batch="1"), self.joined()
        self.bring(3)
        self.bring(1)
        self.assertEqual((self.sizes(client), self.sizes(other)), ([3, 1], [1, 1, 1, 1]))
        self.assertEqual(client.offsets(), other.offsets())

    def test_a_page_comes_in_one_event(self) -> None:
        self.put(5)
        self.assertEqual(self.sizes(self.joined(batch="1")), [5])

    def test_one_with_attachments_goes_alone_and_in_order(self) -> None:
        client = self.joined(batch="1")
        text = self.put(2)
        parts = self.put(2, msg=Raw(b'{"_placeholder":true,"num":0}'), attachments=(b"part",))
        self.daemon.news(*text, *parts, *self.put(2))
        self.assertEqual(self.sizes(client), [2, 1, 1, 2])
        self.assertEqual([one["msg"] for one in client.messages()][2:4], [b"part", b"part"])
        self.assertEqual(client.offsets(), [1, 2, 3, 4, 5, 6])

    def test_a_proof_is_asked_after_the_group_was_written(self) -> None:
        client = self.joined(batch="1")
        self.bring(3)
        self.assertEqual(client.pipe.asked, (3, len(client.pipe.frames)))
        client.pong()
        self.assertEqual(self.cursor(), 3)

    def test_a_proof_that_comes_while_a_group_gathers_does_not_count_for_it(self) -> None:
        client = self.joined(batch="1")
        self.bring(1)
        with self.daemon.hub.writing():
            self.bring(2)
            client.pong()
            self.assertIsNone(client.pipe.asked)
        self.assertEqual(client.pipe.asked, (3, len(client.pipe.frames)))
        self.assertEqual(self.cursor(), 1)

    def test_one_ack_proves_the_whole_group(self) -> None:
        client = self.joined(batch="1")
        self.bring(3)
        client.ack(client.read()[0].id or 0)
        self.assertEqual(self.cursor(), 3)

    def test_one_who_leaves_while_a_group_gathers_costs_nobody_anything(self) -> None:
        client, other = self.joined(batch="1"), self.joined(batch="1")
        with self.daemon.hub.writing():
            self.bring(2)
            client.drop()
        self.assertEqual(self.sizes(other), [2])
        self.assertFalse(self.daemon.cork.held)


class TestRecovery(InboxTestCase):
    """Connection state recovery, as stock clients from 4.6 do it by themselves."""

    def recovered(self, client: Client, offset: str | None = None, pid: str | None = None) -> Client:
        """A new connection that shows what the other noted."""
        client.read()
        again = self.daemon.client("ben", {"recover": "1"})
        again.join(pid=client.pid if pid is None else pid, offset=client.noted if offset is None else offset)
        again.read()
        return again

    def test_the_offset_is_the_last_argument_as_a_string_and_no_ack_is_asked(self) -> None:
        client = self.joined(recover="1")
        self.bring(2)
        events = client.read()
        self.assertEqual([(one.id, one.args[1:]) for one in events], [(None, ["1"]), (None, ["2"])])
        self.assertEqual(client.noted, "2")

    def test_of_a_group_it_is_the_last_one_s(self) -> None:
        client = self.joined(recover="1", batch="1")
        self.bring(3)
        (event,) = client.read()
        self.assertEqual((event.id, event.offsets, event.args[1:]), (None, [1, 2, 3], ["3"]))

    def test_one_who_did_not_ask_is_never_given_it(self) -> None:
        client = self.joined()
        self.bring(2)
        self.assertIsNone(client.pid)
        self.assertEqual([len(one.args) for one in client.read()], [1, 1])

    def test_what_it_asks_for_is_proved_by_pongs_as_well(self) -> None:
        client = self.joined(recover="1")
        self.bring(2)
        client.pong()
        self.assertEqual(self.cursor(), 2)

    def test_one_who_shows_where_it_is_gets_what_it_missed_and_its_pid(self) -> None:
        client = self.joined(recover="1")
        self.bring(3)
        client.drop()
        self.bring(2)
        again = self.recovered(client)
        self.assertEqual((again.pid, again.offsets()), (client.pid, [4, 5]))
        self.assertEqual(self.cursor(), 3)

    def test_it_gets_what_it_missed_though_another_device_had_it(self) -> None:
        client, other = self.joined(recover="1"), self.joined()
        self.bring(1)
        client.drop()
        self.bring(3)
        other.pong()
        other.pong()
        self.assertEqual(self.cursor(), 4)
        self.assertEqual(self.recovered(client).offsets(), [2, 3, 4])
        self.assertEqual(self.cursor(), 4)

    def test_it_works_after_a_restart(self) -> None:
        client = self.joined(recover="1")
        self.bring(2)
        client.drop()
        self.daemon = Daemon(self.store)
        self.bring(1)
        again = self.recovered(client)
        self.assertEqual((again.pid, again.offsets()), (client.pid, [3]))

    def test_where_what_was_missed_is_kept_no_longer_it_is_a_new_beginning(self) -> None:
        client = self.joined(recover="1")
        self.bring(2)
        client.drop()
        self.put(5)
        self.shelves.drop("ben", 3)
        again = self.recovered(client)
        self.assertNotEqual(again.pid, client.pid)
        self.assertEqual(again.offsets(), [4, 5, 6, 7])

    def test_a_claim_that_cannot_be_true_is_a_new_beginning_and_proves_nothing(self) -> None:
        client = self.joined(recover="1")
        self.bring(3)
        pid = self.recovered(client).pid
        other = self.daemon.joined("cem", {"recover": "1"})
        other.read()
        for shown, offset in ((pid, "4"), (pid, "999999"), (other.pid, "3"), ("", "3"), ("x" * 100, "3")):
            self.setUp()
            self.put(3)
            again = self.recovered(client, offset, shown)
            self.assertNotIn(again.pid, (None, shown))
            self.assertEqual(again.offsets(), [1, 2, 3])
            self.assertEqual(self.cursor(), 0)

    def test_a_claim_while_the_store_is_away_is_a_new_beginning(self) -> None:
        client = self.joined(recover="1")
        self.bring(2)
        client.drop()
        self.store.away = True
        again = self.recovered(client)
        self.assertNotEqual(again.pid, client.pid)
        self.store.away = False
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(again.offsets(), [1, 2])

    def test_offsets_that_began_anew_void_claims(self) -> None:
        client = self.joined(recover="1")
        self.bring(2)
        client.drop()
        self.store.epoch = "the second"
        self.assertNotEqual(self.recovered(client).pid, client.pid)


class TestCursor(InboxTestCase):
    """What the store is told of what was proved."""

    def notes(self) -> list[dict[str, int]]:
        return [
            dict(progress.cursors)
            for (progress,) in self.store.calls("save_progress")
            if isinstance(progress, Progress)
        ]

    def test_cursors_are_gathered_for_a_moment(self) -> None:
        client = self.joined()
        for _ in range(5):
            self.bring()
            client.pong()
        self.assertEqual(self.notes(), [])
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual(self.notes(), [{"ben": 5}])

    def test_what_the_store_refused_is_told_again(self) -> None:
        client = self.joined()
        self.bring()
        client.pong()
        self.store.away = True
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        self.store.away = False
        self.daemon.clock.advance(RETRY_WAIT)
        self.assertEqual(self.notes(), [{"ben": 1}, {"ben": 1}])
        self.assertEqual(self.shelves.shelf("ben").cursor, 1)
        self.assertEqual(self.daemon.hub.write_behind._cursors, {})

    def test_a_slow_store_is_told_one_thing_at_a_time(self) -> None:
        client = self.joined()
        self.store.held = True
        for _ in range(10):
            self.bring()
            client.pong()
            self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        self.assertEqual(len(self.store.pending("save_progress")), 1)
        self.store.answer_all()
        self.store.held = False
        self.assertEqual(self.cursor(), 10)
        self.assertEqual(self.notes(), [{"ben": 1}, {"ben": 10}])
        self.assertEqual((self.daemon.hub.write_behind._cursors, self.daemon.hub.write_behind._dirty), ({}, set()))

    def test_a_user_who_is_back_before_the_cursor_is_stored_is_not_sent_what_was_proved(self) -> None:
        client = self.joined()
        self.bring(3)
        client.pong()
        client.drop()
        self.store.held = True
        self.daemon.clock.advance(WRITE_BEHIND_WAIT)
        (note,) = self.store.pending("save_progress")
        again = self.joined()
        # The store is told once more, and looked at when it has taken that: it may answer in another order.
        self.assertEqual(self.store.pending("inbox"), [])
        again_noted = self.store.pending("save_progress")[-1]
        self.assertIsNot(again_noted, note)
        again_noted.answer()
        (stands,) = self.store.pending("inbox")
        stands.answer()
        note.answer()
        self.assertIs(again.stream.state, StreamState.LIVE)
        self.assertEqual(again.offsets(), [])


class TestReceipts(InboxTestCase):
    def test_the_sender_s_sockets_that_asked_are_told_once_of_the_first_proof(self) -> None:
        ann, other = self.daemon.joined("ann", {"receipts": "1"}), self.daemon.joined("ann")
        first, second = self.joined(), self.joined()
        (one, two) = self.bring(2)
        self.assertEqual(ann.events("RESPSTATUS"), [])
        first.pong()
        second.pong()
        self.assertEqual(
            ann.events("RESPSTATUS"),
            [{"pId": "ben", "mid": stored.message.mid, "STATUS": 2} for stored in (one, two)],
        )
        self.assertEqual(other.read(), [])

    def test_the_recipient_is_named_as_the_sender_named_it(self) -> None:
        ann = self.daemon.joined("ann", {"receipts": "1"})
        client = self.joined()
        self.bring(pId=7)
        client.pong()
        self.assertEqual([one["pId"] for one in ann.events("RESPSTATUS")], [7])

    def test_of_a_message_to_a_room_nobody_is_told(self) -> None:
        ann = self.daemon.joined("ann", {"receipts": "1"})
        client = self.joined()
        self.daemon.news(Stored(message("#tea"), (("ben", 1), ("cem", 1))))
        client.pong()
        self.assertEqual(client.offsets(), [1])
        self.assertEqual(ann.read(), [])

    def test_many_are_written_at_once(self) -> None:
        ann = self.daemon.joined("ann", {"receipts": "1"})
        client = self.joined()
        self.bring(100)
        held = []
        send = ann.pipe.send

        def noted(payload: bytes, binary: bool = False) -> None:
            held.append(self.daemon.cork.held)
            send(payload, binary)

        self.patch(ann.pipe, "send", noted)
        client.pong()
        self.assertEqual(held, [True] * 100)
        self.assertFalse(self.daemon.cork.held)
