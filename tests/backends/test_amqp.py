"""The router on RabbitMQ, against a real one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from socket import create_server
from typing import Any
from unittest.mock import ANY

import msgspec
import pika
from msgspec import Raw
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectingCancelledError
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from kschat.backends.amqp import AddressError, AmqpRouter, Settings, connection, queues
from kschat.backends.amqp.connection import AT_ONCE
from kschat.backends.amqp.queues import DaemonQueue, SocketQueues
from kschat.backends.amqp.router import LARGE
from kschat.chat.interfaces import IMeasured, IRouter, RouterEvent, RouterListener, RouterUnavailable, Stored
from kschat.front.metrics import MEASURES
from tests.contracts import router as contract
from tests.contracts.made import message, stored
from tests.contracts.router import Arrivals
from tests.support.launch import free_ports
from tests.support.rabbitmq import RabbitMQ, shared_rabbitmq
from tests.support.waiting import real_reactor, repeated_until

_numbers = count(1)

#: Seconds for what the broker does.
PATIENCE = 30


class AmqpTestCase(TestCase):
    """Tests with routers on the broker of this process; each test has an exchange of its own."""

    timeout = 120
    queue = "daemon"
    broker: RabbitMQ

    async def setUp(self) -> None:  # type: ignore[override]
        self.broker = await self.make_broker()
        self.exchange = f"test{next(_numbers)}"

    async def make_broker(self) -> RabbitMQ:
        """The one of this process."""
        return await shared_rabbitmq()

    def settings(self, **changes: Any) -> Settings:
        """Of a router of this test."""
        given = {"url": self.broker.url, "exchange": self.exchange, "queue": self.queue, **changes}
        return Settings(**given)

    def raw(self, **changes: Any) -> AmqpRouter:
        """A router that is not started."""
        router = AmqpRouter(self.settings(**changes), real_reactor())
        self.addCleanup(router.stop)
        return router

    async def started(self, listener: Arrivals | None = None, **changes: Any) -> tuple[AmqpRouter, Arrivals]:
        """A router that is up, and what arrives there."""
        router, arrivals = self.raw(**changes), listener or Arrivals()
        router.attach(arrivals)
        up = arrivals.next(RouterEvent.UP)
        router.start()
        await self.soon(up)
        return router, arrivals

    def soon(self, what: Deferred[Any]) -> Deferred[Any]:
        """``what``, which must come before long."""
        return what.addTimeout(PATIENCE, real_reactor())


@implementer(IRouter)
class Across:
    """A router that publishes by one connection and is bound on another, so that all goes by the broker."""

    def __init__(self, sender: AmqpRouter, receiver: AmqpRouter) -> None:
        self.sender = sender
        self.receiver = receiver
        self.up = True
        self.alone = False
        self.figures = receiver.figures
        self.bind = receiver.bind
        self.unbind = receiver.unbind
        self.publish = sender.publish
        self._listener: RouterListener | None = None
        self._marked: Deferred[None] | None = None
        receiver.attach(self)

    def attach(self, listener: RouterListener) -> None:
        self._listener = listener

    def start(self) -> None:
        """They are."""

    def stop(self) -> Deferred[Any]:
        return gatherResults([self.sender.stop(), self.receiver.stop()])

    def on_router_event(self, event: RouterEvent, socket: str | None = None) -> None:
        """Nobody asks."""

    def missed(self, users: Iterable[str]) -> None:
        """Nobody asks."""

    def deliver(self, batch: Sequence[Stored], socket: str | None = None) -> None:
        marks = [one for one in batch if one.message.recipient == "the mark"]
        others = [one for one in batch if one.message.recipient != "the mark"]
        if others and self._listener is not None:
            self._listener.deliver(others, socket)
        if marks and self._marked is not None:
            marked, self._marked = self._marked, None
            marked.callback(None)

    async def settle(self) -> None:
        """All that was wished and published before has happened."""
        await self.receiver.bind("the mark", "mark")
        self._marked = marked = Deferred[None]()
        await self.sender.publish(stored("the mark"), exact=True)
        await marked
        self.receiver.unbind("the mark", "mark")


class AcrossTests(AmqpTestCase, contract.RouterContract, contract.FailingRouterContract):
    """What goes from one daemon to another."""

    router: Across

    async def make_router(self) -> Across:
        sender, _ = await self.started()
        receiver, _ = await self.started()
        self.router = Across(sender, receiver)
        return self.router

    async def settle(self) -> None:
        await self.soon(Deferred.fromCoroutine(self.router.settle()))

    async def break_off(self, router: Any) -> None:
        await router.stop()

    async def test_a_large_one_to_nobody_comes_back_only_if_somebody_must_know(self) -> None:
        router, _ = await self.attached()
        large = Stored(message("ann", "nobody", msg=Raw(b'"%b"' % (b"x" * LARGE))), (("nobody", 1),))
        back = 0
        for batch, exact, word in (([large], False, True), ([large], True, False), (stored("nobody"), False, False)):
            self.assertEqual(await router.publish(batch, exact=exact), [word])
            back += not word
            self.assertEqual(self.router.sender.figures["returned"], back)


class AcrossSocketsTests(AcrossTests):
    """The tutorial's way: a queue for each socket."""

    queue = "connection"

    async def test_many_users_are_bound_at_once(self) -> None:
        router, arrivals = await self.attached()
        users = [f"user {number}" for number in range(50)]
        await gatherResults([router.bind(user, user) for user in users])
        self.assertEqual(await router.publish(stored(*users), exact=True), [True] * 50)
        await self.settle()
        self.assertEqual(len(arrivals.all), 50)
        self.assertEqual(set(arrivals.sockets), set(users))

    async def test_a_batch_to_many_users_arrives_once_for_each(self) -> None:
        users = [f"user {number}" for number in range(60)]
        router, arrivals = await self.attached()
        await gatherResults([router.bind(user, user) for user in users[::2]])
        batch = stored(*users)
        self.assertEqual(await router.publish(batch, exact=True), [True, False] * 30)
        await self.settle()
        self.assertEqual(sorted(one.message.mid for one in arrivals.all), [one.message.mid for one in batch[::2]])

    async def test_a_batch_arrives_in_its_order(self) -> None:
        router, arrivals = await self.attached("ben", "cem")
        batch = stored(*["ben", "cem", "ben", "ben"] * 25)
        await router.publish(batch)
        await self.settle()
        for user in ("ben", "cem"):
            self.assertEqual(arrivals.of(user), [one for one in batch if one.message.recipient == user])

    async def test_a_message_to_a_room_arrives_once_where_any_of_its_members_is_bound(self) -> None:
        router, arrivals = await self.attached("ben", "cem")
        batch = [Stored(message("ann", "#room"), (("ben", 7), ("cem", 8), ("dan", 9)))]
        await router.publish(batch)
        await self.settle()
        self.assertEqual(arrivals.all, batch * 2)
        self.assertEqual(sorted(str(socket) for socket in arrivals.sockets), ["ben", "cem"])

    async def test_many_queues_of_one_channel_are_acknowledged_in_whatever_order(self) -> None:
        _, arrivals = await self.attached("ben", "cem", "dan")
        router = self.router
        users = ("ben", "cem", "dan", "ben", "dan", "cem", "ben")
        batches = [stored(user) for user in users * 100]
        await gatherResults([router.publish(batch) for batch in batches])
        await self.settle()
        self.assertEqual(len(arrivals.all), len(batches))
        self.assertEqual(router.receiver.figures["connections"], 1)

    async def test_a_batch_to_several_sockets_is_for_each_of_them(self) -> None:
        router, arrivals = await self.attached()
        for socket in ("a", "b"):
            await router.bind("ben", socket)
        await router.publish(stored("ben"))
        await self.settle()
        self.assertEqual(sorted(str(socket) for socket in arrivals.sockets), ["a", "b"])
        router.unbind("ben", "a")
        await self.settle()
        await router.publish(stored("ben"))
        await self.settle()
        self.assertEqual(arrivals.sockets[2:], ["b"])


