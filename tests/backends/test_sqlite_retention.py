"""What is deleted of the SQLite store, and what is not."""

import sqlite3
from contextlib import closing
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kschat.backends.sqlite import SqliteStore
from kschat.backends.sqlite.retention import PIECE_ROWS, STEP_ROWS
from kschat.backends.sqlite.store import TIDY_EVERY
from kschat.chat.interfaces import InboxPage, InboxState, Progress
from kschat.chat.message import Message
from tests.backends.turns import StoreTestCase
from tests.contracts.istore import entries, kept
from tests.contracts.made import message, mid, to

NOW = 1_700_000_000


def at(seconds: float, **changes: Any) -> Message:
    """A message of that time."""
    return message(mid=mid(int(seconds * 1000) << 16), **changes)


class RetentionTestCase(StoreTestCase):
    """Stores whose clock stands at ``NOW``."""

    def setUp(self) -> None:
        super().setUp()
        self.turns.advance(NOW)

    def tidied(self, store: SqliteStore) -> None:
        """Let a whole round of deleting be done."""
        self.turns.result(store.settle())
        self.turns.advance(TIDY_EVERY)
        while self.turns.result(store._writer.between(lambda transactions: transactions.retention.due)):
            pass

    def rows(self, table: str) -> int:
        """How many rows there are."""
        with closing(sqlite3.connect(self.path)) as connection:
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            return int(count)


