"""Events: to their functions and back as acks; rooms and all that writes to many."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kschat.server import Gone, Namespace, Socket, TimedOut, TooMany, Unanswered
from kschat.wire.errors import Reason
from tests.server.clients import Client, new_server

PLACEHOLDER = '{"_placeholder":true,"num":%d}'


class Case(SynchronousTestCase):
    bounds: ClassVar[dict[str, int]] = {}

    def setUp(self) -> None:
        self.server, self.clock = new_server(**self.bounds)
        self.room: Namespace = self.server.of("/")

    def client(self) -> tuple[Client, Socket]:
        client = Client(self.server).join()
        return client, self.room.sockets[-1]


class Events(Case):
    def test_arguments_are_python_values(self) -> None:
        seen: list[Any] = []
        self.room.on("e")(lambda socket, *args: seen.append(args))
        client, _ = self.client()
        client.say('2["e",1,"x",null,[true,1.5],{"k":{}}]')
        client.say('2["e"]')
        self.assertEqual(seen, [(1, "x", None, [True, 1.5], {"k": {}}), ()])

    def test_binary_is_bytes_wherever_it_stands(self) -> None:
        seen: list[Any] = []
        self.room.on("e")(lambda socket, *args: seen.append(args))
        client, _ = self.client()
        client.say(f'52-["e",{PLACEHOLDER % 1},{{"a":[{PLACEHOLDER % 0}]}}]', b"\x00", b"")
        self.assertEqual(seen, [(b"", {"a": [b"\x00"]})])

    def test_an_object_that_looks_like_a_placeholder_stays_one_where_there_is_no_binary(self) -> None:
        seen: list[Any] = []
        self.room.on("e")(lambda socket, value: seen.append(value))
        client, _ = self.client()
        client.say(f'2["e",{PLACEHOLDER % 0}]')
        self.assertEqual(seen, [{"_placeholder": True, "num": 0}])

    def test_what_is_returned_is_the_ack(self) -> None:
        answers: dict[str, Any] = {"none": None, "one": [1], "two": (1, "x"), "empty": (), "zero": 0, "binary": b"\x01"}
        self.room.on("e")(lambda socket, name: answers[name])
        client, _ = self.client()
        for number, name in enumerate(answers):
            client.say(f'2{number}["e","{name}"]')
        self.assertEqual(
            client.heard(), ["30[]", "31[[1]]", '32[1,"x"]', "33[]", "34[0]", f"61-5[{PLACEHOLDER % 0}]", b"\x01"]
        )

    def test_without_an_id_nothing_is_answered(self) -> None:
        self.room.on("e")(lambda socket: 1)
        client, _ = self.client()
        client.say('2["e"]')
        self.assertEqual(client.heard(), [])

    def test_functions_may_be_coroutines_or_return_deferreds(self) -> None:
        waits: list[Deferred[int]] = [Deferred(), Deferred()]

        @self.room.on("a")
        async def a(socket: Socket) -> int:
            return await waits[0]

        self.room.on("b")(lambda socket: waits[1])
        client, socket = self.client()
        client.say('20["a"]')
        client.say('21["b"]')
        self.assertEqual((client.heard(), socket.running), ([], 2))
        waits[1].callback(5)
        waits[0].callback(4)
        self.assertEqual((client.heard(), socket.running), (["31[5]", "30[4]"], 0))

    def test_an_answer_for_who_has_left_is_dropped(self) -> None:
        waits: Deferred[int] = Deferred()
        self.room.on("e")(lambda socket: waits)
        client, _ = self.client()
        client.say('20["e"]')
        client.say("1")
        waits.callback(1)
        self.assertEqual(client.heard(), [])

    def test_a_function_that_fails_costs_the_answer_alone(self) -> None:
        late: Deferred[None] = Deferred()

        @self.room.on("now")
        def now(socket: Socket) -> None:
            raise ZeroDivisionError

        @self.room.on("later")
        async def later(socket: Socket) -> None:
            await late

        self.room.on("no json")(lambda socket: object())
        self.room.on("good")(lambda socket: "good")
        client, socket = self.client()
        client.say('20["now"]')
        client.say('21["later"]')
        client.say('22["no json"]')
        late.errback(ZeroDivisionError())
        client.say('23["good"]')
        self.assertEqual(client.heard(), ['33["good"]'])
        self.assertIsNone(client.closed)
        self.assertEqual(socket.running, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_an_event_without_a_function_is_passed_over(self) -> None:
        client, _ = self.client()
        client.say('20["e"]')
        self.assertEqual((client.heard(), client.closed), ([], None))

    def test_the_wildcard_gets_those_with_their_names(self) -> None:
        self.room.on("known")(lambda socket: "known")
        self.room.on("*")(lambda socket, name, *args: [name, *args])
        client, _ = self.client()
        client.say('20["known"]')
        client.say('21["other",1]')
        client.say('22["*",2]')
        self.assertEqual(client.heard(), ['30["known"]', '31[["other",1]]', '32[["*",2]]'])

    def test_all_events_can_be_looked_at_before_their_functions_are_called(self) -> None:
        seen: list[Any] = []

        @self.room.on_any
        def look(socket: Socket, name: str, *args: Any) -> str:
            seen.append((name, *args))
            return "not an answer"

        @self.room.on_any
        def fail(socket: Socket, *_: Any) -> None:
            raise ZeroDivisionError

        @self.room.on("known")
        def known(socket: Socket, number: int) -> int:
            seen.append("its function")
            return number

        client, _ = self.client()
        client.say('20["known",1]')
        client.say('21["unknown",2]')
        self.assertEqual(seen, [("known", 1), "its function", ("unknown", 2)])
        self.assertEqual(client.heard(), ["30[1]"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.room.off_any(fail)
        self.room.off_any(look)
        self.room.off_any(look)
        client.say('22["known",3]')
        self.assertEqual(seen[3:], ["its function"])

    def test_all_that_goes_out_can_be_looked_at(self) -> None:
        seen: list[Any] = []
        self.room.on_any_outgoing(lambda socket, name, *args: seen.append((socket, name, *args)))
        self.room.on("e")(lambda socket: "an answer")
        _, one = self.client()
        client, other = self.client()
        self.room.emit("all", 1)
        one.emit("one", b"2")
        one.timeout(5).emit("ask", 3).addErrback(lambda _: None)
        one.broadcast.timeout(5).emit("ask", 4).addErrback(lambda _: None)
        client.say('20["e"]')
        expected = [(one, "all", 1), (other, "all", 1), (one, "one", b"2"), (one, "ask", 3), (other, "ask", 4)]
        self.assertEqual(seen, expected)
        self.clock.advance(5)

    def test_a_function_may_be_for_one_event_alone_or_be_taken_away(self) -> None:
        self.room.once("e")(lambda socket, number: number)
        client, _ = self.client()
        client.say('20["e"]')  # a wrong number of arguments is none
        client.say('21["e",1]')
        client.say('22["e",2]')
        self.room.on("e")(lambda socket, number: -number)
        client.say('23["e",3]')
        self.room.off("e")
        self.room.off("e")
        client.say('24["e",4]')
        self.assertEqual(client.heard(), ["31[1]", "33[-3]"])

    def test_a_socket_may_have_functions_of_its_own(self) -> None:
        self.room.on("e")(lambda socket: "all")
        self.room.on("*")(lambda socket, name: f"any {name}")
        client, socket = self.client()
        other, _ = self.client()
        socket.on("e")(lambda socket: "own")
        socket.once("f")(lambda socket: "once")
        for number, name in enumerate("eff"):
            client.say(f'2{number}["{name}"]')
        other.say('20["e"]')
        other.say('21["f"]')
        self.assertEqual(client.heard(), ['30["own"]', '31["once"]', '32["any f"]'])
        self.assertEqual(other.heard(), ['30["all"]', '31["any f"]'])
        socket.on("g")(lambda socket: "own")
        socket.off("e")
        client.say('20["e"]')
        socket.off()
        client.say('21["g"]')
        self.assertEqual(client.heard(), ['30["all"]', '31["any g"]'])

    def test_the_end_is_told_twice_as_by_npm_s_server(self) -> None:
        seen: list[Any] = []
        for name in ("disconnecting", "disconnect"):
            self.room.on(name)(lambda socket, why, *, name=name: seen.append((name, why, "tea" in socket.rooms)))
        client, socket = self.client()
        socket.join("tea")
        other, _ = self.client()
        socket.on("disconnecting")(lambda socket, why: seen.append(("its own", why)))
        why = "client namespace disconnect"
        client.say("1")
        other.say("1")
        self.assertEqual(seen[:2], [("its own", why), ("disconnect", why, True)])
        self.assertEqual(seen[2:], [("disconnecting", why, False), ("disconnect", why, False)])

    def test_connection_is_another_name_of_connect(self) -> None:
        seen: list[Any] = []
        self.room.on("connection")(seen.append)
        self.room.on("*")(lambda socket, name: name)
        client, socket = self.client()
        client.say('20["connection"]')
        self.assertEqual((seen, client.heard()), ([socket], ['30["connection"]']))
        self.room.off("connection")
        self.client()
        self.assertEqual(seen, [socket])

    def test_a_wrong_number_of_arguments_is_no_fault_of_ours(self) -> None:
        seen: list[Any] = []

        @self.room.on("e")
        def e(socket: Socket, one: int, two: int = 2, *, named: int = 3) -> None:
            seen.append((one, two))

        client, _ = self.client()
        for args in ("", ",1", ",1,3", ",1,3,4"):
            client.say(f'2["e"{args}]')
        self.assertEqual(seen, [(1, 2), (1, 3)])
        self.assertIsNone(client.closed)

    def test_a_function_that_takes_no_socket_is_refused_at_once(self) -> None:
        with self.assertRaises(TypeError):
            self.room.on("e")(lambda: None)

    def test_numbers_come_and_go_as_in_javascript(self) -> None:
        self.room.on("e")(lambda socket, value: (value,))
        client, _ = self.client()
        for text, expected in {"1e999": "null", "9" * 40: "1e+40", "9007199254740993": "9007199254740992"}.items():
            client.say(f'21["e",{text}]')
            self.assertEqual(client.heard()[-1], f"31[{expected}]")
        self.assertIsNone(client.closed)

    def test_reserved_names_are_no_events(self) -> None:
        for name in ("connect", "disconnect"):
            client, _ = self.client()
            seen: list[Any] = []
            self.room.on(name)(lambda socket, *args, seen=seen: seen.append(args))
            client.say(f'2["{name}","x"]')
            self.assertEqual(client.closed, Reason.PARSE_ERROR)
            self.assertEqual(seen, [("parse error",)] if name == "disconnect" else [])


class Bounded(Case):
    bounds: ClassVar[dict[str, int]] = {"max_running": 2, "max_asked": 2, "max_rooms": 3}

    def test_who_sends_more_than_is_handled_is_closed(self) -> None:
        waits: Deferred[None] = Deferred()
        self.room.on("e")(lambda socket: waits)
        client, _ = self.client()
        for _ in range(2):
            client.say('2["e"]')
            self.assertIsNone(client.closed)
        client.say('2["e"]')
        self.assertEqual(client.closed, Reason.FORCED_CLOSE)

    def test_more_acks_are_not_awaited(self) -> None:
        client, socket = self.client()
        asked = [socket.timeout(1).emit("e") for _ in range(3)]
        self.failureResultOf(asked[2], TooMany)
        self.assertEqual(client.heard(), ['20["e"]', '21["e"]'])
        client.say("30[]")
        self.successResultOf(asked[0])
        another = socket.timeout(1).emit("e")
        self.assertNoResult(another)
        socket.disconnect()
        self.failureResultOf(asked[1], Gone)
        self.failureResultOf(another, Gone)

    def test_more_rooms_are_not_joined(self) -> None:
        _, socket = self.client()
        socket.join("a")
        socket.join("b")
        socket.join("b")
        with self.assertRaises(TooMany):
            socket.join("c")
        socket.leave("a")
        socket.join("c")
        self.assertEqual(socket.rooms, {socket.id, "b", "c"})


class Many(Case):
    """What npm's server does to many sockets at once."""

    def test_all_or_those_of_rooms_join_and_leave_rooms(self) -> None:
        (_, one), (_, other) = self.client(), self.client()
        self.room.join("a", "b")
        self.room.to(one.id).join("c", "d")
        self.room.to("d").leave("a", "d")
        self.assertEqual(one.rooms - {one.id}, {"b", "c"})
        self.assertEqual(other.rooms - {other.id}, {"a", "b"})
        self.room.leave("b")
        other.join("x", "y")
        other.leave("a", "x")
        self.assertEqual((one.rooms - {one.id}, other.rooms - {other.id}), ({"c"}, {"y"}))
        self.assertEqual(set(self.room.to("c", "y").sockets), {one, other})

    def test_all_or_those_of_rooms_are_ended_with_their_connections_or_without(self) -> None:
        (first, one), (second, two), (third, _) = self.client(), self.client(), self.client()
        one.join("a")
        two.join("b")
        self.room.to("a").disconnect()
        self.room.to("b").disconnect(close=True)
        self.assertEqual((first.closed, second.closed), (None, Reason.FORCED_CLOSE))
        self.room.disconnect(close=True)
        self.assertEqual((third.closed, self.room.sockets), (Reason.FORCED_CLOSE, []))

    def test_what_the_first_request_said_is_there(self) -> None:
        _, socket = self.client()
        self.assertEqual((socket.handshake.peer, socket.handshake.address), ("192.0.2.7:1", "192.0.2.7"))


