"""npm's clients of every major version exchange messages with one of version 4 through the real daemon.

The fields of every answer are those of the tutorial; what kschat adds is named here, so that nothing else creeps in.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet import defer

from tests.e2e.chatting import ChatTestCase, messages_of, new_number, new_user, sending
from tests.support import NodeSocket

PEER_VERSION = 4


def milliseconds() -> int:
    """Since 1970. The daemon's clock is this machine's."""
    return int(time.time() * 1000)


class _Exchange(ChatTestCase):
    """Run by each version; the other side is always a client of version 4."""

    large_numbers: Sequence[float] = (1e21,)

    async def both(self) -> tuple[str, NodeSocket, str, NodeSocket]:
        """A user with the version under test and one with version 4, connected."""
        alice, bob = new_user("alice"), new_user("bob")
        return alice, await self.connect(alice), bob, await self.connect(bob, PEER_VERSION)

    async def pass_on(self, socket: NodeSocket, payload: dict[str, Any], peer: NodeSocket) -> object:
        """Sends, checks every answer of the daemon, and gives the message as the peer got it."""
        before = milliseconds()
        (ack,) = await socket.emit("Send", payload)
        self.assertEqual({"RESPONSE", "uId", "mid", "msgTime"}, ack.keys())
        self.assertEqual("Send Emit is success.", ack["RESPONSE"])
        self.assertEqual(payload["uId"], ack["uId"])
        self.assertIsInstance(ack["mid"], str)
        self.assertTrue(before <= ack["msgTime"] <= milliseconds(), ack)

        sent = await socket.next("RESPSEND")
        received = await peer.next("RESPRECEIVER")
        self.assertTrue(sent.asks_ack and received.asks_ack)
        common = {"mid": ack["mid"]}
        expected_sent = {"RC": 1, "ER": 0, "SID": payload["uId"], "RID": payload["pId"], "MSG": payload["msg"]}
        expected_sent |= {"RANDOMNO": payload["rno"], "MSGTIME": ack["msgTime"], "STATUS": 1, **common}
        self.assertEqual([expected_sent], sent.args)

        (body,) = received.args
        self.assertEqual({"RC", "ER", "MSG"}, body.keys())
        self.assertEqual((1, 0, 1), (body["RC"], body["ER"], len(body["MSG"])))
        message = body["MSG"][0]
        self.assertIsInstance(message.pop("offset"), int)
        expected = {"uId": payload["uId"], "pId": payload["pId"], "msg": payload["msg"], "rStatus": 1}
        self.assertEqual({**expected, "msgTime": ack["msgTime"], **common}, message)
        return message["msg"]

    async def passes_both_ways(self, *msgs: object) -> None:
        """Each message goes from the version under test to version 4 and back, and arrives as it was sent."""
        alice, a, bob, b = await self.both()
        for msg in msgs:
            self.assertEqual(msg, await self.pass_on(a, sending(alice, bob, msg), b))
            self.assertEqual(msg, await self.pass_on(b, sending(bob, alice, msg), a))
        self.assertEqual([], a.unseen + b.unseen)

    async def is_refused(self, socket: NodeSocket, args: list[object], error: int, uid: object, rno: object) -> None:
        """A Send that is answered by the failed ack and RESPSEND, and by nothing else."""
        (ack,) = await socket.emit("Send", *args)
        (answer,) = (await socket.next("RESPSEND")).args
        why = ack.pop("WHY", None)
        self.assertIsInstance(why, str, (args, ack))
        self.assertGreater(len(why), 10)
        self.assertEqual({"RESPONSE": "Send Emit is failed.", "uId": uid, "ER": error}, ack, (args, why))
        self.assertEqual({"RC": 1, "ER": error, "RANDOMNO": rno, "WHY": why}, answer, args)

    async def test_messages_go_both_ways_with_acks(self) -> None:
        await self.passes_both_ways("hi", "how are you?")

    async def test_the_first_ack_id_is_0_and_is_answered(self) -> None:
        alice = new_user()
        a = await self.connect(alice)
        # Every version of the client counts from 0.
        (ack,) = await a.emit("Send", sending(alice, new_user(), "hi"))
        self.assertEqual("Send Emit is success.", ack["RESPONSE"])

    async def test_any_json_arrives_as_it_was_sent(self) -> None:
        await self.passes_both_ways(
            None, True, False, 0, -1, 1.5, "", [], {}, [[], {}], {"": {"a": [None, 1, "x"]}}, 2**53 - 1
        )
        await self.passes_both_ways(*self.large_numbers)

    async def test_an_object_that_looks_like_a_placeholder_stays_an_object(self) -> None:
        await self.passes_both_ways({"_placeholder": True, "num": 0}, [{"_placeholder": True, "num": 7}])

    async def test_binary_arrives_as_it_was_sent(self) -> None:
        every_byte = bytes(range(256))
        await self.passes_both_ways(
            every_byte,
            b"\x04",
            [every_byte, "text", b"\x00"],
            {"name": "file", "parts": [{"data": b"\x00\x01"}, {"data": b"\x02"}], "end": None},
            every_byte * 400,
        )

    async def test_binary_of_no_byte_arrives(self) -> None:
        await self.passes_both_ways(b"", {"a": b"", "b": b"x"})

    async def test_text_beyond_ascii_arrives(self) -> None:
        await self.passes_both_ways(
            "é λ 漢字", "😀", "👩‍👩‍👧 \U0010ffff", "\u2028\u2029\ufeff\x7f", 'quotes " \\ / \n\t\x00'
        )

    async def test_keys_beyond_ascii_arrive(self) -> None:
        await self.passes_both_ways({"é漢😀": {'"': 1}})

    async def test_a_lone_surrogate_does_not_close_the_connection(self) -> None:
        alice, a, bob, b = await self.both()
        for lone in ("a\ud800b", "\udc00", "\udc00\ud800"):
            (ack,) = await a.emit("Send", sending(alice, bob, lone))
            self.assertEqual("Send Emit is success.", ack["RESPONSE"])
            await a.next("RESPSEND")
            (body,) = (await b.next("RESPRECEIVER")).args
            replaced = "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in lone)
            self.assertIn(body["MSG"][0]["msg"], (lone, replaced))
        await self.pass_on(a, sending(alice, bob, "still here"), b)
        await self.pass_on(b, sending(bob, alice, "so am I"), a)

    async def test_100_kilobytes_of_text_arrive(self) -> None:
        await self.passes_both_ways("x" * 100_000, "漢😀" * 15_000)

    async def test_ids_may_be_numbers_or_strings(self) -> None:
        alice, bob = new_number(), new_number()
        a, b = await self.connect(alice), await self.connect(str(bob), PEER_VERSION)
        for uid, pid in ((alice, bob), (str(alice), bob), (alice, str(bob))):
            await self.pass_on(a, sending(uid, pid, "hi"), b)
            await self.pass_on(b, sending(pid, uid, "hi"), a)

    async def test_rno_comes_back_as_it_was_given(self) -> None:
        alice, a, bob, b = await self.both()
        for rno in (0, 12, 0.123456789, "r-1", None):
            await self.pass_on(a, sending(alice, bob, "hi", rno), b)

    async def test_a_send_without_ack_is_answered_by_respsend_alone(self) -> None:
        alice, a, bob, b = await self.both()
        await a.emit_without_ack("Send", sending(alice, bob, "hi", 7))
        (sent,) = (await a.next("RESPSEND")).args
        self.assertEqual((0, 7, "hi"), (sent["ER"], sent["RANDOMNO"], sent["MSG"]))
        self.assertEqual("hi", (await b.next("RESPRECEIVER")).args[0]["MSG"][0]["msg"])
        await a.emit_without_ack("Send", sending(bob, alice, "hi", 8))
        (sent,) = (await a.next("RESPSEND")).args
        self.assertEqual((6, 8), (sent["ER"], sent["RANDOMNO"]))
        await self.pass_on(a, sending(alice, bob, "end"), b)
        self.assertEqual([], a.unseen + b.unseen)

    async def test_uid_that_is_not_the_tokens_user_is_refused(self) -> None:
        alice, a, bob, b = await self.both()
        await self.is_refused(a, [sending(bob, alice, "not mine", 3)], 6, bob, 3)
        await self.pass_on(a, sending(alice, bob, "mine"), b)
        self.assertEqual([], a.unseen + b.unseen)

    async def test_a_payload_that_is_not_valid_is_refused_and_says_why(self) -> None:
        alice, a, bob, b = await self.both()
        no_payloads: list[list[object]] = [[], [None], [True], [5], ["x"], [[]], [{}], [[sending(alice, bob, "hi")]]]
        for args in no_payloads:
            await self.is_refused(a, args, 1, None, None)
        for missing in ("uId", "pId", "msg"):
            payload = sending(alice, bob, "hi", 9)
            del payload[missing]
            await self.is_refused(a, [payload], 1, None if missing == "uId" else alice, 9)
        no_ids: list[object] = [None, True, 1.5, [], {}, ["x"], "", "x" * 129]
        for bad in no_ids:
            await self.is_refused(a, [sending(alice, bad, "hi")], 1, alice, 0.5)
            await self.is_refused(a, [sending(bad, bob, "hi")], 1, None, 0.5)
        await self.pass_on(a, sending(alice, bob, "valid"), b)
        self.assertEqual([], a.unseen + b.unseen)

    async def test_an_event_that_nobody_knows_is_passed_over(self) -> None:
        alice, a, bob, b = await self.both()
        await a.emit_without_ack("NoSuchEvent", {"a": 1}, b"\x00")
        await self.pass_on(a, sending(alice, bob, "hi"), b)

    async def test_every_socket_of_the_recipient_gets_the_message(self) -> None:
        alice, a, bob, b = await self.both()
        others = [await self.connect(bob), await self.connect(bob, PEER_VERSION)]
        await self.pass_on(a, sending(alice, bob, {"bin": b"\x01"}), b)
        for other in others:
            (body,) = (await other.next("RESPRECEIVER")).args
            self.assertEqual({"bin": b"\x01"}, body["MSG"][0]["msg"])

    async def test_a_message_to_oneself_arrives(self) -> None:
        alice = new_user()
        a = await self.connect(alice)
        self.assertEqual("note", await self.pass_on(a, sending(alice, alice, "note"), a))

    async def test_a_burst_arrives_whole_and_in_order(self) -> None:
        alice, a, bob, b = await self.both()
        acks = [a.emit("Send", sending(alice, bob, f"{number}", number)) for number in range(300)]
        answers = await defer.gatherResults(acks)
        self.assertEqual({"Send Emit is success."}, {ack["RESPONSE"] for (ack,) in answers})
        received = [(await b.next("RESPRECEIVER")).args[0]["MSG"][0] for _ in range(300)]
        self.assertEqual([f"{number}" for number in range(300)], [message["msg"] for message in received])
        offsets = [message["offset"] for message in received]
        self.assertEqual(list(range(offsets[0], offsets[0] + 300)), offsets)
        sent = [(await a.next("RESPSEND")).args[0]["RANDOMNO"] for _ in range(300)]
        self.assertEqual(list(range(300)), sent)

    async def test_the_transport_is_the_one_that_was_wished_for(self) -> None:
        alice = new_user()
        a = await self.connect(alice)
        await a.changes_to((self.transports or ("websocket",))[0])
        await self.pass_on(a, sending(alice, alice, "hi"), a)

    async def test_a_stream_both_ways_from_the_first_moment_arrives_whole_and_in_order(self) -> None:
        """By default the client changes its transport meanwhile."""
        alice, bob = new_user("alice"), new_user("bob")
        b = await self.connect(bob, PEER_VERSION)
        a = await super().connect(alice)
        wanted = (self.transports or ("websocket",))[0]
        sent, acks = 0, []
        while sent < 200 or (await a.state())["transport"] != wanted:
            for _ in range(20):
                acks += [a.emit("Send", sending(alice, bob, sent)), b.emit("Send", sending(bob, alice, sent))]
                sent += 1
        answers = await defer.gatherResults(acks)
        self.assertEqual({"Send Emit is success."}, {ack["RESPONSE"] for (ack,) in answers})
        for socket in (a, b):
            messages = [messages_of(await socket.next("RESPRECEIVER"))[0]["msg"] for _ in range(sent)]
            self.assertEqual(list(range(sent)), messages)
            self.assertNotIn("RESPRECEIVER", [event.name for event in socket.unseen])

    async def test_logout_is_answered_and_ends_the_socket(self) -> None:
        _, a, bob, b = await self.both()
        await a.emit("Logout")
        self.assertEqual([{"RC": 1, "ERR": 0}], (await a.next("RESPLOGOUT")).args)
        self.assertEqual(["io server disconnect"], (await a.next("disconnect")).args)
        self.assertFalse((await a.state())["connected"])
        await self.daemon.health_becomes(sockets=1, users=1)
        await self.pass_on(b, sending(bob, bob, "still here"), b)


class Client1Tests(_Exchange):
    """socket.io-client 1.7.4, over WebSocket alone."""

    version = 1


class Client1PollingTests(Client1Tests):
    """The same over long-polling alone, where this client encodes text twice and decodes it twice.

    So beyond ASCII nobody else reads what it writes, nor it what others write; that is so with npm's server as well.
    """

    transports = ("polling",)

    async def test_text_beyond_ascii_arrives(self) -> None:
        alice, a, bob, b = await self.both()
        for msg in ("é λ 漢字", "😀", {"é": "\U0010ffff"}):
            (ack,) = await a.emit("Send", sending(alice, bob, msg))
            self.assertEqual("Send Emit is success.", ack["RESPONSE"])
            self.assertEqual(msg, (await a.next("RESPSEND")).args[0]["MSG"])
            (received,) = messages_of(await b.next("RESPRECEIVER"))
            # Each byte of UTF-8 has become a character.
            self.assertEqual(
                json.dumps(msg, ensure_ascii=False).encode().decode("latin-1"),
                json.dumps(received["msg"], ensure_ascii=False),
            )
        await self.pass_on(a, sending(alice, bob, "still here"), b)

    async def test_keys_beyond_ascii_arrive(self) -> None:
        await self.passes_both_ways({'"\\\n': {" ": 1}})

    async def test_100_kilobytes_of_text_arrive(self) -> None:
        await self.passes_both_ways("x" * 100_000)


class Client1DefaultTests(Client1Tests):
    """The same as it is by default: begins with long-polling, and changes to WebSocket. It writes after that here."""

    transports = None

    async def connect(self, user: str | int, version: int | None = None) -> NodeSocket:
        socket = await super().connect(user, version)
        await socket.changes_to("websocket")
        return socket


class Client2Tests(_Exchange):
    """socket.io-client 2.5.0, the tutorial's generation, over WebSocket alone."""

    version = 2


