"""Random sequences in each world: a short profile of ``make differential``. And that a fault would be seen."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.backends.memory import MemoryStore
from kschat.chat import commands
from kschat.chat.blocks import BlockLists
from kschat.chat.cluster_commands import ClusterCommand, Revoked
from kschat.chat.interfaces import Blocks
from kschat.chat.notifier import Notifier
from kschat.chat.operations import Operations
from kschat.chat.presence import Presence
from tests.differential.operations import Sequence_, as_text, random_sequence, shrunk
from tests.differential.play import Disagreement, Play
from tests.differential.worlds import OnRedis, OnSqlite, Simulated, World
from tests.support.redis import shared_redis

KEPT = sorted((Path(__file__).parent / "kept").glob("*.json"))


class WorldTestCase(TestCase):
    timeout = 300

    async def world(self, made: World) -> World:
        """A world that has been started."""
        self.addCleanup(made.stop)
        await made.start()
        return made

    async def play_kept(self, world: Callable[[], Awaitable[World]]) -> None:
        """Play what once showed a fault, each in what ``world`` gives."""
        self.assertTrue(KEPT)
        for path in KEPT:
            await self.play(await world(), json.loads(path.read_text()), path.stem)

    async def play_random(self, world: Callable[[], Awaitable[World]], count: int, length: int) -> None:
        """Play random sequences, each in what ``world`` gives."""
        for seed in range(count):
            await self.play(await world(), random_sequence(Random(seed), length, 3), f"seed {seed}")

    async def play(self, world: World, operations: Sequence_, which: str) -> None:
        try:
            await Play(world).run(operations)
        except Disagreement as error:
            self.fail(f"{which}: {error}\n{as_text(operations)}")


class InMemory(WorldTestCase):
    async def one(self) -> World:
        return await self.world(Simulated(1, 0))

    async def test_what_once_was_wrong(self) -> None:
        await self.play_kept(self.one)

    async def test_random_sequences(self) -> None:
        await self.play_random(self.one, 60, 50)


class ThreeDaemonsSimulated(WorldTestCase):
    """Each time in another order of what daemons, store and bus do."""

    async def test_what_once_was_wrong(self) -> None:
        seeds = iter(range(1000))
        for _ in range(5):
            await self.play_kept(lambda: self.world(Simulated(3, next(seeds))))

    async def test_random_sequences(self) -> None:
        seeds = iter(range(1000))
        await self.play_random(lambda: self.world(Simulated(3, next(seeds))), 40, 50)


class OnAFile(WorldTestCase):
    async def test_sequences(self) -> None:
        world = await self.world(OnSqlite())

        async def same() -> World:
            return world

        await self.play_kept(same)
        await self.play_random(same, 3, 40)


class ThreeDaemonsOnRedis(WorldTestCase):
    async def test_sequences(self) -> None:
        world = await self.world(OnRedis(3, await shared_redis()))

        async def same() -> World:
            return world

        await self.play_kept(same)
        await self.play_random(same, 6, 40)


class OneDaemonOnRedis(WorldTestCase):
    async def test_sequences(self) -> None:
        world = await self.world(OnRedis(1, await shared_redis()))

        async def same() -> World:
            return world

        await self.play_random(same, 2, 40)


class FaultsAreSeen(WorldTestCase):
    async def test_a_fault_is_found_and_shrunk(self) -> None:
        self.patch(Notifier, "_was_told", lambda self, mid: False)

        async def fails(part: Sequence_) -> bool:
            world = Simulated(3, 5)
            await world.start()
            try:
                await Play(world, 2.0).run(part)
            except Disagreement:
                return True
            finally:
                await world.stop()
            return False

        for seed in range(20):
            operations = random_sequence(Random(seed), 50, 3)
            if await fails(operations):
                break
        else:
            self.fail("the fault was not found")
        small = await shrunk(operations, fails)
        self.assertLess(len(small), 10)
        self.assertTrue(await fails(small))


class WhoMayIsSeen(WorldTestCase):
    """Of block lists, of whom tokens let write to, and of revoked tokens a fault would be seen."""

    async def seen(self, *operations: list[object]) -> str:
        first = [["connect", 0, 0, ["receipts"], "all"], ["connect", 1, 1, ["receipts"], "all", [2]]]
        world = await self.world(Simulated(3, 1))
        try:
            await Play(world, 2.0).run([*first, *operations])
        except Disagreement as error:
            return str(error)
        raise self.failureException("the fault was not seen")

    async def test_what_a_blocked_user_sends_would_be(self) -> None:
        self.patch(MemoryStore, "block", lambda self, user, peer, most: succeed(True))
        seen = await self.seen(["block", 0, 2], ["connect", 2, 2, [], "all"], ["send", 2, 0, "text", None], ["settle"])
        self.assertIn("offset", seen)

    async def test_the_presence_of_one_who_blocks_would_be(self) -> None:
        self.patch(Presence, "_block_changed", lambda self, change: None)
        self.assertIn("presence", await self.seen(["presence", 1, [0]], ["block", 0, 1], ["settle"]))

    async def test_typing_of_one_who_is_blocked_would_be(self) -> None:
        self.patch(BlockLists, "between", lambda self, user, peers: succeed(Blocks()))
        seen = await self.seen(["block", 1, 0], ["settle"], ["typing", 0, 1], ["settle"])
        self.assertIn("RESPTYPING", seen)

    async def test_a_message_that_a_token_does_not_allow_would_be(self) -> None:
        self.patch(commands, "ensure_may_write", lambda to, recipient: None)
        self.assertIn("ER of a Send", await self.seen(["send", 1, 0, "text", None]))

    async def test_a_socket_of_a_revoked_token_would_be(self) -> None:
        heard = Operations.on_commands

        def deaf(self: Operations, user: str | None, heard_commands: Sequence[ClusterCommand]) -> None:
            heard(self, user, [one for one in heard_commands if type(one) is not Revoked])

        self.patch(Operations, "on_commands", deaf)
        self.assertIn("revoked", await self.seen(["revoke", 1, 0, "user"]))


class Shrinking(SynchronousTestCase):
    def shrunk(self, operations: Sequence_, needed: set[int]) -> Sequence_:
        async def fails(part: Sequence_) -> bool:
            return needed <= {one[0] for one in part}

        return self.successResultOf(Deferred.fromCoroutine(shrunk(operations, fails)))

    def test_nothing_stays_that_is_not_needed(self) -> None:
        operations = [[number] for number in range(40)]
        for needed in ({0}, {39}, {3, 4, 31}, {7, 20}):
            self.assertEqual(self.shrunk(operations, needed), [[number] for number in sorted(needed)])

    def test_the_same_seed_makes_the_same_sequence(self) -> None:
        self.assertEqual(random_sequence(Random(3), 50, 3), random_sequence(Random(3), 50, 3))
        self.assertEqual(json.loads(as_text(random_sequence(Random(3), 50, 3))), random_sequence(Random(3), 50, 3))