class Asking(Case):
    def test_the_answer_comes_as_one_value_or_several(self) -> None:
        client, socket = self.client()
        for text, value in (("", None), ("1", 1), ("[1]", [1]), ('1,"x"', (1, "x"))):
            asked = socket.timeout(5).emit("e", 1)
            (sent,) = client.heard()
            number = str(sent)[1 : str(sent).index("[")]
            self.assertNoResult(asked)
            client.say(f"3{number}[{text}]")
            self.assertEqual(self.successResultOf(asked), value)

    def test_binary_goes_both_ways(self) -> None:
        client, socket = self.client()
        asked = socket.timeout(5).emit("e", {"a": bytearray(b"\x02")})
        self.assertEqual(client.heard(), [f'51-0["e",{{"a":{PLACEHOLDER % 0}}}]', b"\x02"])
        client.say(f"61-0[{PLACEHOLDER % 0}]", b"\x03")
        self.assertEqual(self.successResultOf(asked), b"\x03")

    def test_one_that_does_not_come_times_out_and_is_forgotten(self) -> None:
        client, socket = self.client()
        asked = socket.timeout(5).emit("e")
        self.clock.advance(4.9)
        self.assertNoResult(asked)
        self.clock.advance(0.1)
        self.failureResultOf(asked, TimedOut)
        client.say("30[1]")
        self.assertIsNone(client.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_comes_leaves_no_timer(self) -> None:
        client, socket = self.client()
        asked = socket.timeout(5).emit("e")
        client.say("30[1]")
        self.successResultOf(asked)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_leaves_will_not_answer(self) -> None:
        client, socket = self.client()
        asked = socket.timeout(5).emit("e")
        client.leave()
        self.failureResultOf(asked, Gone)
        self.failureResultOf(socket.timeout(5).emit("e"), Gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_ends_by_what_is_sent_to_it_gives_no_ack(self) -> None:
        """As a slow reader does, whom one packet more is too many for."""
        client, socket = self.client()
        send = client.wire.send

        def send_and_end(payload: bytes, binary: bool = False) -> None:
            send(payload, binary)
            client.session.close(Reason.SLOW_READER)

        self.patch(client.wire, "send", send_and_end)
        self.failureResultOf(socket.timeout(5).emit("e"), Gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_are_asked_at_once(self) -> None:
        clients = [self.client()[0] for _ in range(3)]
        asked = self.room.timeout(5).emit("e")
        for number, client in enumerate(clients):
            self.assertNoResult(asked)
            self.assertEqual(client.heard(), ['20["e"]'])
            client.say(f"30[{number}]")
        self.assertEqual(self.successResultOf(asked), [0, 1, 2])

    def test_of_many_the_answers_that_came_are_kept(self) -> None:
        clients = [self.client()[0] for _ in range(3)]
        asked = self.room.timeout(5).emit("e")
        clients[1].say('30["here"]')
        clients[0].leave()
        self.assertNoResult(asked)
        self.clock.advance(5)
        failure = self.failureResultOf(asked, Unanswered)
        self.assertEqual(failure.value.answers, ["here"])

    def test_nobody_has_answered_at_once(self) -> None:
        self.assertEqual(self.successResultOf(self.room.to("empty").timeout(5).emit("e")), [])


class Rooms(Case):
    def setUp(self) -> None:
        super().setUp()
        self.clients: dict[str, Client] = {}
        self.sockets: dict[str, Socket] = {}
        for name in ("a", "b", "c", "d"):
            self.clients[name], self.sockets[name] = self.client()
        self.sockets["a"].join("red")
        self.sockets["b"].join("red")
        self.sockets["b"].join("blue")
        self.sockets["c"].join("blue")

    def reached(self) -> str:
        """Who has heard exactly one event."""
        found = ""
        for name, client in self.clients.items():
            heard = client.heard()
            self.assertLess(len(heard), 2, name)
            found += name if heard else ""
        return found

    def test_who_is_meant(self) -> None:
        room, a, b = self.room, self.sockets["a"], self.sockets["b"]
        for target, names in (
            (room, "abcd"),
            (room.to("red"), "ab"),
            (room.to("red", "blue"), "abc"),
            (room.to("red").to("blue"), "abc"),
            (room.in_("red").in_("blue").except_("red"), "c"),
            (room.except_("red"), "cd"),
            (room.except_(a.id), "bcd"),
            (room.to(a.id), "a"),
            (room.to("nobody"), ""),
            (a, "a"),
            (a.broadcast, "bcd"),
            (a.to("red"), "b"),
            (a.to("red", "blue"), "bc"),
            (a.except_("blue"), "d"),
            (a.to(b.id), "b"),
            (a.volatile, "a"),
            (a.broadcast.volatile, "bcd"),
        ):
            target.emit("e")
            self.assertEqual(self.reached(), names)

    def test_who_has_left_is_not_meant(self) -> None:
        self.sockets["a"].leave("red")
        self.clients["b"].say("1")
        self.clients["b"].heard()
        self.room.to("red", "blue").emit("e")
        self.assertEqual(self.reached(), "c")
        self.sockets["a"].leave("never")

    def test_a_target_can_be_kept(self) -> None:
        red = self.room.to("red")
        self.sockets["d"].join("red")
        red.emit("e")
        self.assertEqual(self.reached(), "abd")

    def test_many_join_and_leave_and_are_ended(self) -> None:
        self.room.to("red").join("green")
        self.room.to("blue").leave("green")
        self.room.to("green").emit("e")
        self.assertEqual(self.reached(), "a")
        self.room.to("red").disconnect()
        self.assertEqual([client.heard() for client in self.clients.values()], [["1"], ["1"], [], []])

    def test_what_is_volatile_is_left_out_where_it_would_wait(self) -> None:
        self.clients["a"].wire.congested = True
        self.room.volatile.to("red").emit("e")
        self.assertEqual(self.reached(), "b")
        self.sockets["a"].volatile.emit("e")
        self.assertEqual(self.reached(), "")
        self.sockets["a"].emit("e")
        self.assertEqual(self.reached(), "a")

    def test_binary_reaches_all_in_each_revision_s_form(self) -> None:
        old = Client(self.server, 3)
        old.heard()
        self.room.emit("e", b"\x07")
        for client in (self.clients["a"], old):
            self.assertEqual(client.heard(), [f'51-["e",{PLACEHOLDER % 0}]', b"\x07"])

    def test_others_namespaces_hear_nothing(self) -> None:
        self.server.of("/other")
        self.clients["a"].join("/other")
        self.server.of("/other").emit("e")
        self.assertEqual(self.clients["a"].heard(), ['2/other,["e"]'])
        self.assertEqual(self.reached(), "")

    def test_what_has_no_json_is_the_caller_s_to_know(self) -> None:
        with self.assertRaises(TypeError):
            self.room.emit("e", object())
        self.assertEqual(self.reached(), "")
