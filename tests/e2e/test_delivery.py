"""Nothing acknowledged is lost: what npm's clients see of backlog, proof of delivery, recovery, and retries."""

from __future__ import annotations

from twisted.internet import defer

from chaos.proxy import Link, Proxy
from tests.e2e.chatting import COMES_BACK, ChatTestCase, messages_of, new_user, received, send, sending
from tests.support import NodeSocket, token
from tests.support.waiting import real_reactor

BACKLOG = 500


class _Delivery(ChatTestCase):
    """Run by 2.5.0 and by 4.8.4, which are on the receiving side; the other side is always 4.8.4."""

    in_file = True

    async def proxied(self, user: str, *, answers: bool = True, **options: object) -> tuple[NodeSocket, Link, Proxy]:
        """A socket of the version under test that comes back by itself, and its way through a proxy."""
        proxy = Proxy(real_reactor(), self.daemon.port)
        self.addCleanup(proxy.stop)
        await proxy.start()
        given: dict[str, object] = {"query": f"token={token(user)}", **COMES_BACK, **options}
        socket = await self.client().connect(f"http://127.0.0.1:{proxy.port}/kschat", answers=answers, **given)
        (link,) = proxy.links
        return socket, link, proxy

    async def test_who_was_away_gets_all_in_order_while_others_go_on(self) -> None:
        alice, bob, carol, dave = (new_user(name) for name in ("alice", "bob", "carol", "dave"))
        a = await self.join(alice, 4)
        await send(a, alice, bob, *range(BACKLOG))
        c, d = await self.join(carol, 4), await self.join(dave)
        b = await self.join(bob)
        backlog = defer.ensureDeferred(received(b, BACKLOG))
        for number in range(20):
            await send(c, carol, dave, number)
            self.assertEqual([number], [message["msg"] for message in await received(d, 1)])
        messages = await backlog
        self.assertEqual(list(range(BACKLOG)), [message["msg"] for message in messages])
        self.assertEqual(list(range(1, BACKLOG + 1)), [message["offset"] for message in messages])
        self.assertEqual(BACKLOG, len({message["mid"] for message in messages}))
        await send(a, alice, bob, "now")
        self.assertEqual(["now"], [message["msg"] for message in await received(b, 1)])

    async def test_what_was_written_but_not_read_comes_again(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice, 4, receipts=1)
        b, link, _ = await self.proxied(bob, answers=False)
        await send(a, alice, bob, "read")
        await received(b, 1)
        await a.next("RESPSTATUS")
        link.stall(to_server=False)
        # The ack of a message follows its being written to the recipient's socket.
        acks = await send(a, alice, bob, "unread 1", "unread 2")
        link.cut()
        again = await received(b, 2)
        self.assertEqual(["unread 1", "unread 2"], [message["msg"] for message in again])
        self.assertEqual([ack["mid"] for ack in acks], [message["mid"] for message in again])

    async def test_what_was_proved_does_not_come_again(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice, 4, receipts=1)
        b, link, _ = await self.proxied(bob, answers=False)
        (ack,) = await send(a, alice, bob, "once")
        await received(b, 1)
        # This client calls no acks: the pong of its WebSocket is the proof.
        self.assertEqual([{"pId": bob, "mid": ack["mid"], "STATUS": 2}], (await a.next("RESPSTATUS")).args)
        link.cut()
        await b.next("connect")
        await send(a, alice, bob, "then")
        self.assertEqual(["then"], [message["msg"] for message in await received(b, 1)])

    async def test_a_message_that_is_not_read_is_not_reported_as_delivered(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice, 4, receipts=1)
        b, link, _ = await self.proxied(bob)
        link.stall()
        await send(a, alice, bob, "unread")
        await a.emit("History", {"pId": bob})
        self.assertNotIn("RESPSTATUS", [event.name for event in a.unseen])
        link.resume()
        await received(b, 1)
        await a.next("RESPSTATUS")

    async def test_a_program_that_acks_and_disconnects_in_a_stream_of_messages_gets_them_all(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice, 4)
        numbers = range(1000)
        stream = [defer.ensureDeferred(send(a, alice, bob, *numbers[first : first + 20])) for first in numbers[::20]]
        had: set[int] = set()
        while len(had) < len(numbers):
            b = await self.join(bob)
            had.update(message["msg"] for message in await received(b, 1))
            # At once, while more is on its way: the library throws that away.
            await b.disconnect()
            had.update(one["msg"] for event in b.unseen if event.name == "RESPRECEIVER" for one in messages_of(event))
        await defer.gatherResults(stream)

    async def test_a_ghost_of_a_socket_keeps_nothing_from_the_next_one(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice, 4)
        b, link, _ = await self.proxied(bob)
        link.haunt()
        await b.next("disconnect")
        await send(a, alice, bob, *range(10))
        self.assertEqual(list(range(10)), [message["msg"] for message in await received(b, 10)])

    async def test_every_device_gets_every_message_in_order(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice, 4)
        devices = [
            await self.join(bob),
            await self.join(bob, 4),
            await self.join(bob, 2),
            await self.join(bob, batch=1),
        ]
        await send(a, alice, bob, *range(50))
        for device in devices:
            self.assertEqual(list(range(50)), [message["msg"] for message in await received(device, 50)])
        self.assertEqual([], [event for device in devices for event in device.unseen if event.name == "RESPRECEIVER"])

    async def test_a_repeated_cid_is_stored_once_and_answered_as_the_first_time(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(alice), await self.join(bob, 4)
        (first,) = await send(a, alice, bob, "once", cid="c1")
        (again,) = await send(a, alice, bob, "once", cid="c1")
        self.assertEqual({**first, "repeat": True}, again)
        # In one burst, and so in one batch.
        burst = await send(a, alice, bob, "twice", "twice", "twice", cid="c2")
        self.assertEqual(1, len({ack["mid"] for ack in burst}))
        self.assertEqual([False, True, True], [ack.get("repeat", False) for ack in burst])
        # It is the sender's own id: another's does not meet it.
        await send(b, bob, alice, "mine", cid="c1")
        await received(a, 1)
        (page,) = await a.emit("History", {"pId": bob})
        self.assertEqual(["once", "twice", "mine"], [message["msg"] for message in page["MSG"]])
        self.assertEqual(["once", "twice"], [message["msg"] for message in await received(b, 2)])
        self.assertNotIn("RESPRECEIVER", [event.name for event in b.unseen])

    async def test_a_message_that_was_sent_again_after_a_cut_is_stored_once(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, link, _ = await self.proxied(alice)
        b = await self.join(bob, 4)
        link.stall(to_server=False)
        lost = a.emit("Send", {**sending(alice, bob, "once"), "cid": "c"})
        lost.addErrback(lambda _: None)  # its ack never comes
        (message,) = await received(b, 1)
        link.cut()
        await a.next("connect")
        (ack,) = await send(a, alice, bob, "once", cid="c")
        self.assertEqual((message["mid"], True), (ack["mid"], ack["repeat"]))
        await send(a, alice, bob, "end")
        self.assertEqual(["end"], [message["msg"] for message in await received(b, 1)])
        lost.cancel()


class Client2Tests(_Delivery):
    """socket.io-client 2.5.0, which acknowledges nothing by itself."""

    version = 2


class Client4Tests(_Delivery):
    """socket.io-client 4.8.4, and what only it does by itself."""

    version = 4

    async def test_retries_of_the_client_itself_store_once(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, link, _ = await self.proxied(alice, retries=3, ackTimeout=15_000)
        b = await self.join(bob, 2)
        link.stall(to_server=False)
        asked = a.emit("Send", {**sending(alice, bob, "once"), "cid": "c"})
        (message,) = await received(b, 1)
        link.cut()
        error, ack = await asked
        self.assertEqual((None, message["mid"], True), (error, ack["mid"], ack["repeat"]))
        self.assertEqual(None, (await a.emit("Send", {**sending(alice, bob, "end"), "cid": "d"}))[0])
        self.assertEqual(["end"], [message["msg"] for message in await received(b, 1)])
        (_, page) = await a.emit("History", {"pId": bob})
        self.assertEqual(["once", "end"], [message["msg"] for message in page["MSG"]])

    async def test_a_client_that_recovers_gets_what_it_missed(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice)
        b, link, _ = await self.proxied(bob, auth={"recover": 1})
        self.assertFalse((await b.state())["recovered"])
        await send(a, alice, bob, "seen")
        event = await b.next("RESPRECEIVER")
        self.assertEqual((["seen"], False), ([message["msg"] for message in messages_of(event)], event.asks_ack))
        self.assertEqual("1", event.args[1], "a stock client notes the offset that is the last argument")
        link.stall(to_server=False)
        await send(a, alice, bob, "missed 1", "missed 2")
        link.cut()
        await b.next("connect")
        self.assertTrue((await b.state())["recovered"])
        self.assertEqual(["missed 1", "missed 2"], [message["msg"] for message in await received(b, 2)])

    async def test_a_client_that_recovers_gets_what_its_other_device_had_meanwhile(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, other = await self.join(alice, receipts=1), await self.join(bob)
        b, link, _ = await self.proxied(bob, auth={"recover": 1})
        await send(a, alice, bob, "seen")
        await received(b, 1)
        await a.next("RESPSTATUS")
        link.stall(to_server=False)
        await send(a, alice, bob, "missed")
        await received(other, 2)
        await a.next("RESPSTATUS")  # the other device has proved it: the cursor stands behind it
        link.cut()
        await b.next("connect")
        self.assertTrue((await b.state())["recovered"])
        self.assertEqual(["missed"], [message["msg"] for message in await received(b, 1)])

    async def test_an_offset_that_is_not_known_is_not_recovered(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice)
        b = await self.join(bob, recover=1)
        await send(a, alice, bob, "one")
        await received(b, 1)
        for pid, offset in (("nonesuch", "1"), ("", "1"), ("nonesuch", "x")):
            auth = {"token": token(bob), "recover": 1, "pid": pid, "offset": offset}
            other = await self.client().connect(self.chat_url, auth=auth)
            self.assertFalse((await other.state())["recovered"])
            await other.disconnect()
        await send(a, alice, bob, "two")
        self.assertEqual(["two"], [message["msg"] for message in await received(b, 1)])


del _Delivery, ChatTestCase