class TestAge(RetentionTestCase):
    """Messages older than the bound go, oldest first."""

    def test_what_is_older_is_deleted_everywhere_and_what_is_younger_stays(self) -> None:
        result = self.turns.result
        store = self.started(retention_seconds=3600.0)
        answers = result(store.append([at(NOW - 9000, cid="c1"), at(NOW - 4000, cid="c2"), at(NOW - 100, cid="c3")]))
        self.tidied(store)
        self.assertEqual(result(store.inbox("ben")), InboxState(0, 3, 3))
        self.assertEqual(result(store.read("ben", 0, 10)), InboxPage(entries(answers)[2:], 3, 3))
        self.assertEqual(result(store.history("ann", "ben", before=None, limit=10)).messages, (answers[2].message,))
        self.assertEqual([self.rows(table) for table in ("messages", "inbox", "thread", "cids")], [1, 1, 1, 1])
        repeats = result(store.append([at(NOW, cid="c3"), at(NOW, cid="c1")]))
        self.assertEqual([one.repeat for one in repeats], [True, False])

    def test_after_the_clock_was_ahead_messages_are_as_old_as_they_say(self) -> None:
        result = self.turns.result
        store = self.started(retention_seconds=86400.0)
        days = 3 * 86400
        ahead = at(NOW + days, time=(NOW + days) * 1000)
        # The clock is right again; mids count on.
        behind = [
            message(mid=mid((int((NOW + days) * 1000) << 16) + n), time=int(NOW + wait) * 1000, recipient=recipient)
            for n, (wait, recipient) in enumerate([(10, "ben"), (20, "cem"), (5000, "ben")], 1)
        ]
        answers = result(store.append([ahead, *behind]))
        self.turns.advance(80_000)
        self.tidied(store)
        self.assertEqual(self.rows("messages"), 4)
        self.turns.advance(6421 - TIDY_EVERY)
        self.tidied(store)
        self.assertEqual(result(store.read("cem", 0, 9)).entries, [])
        self.assertEqual(result(store.read("ben", 0, 9)).entries, entries(answers)[3:])
        self.turns.advance(5000)
        self.tidied(store)
        self.assertEqual([self.rows(table) for table in ("messages", "inbox", "thread")], [0] * 3)

    def test_a_clock_that_was_behind_for_a_moment_makes_nothing_old(self) -> None:
        store = self.started(retention_seconds=86400.0)
        days = 3 * 86400
        self.turns.result(
            store.append(
                [
                    at(NOW - 7000, time=(NOW - 7000) * 1000),
                    message(mid=mid((int(NOW - 7000) * 1000 << 16) + 1), time=(NOW - days) * 1000),
                    at(NOW, time=NOW * 1000),
                ]
            )
        )
        self.tidied(store)
        self.assertEqual(self.rows("messages"), 3)

    def test_a_clock_that_jumps_ahead_and_back_does_not_stop_the_rounds(self) -> None:
        store = self.started(retention_seconds=3600.0)
        result = self.turns.result
        result(store.append([at(NOW - 100, time=(NOW - 100) * 1000)]))
        self.wall = NOW - 3 * 86400.0
        self.tidied(store)
        self.wall = NOW + 3600.0
        self.tidied(store)
        self.assertEqual(self.rows("messages"), 0)

    def test_no_offset_comes_twice_though_the_inbox_is_empty_and_the_store_was_restarted(self) -> None:
        result = self.turns.result
        store = self.started(retention_seconds=3600.0)
        result(store.append([at(NOW - 9000 + n) for n in range(5)]))
        result(store.save_progress(Progress({"ben": 3}, {})))
        self.tidied(store)
        self.assertEqual(result(store.inbox("ben")), InboxState(3, 6, 5))
        self.assertEqual(result(store.read("ben", 0, 10)), InboxPage([], 6, 5))
        self.assertEqual(result(store.conversations("ben", 10)), [])
        store = self.restarted(store)
        self.assertEqual(result(store.inbox("ben")), InboxState(3, 6, 5))
        last = at(NOW)
        self.assertEqual(result(store.append([last])), [kept(last, 6)])

    def test_the_conversation_of_two_goes_with_its_last_message_and_can_start_again(self) -> None:
        result = self.turns.result
        store = self.started(retention_seconds=3600.0)
        result(store.append([at(NOW - 9000 + n, sender="cem") for n in range(3)]))
        self.tidied(store)
        self.assertEqual([self.rows(table) for table in ("conversations", "participants")], [0, 0])
        result(store.append([at(NOW, sender="cem"), at(NOW, sender="cem")]))
        for _ in range(2):
            (one,) = result(store.conversations("ben", 10))
            self.assertEqual((one.peer, one.unread), ("cem", 2))
            result(store.settle())

    def test_a_room_stays_with_its_members(self) -> None:
        result = self.turns.result
        store = self.started(retention_seconds=3600.0)
        for user in ("ann", "ben"):
            result(store.join("#r", user, 10))
        result(store.append([at(NOW - 9000, recipient="#r", cid="c1")]))
        self.tidied(store)
        self.assertEqual([self.rows(table) for table in ("messages", "inbox", "thread", "cids")], [0, 0, 0, 0])
        self.assertEqual(result(store.inbox("ben")), InboxState(0, 2, 1))
        (answer,) = result(store.append([at(NOW, recipient="#r")]))
        self.assertEqual(answer.places, (("ben", 2),))
        self.assertEqual(result(store.conversations("ben", 10))[0].unread, 1)

    def test_unread_messages_that_were_deleted_do_not_count(self) -> None:
        result = self.turns.result
        store = self.started(retention_seconds=3600.0)
        batch = [at(NOW - 9000), at(NOW - 8999, sender="ben", recipient="ann"), at(NOW - 100), at(NOW - 99)]
        result(store.append(batch))
        self.tidied(store)
        (one,) = [one for one in result(store.conversations("ben", 10)) if one.peer == "ann"]
        self.assertEqual(one.unread, 2)

    def test_more_than_one_step_s_worth_goes_in_one_round(self) -> None:
        result = self.turns.result
        store = self.started(retention_seconds=3600.0)
        result(store.append([at(NOW - 9000 + n / 1000) for n in range(STEP_ROWS)]))
        self.tidied(store)
        self.assertEqual(self.rows("messages"), 0)

    def test_without_bounds_all_is_kept(self) -> None:
        result = self.turns.result
        store = self.started()
        result(store.append([at(1), at(2)]))
        self.tidied(store)
        self.assertEqual(self.rows("messages"), 2)