class Client2PollingTests(Client2Tests):
    """The same over long-polling alone."""

    transports = ("polling",)


class Client2DefaultTests(Client2Tests):
    """The same as it is by default: begins with long-polling, and changes to WebSocket."""

    transports = None


class Client3Tests(_Exchange):
    """socket.io-client 3.1.3, over WebSocket alone."""

    version = 3


class Client3PollingTests(Client3Tests):
    """The same over long-polling alone."""

    transports = ("polling",)


class Client3DefaultTests(Client3Tests):
    """The same as it is by default: begins with long-polling, and changes to WebSocket."""

    transports = None


class Client4Tests(_Exchange):
    """socket.io-client 4.8.4, over WebSocket alone."""

    version = 4


class Client4PollingTests(Client4Tests):
    """The same over long-polling alone."""

    transports = ("polling",)


class Client4DefaultTests(Client4Tests):
    """The same as it is by default: begins with long-polling, and changes to WebSocket."""

    transports = None


class Client4MsgpackTests(Client4Tests):
    """socket.io-client 4.8.4 with socket.io-msgpack-parser 3.0.2, over WebSocket alone."""

    parser = "socket.io-msgpack-parser"
    #: That parser writes whole numbers beyond 64 bits as other numbers.
    large_numbers: Sequence[float] = ()

    async def test_a_lone_surrogate_does_not_close_the_connection(self) -> None:
        """What that parser writes in its place is nobody's text; the connection lives."""
        alice, a, bob, b = await self.both()
        for lone in ("a\ud800b", "\udc00", "\udc00\ud800"):
            (ack,) = await a.emit("Send", sending(alice, bob, lone))
            self.assertEqual("Send Emit is success.", ack["RESPONSE"])
            await a.next("RESPSEND")
            await b.next("RESPRECEIVER")
        await self.pass_on(a, sending(alice, bob, "still here"), b)

    async def test_javascript_s_own_values_arrive_as_json_has_them(self) -> None:
        """What the other parser writes of them is JavaScript's JSON; Dates and undefined are made within node."""
        alice, a, bob, b = await self.both()
        date = {"$date": 1795398416145}
        for msg, arrives in (
            (date, "2026-11-23T01:46:56.145Z"),
            ({"a": {"$undefined": 1}, "b": 1}, {"b": 1}),
            ([{"$undefined": 1}, 1], [None, 1]),
            ([0.5, {"$nan": 1}], [0.5, None]),
        ):
            await a.emit("Send", sending(alice, bob, msg))
            (body,) = (await b.next("RESPRECEIVER")).args
            self.assertEqual(body["MSG"][0]["msg"], arrives)

    async def test_who_is_refused_is_told_why(self) -> None:
        socket = await self.client().open(self.chat_url, auth={"token": "none"}, parser=self.parser)
        self.assertEqual("Authentication error", (await socket.next("connect_error")).args[0]["$error"])
        socket = await self.client().open(self.daemon.url + "/nobody", parser=self.parser)
        self.assertEqual("Invalid namespace", (await socket.next("connect_error")).args[0]["$error"])


class Client4MsgpackPollingTests(Client4MsgpackTests):
    """The same over long-polling alone."""

    transports = ("polling",)


class Client4MsgpackDefaultTests(Client4MsgpackTests):
    """The same as it is by default: begins with long-polling, and changes to WebSocket."""

    transports = None


class Client3MsgpackTests(Client4MsgpackTests):
    """socket.io-client 3.1.3 with that parser, over WebSocket alone."""

    version = 3


del _Exchange, ChatTestCase