class HereTests(AmqpTestCase, contract.RouterContract, contract.FailingRouterContract):
    """What is for users of the very daemon that publishes."""

    router: AmqpRouter

    async def make_router(self) -> AmqpRouter:
        self.router, _ = await self.started()
        return self.router

    async def settle(self) -> None:
        # The broker does what was wished in order.
        await self.router.bind("the mark", "mark")
        self.router.unbind("the mark", "mark")

    async def break_off(self, router: Any) -> None:
        await router.stop()

    async def test_it_is_delivered_at_once_and_not_again(self) -> None:
        router, arrivals = await self.started()
        await router.bind("ben", "a")
        batch = stored("ben", "ben")
        published = router.publish(batch)
        self.assertEqual(arrivals.all, batch)
        self.assertEqual(await published, [True, True])
        await router.bind("cem", "b")
        other, _ = await self.started()
        await other.publish(stored("cem"), exact=True)
        while len(arrivals.all) < 3:
            await self.soon(_turn())
        self.assertEqual(len(arrivals.all), 3)

    async def test_without_a_broker_it_is_delivered_where_a_store_has_it(self) -> None:
        router, arrivals = self.raw(url=f"amqp://127.0.0.1:{free_ports(1)[0]}/"), Arrivals()
        router.attach(arrivals)
        with self.assertRaises(RouterUnavailable):
            await router.bind("ben", "a")
        batch = stored("ben")
        relayed = Stored(message("ann", "ben"), (("ben", 0),))
        for given in (batch, [relayed]):
            published = router.publish(given)
            with self.assertRaises(RouterUnavailable):
                await published
        self.assertEqual(arrivals.all, batch)


def _turn() -> Deferred[None]:
    turn: Deferred[None] = Deferred()
    real_reactor().callLater(0.01, turn.callback, None)
    return turn


