"""A master that Sentinels know: it is found, and followed when another takes its place."""

from __future__ import annotations

from twisted.logger import capturedLogs

from kschat.backends.generations import GENERATION
from kschat.backends.redis.client import redis_client
from tests.backends.redis_stores import StoreTestCase, lines
from tests.contracts.istore import entries, offsets
from tests.contracts.made import to
from tests.support.redis import Redis


class SentinelTests(StoreTestCase):
    async def pair(self) -> tuple[Redis, Redis]:
        """A master and its replica, in step."""
        common = "requirepass secret\nmasterauth secret\nrepl-diskless-sync-delay 0\n"
        master = await self.own_redis(common)
        replica = await self.own_redis(f"{common}replicaof 127.0.0.1 {master.port}\n")
        await self.until(lambda: b"master_link_status:up" in replica.do_as("secret", "INFO", "replication"), "it")
        return master, replica

    async def sentinels(self, master: Redis, count: int) -> list[Redis]:
        """Sentinels that know each other and the master, by the name ``chat``."""
        config = (
            f"sentinel monitor chat 127.0.0.1 {master.port} {count // 2 + 1}\nsentinel auth-pass chat secret\n"
            "sentinel down-after-milliseconds chat 500\nsentinel failover-timeout chat 3000\n"
            "sentinel parallel-syncs chat 1\nrequirepass watch\n"
            'sentinel sentinel-pass watch\nsentinel announce-ip "127.0.0.1"\n'
        )
        found = []
        for _ in range(count):
            sentinel = Redis(config, sentinel=True)
            self.addCleanup(sentinel.stop)
            await sentinel.start()
            found.append(sentinel)
        return found

    def url(self, sentinels: list[Redis]) -> str:
        places = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
        return f"redis+sentinel://:secret@{places}/chat/0?sentinel_password=watch"

    async def test_the_master_is_found_and_a_failover_is_followed(self) -> None:
        master, replica = await self.pair()
        sentinels = await self.sentinels(master, 3)
        store = self.made(self.url(sentinels))
        store.start()
        await self.up(store)
        before = await store.append(to("ben", "ben"))
        self.assertEqual(master.do_as("secret", "EXISTS", f"{self.id()}:i:ben"), 1)
        await self.until(
            lambda: all(
                b"num-other-sentinels\n2" in b"\n".join(self.words(one))
                and b"num-slaves\n1" in b"\n".join(self.words(one))
                for one in sentinels
            ),
            "the Sentinels to know all",
        )
        await self.until(lambda: replica.do_as("secret", "XLEN", f"{self.id()}:i:ben") == 2, "the replica to have it")
        with capturedLogs() as events:
            master.kill()
            await self.up(store, False)
            await self.up(store)
        after = await store.append(to("ben"))
        self.assertGreater(offsets(after)[0], GENERATION)
        self.assertEqual((await store.read("ben", 0, 10)).entries, entries([*before, *after]))
        self.assertIn(f":{replica.port}", lines(events)[-1])

    def words(self, sentinel: Redis) -> list[bytes]:
        return [word for word in sentinel.do_as("watch", "SENTINEL", "MASTER", "chat") if isinstance(word, bytes)]

    async def test_a_master_that_sentinels_have_given_up_is_left_though_it_answers(self) -> None:
        master, replica = await self.pair()
        (sentinel,) = await self.sentinels(master, 1)
        self.patch(redis_client, "SENTINEL_INTERVAL", 0.1)
        store = self.made(self.url([sentinel]))
        store.start()
        await self.up(store)
        # As it looks to who is on the wrong side of a net that is cut.
        sentinel.do_as("watch", "SENTINEL", "REMOVE", "chat")
        replica.do_as("secret", "REPLICAOF", "NO", "ONE")
        sentinel.do_as("watch", "SENTINEL", "MONITOR", "chat", "127.0.0.1", replica.port, 1)
        await self.up(store, False)
        await self.up(store)
        await store.append(to("ben"))
        self.assertEqual(replica.do_as("secret", "EXISTS", f"{self.id()}:i:ben"), 1)
        self.assertEqual(master.do_as("secret", "EXISTS", f"{self.id()}:i:ben"), 0)

    async def test_a_sentinel_that_is_away_is_passed_over(self) -> None:
        master, _ = await self.pair()
        (sentinel,) = await self.sentinels(master, 1)
        gone = Redis(sentinel=True)
        self.addCleanup(gone.stop)
        store = self.made(self.url([gone, sentinel]))
        store.start()
        await self.up(store)

    async def test_what_no_sentinel_knows_is_told_in_one_line(self) -> None:
        master, _ = await self.pair()
        (sentinel,) = await self.sentinels(master, 1)
        text = await self.refusal(self.made(self.url([sentinel]).replace("/chat/", "/other/")))
        self.assertIn("no Sentinel knows where 'other' is", text)
        self.assertIn("it knows no master of this name", text)
        text = await self.refusal(self.made(self.url([sentinel]).replace("watch", "wrong")))
        self.assertIn("the user or the password is wrong", text)
        text = await self.refusal(self.made(self.url([sentinel]).replace("secret", "wrong")))
        self.assertIn("the user or the password is wrong", text)
