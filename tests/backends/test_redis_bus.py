"""Buses of several daemons on a real Redis, which goes away, freezes, forgets, and comes back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from chaos.proxy import Proxy
from kschat.backends.redis.bus import presence_registry
from kschat.backends.redis.bus.bus import RedisBus
from kschat.backends.redis.bus.heartbeat import Heartbeat
from kschat.backends.redis.client.settings import Settings
from kschat.chat.bus import BusEvent, IBus, Wants
from kschat.chat.cluster_commands import CursorRequest, Emit, Typing
from kschat.counters import Counters
from tests.contracts.bus import BusesContract, Ears
from tests.support.redis import Redis, shared_redis
from tests.support.waiting import PATIENCE, real_reactor, repeated_until

#: Ten times as fast as in a daemon.
FAST = Heartbeat(beat=0.3, dead=1.2, away=0.8, settle=0.6)


async def until(right: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Fires when something holds that is looked at now and then."""

    async def look() -> bool:
        await deferLater(real_reactor(), 0.01)
        return right()

    await repeated_until(look, bool, what, seconds)


async def says(bus: RedisBus, online: dict[str, bool | None]) -> None:
    """Fires when a bus knows this. While it is down it answers without a round trip."""

    async def ask() -> dict[str, bool | None]:
        await deferLater(real_reactor(), 0.01)
        return await bus.online(list(online))

    await repeated_until(ask, lambda said: said == online, f"{len(online)} users to be {set(online.values())}")