class ExchangeTests(AmqpTestCase):
    """Each type of exchange, and one that is there already."""

    USERS = (
        *("ben", "b.n", "b.*", "#", "*", "a.b.c", "be\0n", "x" * 128),
        # 128 characters may be 512 bytes; a routing key is at most 255, and so is a header's name.
        *("é" * 128, "é" * 127, "é" * 126, "é" * 125, "\N{GRINNING FACE}" * 128, "\N{GRINNING FACE}" * 63),
        *("a\N{IDEOGRAPHIC SPACE}b", "a b"),
    )

    async def pair(self, **changes: Any) -> tuple[Across, Arrivals]:
        sender, _ = await self.started(**changes)
        receiver, _ = await self.started(**changes)
        router, arrivals = Across(sender, receiver), Arrivals()
        router.attach(arrivals)
        return router, arrivals

    async def test_messages_arrive_where_their_recipients_are_bound(self) -> None:
        for kind in ("direct", "topic", "fanout", "headers"):
            self.exchange = f"{kind}{next(_numbers)}"
            router, arrivals = await self.pair(exchange_type=kind)
            for user in self.USERS[::2]:
                await router.bind(user, "a")
            batch = stored(*self.USERS)
            await router.publish(batch)
            await self.soon(Deferred.fromCoroutine(router.settle()))
            self.assertEqual(arrivals.all, batch[::2], kind)
            await router.stop()

    async def test_but_for_fanout_it_is_said_who_was_not(self) -> None:
        for kind in ("direct", "topic", "headers"):
            self.exchange = f"{kind}{next(_numbers)}"
            router, _ = await self.pair(exchange_type=kind)
            await router.bind("ben", "a")
            self.assertEqual(await router.publish(stored("ben", "cem"), exact=True), [True, False], kind)
            self.assertEqual(await router.publish(stored("cem", "dan")), [False, False], kind)
            await router.stop()

    async def test_one_that_is_there_with_other_arguments_is_named_and_tried_again(self) -> None:
        first, _ = await self.started(exchange_type="direct")
        second = self.raw(exchange_type="topic")
        with capturedLogs() as events:
            second.start()
            while not any("RabbitMQ" in formatEvent(event) for event in events):
                await self.soon(_turn())
        told = [formatEvent(event) for event in events if "can't be used" in formatEvent(event)]
        self.assertEqual(len(told), 1)
        self.assertIn(f"RabbitMQ at 127.0.0.1:{self.broker.port} can't be used", told[0])
        self.assertIn(f"The exchange 'kschat.{self.exchange}' is there already, otherwise: name another", told[0])
        arrivals = Arrivals()
        second.attach(arrivals)
        up = arrivals.next(RouterEvent.UP)
        link = first._link
        assert link is not None
        channel = await link.channel()
        await channel.exchange_delete(f"kschat.{self.exchange}")
        await self.soon(up)