class TestCount(RetentionTestCase):
    """Of each inbox and each conversation the newest messages stay."""

    def test_an_inbox_and_a_conversation_keep_their_newest(self) -> None:
        result = self.turns.result
        store = self.started(retention_messages=3)
        answers = result(store.append([message(cid=f"c{n}") for n in range(10)]))
        self.tidied(store)
        self.assertEqual(result(store.inbox("ben")), InboxState(0, 8, 10))
        self.assertEqual(result(store.read("ben", 0, 10)).entries, entries(answers)[7:])
        page = result(store.history("ann", "ben", before=None, limit=10))
        self.assertEqual(page.messages, tuple(answer.message for answer in answers[7:]))
        self.assertEqual([self.rows(table) for table in ("messages", "inbox", "thread", "cids")], [3, 3, 3, 3])

    def test_a_message_stays_as_long_as_either_holds_it(self) -> None:
        result = self.turns.result
        store = self.started(retention_messages=3)
        # Ben's inbox is full of others' messages; each conversation is short.
        senders = ("ann", "cem", "dan", "eve")
        first = result(store.append([message(sender, "ben") for sender in senders for _ in range(2)]))
        self.tidied(store)
        self.assertEqual(result(store.read("ben", 0, 10)).entries, entries(first)[5:])
        self.assertEqual(self.rows("messages"), 8)
        self.assertEqual(len(result(store.history("ben", "ann", before=None, limit=10)).messages), 2)
        # Ann's talk with Fay is long, but what Ann is to get of it is not.
        batch = [message("ann", "fay") if n % 3 else message("fay", "ann") for n in range(9)]
        answers = result(store.append(batch))
        self.tidied(store)
        self.assertEqual(
            result(store.read("ann", 0, 10)).entries, entries([one for one in answers if one.message.sender == "fay"])
        )
        self.assertEqual(result(store.history("ann", "fay", before=None, limit=10)).messages, tuple(batch[6:]))

    def test_a_message_to_a_room_stays_until_no_member_s_inbox_holds_it(self) -> None:
        result = self.turns.result
        store = self.started(retention_messages=2)
        for user in ("ann", "ben", "cem"):
            result(store.join("#r", user, 10))
        answers = result(store.append([message("ann" if n < 3 else "ben", "#r", cid=f"c{n}") for n in range(6)]))
        self.tidied(store)
        room = tuple(answer.message for answer in answers)
        self.assertEqual(result(store.history("ann", "#r", before=None, limit=10)).messages, room[4:])
        self.assertEqual([entry.message for entry in result(store.read("cem", 0, 10)).entries], list(room[4:]))
        self.assertEqual([entry.message for entry in result(store.read("ben", 0, 10)).entries], list(room[1:3]))
        repeats = result(store.append([message("ann", "#r", cid=f"c{n}") for n in range(3)]))
        self.assertEqual([one.repeat for one in repeats], [False, True, True])

    def test_more_than_one_step_s_worth_goes_in_one_round(self) -> None:
        result = self.turns.result
        store = self.started(retention_messages=10)
        result(store.append(to(*["ben", "cem"] * (2 * PIECE_ROWS))))
        self.tidied(store)
        self.assertEqual([self.rows(table) for table in ("messages", "inbox", "thread")], [20, 20, 20])

    users = st.sampled_from(["ann", "ben", "cem", "#r"])
    rounds = st.lists(st.lists(st.tuples(users.filter(lambda one: one != "#r"), users), max_size=12), max_size=5)

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(rounds, st.integers(1, 4))
    def test_whatever_is_written_the_newest_stay_without_a_hole(self, rounds: list[Any], most: int) -> None:
        result = self.turns.result
        store = self.started(retention_messages=most)
        for user in ("ann", "ben", "cem"):
            result(store.join("#r", user, 10))
        inboxes: dict[str, list[Any]] = {user: [] for user in ("ann", "ben", "cem")}
        threads: dict[Any, list[Message]] = {}
        for texts in rounds:
            if not texts:
                continue
            for answer in result(store.append([message(*names) for names in texts])):
                for user, offset in answer.places:
                    inboxes[user].append((offset, answer.message))
                key = (
                    answer.message.recipient
                    if answer.message.recipient == "#r"
                    else frozenset((answer.message.sender, answer.message.recipient))
                )
                threads.setdefault(key, []).append(answer.message)
            self.tidied(store)
        for user, expected in inboxes.items():
            read = [(entry.offset, entry.message) for entry in result(store.read(user, 0, 1000)).entries]
            self.assertEqual(read, expected[-most:])
            state = result(store.inbox(user))
            self.assertEqual((state.first, state.last), (len(expected) - len(read) + 1, len(expected)))
        for key, messages in threads.items():
            user, peer = ("ann", "#r") if key == "#r" else (min(key), max(key))
            self.assertEqual(
                result(store.history(user, peer, before=None, limit=1000)).messages, tuple(messages[-most:])
            )
        result(store.stop())
        self.path += "x"
