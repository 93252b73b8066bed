"""Two daemons on a Redis behind Sentinels that learn of a promotion at different times: no message is skipped.

The chats are whole and in this process; Redis's servers are real. What the Sentinels say, and when, the test decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import hiredis
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from kschat.backends.generations import GENERATION
from kschat.backends.redis import RedisStore
from kschat.backends.redis.client import redis_client
from kschat.chat.interfaces import IRouter, RouterListener, Stored
from kschat.chat.message import Error
from tests.backends.redis_stores import StoreTestCase
from tests.chat.peers import Client, Daemon
from tests.contracts.made import to
from tests.support.redis import Redis
from tests.support.waiting import real_reactor


class Sentinel(Factory):
    """Says where the master is.

    Attributes:
        master: what it knows as the master.
        port: where it listens.
    """

    def __init__(self, master: Redis) -> None:
        self.master = master
        self.port = 0

    def buildProtocol(self, _address: object) -> Protocol:
        return _Asked(self)


class _Asked(Protocol):
    def __init__(self, sentinel: Sentinel) -> None:
        self._sentinel = sentinel
        self._reader = hiredis.Reader()

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            port = str(self._sentinel.master.port).encode()
            asked = command[1].upper() == b"GET-MASTER-ADDR-BY-NAME"
            assert self.transport is not None
            self.transport.write(
                b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port) if asked else b"-ERR unknown\r\n"
            )


class Exchange:
    """What carries messages between daemons of one process, at once."""

    def __init__(self) -> None:
        self.routers: list[ExchangeRouter] = []

    def router(self) -> ExchangeRouter:
        self.routers.append(ExchangeRouter(self))
        return self.routers[-1]


@implementer(IRouter)
class ExchangeRouter:
    up = True
    alone = False
    figures: Mapping[str, int] = {}
    listener: RouterListener

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def attach(self, listener: RouterListener) -> None:
        self.listener = listener

    def start(self) -> None:
        pass

    def stop(self) -> Deferred[None]:
        return succeed(None)

    def bind(self, user: str, socket: str) -> Deferred[None]:
        return succeed(None)

    def unbind(self, user: str, socket: str) -> None:
        pass

    def publish(self, batch: Sequence[Stored], exact: bool = False) -> Deferred[list[bool]]:
        for router in self._exchange.routers:
            router.listener.deliver(batch)
        return succeed([True] * len(batch))


class FailoverTests(StoreTestCase):
    """Alice is on the first daemon, Ben on the second."""

    async def begin(self, *, first: Sequence[Sentinel] = (), second: Sequence[Sentinel] = ()) -> None:
        """Both daemons are up; each knows Sentinels of its own, or those that are given."""
        self.exchange = Exchange()
        self.stores: list[RedisStore] = []
        self.daemons: list[Daemon] = []
        for sentinels in (first, second):
            places = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
            store = self.made(f"redis+sentinel://{places}/chat/0")
            self.daemons.append(Daemon(store, self.exchange.router(), real_reactor()))
            store.start()
            await self.up(store)
            self.stores.append(store)
        self.alice = self.daemons[0].joined("alice")
        self.ben = self.daemons[1].joined("ben")
        await self.let_in(self.alice)
        await self.let_in(self.ben)
        self.addCleanup(self.leave)

    async def let_in(self, client: Client) -> None:
        await self.until(lambda: bool(client.read() or client.sid), "the client to be let in")

    def leave(self) -> None:
        for client in (self.alice, self.ben):
            client.drop()
        for daemon in self.daemons:
            daemon.hub.write_behind.write()
            daemon.hub.catch_up.rest()

    async def servers(self) -> tuple[Redis, Redis]:
        """A master, and a replica that is in step with it."""
        master = await self.own_redis("repl-diskless-sync-delay 0\n")
        replica = await self.own_redis(f"repl-diskless-sync-delay 0\nreplicaof 127.0.0.1 {master.port}\n")
        await self.until(lambda: b"master_link_status:up" in replica.do("INFO", "replication"), "the replica")
        return master, replica

    def sentinel(self, master: Redis) -> Sentinel:
        sentinel = Sentinel(master)
        port = real_reactor().listenTCP(0, sentinel, interface="127.0.0.1")
        sentinel.port = port.getHost().port
        self.addCleanup(port.stopListening)
        return sentinel

    async def send(self, client: Client, to: str, text: str) -> None:
        """A message; it is sent again until it is acknowledged, as clients do."""
        answer = {"ER": Error.NO_STORE}
        while answer.get("ER") == Error.NO_STORE:
            number = client.emit("Send", {"uId": client.user, "pId": to, "msg": text, "cid": text})
            await self.until(lambda number=number: client.answer(number) is not None, f"the ack of {text}")  # type: ignore[misc]
            answer = client.answer(number)
        self.assertNotIn("ER", answer)

    def texts(self, client: Client) -> list[str]:
        return [one["msg"] for one in client.messages()]

    async def has(self, client: Client, *texts: str) -> None:
        await self.until(lambda: len(self.texts(client)) >= len(texts), f"{texts}; there is {self.texts(client)}")
        self.assertEqual(self.texts(client), list(texts))

    async def promote(self, master: Redis, replica: Redis) -> None:
        """The replica has all, and becomes a master. The old one goes on as one."""
        offset = master.do("INFO", "replication").split(b"master_repl_offset:")[1].split()[0]
        await self.until(lambda: b"slave_repl_offset:" + offset in replica.do("INFO", "replication"), "the replica")
        replica.do("REPLICAOF", "NO", "ONE")

    async def test_what_the_new_master_has_is_delivered_once_the_late_sentinel_knows_it(self) -> None:
        self.patch(redis_client, "SENTINEL_INTERVAL", 0.1)
        master, replica = await self.servers()
        early, late = self.sentinel(master), self.sentinel(master)
        await self.begin(first=[early], second=[late])
        await self.send(self.alice, "ben", "m1")
        await self.has(self.ben, "m1")
        await self.promote(master, replica)
        early.master = replica
        await self.until(lambda: replica.do("HGET", f"{self.id()}:g", "generation") != b"1", "daemon 1 to go over")
        await self.up(self.stores[0])
        await self.send(self.alice, "ben", "m2")
        # The gap was read from the old master, which has nothing of it.
        await self.until(lambda: self.ben.stream._claimed > GENERATION, "the gap to be read")
        await self.send(self.alice, "ben", "m3")
        self.assertEqual(self.texts(self.ben), ["m1"])
        late.master = replica
        await self.has(self.ben, "m1", "m2", "m3")
        await self.send(self.ben, "alice", "m4")
        await self.has(self.alice, "m4")
        self.assertEqual(master.do("EXISTS", f"{self.id()}:i:alice"), 0)

    async def test_any_sentinel_that_knows_better_is_believed_once_news_of_the_new_master_come(self) -> None:
        self.patch(redis_client, "SENTINEL_INTERVAL", 3600.0)
        master, replica = await self.servers()
        early, late = self.sentinel(master), self.sentinel(master)
        await self.begin(first=[early], second=[late, early])
        await self.send(self.alice, "ben", "m1")
        await self.has(self.ben, "m1")
        await self.promote(master, replica)
        early.master = replica
        for one in (self.stores[0]._client._writes, self.stores[0]._client._reads):
            one.abort("the test cuts it")
        await self.up(self.stores[0], False)
        await self.up(self.stores[0])
        await self.send(self.alice, "ben", "m2")
        await self.send(self.alice, "ben", "m3")
        await self.has(self.ben, "m1", "m2", "m3")
        # It stays there, though its first Sentinel still names the old master.
        self.patch(redis_client, "SENTINEL_INTERVAL", 0.0)
        await self.send(self.ben, "alice", "m4")
        await self.has(self.alice, "m4")
        self.assertEqual(replica.do("EXISTS", f"{self.id()}:i:alice"), 1)

    async def test_a_reader_on_the_old_master_beside_a_writer_on_the_new_goes_over_too(self) -> None:
        self.patch(redis_client, "SENTINEL_INTERVAL", 3600.0)
        master, replica = await self.servers()
        sentinel = self.sentinel(master)
        await self.begin(first=[sentinel], second=[sentinel])
        alice = self.daemons[1].joined("alice")
        self.addCleanup(alice.drop)
        await self.let_in(alice)
        await self.send(alice, "ben", "m1")
        await self.promote(master, replica)
        sentinel.master = replica
        self.stores[1]._client._writes.abort("the test cuts it")
        await self.up(self.stores[1], False)
        await self.up(self.stores[1])
        await self.send(alice, "ben", "m2")
        await self.send(alice, "ben", "m3")
        await self.has(self.ben, "m1", "m2", "m3")

    async def test_a_forged_offset_of_a_later_generation_cuts_no_link(self) -> None:
        master, _ = await self.servers()
        sentinel = self.sentinel(master)
        await self.begin(first=[sentinel], second=[sentinel])
        await self.send(self.alice, "ben", "m1")
        tries = [one.tries for one in (self.stores[1]._client._writes, self.stores[1]._client._reads)]
        (forged,) = to("ben")
        self.daemons[1].news(Stored(forged, (("ben", 7 * GENERATION),)))
        await self.until(lambda: self.ben.stream._claimed == 7 * GENERATION, "the gap to be read")
        await self.send(self.alice, "ben", "m2")
        await self.has(self.ben, "m1", "m2")
        await self.until(lambda: not self.stores[1]._client._reads._searching, "the search to end")
        self.assertEqual([one.tries for one in (self.stores[1]._client._writes, self.stores[1]._client._reads)], tries)