class BeginningTests(AmqpTestCase):
    """A connection that ends before it was of use."""

    async def test_one_that_ends_while_users_are_bound_is_followed_by_another(self) -> None:
        router, arrivals = self.raw(patience=0.2), Arrivals()
        router.attach(arrivals)
        bound = router.bind("ben", "a")
        with self.assertRaises(RouterUnavailable):
            await bound
        send, unanswered = DaemonQueue._send, list[DaemonQueue]()
        self.patch(DaemonQueue, "_send", lambda queue: unanswered.append(queue))
        router.start()
        while not unanswered:
            await self.soon(_turn())
        self.patch(DaemonQueue, "_send", send)
        await self.soon(arrivals.next(RouterEvent.UP))
        other, _ = await self.started()
        self.assertEqual(await other.publish(stored("ben"), exact=True), [True])

    async def test_who_comes_or_goes_while_others_are_bound_is_not_forgotten(self) -> None:
        for queue in ("daemon", "connection"):
            await self.come_and_go(queue, DaemonQueue if queue == "daemon" else SocketQueues)

    async def come_and_go(self, queue: str, kind: Any) -> None:
        """The last test, of one kind of queues."""
        router, arrivals = self.raw(queue=queue), Arrivals()
        router.attach(arrivals)
        users = [f"user {number}" for number in range(AT_ONCE + 10)]
        for user in users:
            router.bind(user, f"of {user}").addErrback(lambda _: None)
        bind, late, left, times = kind.bind, list[str](), list[str](), count(1)

        def binding(queues: Any, user: str, socket: str) -> Any:
            # In the last part of all, and while who came then is bound.
            if next(times) in (AT_ONCE + 5, len(users) + 1):
                late.append(f"late {len(late)}")
                router.bind(late[-1], f"of {late[-1]}").addErrback(lambda _: None)
                left.append(users[len(left)])
                router.unbind(left[-1], f"of {left[-1]}")
            return bind(queues, user, socket)

        self.patch(kind, "bind", binding)
        up = arrivals.next(RouterEvent.UP)
        router.start()
        await self.soon(up)
        self.patch(kind, "bind", bind)
        self.assertEqual((len(late), len(left)), (2, 2))
        other, _ = await self.started()
        self.assertEqual(
            await other.publish(stored(*late, *users), exact=True), [True] * 2 + [False] * 2 + [True] * (AT_ONCE + 8)
        )

    async def test_what_arrives_is_acknowledged_many_together(self) -> None:
        self.patch(queues, "ACK_WAIT", 3600)
        router, arrivals = await self.started()
        await router.bind("ben", "a")
        assert router._session is not None and router._session._queues is not None
        channel, acked = router._session._queues._plain, list[int]()
        acknowledge = channel.basic_ack

        def ack(tag: int, multiple: bool) -> None:
            acked.append(tag)
            acknowledge(tag, multiple=multiple)

        self.patch(channel, "basic_ack", ack)
        other, _ = await self.started()
        count = 2 * queues.ACK_AT + 10
        await gatherResults([other.publish(stored("ben")) for _ in range(count)])
        while len(arrivals.all) < count:
            await self.soon(_turn())
        self.assertIn(len(acked), (1, 2))
        self.assertEqual(acked, sorted(acked))

    async def test_to_stop_while_it_connects_ends_at_once(self) -> None:
        router = self.raw()
        connecting: Deferred[Any] = Deferred()
        self.patch(router._brokers[0].endpoint, "connect", lambda factory: connecting)
        router.start()
        await self.soon(router.stop())

    async def test_how_long_it_took_to_connect_is_logged(self) -> None:
        with capturedLogs() as events:
            await self.started()
        told = [formatEvent(event) for event in events]
        begin = f"connected to RabbitMQ at 127.0.0.1:{self.broker.port} in "
        self.assertEqual(len([text for text in told if text.startswith(begin)]), 1, told)

    async def test_a_listener_that_raises_ends_neither_the_connection_nor_the_tries(self) -> None:
        router, arrivals = self.raw(), Arrivals()
        router.attach(arrivals)
        on_event, raised = arrivals.on_router_event, list[RouterEvent]()

        def raising(turn: RouterEvent, socket: str | None = None) -> None:
            raised.append(turn)
            on_event(turn, socket)
            raise ZeroDivisionError

        self.patch(arrivals, "on_router_event", raising)
        for lives in (1, 2):
            up = arrivals.next(RouterEvent.UP)
            router.start() if lives == 1 else router._link.abort("a test")  # type: ignore[union-attr]
            await self.soon(up)
            await router.bind("ben", "a")
            self.assertTrue(router.up)
        await self.soon(_turn())
        self.assertEqual(raised, [RouterEvent.UP, RouterEvent.DOWN, RouterEvent.UP])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    async def test_an_error_that_should_not_be_is_followed_by_another_connection(self) -> None:
        router, arrivals = await self.started()
        end = router._end

        def raising(*_: object) -> None:
            router._end = end  # type: ignore[method-assign]
            raise ZeroDivisionError

        self.patch(router, "_end", raising)
        up = arrivals.next(RouterEvent.UP)
        assert router._link is not None
        router._link.abort("a test")
        await self.soon(up)
        self.assertTrue(router.up)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_what_can_t_be_handed_on_ends_the_connection_and_is_told(self) -> None:
        router, arrivals = await self.started()
        await router.bind("ben", "a")
        down, up = arrivals.next(RouterEvent.DOWN), arrivals.next(RouterEvent.UP)
        self.patch(arrivals, "deliver", lambda *_: 1 / 0)
        other, _ = await self.started()
        await other.publish(stored("ben"))
        await self.soon(down)
        await self.soon(up)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class TutorialTests(AmqpTestCase):
    """What the tutorial's Node server publishes, and understands."""

    async def test_what_is_published_is_the_tutorial_s_message(self) -> None:
        router, _ = await self.started(format="tutorial")
        reader, _ = await self.started()
        link = reader._link
        assert link is not None
        channel = await link.channel()
        declared = await channel.queue_declare("", exclusive=True)
        await channel.queue_bind(declared.method.queue, self.exchange, "ks_8")
        arriving, _ = await channel.basic_consume(declared.method.queue, auto_ack=True)
        sent = message("7", "8", uId=7, pId="8")
        self.assertEqual(await router.publish([Stored(sent, (("8", 0),))]), [True])
        got = await self.soon(arriving.get())
        text = f'{{"uId":7,"pId":"8","msg":{bytes(sent.msg).decode()},"rStatus":1,"msgTime":{sent.time}}}'
        self.assertEqual(got.body.decode(), text)
        self.assertEqual(got.properties.delivery_mode, 2)

    async def test_what_is_understood(self) -> None:
        router, arrivals = await self.started(format="tutorial")
        await router.bind("8", "a")
        sender, _ = await self.started()
        link = sender._link
        assert link is not None
        channel = await link.channel()
        for body in (
            b"nonsense",
            b'{"uId":1}',
            b"\xff",
            b'{"uId":7,"pId":"8","msg":{"a":[1]},"rStatus":1,"msgTime":5}',
        ):
            await channel.basic_publish(self.exchange, "ks_8", body)
        while not arrivals.all:
            await self.soon(_turn())
        (one,) = arrivals.all
        self.assertEqual((one.message.uId, one.message.pId, bytes(one.message.msg)), (7, "8", b'{"a":[1]}'))
        self.assertEqual((one.message.time, one.places, one.message.cid), (5, (("8", 0),), None))
        self.assertEqual(router.figures["malformed"], 3)

    async def test_what_is_of_our_own_format_reaches_no_queue_of_the_tutorial_s_exchange(self) -> None:
        tutorial, theirs = await self.started(format="tutorial")
        await tutorial.bind("8", "a")
        router, _ = await self.started()
        other, arrivals = await self.started()
        await other.bind("8", "a")
        batch = [Stored(message("7", "8"), (("8", number),)) for number in (0, 5)]
        for exact in (False, True):
            self.assertEqual(await router.publish(batch, exact), [True, True])
        while len(arrivals.all) < 4:
            await self.soon(_turn())
        mark = Stored(message("7", "8"), (("8", 0),))
        await tutorial.publish([mark])
        while not theirs.all:
            await self.soon(_turn())
        self.assertEqual([one.message.mid for one in theirs.all], [mark.message.mid])

    async def test_without_a_store_the_tutorial_s_form_of_binary_must_do(self) -> None:
        sender, _ = await self.started(format="tutorial")
        relay, arrivals = await self.started(format="tutorial", keeps=False)
        await relay.bind("8", "a")
        binary = message("7", "8", msg=Raw(b'{"_placeholder":true,"num":0}'), attachments=(b"x",))
        await sender.publish([Stored(binary, (("8", 7),))])
        while not arrivals.all:
            await self.soon(_turn())
        (one,) = arrivals.all
        self.assertEqual((one.message.mid, bytes(one.message.msg)), (binary.mid, b'{"type":"Buffer","data":[120]}'))
        self.assertEqual(arrivals.missed_users, [])

    async def test_what_a_daemon_without_a_store_publishes_has_a_name_by_which_several_stores_know_it(self) -> None:
        for kind in ("tutorial", "kschat"):
            relay, _ = await self.started(format=kind, keeps=False)
            daemons = [await self.started(format=kind) for _ in range(2)]
            sent = [message("7", "8", cid=cid) for cid in (None, None, "c")]
            for router, _ in daemons:
                await router.bind("8", "a")
            await relay.publish([Stored(one, (("8", 0),)) for one in sent])
            for _, arrivals in daemons:
                while len(arrivals.all) < 3:
                    await self.soon(_turn())
            names = [[(one.message.mid, one.message.cid) for one in arrivals.all] for _, arrivals in daemons]
            self.assertEqual(names[0], names[1])
            self.assertEqual([mid for mid, _ in names[0]], [one.mid for one in sent])
            self.assertEqual(len({cid for _, cid in names[0]} - {None}), 3)
            for router, _ in daemons:
                router.unbind("8", "a")

    async def test_daemons_tell_each_other_the_place_of_a_message(self) -> None:
        sender, _ = await self.started(format="tutorial")
        router, arrivals = await self.started(format="tutorial")
        for user in ("8", "ben"):
            await router.bind(user, "a")
        plain = Stored(message("7", "8", uId=7, pId=8, cid="c"), (("8", 5),))
        room = Stored(message("7", "#room", uId=7, pId="#room"), (("8", 6), ("ben", 1), ("cem", 9)))
        binary = Stored(message("7", "8", msg=Raw(b'{"_placeholder":true,"num":0}'), attachments=(b"x",)), (("8", 7),))
        self.assertEqual(await sender.publish([plain, binary, room]), [True, True, True])
        while len(arrivals.all) < 3 or not arrivals.missed_users:
            await self.soon(_turn())
        first, *others = arrivals.all
        self.assertEqual((first.message.mid, first.places), (plain.message.mid, plain.places))
        self.assertEqual(first.message, msgspec.structs.replace(plain.message, cid=None))
        self.assertEqual(
            [(one.message.mid, one.places) for one in others],
            [(room.message.mid, (place,)) for place in room.places[:2]],
        )
        # Of binary the tutorial's JSON has another form: that is for the store to tell.
        self.assertEqual(arrivals.missed_users, ["8"])

    async def test_a_place_that_can_t_be_read_makes_a_message_malformed(self) -> None:
        router, arrivals = await self.started(format="tutorial")
        await router.bind("8", "a")
        sender, _ = await self.started()
        link = sender._link
        assert link is not None
        channel = await link.channel()
        body = b'{"uId":7,"pId":"8","msg":1,"rStatus":1,"msgTime":5}'
        for place in (b"nonsense", 5, "text", [1]):
            await channel.basic_publish(self.exchange, "ks_8", body, pika.BasicProperties(headers={"ks-place": place}))
        await channel.basic_publish(self.exchange, "ks_8", body, pika.BasicProperties(headers={"another": 1}))
        while not arrivals.all:
            await self.soon(_turn())
        self.assertEqual((len(arrivals.all), router.figures["malformed"]), (1, 4))

    async def test_one_s_own_messages_come_back_by_the_broker(self) -> None:
        router, arrivals = await self.started(format="tutorial")
        await router.bind("ben", "a")
        await router.publish([Stored(message("ann", "ben"), (("ben", 0),))])
        while not arrivals.all:
            await self.soon(_turn())
        self.assertEqual([one.message.recipient for one in arrivals.all], ["ben"])


