"""The list of a user's conversations, which Redis is asked for in slices, and has in order but for a minute."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.redis.store import listing
from kschat.backends.redis.store.listing import Listing
from tests.backends.redis_stores import StoreTestCase
from tests.backends.test_redis_bounds import calls
from tests.contracts.made import message
from tests.support.redis import shared_redis


class ListedTests(SynchronousTestCase):
    """Without Redis."""

    def listing(self, conversations: Iterable[tuple[int, int]]) -> Listing:
        """A list of conversations, each with its score and the time of its newest message."""
        rows = sorted(conversations, reverse=True)
        self.examined = 0

        def read(script: str, user: str, score: bytes, passed: int, most: int, upto: str, late: int) -> Deferred[Any]:
            there = [row for row in rows if not score or row[0] <= int(score)][passed : passed + most]
            self.examined += len(there)
            answer: list[Any] = [b"", 0]
            for its, time in there:
                answer += [b"1a%d" % time, b"%d" % its, b"%d-0" % time]
            if len(there) == most:
                last = there[-1][0]
                same = len([row for row in there if row[0] == last])
                answer[:2] = [b"%d" % last, passed + same if score and last == int(score) else same]
            return succeed(answer)

        return Listing(read, "ann", "")

    def taken(self, found: Listing, *counts: int) -> list[int]:
        """The times of those that are taken, so many at once."""
        times = []
        for count in counts:
            parts = self.successResultOf(Deferred.fromCoroutine(found.take(count)))
            times += [int(id_.partition(b"-")[0]) for id_ in parts[1::2]]
        return times

    def test_all_are_listed_by_their_newest_messages(self) -> None:
        random = Random(7)
        self.patch(listing, "SLICE", 10)
        for span in (1, 1000, 100_000, 10_000_000):
            # Times differ, since no two messages have one id.
            scores = [random.randrange(10**9, 10**9 + span) for _ in range(200)]
            made = [(score, score + random.randrange(60_000)) for score in scores]
            made = list({time: (score, time) for score, time in made}.values())
            expected = sorted((time for _, time in made), reverse=True)
            counts = [random.randrange(1, 30) for _ in range(200)]
            self.assertEqual(self.taken(self.listing(made), *counts), expected, span)

    def test_no_more_is_examined_than_may_be_among_the_newest(self) -> None:
        self.patch(listing, "SLICE", 10)
        hourly = [(3_600_000 * number, 3_600_000 * number + 5) for number in range(1, 1001)]
        found = self.listing(hourly)
        self.assertEqual(self.taken(found, 5), [time for _, time in hourly[:-6:-1]])
        self.assertEqual(self.examined, 10)
        self.taken(found, 5)
        self.assertEqual(self.examined, 20)

    def test_what_was_written_within_a_minute_is_examined_whole(self) -> None:
        self.patch(listing, "SLICE", 10)
        made = [(1000 + number, 60_000 - number) for number in range(100)] + [(1, 2)] * 10
        self.assertEqual(self.taken(self.listing(made), 1), [60_000])
        self.assertGreaterEqual(self.examined, 100)


class RedisTests(StoreTestCase):
    COUNT = 300

    async def setUp(self) -> None:  # type: ignore[override] # trial waits for it
        self.redis = await shared_redis()
        self.patch(listing, "SLICE", 20)
        self.it = await self.store(self.redis)
        self.key = f"{self.it._client.prefix}v:ann"

    async def test_pages_of_many_conversations_cost_redis_little_each(self) -> None:
        written = []
        for start in range(0, self.COUNT, 100):
            batch = [message("ann", f"user {number}") for number in range(start, start + 100)]
            written += [stored.message.mid for stored in await self.it.append(batch)]
        # As if there had been an hour between two of them.
        for number in range(self.COUNT):
            name = self.it._encoder.conversation("ann", f"user {number}")
            self.redis.do("ZADD", self.key, 1000 + 3_600_000 * number, f"{name[1]}{name[0]}")
        scripts: list[int] = []
        read = self.it._client.read

        def counted(script: str, *arguments: Any) -> Deferred[Any]:
            self.redis.do("CONFIG", "RESETSTAT")
            return read(script, *arguments).addCallback(count)

        def count(answer: Any) -> Any:
            scripts.append(sum(calls(self.redis).values()))
            return answer

        self.patch(self.it._client, "read", counted)
        found: list[str] = []
        while page := await self.it.conversations("ann", 7, before=found[-1] if found else None):
            found += [one.last.mid for one in page]
            # Where it begins is found by a search, and not by reading all before it.
            self.assertLess(len(scripts), 10, len(found))
            self.assertLess(max(scripts), 100)
            scripts.clear()
        self.assertEqual(found, written[::-1])

    async def test_conversations_that_are_gone_or_were_left_are_replaced_by_others(self) -> None:
        for room in ("#1", "#2"):
            await self.it.join(room, "ann", 10)
            await self.it.join(room, "ben", 10)
        await self.it.append([message("ben", "ann"), message("cem", "ann"), message("ben", "#1"), message("ben", "#2")])
        self.redis.do("HDEL", f"{self.it._client.prefix}m:#2", "ann")
        self.assertEqual([one.peer for one in await self.it.conversations("ann", 2)], ["#1", "cem"])

    async def test_a_room_that_was_joined_later_stands_where_its_newest_message_does(self) -> None:
        for room in ("#old", "#new"):
            await self.it.join(room, "ben", 10)
        for recipient in ("#old", "ann", "#new"):
            await self.it.append([message("ben", recipient)])
        for number in range(60):
            await self.it.join(f"#empty {number}", "ann", 10)
        await self.it.join("#old", "ann", 10)
        await self.it.join("#new", "ann", 10)
        listed = await self.it.conversations("ann", 10)
        self.assertEqual([one.peer for one in listed], ["#new", "ben", "#old"])
        for nth, one in enumerate(listed):
            again = await self.it.conversations("ann", 10, before=one.last.mid)
            self.assertEqual([other.peer for other in again], [other.peer for other in listed[nth + 1 :]])

    async def test_rooms_are_found_among_many_conversations(self) -> None:
        rooms = {f"#{number}" for number in range(30)}
        for room in rooms:
            await self.it.join(room, "ann", 10)
        await self.it.append([message("ann", f"user {number}") for number in range(self.COUNT)])
        self.assertEqual(sorted(await self.it.rooms("ann")), sorted(rooms))
