"""What goes beyond the tutorial, as npm's clients 2.5.0 and 4.8.4 see it; who asked for nothing sees none of it."""

from __future__ import annotations

from twisted.trial import unittest

from tests.e2e.chatting import ChatTestCase, messages_of, new_user, received, send, sending
from tests.support import Daemon, NodeClient, NodeSocket, require_node, token


def names(socket: NodeSocket) -> list[str]:
    """What a socket was told that nobody has looked at."""
    return [event.name for event in socket.unseen]


class _Beyond(ChatTestCase):
    """Run by each version, which is the one that asks; the other side is 4.8.4."""

    in_file = True

    async def test_receipts_tell_of_delivered_and_of_read(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, plain = await self.join(alice, receipts=1), await self.join(alice)
        first, second = await send(a, alice, bob, "1", "2")
        await a.emit("Conversations")
        self.assertNotIn("RESPSTATUS", names(a))
        b = await self.join(bob, 4)
        delivered = [(await a.next("RESPSTATUS")).args for _ in range(2)]
        self.assertEqual([[{"pId": bob, "mid": one["mid"], "STATUS": 2}] for one in (first, second)], delivered)
        self.assertEqual([{"ER": 0}], await b.emit("Read", {"pId": alice, "mid": second["mid"]}))
        self.assertEqual([{"pId": bob, "mid": second["mid"], "STATUS": 3}], (await a.next("RESPSTATUS")).args)
        self.assertEqual([{"ER": 0}], await b.emit("Read", {"pId": alice, "mid": first["mid"]}))
        await a.emit("Conversations")
        await plain.emit("Conversations")
        self.assertNotIn("RESPSTATUS", names(a) + names(plain))

    async def test_carbons_show_what_another_device_sends(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, mine, plain = await self.join(alice, 4), await self.join(alice, carbons=1), await self.join(alice)
        (ack,) = await send(a, alice, bob, {"text": "hi", "bin": b"\x00\x01"}, cid="c")
        (message,) = messages_of(await mine.next("RESPCARBON"))
        expected = {"uId": alice, "pId": bob, "msg": {"text": "hi", "bin": b"\x00\x01"}, "mid": ack["mid"]}
        self.assertEqual(expected, {name: message[name] for name in expected})
        await send(mine, alice, bob, "mine")
        await send(a, alice, bob, "again", cid="c")
        await mine.emit("Conversations")
        await plain.emit("Conversations")
        self.assertNotIn("RESPCARBON", names(mine) + names(plain) + names(a))

    async def test_batch_gets_several_messages_in_one_event_and_in_order(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice, 4)
        await send(a, alice, bob, *range(100), b"binary", *range(101, 120))
        b = await self.join(bob, batch=1)
        events = [await b.next("RESPRECEIVER")]
        while sum(len(messages_of(event)) for event in events) < 120:
            events.append(await b.next("RESPRECEIVER"))
        self.assertLess(len(events), 20)
        (alone,) = [messages_of(event) for event in events if b"binary" in [one["msg"] for one in messages_of(event)]]
        self.assertEqual(1, len(alone), "binary goes alone")
        messages = [message for event in events for message in messages_of(event)]
        self.assertEqual([*range(100), b"binary", *range(101, 120)], [message["msg"] for message in messages])
        self.assertEqual(list(range(1, 121)), [message["offset"] for message in messages])

    async def test_the_name_of_a_token_is_shown_to_whom_its_user_writes(self) -> None:
        alice, bob, room = new_user("alice"), new_user("bob"), new_user("#r")
        data = {"id": alice, "name": "Alice\u202e Ω", "rooms": "*"}
        named = await self.client().connect(self.chat_url, query=f"token={token(alice, data=data)}&carbons=1")
        mine, b = await self.join(alice, carbons=1), await self.join(bob, 4)
        plain = await self.client(2).connect(self.chat_url, query=f"token={token(bob)}")
        await send(named, alice, bob, "hi")
        for socket, event in ((mine, "RESPCARBON"), (b, "RESPRECEIVER"), (plain, "RESPRECEIVER")):
            (message,) = messages_of(await socket.next(event))
            self.assertEqual(("hi", "Alice Ω"), (message["msg"], message["name"]))
        for name, payload in (("History", {"pId": alice}), ("Sync", {"offset": 0})):
            (page,) = await b.emit(name, payload)
            self.assertEqual(["Alice Ω"], [message["name"] for message in page["MSG"]], name)
        (listed,) = await b.emit("Conversations")
        self.assertEqual("Alice Ω", listed[0]["last"]["name"])
        await send(b, bob, alice, "I have none")
        (message,) = messages_of(await named.next("RESPRECEIVER"))
        self.assertNotIn("name", message)
        self.assertEqual([{"ER": 0}], await named.emit("Join", {"room": room}))
        await send(named, alice, room, "to all")
        (page,) = await named.emit("History", {"pId": room})
        self.assertEqual(["Alice Ω"], [message["name"] for message in page["MSG"]])

    async def test_edits_deletions_and_reactions_are_told_and_shown(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(alice, 4, updates=1), await self.join(bob, updates=1)
        plain = await self.connect(bob, self.version)
        first, second = await send(a, alice, bob, "first", "second")
        for socket in (b, plain):
            await received(socket, 2)
        (answer,) = await a.emit("Edit", {"mid": first["mid"], "msg": {"text": "better", "bin": b"\x00\x01"}})
        self.assertEqual((0, first["mid"]), (answer["ER"], answer["mid"]))
        expected = {"mid": first["mid"], "kind": "edit", "uId": alice, "pId": bob, "at": answer["at"]}
        for socket, offset in ((a, 1), (b, 3)):
            (told,) = (await socket.next("RESPUPDATE")).args
            self.assertEqual({**expected, "msg": {"text": "better", "bin": b"\x00\x01"}, "offset": offset}, told)
        await b.emit("React", {"mid": first["mid"], "emoji": "👍"})
        (told,) = (await a.next("RESPUPDATE")).args
        self.assertEqual((bob, "👍"), (told["uId"], told["emoji"]))
        (refused,) = await b.emit("Delete", {"mid": first["mid"]})
        self.assertEqual(6, refused["ER"])
        await b.disconnect()
        await plain.emit("Conversations")
        self.assertEqual([], [name for name in names(plain) if name == "RESPUPDATE"])
        await plain.disconnect()
        await self.daemon.health_becomes(sockets=1)
        await a.emit("Delete", {"mid": second["mid"]})
        (page,) = await a.emit("History", {"pId": bob})
        self.assertEqual({"👍": [bob]}, page["MSG"][0]["reactions"])
        self.assertEqual((None, True), (page["MSG"][1]["msg"], "deleted" in page["MSG"][1]))
        b = await self.join(bob, updates=1)
        kinds = []
        while "delete" not in kinds:
            kinds.append((await b.next("RESPUPDATE")).args[0]["kind"])

    async def test_typing_is_told_to_all_sockets_of_the_peer(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice)
        devices = [await self.join(bob, 2, typing=1), await self.join(bob, 4, receipts=1)]
        await a.emit_without_ack("Typing", {"pId": bob})
        for device in devices:
            self.assertEqual([{"uId": alice}], (await device.next("RESPTYPING")).args)
        (page,) = await a.emit("History", {"pId": bob})
        self.assertEqual({"MSG": [], "more": False}, page)

    async def test_presence_is_answered_and_told_on_change(self) -> None:
        alice, bob, carol = new_user("alice"), new_user("bob"), new_user("carol")
        a, b = await self.join(alice), await self.join(bob, 4)
        (answer,) = await a.emit("Presence", {"ids": [bob, carol]})
        self.assertEqual({bob: True, carol: False}, {user: one["online"] for user, one in answer.items()})
        self.assertEqual(None, answer[carol]["lastSeen"])
        other = await self.join(bob, 4)
        await other.disconnect()
        await b.disconnect()
        (left,) = (await a.next("RESPPRESENCE")).args
        self.assertEqual((bob, False), (left["id"], left["online"]))
        self.assertIsInstance(left["lastSeen"], int)
        (answer,) = await a.emit("Presence", {"ids": [bob]})
        self.assertEqual({bob: {"online": False, "lastSeen": left["lastSeen"]}}, answer)
        b = await self.join(bob, 4)
        (came,) = (await a.next("RESPPRESENCE")).args
        self.assertEqual((bob, True), (came["id"], came["online"]))
        self.assertEqual([{}], await a.emit("Presence", {"ids": []}))
        await b.disconnect()
        await self.join(carol, 4)
        await a.emit("Conversations")
        self.assertNotIn("RESPPRESENCE", names(a))

    async def test_history_is_read_by_pages_from_the_newest(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, b = await self.join(alice), await self.join(bob, 4)
        for number in range(10):
            user, peer, socket = (alice, bob, a) if number % 2 else (bob, alice, b)
            await send(socket, user, peer, number)
        await send(a, alice, new_user(), "of another conversation")
        pages = []
        before: dict[str, str] = {}
        for _ in range(3):
            (page,) = await a.emit("History", {"pId": bob, "limit": 4, **before})
            pages.append(([message["msg"] for message in page["MSG"]], page["more"]))
            before = {"before": page["MSG"][0]["mid"]}
        self.assertEqual([([6, 7, 8, 9], True), ([2, 3, 4, 5], True), ([0, 1], False)], pages)
        (same,) = await b.emit("History", {"pId": alice})
        self.assertEqual(list(range(10)), [message["msg"] for message in same["MSG"]])

    async def test_conversations_are_listed_with_unread_counts_until_they_are_read(self) -> None:
        alice, bob, carol = new_user("alice"), new_user("bob"), new_user("carol")
        a, b, c = await self.join(alice), await self.join(bob, 4), await self.join(carol, 4)
        acks = await send(b, bob, alice, "b1", "b2", "b3")
        await send(c, carol, alice, "c1")
        await send(a, alice, carol, "c2")

        async def listed() -> list[tuple[str, object, int]]:
            (found,) = await a.emit("Conversations")
            return [(one["pId"], one["last"]["msg"], one["unread"]) for one in found]

        self.assertEqual([(carol, "c2", 1), (bob, "b3", 3)], await listed())
        self.assertEqual([{"ER": 0}], await a.emit("Read", {"pId": bob, "mid": acks[1]["mid"]}))
        self.assertEqual([(carol, "c2", 1), (bob, "b3", 1)], await listed())
        await a.emit("Read", {"pId": bob, "mid": acks[2]["mid"]})
        self.assertEqual([(carol, "c2", 1), (bob, "b3", 0)], await listed())

    async def test_sync_gives_the_inbox_after_an_offset_in_pages(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a = await self.join(alice, 4)
        await send(a, alice, bob, *range(1, 131))
        b = await self.join(bob)
        await received(b, 130)
        (page,) = await b.emit("Sync", {"offset": 0})
        self.assertEqual((list(range(1, 101)), True), ([message["offset"] for message in page["MSG"]], page["more"]))
        (page,) = await b.emit("Sync", {"offset": 100})
        self.assertEqual((list(range(101, 131)), False), ([message["msg"] for message in page["MSG"]], page["more"]))
        (page,) = await b.emit("Sync", {"offset": 130})
        self.assertEqual({"MSG": [], "more": False}, page)

    async def test_a_room_reaches_every_member_also_one_who_was_away(self) -> None:
        alice, bob, carol, room = new_user("alice"), new_user("bob"), new_user("carol"), "#" + new_user("room")
        a, b = await self.join(alice, rooms="*"), await self.join(bob, 4, rooms=[room])
        c = await self.join(carol, rooms=[room[1:]])
        for socket in (a, b, c):
            self.assertEqual([{"ER": 0}], await socket.emit("Join", {"room": room}))
        await c.disconnect()
        await send(a, alice, room, "to all")
        (message,) = await received(b, 1)
        self.assertEqual((alice, room, "to all"), (message["uId"], message["pId"], message["msg"]))
        c = await self.join(carol)
        self.assertEqual(["to all"], [message["msg"] for message in await received(c, 1)])
        self.assertEqual([{"ER": 0}], await c.emit("Leave", {"room": room}))
        (ack,) = await c.emit("Send", sending(carol, room, "not mine"))
        self.assertEqual(6, ack["ER"])
        await send(b, bob, room, "to who is left")
        self.assertEqual(["to who is left"], [message["msg"] for message in await received(a, 1)])
        (page,) = await a.emit("History", {"pId": room})
        self.assertEqual(["to all", "to who is left"], [message["msg"] for message in page["MSG"]])
        await c.emit("Conversations")
        self.assertNotIn("RESPRECEIVER", names(c))

    async def test_a_room_that_the_token_does_not_allow_is_refused(self) -> None:
        alice, room = new_user("alice"), "#" + new_user("room")
        for rooms in (None, [], ["another"]):
            a = await self.join(alice, rooms=rooms)
            (answer,) = await a.emit("Join", {"room": room})
            self.assertEqual((6, True), (answer["ER"], len(answer["WHY"]) > 10))
        (ack,) = await a.emit("Send", sending(alice, room, "hi"))
        self.assertEqual(6, ack["ER"])

    async def test_who_asked_for_nothing_sees_the_tutorials_events_alone(self) -> None:
        alice, bob = new_user("alice"), new_user("bob")
        a, other = await self.connect(alice), await self.connect(alice)
        b = await self.join(bob, 4, receipts=1, carbons=1, batch=1, goodbye=1, recover=1)
        (ack,) = await send(a, alice, bob, "1")
        await received(b, 1)
        await b.emit("Read", {"pId": alice, "mid": ack["mid"]})
        await b.emit("Presence", {"ids": [alice]})
        await b.emit_without_ack("Typing", {"pId": alice})
        await send(b, bob, alice, "2")
        event = await a.next("RESPRECEIVER")
        self.assertEqual((1, True), (len(event.args), event.asks_ack))
        await b.disconnect()
        for socket in (a, other):
            await socket.emit("Conversations")  # answered after all that was on its way
        self.assertEqual(["RESPSEND"], names(a))
        self.assertEqual(["RESPRECEIVER"], names(other))


class Client2Tests(_Beyond):
    """socket.io-client 2.5.0."""

    version = 2


class Client4Tests(_Beyond):
    """socket.io-client 4.8.4."""

    version = 4


class GoodbyeTests(unittest.TestCase):
    """A daemon that goes down."""

    timeout = 120

    async def test_goodbye_comes_before_the_end_to_who_asked_and_to_nobody_else(self) -> None:
        require_node()
        daemon = await Daemon.start(self)
        asked: list[NodeSocket] = []
        plain: list[NodeSocket] = []
        for version in (2, 4):
            client = NodeClient.start(self, version, daemon)
            for wish, sockets in (("&goodbye=1", asked), ("&receipts=1", asked), ("", plain)):
                query = f"token={token(new_user())}{wish}"
                sockets.append(await client.connect(f"{daemon.url}/kschat", query=query))
        self.assertEqual(0, await daemon.stop(), daemon.log)
        for socket in asked:
            (farewell,) = (await socket.next("Goodbye")).args
            self.assertEqual("drain", farewell["reason"])
            self.assertTrue(0 < farewell["retryIn"] < 60, farewell)
            await socket.next("disconnect")
        for socket in plain:
            await socket.next("disconnect")
            self.assertNotIn("Goodbye", names(socket))
        self.assertEqual([], daemon.faults)


del _Beyond, ChatTestCase