class RefusedTests(AmqpTestCase):
    """What is wrong is said in one line, which holds no password."""

    async def told(self, **changes: Any) -> str:
        router = self.raw(**changes)
        with capturedLogs() as events:
            router.start()
            while not any("RabbitMQ" in formatEvent(event) for event in events):
                await self.soon(_turn())
        await router.stop()
        (text,) = [formatEvent(event) for event in events if "RabbitMQ" in formatEvent(event)]
        self.assertNotIn("hunter2", text)
        self.assertNotIn("\n", text)
        return text

    async def test_a_wrong_password(self) -> None:
        text = await self.told(url=f"amqp://guest:hunter2@127.0.0.1:{self.broker.port}/%2F")
        self.assertIn("ACCESS_REFUSED", text)

    async def test_a_vhost_that_is_not_there(self) -> None:
        text = await self.told(url=f"amqp://guest:guest@127.0.0.1:{self.broker.port}/nowhere")
        self.assertIn("vhost", text)

    async def test_nobody_there(self) -> None:
        (port,) = free_ports(1)
        text = await self.told(url=f"amqp://127.0.0.1:{port}/")
        self.assertIn(f"RabbitMQ at 127.0.0.1:{port} can't be reached: ", text)

    async def test_a_url_that_is_none(self) -> None:
        with self.assertRaises(AddressError):
            self.raw(url="amqp://host:port/")


