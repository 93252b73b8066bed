"""``bench.copied`` writes what ``append`` writes, and ``bench.history`` asks all of its questions."""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Sequence
from typing import Any

from twisted.trial import unittest

from bench import copied, fill
from bench.history import Questions, connected, plans
from kschat.backends.postgresql.store import PostgresqlStore
from kschat.chat.message import Message
from tests.support.postgresql import PostgreSQL, shared_postgresql
from tests.support.waiting import real_reactor

MESSAGES = 300

ROOMS = {fill.OWN_ROOM: (fill.STAR, "user1")}


class HistoryTests(unittest.TestCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits for it
        self.server: PostgreSQL = await shared_postgresql()
        options = argparse.Namespace(messages=MESSAGES, room=0, undelivered=MESSAGES // 10)
        self.messages = list(fill.messages(options))

    async def store(self) -> PostgresqlStore:
        store = await connected(real_reactor(), self.server.url)
        self.addCleanup(store.stop)
        return store

    async def copied(self) -> PostgresqlStore:
        """A store that was filled by COPY."""
        await (await self.store()).stop()
        copied.fill(self.server.superuser(), self.messages, ROOMS, int(time.time() * 1000))
        return await self.store()

    async def seen(self, store: PostgresqlStore) -> dict[str, Any]:
        """What the store shows to some users."""
        found: dict[str, Any] = {"members": sorted(await store.members(fill.OWN_ROOM))}
        for user in (fill.STAR, fill.AWAY, "user1", self.messages[0].sender):
            page = await store.read(user, 0, MESSAGES)
            lists = await store.conversations(user, MESSAGES)
            found[user] = (
                (await store.inbox(user)).last,
                [(one.offset, _seen([one.message])) for one in page.entries],
                [(one.peer, one.unread, _seen([one.last])) for one in lists],
                [_seen((await store.history(user, one.peer, before=None, limit=50)).messages) for one in lists],
                sorted(await store.rooms(user)),
            )
        return found

    async def test_what_is_copied_is_what_is_appended(self) -> None:
        store = await self.store()
        for room, members in ROOMS.items():
            for member in members:
                await store.join(room, member, 10)
        for at in range(0, MESSAGES, 50):
            await store.append(self.messages[at : at + 50])
        appended = await self.seen(store)
        await store.stop()
        self.server.do("DROP SCHEMA kschat CASCADE")
        store = await self.copied()
        self.maxDiff = None
        self.assertEqual(await self.seen(store), appended)
        # And the next message goes on behind them.
        (kept,) = await store.append([_next(self.messages[-1])])
        self.assertEqual(kept.places[0][1], appended[fill.AWAY][0] + 1)

    async def test_each_question_is_asked_and_no_plan_goes_through_a_whole_table(self) -> None:
        store = await self.copied()
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            await Questions(store, self.server.pid, 2).ask_all("now")
            self.assertEqual(plans(self.server.url), [])
        for name in ("connect", "a page of 50", "History, the newest 100", "Conversations, of 9,500 users"):
            self.assertIn(f"now: {name}", told.getvalue())
        self.assertIn("Index Scan using messages_pkey", told.getvalue())


def _seen(messages: Sequence[Message]) -> list[tuple[str, str, str, bytes]]:
    return [(one.mid, one.sender, one.recipient, bytes(one.msg)) for one in messages]


def _next(last: Message) -> Message:
    """One more, to the user who is away."""
    number = int(last.mid[:16], 16) + 1
    return Message(f"{number:016x}{last.mid[16:]}", "user1", fill.AWAY, "user1", fill.AWAY, last.msg, last.time)