class BusTestCase(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.prefix = uuid4().hex
        self.buses: list[RedisBus] = []
        self.redis: Redis

    def bus(self, **changes: Any) -> RedisBus:
        """One more daemon's, that was not started."""
        settings = Settings(
            **{"url": self.redis.url, "prefix": self.prefix, "patience": 1.0, "last_retry": 0.2, **changes}
        )
        counters = Counters()
        bus = RedisBus(settings, settings, real_reactor(), counters, FAST)
        bus.counters = counters  # type: ignore[attr-defined]
        self.buses.append(bus)
        self.addCleanup(bus.stop)
        return bus

    async def are_up(self, buses: Sequence[Any]) -> None:
        """All are up, and it is known who is nowhere."""
        for bus in buses:
            await says(bus, {"nobody": False})

    async def heard_by_all(self) -> None:
        """What each has told until now is heard: a command of each goes the same way behind it."""
        up = [bus for bus in self.buses if bus.up]
        for bus in up:
            await bus.online(["nobody"])
        for bus in up:
            # It was published when that was answered; who listens has it when it has answered another command.
            await bus._subscriptions._client.do("PING")
        await deferLater(real_reactor(), 0)


class RedisBusContractTests(BusesContract, BusTestCase):
    async def make_buses(self, count: int) -> list[IBus]:
        self.redis = await shared_redis()
        return [self.bus() for _ in range(count)]

    async def all_up(self, buses: Sequence[Any]) -> None:
        await self.are_up(buses)

    async def settle(self) -> None:
        await deferLater(real_reactor(), 0)
        await self.heard_by_all()

    async def comes_true(self, right: Callable[[], bool]) -> None:
        await until(right, "it to come true")


class Together(BusTestCase):
    """Two daemons and a Redis that this test may harm."""

    async def begin(self, config: str = "") -> None:
        self.redis = Redis(config)
        self.addCleanup(self.redis.stop)
        await self.redis.start()
        self.one, self.ears = self.joined()
        self.other, self.other_ears = self.joined()
        await self.are_up(self.buses)

    def joined(self, **changes: Any) -> tuple[RedisBus, Ears]:
        bus, ears = self.bus(**changes), Ears()
        bus.attach(ears)
        bus.start()
        return bus, ears

    async def down(self) -> None:
        await until(lambda: not self.one.up and not self.other.up, "both to be down")

    async def becomes(self, bus: RedisBus, **online: bool | None) -> None:
        await says(bus, online)


class Failures(Together):
    async def test_while_redis_is_away_all_is_dropped_at_once_and_nothing_is_told_late(self) -> None:
        await self.begin()
        self.other.listen("ann")
        self.other.here("ann")
        self.one.here("ben")
        await self.becomes(self.one, ann=True, ben=True)
        self.redis.kill()
        await self.down()
        self.one.publish(["ann", "cem"], Typing("ben"))
        self.one.publish_all(Emit(b"[]"))
        self.assertEqual(self.one.counters.commands_dropped, 3)  # type: ignore[attr-defined]
        answer: Deferred[Any] = self.one.online(["ann", "ben"])
        self.assertEqual(self.successResultOf(answer), {"ann": None, "ben": True})
        await self.redis.start()
        await self.are_up(self.buses)
        self.one.publish(["ann"], Typing("later"))
        await until(lambda: bool(self.other_ears.commands), "a command")
        self.assertEqual(self.other_ears.commands, [("ann", Typing("later"))])
        self.assertEqual(self.ears.events, [BusEvent.UP, BusEvent.DOWN, BusEvent.UP])

    async def test_a_redis_that_forgot_all_is_told_again_and_nobody_seems_to_go(self) -> None:
        await self.begin()
        users = [f"user {number}" for number in range(1200)]
        for user in users:
            self.other.listen(user)
            self.other.here(user)
        self.one.watch("user 7")
        self.one.watch("gone")
        await self.becomes(self.one, **dict.fromkeys(users, True))
        self.other.listen("gone")
        self.other.here("gone")
        await self.becomes(self.one, gone=True)
        await self.redis.restart(forget=True)
        await self.down()
        self.other.gone("gone", 5)
        await self.becomes(self.one, gone=False, **dict.fromkeys(users, True))
        self.assertNotIn(False, [online for user, online, _ in self.ears.changes if user == "user 7"])

    async def test_a_redis_that_kept_all_is_told_who_went_meanwhile(self) -> None:
        await self.begin("appendonly yes\nappendfsync always\n")
        for user in ("ann", "ben"):
            self.other.listen(user)
            self.other.here(user)
            self.one.watch(user)
        await self.becomes(self.one, ann=True, ben=True)
        self.redis.kill()
        await self.down()
        self.other.gone("ann", 5)
        await deferLater(real_reactor(), FAST.dead)  # as long as a daemon may be silent
        await self.redis.start()
        await self.becomes(self.one, ann=False, ben=True)
        self.assertNotIn(False, [online for online, _ in self.ears.of("ben")])

    async def test_a_frozen_redis_is_noticed_and_unknown_until_it_goes_on(self) -> None:
        await self.begin()
        self.other.listen("ann")
        self.other.here("ann")
        await self.becomes(self.one, ann=True)
        self.redis.signal(signal.SIGSTOP)
        answers = [self.one.online(["ann"]) for _ in range(3)]
        for answer in answers:
            self.assertEqual(await answer, {"ann": None})
        await self.down()
        self.redis.signal(signal.SIGCONT)
        await self.becomes(self.one, ann=True)
        await self.becomes(self.other, ann=True, nobody=False)

    async def test_what_a_frozen_redis_finds_when_it_goes_on_is_not_told_late(self) -> None:
        self.patch(presence_registry, "STALE_AFTER", 300)
        await self.begin()
        self.other.listen("ann")
        self.other.here("ann")
        await self.becomes(self.one, ann=True)
        self.redis.signal(signal.SIGSTOP)
        self.one.publish(["ann"], Typing("stale"))
        await deferLater(real_reactor(), 0.5)
        self.redis.signal(signal.SIGCONT)
        self.one.publish(["ann"], Typing("fresh"))
        await until(lambda: bool(self.other_ears.commands), "a command")
        self.assertEqual(self.other_ears.commands, [("ann", Typing("fresh"))])

    async def test_scripts_that_redis_forgot_are_sent_again(self) -> None:
        await self.begin()
        self.redis.do("SCRIPT", "FLUSH")
        self.other.listen("ann")
        self.other.here("ann")
        await self.becomes(self.one, ann=True)
        self.assertEqual(self.ears.events, [BusEvent.UP])

    async def test_a_listening_connection_that_is_cut_is_made_again_with_all_its_channels(self) -> None:
        await self.begin()
        self.other.listen("ann")
        self.other.here("ann")
        self.other.watch("ben")
        await self.becomes(self.other, ann=True, ben=False)
        self.redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        again = [BusEvent.UP, BusEvent.DOWN, BusEvent.UP]
        await until(lambda: self.ears.events == again and self.other_ears.events == again, "both to listen again")
        self.one.publish(["ann"], Typing("ben"))
        self.one.here("ben")
        await until(lambda: bool(self.other_ears.commands and self.other_ears.changes[1:]), "what is told")
        self.assertEqual(self.other_ears.commands, [("ann", Typing("ben"))])
        self.assertEqual(self.other_ears.of("ben"), [(True, None)])

    async def test_what_redis_refuses_is_down_until_it_does_no_more(self) -> None:
        await self.begin()
        self.redis.do("CONFIG", "SET", "maxmemory", "1")
        self.other.listen("ann")
        self.other.here("ann")
        await self.down()
        self.assertEqual(await self.one.online(["ann"]), {"ann": None})
        self.redis.do("CONFIG", "SET", "maxmemory", "0")
        await self.becomes(self.one, ann=True)


class Deaths(Together):
    """Daemons that end without a command."""

    async def die(self, bus: RedisBus) -> None:
        """Say nothing more, as after a SIGKILL or a cut: nothing of it reaches Redis."""
        self.buses.remove(bus)
        bus._registry.down()
        await bus._client.stop()
        await bus._subscriptions.stop()

    async def test_who_was_on_it_is_offline_within_the_bound_unless_another_has_them(self) -> None:
        await self.begin()
        for user in ("ann", "ben"):
            self.other.listen(user)
            self.other.here(user)
            self.one.watch(user)
        self.one.here("ben")
        self.other.want(Wants.CARBONS)
        await self.becomes(self.one, ann=True, ben=True)
        await self.die(self.other)
        await until(lambda: self.ears.of("ann")[-1:] != [(True, None)], "ann to be offline")
        ((_, seen),) = [state for state in self.ears.of("ann") if not state[0]]
        self.assertEqual(await self.one.online(["ann", "ben"]), {"ann": False, "ben": True})
        self.assertNotIn(False, [online for online, _ in self.ears.of("ben")])
        self.assertEqual(self.ears.dead, [("ann", seen)])
        await until(lambda: self.ears.wants is Wants.NOTHING, "its wishes to be forgotten")

    async def test_the_pace_of_a_daemon_keeps_what_is_promised(self) -> None:
        pace = Heartbeat()
        self.assertLess(pace.dead + 2 * pace.beat, 15.6)
        self.assertLess(pace.beat, pace.away)
        self.assertLess(pace.away, pace.dead)

    async def test_many_users_are_taken_off_in_parts_by_whoever_notices(self) -> None:
        await self.begin()
        third, third_ears = self.joined()
        await self.are_up([third])
        users = [f"user {number}" for number in range(2300)]
        for user in users:
            self.other.listen(user)
            self.other.here(user)
        await self.becomes(self.one, **dict.fromkeys(users, True))
        await self.die(self.other)
        await self.becomes(self.one, **dict.fromkeys(users, False))
        dead = [user for user, _ in [*self.ears.dead, *third_ears.dead]]
        self.assertEqual(sorted(dead), sorted(users))
        keys = [key for key in self.redis.do("KEYS", f"{self.prefix}:r:*") if b":of:" in key or b":on:" in key]
        self.assertEqual(keys, [])

    async def test_one_that_was_taken_for_dead_enters_all_again(self) -> None:
        await self.begin()
        self.other.listen("ann")
        self.other.here("ann")
        self.one.watch("ann")
        await self.becomes(self.one, ann=True)
        # As if it had been stopped for a while: its connection stands, and others take it off.
        before = self.other._registry.id
        await self.one._registry._run(self.one._client.do, "retire", before)
        await until(lambda: self.other._registry.id != before and self.other._registry.ready, "another id")
        await until(lambda: not self.redis.do("EXISTS", f"{self.prefix}:r:dead"), "the old one to be taken off")
        await self.becomes(self.one, ann=True)
        self.assertEqual(self.ears.of("ann")[-1], (True, None))
        self.assertEqual(self.redis.do("SMEMBERS", f"{self.prefix}:r:on:ann"), [self.other._registry.id.encode()])
        self.other.gone("ann", 5)
        await self.becomes(self.one, ann=False)

    async def test_a_daemon_that_is_the_last_one_is_taken_off_by_the_next(self) -> None:
        await self.begin()
        self.other.listen("ann")
        self.other.here("ann")
        await self.becomes(self.one, ann=True)
        await self.die(self.other)
        await self.die(self.one)
        await deferLater(real_reactor(), FAST.dead)
        third, _ = self.joined()
        await self.becomes(third, ann=False)


class Networks(Together):
    """Where Redis lives, and a daemon can't reach it; or there are two."""

    async def begin_with_proxy(self) -> Proxy:
        """The second daemon reaches Redis through a proxy."""
        self.redis = Redis()
        self.addCleanup(self.redis.stop)
        await self.redis.start()
        proxy = Proxy(real_reactor(), self.redis.port)
        await proxy.start()
        self.one, self.ears = self.joined()
        self.other, self.other_ears = self.joined(url=f"redis://127.0.0.1:{proxy.port}/0")
        self.addCleanup(proxy.stop)
        await self.are_up(self.buses)
        return proxy

    async def test_a_daemon_that_is_cut_off_is_taken_off_and_enters_all_again(self) -> None:
        proxy = await self.begin_with_proxy()
        self.other.listen("ann")
        self.other.here("ann")
        self.one.watch("ann")
        await self.becomes(self.one, ann=True)
        await proxy.stop()
        await until(lambda: not self.other.up, "the daemon to notice")
        await until(lambda: self.ears.of("ann")[-1:] != [(True, None)], "the others to notice")
        self.assertEqual(await self.other.online(["ann", "ben"]), {"ann": True, "ben": None})
        await proxy.start()
        await until(lambda: self.ears.of("ann")[-1] == (True, None), "ann to be back")
        await until(lambda: self.other.up, "the daemon to listen again")
        self.one.publish(["ann"], Typing("ben"))
        await until(lambda: bool(self.other_ears.commands), "a command")

    async def test_a_link_on_which_nothing_comes_any_more_is_noticed_each_of_the_two(self) -> None:
        proxy = await self.begin_with_proxy()
        self.other.listen("ann")
        self.other.here("ann")
        for number in range(2):
            turns = len(self.other_ears.events)
            link = proxy.links[0]  # the oldest: first one of the two, then the other
            link.stall()
            await until(lambda: len(self.other_ears.events) > turns, "the daemon to notice")  # noqa: B023
            link.cut()
            await until(lambda: self.other.up, "another link")
            self.one.publish(["ann"], Typing(f"ben {number}"))
            await until(lambda: len(self.other_ears.commands) > number, "a command")  # noqa: B023
        self.assertEqual([command for _, command in self.other_ears.commands], [Typing("ben 0"), Typing("ben 1")])

    async def test_a_user_with_the_rights_that_are_documented_is_enough(self) -> None:
        names = f"resetchannels &{self.prefix}:* ~{self.prefix}:*"
        commands = "+@connection +@read +@write +@scripting +@pubsub -@dangerous +info +role +time"
        self.redis = Redis(f"user ann on >secret {names} {commands}\nuser default off\n")
        self.addCleanup(self.redis.stop)
        await self.redis.start()
        (one, _), (other, heard) = (
            self.joined(url=f"redis://ann:secret@127.0.0.1:{self.redis.port}") for _ in range(2)
        )
        await self.are_up(self.buses)
        other.listen("ann")
        other.here("ann")
        await self.becomes(one, ann=True)
        one.publish(["ann"], Typing("ben"))
        await until(lambda: bool(heard.commands), "a command")

    async def test_one_redis_to_publish_to_and_its_bus_to_listen_at(self) -> None:
        await self.begin()
        copy = Redis(f"replicaof 127.0.0.1 {self.redis.port}\n")
        self.addCleanup(copy.stop)
        await copy.start()
        await until(lambda: b"master_link_status:up" in copy.do("INFO", "replication"), "the replica")
        settings = Settings(url=self.redis.url, prefix=self.prefix)
        third, ears = (
            RedisBus(settings, structs.replace(settings, url=copy.url), real_reactor(), Counters(), FAST),
            Ears(),
        )
        self.addCleanup(third.stop)
        third.attach(ears)
        third.start()
        await self.are_up([third])
        third.listen("ann")
        third.here("ann")
        third.watch("ben")
        await self.becomes(self.one, ann=True)
        await third.listen("ann")
        self.one.listen("ann")
        await self.one.listen("ann")
        self.one.here("ann")
        await until(lambda: self.one._registry.remote, "it to be known that one listens elsewhere")
        self.assertEqual(await self.one.ask("ann", CursorRequest("q")), 1)
        await until(lambda: bool(ears.commands), "the question")
        ears.commands.clear()
        self.assertEqual(await third.ask("ann", CursorRequest("q")), 1)
        self.one.publish(["ann"], Typing("ben"))
        self.one.here("ben")
        await until(lambda: bool(ears.commands) and (True, None) in ears.of("ben"), "what is told")
        self.assertEqual(ears.commands, [("ann", Typing("ben"))])


class Bounds(Together):
    async def test_more_than_may_wait_is_dropped_and_counted(self) -> None:
        await self.begin()
        self.other.listen("ann")
        self.other.here("ann")
        await self.becomes(self.one, ann=True)
        for _ in range(15_000):
            self.one.publish(["ann"], Typing("ben"))
        counters = self.one.counters  # type: ignore[attr-defined]
        self.assertEqual((counters.commands_sent, counters.commands_dropped), (15_000, 5000))
        await until(lambda: len(self.other_ears.commands) == 10_000, "what was not dropped")

    async def test_what_is_told_in_a_turn_goes_in_one_call(self) -> None:
        await self.begin()
        for number in range(50):
            self.other.listen(f"user {number}")
            self.other.here(f"user {number}")
        await self.becomes(self.one, **{f"user {number}": True for number in range(50)})
        self.redis.do("CONFIG", "RESETSTAT")
        for number in range(50):
            self.one.publish([f"user {number}"], Typing("ben"))
            self.one.here(f"mine {number}")
        await until(lambda: len(self.other_ears.commands) == 50, "the commands")
        stats = self.redis.do("INFO", "commandstats").decode()
        calls = [line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:")]
        # One, beside what the daemons say of their lives meanwhile.
        self.assertLess(int(calls[0].partition("calls=")[2].partition(",")[0]), 8)
        self.assertIn("cmdstat_publish:calls=100,", stats)

    async def test_what_cannot_be_read_is_passed_over(self) -> None:
        await self.begin()
        self.other.listen("ann")
        self.other.here("ann")
        self.other.watch("ann")
        await self.becomes(self.one, ann=True)
        for channel in ("u:ann", "p:ann", "all", "w"):
            for body in (b"", b"x", b"0", b"\xff" * 40, b"12345678\xdd\0\0\0\1\xc1"):
                self.redis.do("PUBLISH", f"{self.prefix}:r:{channel}", body)
        self.one.publish(["ann"], Typing("ben"))
        await until(lambda: bool(self.other_ears.commands), "the command")
        self.assertEqual(self.other_ears.commands, [("ann", Typing("ben"))])