class BrokenTests(AmqpTestCase):
    """A broker of the test's own, which goes away."""

    async def make_broker(self) -> RabbitMQ:
        broker = RabbitMQ()
        self.addCleanup(broker.stop)
        await broker.start()
        return broker

    async def test_the_connection_comes_back_and_all_is_bound(self) -> None:
        router, arrivals = await self.started()
        other, others = await self.started()
        await gatherResults([router.bind(f"user {number}", "a") for number in range(500)])
        # It crashes, and comes back without its queues.
        downs = gatherResults([one.next(RouterEvent.DOWN) for one in (arrivals, others)])
        ups = gatherResults([one.next(RouterEvent.UP) for one in (arrivals, others)])
        self.broker.kill()
        await self.soon(downs)
        self.assertFalse(router.up)
        published = router.publish(stored("user 1"))
        with self.assertRaises(RouterUnavailable):
            await published
        bound = router.bind("late", "b")
        with self.assertRaises(RouterUnavailable):
            await bound
        router.unbind("user 0", "a")
        await self.broker.start()
        await self.soon(ups)
        batch = stored("late", "user 0", "user 499")
        self.assertEqual(await other.publish(batch, exact=True), [True, False, True])
        while len(arrivals.all) < 3:
            await self.soon(_turn())
        self.assertEqual(arrivals.all[-2:], [batch[0], batch[2]])

        # It stops answering: what waits for a confirm fails soon, and the connection is given up.
        patient, stalls = await self.started(patience=1.0)
        down, up = stalls.next(RouterEvent.DOWN), stalls.next(RouterEvent.UP)
        self.broker.signal(signal.SIGSTOP)
        published, bound = patient.publish(stored("late")), patient.bind("late", "c")
        for waits in (published, bound):
            with self.assertRaises(RouterUnavailable):
                await self.soon(waits)
        await self.soon(down)
        self.broker.signal(signal.SIGCONT)
        await self.soon(up)
        self.assertEqual(await patient.publish(stored("user 499"), exact=True), [ANY])

    async def test_a_broker_that_is_short_of_memory_takes_nothing_until_it_is_not(self) -> None:
        router, arrivals = await self.started()
        await router.bind("ben", "a")
        down, up = arrivals.next(RouterEvent.DOWN), arrivals.next(RouterEvent.UP)
        await self.broker.ctl("set_vm_memory_high_watermark", "0")
        published = router.publish(stored("cem"))  # whoever publishes is told
        with self.assertRaises(RouterUnavailable):
            await self.soon(published)
        await self.soon(down)
        self.assertFalse(router.up)
        # It reads nothing more of this connection: whoever comes is let in without.
        bound = router.bind("dan", "b")
        with self.assertRaises(RouterUnavailable):
            await self.soon(bound)
        assert router._session is not None
        router._session.look()
        await self.broker.ctl("set_vm_memory_high_watermark", "0.4")
        await self.soon(up)
        self.assertEqual(await router.publish(stored("ben", "cem"), exact=True), [True, False])
        other, _ = await self.started()
        self.assertEqual(await other.publish(stored("ben", "cem", "dan"), exact=True), [True, False, True])
        self.assertEqual(router.figures["connections"], 1)

    async def test_a_broker_that_falls_silent_is_noticed_though_nothing_is_published(self) -> None:
        self.patch(connection, "ASK_EVERY", 0.2)
        router, arrivals = await self.started(patience=1.0)
        down, up = arrivals.next(RouterEvent.DOWN), arrivals.next(RouterEvent.UP)
        with capturedLogs() as events:
            self.broker.signal(signal.SIGSTOP)
            await self.soon(down)
        told = [formatEvent(event) for event in events if "RabbitMQ" in formatEvent(event)]
        self.assertEqual(told, [f"RabbitMQ at 127.0.0.1:{self.broker.port} is lost: it answered nothing for 1 seconds"])
        self.broker.signal(signal.SIGCONT)
        await self.soon(up)
        self.assertEqual(router.figures["connections"], 2)

    async def test_a_queue_that_was_deleted_is_declared_again(self) -> None:
        router, arrivals = await self.started()
        await router.bind("ben", "a")
        assert router._session is not None and router._link is not None
        queues, link = router._session._queues, router._link
        cancelled, up = arrivals.next(RouterEvent.CANCELLED), arrivals.next(RouterEvent.UP)
        channel = await link.channel()
        await channel.queue_delete(queues._queue)  # type: ignore[union-attr]
        await self.soon(cancelled)
        await self.soon(up)
        other, _ = await self.started()
        self.assertEqual(await other.publish(stored("ben"), exact=True), [True])
        while not arrivals.all:
            await self.soon(_turn())

    async def test_who_comes_while_there_is_no_queue_is_bound_to_the_next(self) -> None:
        router, arrivals = await self.started()
        await gatherResults([router.bind(f"user {number}", "a") for number in range(5)])
        assert router._session is not None and router._link is not None
        queues, link = router._session._queues, router._link
        assert isinstance(queues, DaemonQueue)
        late: list[Deferred[None]] = []
        again = queues._again

        async def came() -> None:
            late.append(router.bind("late", "b"))
            router.unbind("user 0", "a")
            await again()

        self.patch(queues, "_again", came)
        up = arrivals.next(RouterEvent.UP)
        await (await link.channel()).queue_delete(queues._queue)
        await self.soon(up)
        await self.soon(late[0])
        other, _ = await self.started()
        self.assertEqual(await other.publish(stored("late", "user 0", "user 4"), exact=True), [True, False, True])
        self.assertEqual(router.figures["connections"], 1)

    async def test_a_channel_that_fails_ends_the_connection_and_the_next_one_works(self) -> None:
        router, arrivals = await self.started()
        await router.bind("ben", "a")
        down, up = arrivals.next(RouterEvent.DOWN), arrivals.next(RouterEvent.UP)
        assert router._session is not None
        publisher = router._session._publisher
        assert publisher is not None
        publisher._exchange = "an exchange that is not there"
        published = router.publish(stored("cem"))
        with self.assertRaises(RouterUnavailable):
            await published
        await self.soon(down)
        await self.soon(up)
        self.assertEqual(await router.publish(stored("ben", "cem"), exact=True), [True, False])

    async def test_to_stop_while_it_is_away_ends_at_once(self) -> None:
        router, arrivals = await self.started()
        down = arrivals.next(RouterEvent.DOWN)
        self.broker.kill()
        await self.soon(down)
        await self.soon(router.stop())


class LagTests(AmqpTestCase):
    """How far behind RabbitMQ is."""

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something that nothing tells of."""

        async def look() -> bool:
            await _turn()
            return true()

        await repeated_until(look, bool, what)

    async def test_answers_and_the_depth_of_the_queue_are_told(self) -> None:
        router, _ = await self.started()
        verifyObject(IMeasured, router)
        await self.until(lambda: router.measures == {"router_queue_messages": 0}, "an answer")
        self.assertGreaterEqual(router.lag or 0, 0)
        self.assertIn("router_queue_messages", dict(MEASURES))
        assert router._session is not None
        queues: Any = router._session._queues
        # A queue that nobody reads.
        other = await router._session.link.channel()
        declared = await other.queue_declare("", exclusive=True)
        queues._queue = declared.method.queue
        for _ in range(3):
            other.basic_publish("", queues._queue, b"x")
        await self.until(lambda: router.measures == {"router_queue_messages": 3}, "the depth")

    async def test_a_queue_that_is_not_there_ends_no_connection(self) -> None:
        router, _ = await self.started()
        assert router._session is not None
        queues: Any = router._session._queues
        name, queues._queue = queues._queue, "kschat-not-there"
        measuring: Any = router._session._measuring
        measuring.look()
        await self.until(lambda: not measuring.lag.waits, "an answer")
        self.assertEqual(router.measures, {})
        queues._queue = name
        await self.until(lambda: router.measures == {"router_queue_messages": 0}, "the depth")
        self.assertEqual(router.figures["connections"], 1)

    async def test_with_a_queue_for_each_socket_there_is_a_lag_and_no_depth(self) -> None:
        router, _ = await self.started(queue="connection")
        assert router._session is not None
        measuring: Any = router._session._measuring
        measuring.look()
        await self.until(lambda: not measuring.lag.waits, "an answer")
        self.assertIsNotNone(router.lag)
        self.assertEqual(router.measures, {})

    async def test_a_publish_without_a_confirm_counts_as_well(self) -> None:
        router, _ = await self.started()
        assert router._session is not None and router._session._publisher is not None
        answered = router.publish(stored("ben"))
        publisher: Any = router._session._publisher
        number, (began, *rest) = next(iter(publisher._waiting.items()))
        publisher._waiting[number] = (began - 7, *rest)
        self.assertGreaterEqual(router.lag or 0, 7)
        await self.soon(answered)
        self.assertLess(router.lag or 0, 7)


class SeveralTests(AmqpTestCase):
    """Several hosts: one is used, and another one when that can't be."""

    def several(self, *ports: int) -> str:
        return f"amqp://guest:guest@{','.join(f'127.0.0.1:{port}' for port in ports)}/%2F"

    async def test_when_a_broker_dies_the_next_one_is_used(self) -> None:
        first = RabbitMQ()
        self.addCleanup(first.stop)
        await first.start()
        url = self.several(first.port, self.broker.port)
        with capturedLogs() as events:
            router, arrivals = await self.started(url=url)
            await router.bind("ben", "a")
            down, up = arrivals.next(RouterEvent.DOWN), arrivals.next(RouterEvent.UP)
            first.kill()
            await self.soon(down)
            await self.soon(up)
        told = [text for event in events if "RabbitMQ at" in (text := formatEvent(event) or "")]
        self.assertEqual(len(told), 3, told)
        self.assertIn(f"connected to RabbitMQ at 127.0.0.1:{first.port} in", told[0])
        self.assertIn(f"RabbitMQ at 127.0.0.1:{first.port} is lost: ", told[1])
        self.assertIn(f"connected to RabbitMQ at 127.0.0.1:{self.broker.port} in", told[2])
        other, _ = await self.started()
        batch = stored("ben")
        self.assertEqual(await other.publish(batch, exact=True), [True])
        while not arrivals.all:
            await self.soon(_turn())
        self.assertEqual(arrivals.all, batch)
        # One that comes now finds the dead one first.
        late, _ = await self.started(url=url)
        self.assertEqual(await late.publish(stored("ben"), exact=True), [True])

    async def test_one_that_answers_nothing_and_one_that_is_not_there_are_passed_over_and_said_once(self) -> None:
        with create_server(("127.0.0.1", 0)) as silent:
            (nobody,) = free_ports(1)
            silent_port = silent.getsockname()[1]
            with capturedLogs() as events:
                await self.started(url=self.several(silent_port, nobody, self.broker.port), patience=1.0)
        told = [text for event in events if "RabbitMQ at" in (text := formatEvent(event) or "")]
        self.assertEqual(
            [text.partition(": ")[0].partition(" in ")[0] for text in told],
            [
                f"RabbitMQ at 127.0.0.1:{silent_port} can't be used",
                f"RabbitMQ at 127.0.0.1:{nobody} can't be reached",
                f"connected to RabbitMQ at 127.0.0.1:{self.broker.port}",
            ],
        )

    async def test_all_are_tried_before_it_waits_and_each_reason_is_said_once(self) -> None:
        ports = free_ports(3)
        router = self.raw(url=self.several(*ports), first_retry=0.01, last_retry=0.02)
        tried: list[str] = []
        for one in router._brokers:
            connect = one.endpoint.connect

            def trying(factory: Any, place: str = one.place, connect: Any = connect) -> Deferred[Any]:
                tried.append(place)
                asked: Deferred[Any] = connect(factory)
                return asked

            self.patch(one.endpoint, "connect", trying)
        with capturedLogs() as events:
            router.start()
            while router.figures["tries"] < 4:
                await self.soon(_turn())
        await router.stop()
        places = [f"127.0.0.1:{port}" for port in ports]
        # A round begins with the one after the last.
        self.assertEqual(tried[:9], places * 3)
        told = [text for event in events if "RabbitMQ at" in (text := formatEvent(event) or "")]
        begun = [text.partition(" can't be reached: ")[0] for text in told]
        self.assertEqual(begun, [f"RabbitMQ at {place}" for place in places])

    async def test_to_stop_while_the_first_is_connected_tries_no_other(self) -> None:
        router = self.raw(url=self.several(1, 2))
        place = IPv4Address("TCP", "127.0.0.1", 1)
        # As Twisted's endpoints do.
        connecting: Deferred[Any] = Deferred(lambda asked: asked.errback(ConnectingCancelledError(place)))
        tried: list[int] = []
        self.patch(router._brokers[0].endpoint, "connect", lambda _: connecting)
        self.patch(router._brokers[1].endpoint, "connect", lambda _: tried.append(1))
        router.start()
        await self.soon(router.stop())
        self.assertEqual(tried, [])


class NeighboursTests(AmqpTestCase):
    """Daemons on one exchange that do not go together say so, once."""

    async def told(self, *daemons: dict[str, Any], times: int = 1) -> list[list[str]]:
        """What each of some daemons warns of, when all have met; and each is connected so many times."""
        with capturedLogs() as events:
            routers = [(await self.started(**changes))[0] for changes in daemons]
            for router in routers[:1] * (times - 1):
                arrivals = Arrivals()
                router.attach(arrivals)
                up = arrivals.next(RouterEvent.UP)
                assert router._link is not None
                router._link.abort("a test")
                await self.soon(up)
            while any(router._met < len(daemons) - 1 for router in routers):
                await self.soon(_turn())
        warned = [event for event in events if event["log_level"].name == "warn"]
        return [[formatEvent(event) or "" for event in warned if event["log_source"] is router] for router in routers]

    async def test_those_of_one_kind_say_nothing(self) -> None:
        for changes in ({}, {"format": "tutorial"}, {"keeps": False}):
            self.exchange = f"alike{next(_numbers)}"
            self.assertEqual(await self.told(changes, changes, changes), [[], [], []])

    async def test_two_formats_do_not_hear_each_other(self) -> None:
        one, other = await self.told({}, {"format": "tutorial"}, times=2)
        self.assertEqual(
            [text[:45] for text in one if "another" in text], ["another daemon has amqp_format=tutorial, and "]
        )
        self.assertEqual([text[:45] for text in other], ["another daemon has amqp_format=kschat, and th"])

    async def test_relay_mode_beside_a_store_is_said(self) -> None:
        one, other = await self.told({"keeps": False}, {}, times=2)
        self.assertEqual([text[:42] for text in one], ["this daemon is in relay mode (store none) "])
        self.assertEqual([text[:45] for text in other], ["another daemon is in relay mode (store none) "])

    async def test_the_tutorial_s_exchange_beside_is_said(self) -> None:
        await self.started(format="tutorial")
        with capturedLogs() as events:
            await self.started()
        texts = [formatEvent(event) or "" for event in events]
        self.assertEqual(len([text for text in texts if text.startswith("RabbitMQ also has the exchange")]), 1, texts)

    async def test_who_may_not_make_that_exchange_is_served_all_the_same(self) -> None:
        with capturedLogs() as events:
            self.patch(Settings, "cards_exchange", property(lambda _: "amq.not-ours"))
            router, _ = await self.started()
        self.assertTrue(router.up)
        texts = [formatEvent(event) or "" for event in events]
        self.assertEqual(len([text for text in texts if text.startswith("it can't be known which other")]), 1, texts)
