"""Which namespaces there are, and who is let in."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.repeated_log import LINES, PERIOD
from kschat.server import Refused, Socket
from kschat.server.server import Server
from kschat.wire.connection import Connection
from kschat.wire.errors import Reason
from tests.server.clients import Client, new_server


class Namespaces(SynchronousTestCase):
    def setUp(self) -> None:
        self.server, self.clock = new_server()

    def test_one_that_is_there_is_joined(self) -> None:
        self.server.of("/news")
        client = Client(self.server)
        client.say("0/news,")
        (answer,) = client.heard()
        assert isinstance(answer, str)
        self.assertTrue(answer.startswith("0/news,"))
        self.assertEqual(list(json.loads(answer[7:])), ["sid"])

    def test_one_that_is_not_is_refused_in_each_revision_s_form(self) -> None:
        client = Client(self.server)
        client.say("0/nowhere,")
        self.assertEqual(client.heard(), ['4/nowhere,{"message":"Invalid namespace"}'])
        client = Client(self.server, 3)
        client.heard()
        client.say("0/nowhere,")
        self.assertEqual(client.heard(), ['4/nowhere,"Invalid namespace"'])

    def test_after_a_refusal_another_may_be_joined(self) -> None:
        self.server.of("/news")
        client = Client(self.server)
        client.say("0/nowhere,")
        client.say("0/nowhere,")
        client.heard()
        client.say("0/news,")
        self.assertEqual(len(client.heard()), 1)
        self.assertIsNone(client.closed)

    def test_its_name_needs_no_slash_and_gives_the_same_one(self) -> None:
        self.assertIs(self.server.of("news"), self.server.of("/news"))
        self.assertEqual(self.server.of("news").name, "/news")

    def test_the_default_one_lets_everybody_in_and_keeps_no_connection_until_it_is_asked_for(self) -> None:
        for revision in (3, 4):
            client = Client(self.server, revision)
            client.join() if revision == 4 else None
            client.say('27["anything",{}]')
            client.say("1")
            self.assertFalse(client.connection.serves)
            self.assertIsNone(client.closed)
        self.server.of("/")
        self.assertTrue(Client(self.server, 3).connection.serves)

    def test_a_mounted_handler_is_not_a_namespace(self) -> None:
        self.server.mount("/raw", self.server.of("/other"))
        self.server._handlers["/raw"] = object()  # type: ignore[assignment]
        with self.assertRaises(ValueError):
            self.server.of("/raw")

    def test_two_servers_know_nothing_of_each_other(self) -> None:
        other, _ = new_server()
        self.server.of("/news")
        client = Client(other)
        client.say("0/news,")
        self.assertEqual(client.heard(), ['4/news,{"message":"Invalid namespace"}'])


class DynamicNamespaces(SynchronousTestCase):
    def test_those_that_a_rule_takes_are_made_and_share_functions_but_no_sockets(self) -> None:
        server, _ = new_server()
        teams = server.of_each(lambda name: name.startswith("/team-"))

        @teams.on("say")
        def say(socket: Socket, text: str) -> None:
            socket.namespace.emit("said", text)

        red, blue = Client(server).join("/team-red"), Client(server).join("/team-blue")
        red.say('2/team-red,["say","hi"]')
        self.assertEqual(red.heard(), ['2/team-red,["said","hi"]'])
        self.assertEqual(blue.heard(), [])

    def test_a_rule_may_be_a_pattern(self) -> None:
        server, _ = new_server()
        server.of_each(re.compile(r"^/team-\d+$"))
        client = Client(server)
        for name in ("/team-7", "/team-x", "/my/team-7"):
            client.say(f"0{name},")
        joined, *refused = client.heard()
        assert isinstance(joined, str)
        self.assertTrue(joined.startswith("0/team-7,"))
        self.assertEqual(len([one for one in refused if "Invalid namespace" in str(one)]), 2)

    def test_another_is_refused(self) -> None:
        server, _ = new_server()
        server.of_each(lambda name: name.startswith("/team-"))
        client = Client(server)
        client.say("0/else,")
        self.assertEqual(client.heard(), ['4/else,{"message":"Invalid namespace"}'])

    def test_there_are_so_many_at_once(self) -> None:
        server, _ = new_server(max_dynamic=2)
        server.of_each(lambda name: True)
        first, second, third = Client(server).join("/1"), Client(server).join("/2"), Client(server)
        third.say("0/3,")
        self.assertEqual(third.heard(), ['4/3,{"message":"Invalid namespace"}'])
        second.leave()
        third.join("/3")
        self.assertTrue(third.connection.serves)
        self.assertTrue(first.connection.serves)


class Admission(SynchronousTestCase):
    def setUp(self) -> None:
        self.server, self.clock = new_server()
        self.room = self.server.of("/room")
        self.met: list[Any] = []

        @self.room.on("connect")
        def connected(socket: Socket) -> None:
            self.met.append((socket.auth, dict(socket.query)))

    def test_what_a_client_gave_is_there(self) -> None:
        Client(self.server, query={"a": "1", "b": "2"}).join("/room", '{"token":"t"}')
        self.assertEqual(self.met, [({"token": "t"}, {"a": "1", "b": "2"})])

    def test_in_revision_3_the_namespace_s_query_comes_over_the_url_s(self) -> None:
        Client(self.server, 3, {"a": "1", "b": "2"}).join("/room?b=3&b=4&c=%20x")
        self.assertEqual(self.met, [({}, {"a": "1", "b": "3", "c": " x"})])

    def test_middleware_refuses_with_a_message_and_data(self) -> None:
        @self.room.use
        def check(socket: Socket) -> None:
            raise Refused("not you", {"code": 7})

        client = Client(self.server)
        client.say("0/room,{}")
        self.assertEqual(client.heard(), ['4/room,{"message":"not you","data":{"code":7}}'])
        client = Client(self.server, 3)
        client.heard()
        client.say("0/room,")
        self.assertEqual(client.heard(), ['4/room,{"code":7}'])
        self.assertEqual(self.met, [])
        self.assertEqual(self.room.sockets, [])

    def test_a_refusal_that_has_no_json_is_a_refusal_all_the_same(self) -> None:
        @self.room.use
        def check(socket: Socket) -> None:
            raise Refused("not you", object())

        client = Client(self.server)
        client.say("0/room,{}")
        self.assertEqual(client.heard(), ['4/room,{"message":"The server failed"}'])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_middleware_runs_in_order_and_may_take_its_time(self) -> None:
        waits: Deferred[None] = Deferred()
        seen: list[str] = []

        @self.room.use
        async def first(socket: Socket) -> None:
            seen.append("first")
            await waits

        @self.room.use
        def second(socket: Socket) -> None:
            seen.append("second")
            socket.data["user"] = 1

        client = Client(self.server)
        client.say("0/room,")
        self.assertEqual((client.heard(), seen, self.room.sockets), ([], ["first"], []))
        waits.callback(None)
        self.assertEqual(len(client.heard()), 1)
        self.assertEqual(seen, ["first", "second"])
        self.assertEqual([socket.data for socket in self.room.sockets], [{"user": 1}])

    def test_a_client_that_leaves_meanwhile_is_not_met(self) -> None:
        for way in ("packet", "line", "again"):
            waits: Deferred[None] = Deferred()
            self.server, _ = new_server()
            self.room = self.server.of("/room")
            self.room.use(lambda socket, waits=waits: waits)
            self.room.on("connect")(lambda socket: self.met.append(socket))
            client = Client(self.server)
            client.say("0/room,")
            client.leave() if way == "line" else client.say("1/room,")
            if way == "again":
                client.say("0/room,")
            waits.callback(None)
            self.assertEqual(len(self.met), way == "again", way)
            self.assertEqual(len(self.room.sockets), way == "again")
            self.assertEqual(len(client.heard()), way == "again")

    def test_middleware_that_fails_lets_nobody_in_and_is_logged(self) -> None:
        @self.room.use
        def check(socket: Socket) -> None:
            raise ZeroDivisionError("a secret of ours")

        client = Client(self.server)
        client.say("0/room,")
        self.assertEqual(client.heard(), ['4/room,{"message":"The server failed"}'])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsNone(client.closed)

    def test_what_handles_connect_may_fail_and_the_client_stays(self) -> None:
        @self.room.on("connect")
        def connected(socket: Socket) -> None:
            raise ZeroDivisionError

        client = Client(self.server).join("/room")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(client.connection.serves)

    def test_what_is_sent_from_connect_comes_after_the_answer(self) -> None:
        self.room.on("connect")(lambda socket: socket.emit("hello"))
        client = Client(self.server)
        client.say("0/room,")
        answer, hello = client.heard()
        self.assertTrue(str(answer).startswith("0/room,"))
        self.assertEqual(hello, '2/room,["hello"]')


class Endings(SynchronousTestCase):
    def setUp(self) -> None:
        self.server, _ = new_server()
        self.room = self.server.of("/room")
        self.gone: list[tuple[str, bool]] = []

        @self.room.on("connect")
        def connected(socket: Socket) -> None:
            socket.join("blue")

        @self.room.on("disconnect")
        def disconnected(socket: Socket, reason: str) -> None:
            self.gone.append((reason, "blue" in socket.rooms))
            socket.emit("too late")
            socket.join("red")

    def test_the_reason_is_told_while_the_socket_is_in_its_rooms(self) -> None:
        for way, reason in (
            (lambda client: client.say("1/room,"), "client namespace disconnect"),
            (lambda client: client.leave(), "transport close"),
            (lambda client: client.session.close(Reason.PING_TIMEOUT), "ping timeout"),
            (lambda client: self.room.sockets[0].disconnect(), "server namespace disconnect"),
            (lambda client: self.room.to("blue").disconnect(), "server namespace disconnect"),
        ):
            client = Client(self.server).join("/room")
            way(client)
            self.assertEqual(self.gone.pop(), (reason, True))
            self.assertEqual((self.gone, self.room.sockets, list(self.room.rooms)), ([], [], []))

    def test_a_socket_that_the_server_ends_is_told_and_its_connection_stays(self) -> None:
        client = Client(self.server).join("/room")
        self.room.sockets[0].disconnect()
        self.assertEqual(client.heard(), ["1/room,"])
        self.assertIsNone(client.closed)

    def test_it_may_end_the_connection_too(self) -> None:
        client = Client(self.server).join("/room")
        self.room.sockets[0].disconnect(close=True)
        self.assertEqual(client.closed, Reason.FORCED_CLOSE)
        self.assertEqual(self.gone, [("server namespace disconnect", True)])

    def test_a_second_end_is_nothing(self) -> None:
        Client(self.server).join("/room")
        (socket,) = self.room.sockets
        socket.disconnect()
        socket.disconnect()
        self.assertFalse(socket.connected)
        self.assertEqual(len(self.gone), 1)


class Observers(SynchronousTestCase):
    def test_they_are_told_in_the_place_of_the_log(self) -> None:
        told: list[Any] = []

        class Told:
            def not_served(self, connection: Connection, namespace: str) -> None:
                told.append(namespace)

            def ended(self, connection: Connection, reason: Reason, detail: str) -> None:
                told.append((reason, detail))

        clock = new_server()[1]
        with capturedLogs() as events:
            client = Client(Server(clock, observer=Told()))
            client.say("0/nowhere,")
            client.session.close(Reason.SLOW_READER, "why")
        self.assertEqual(told, ["/nowhere", (Reason.SLOW_READER, "why")])
        self.assertEqual(events, [])

    def test_a_flood_of_unknown_namespaces_is_no_flood_of_lines(self) -> None:
        server, clock = new_server()
        with capturedLogs() as events:
            for _ in range(5 * LINES):
                Client(server).say("0/nowhere,")
            clock.advance(PERIOD)
        lines = [formatEvent(event) for event in events]
        text = "a request for an unknown namespace was refused"
        self.assertEqual(lines, [*[text] * LINES, f"{4 * LINES} more like this in the last 10 s: {text}"])

    def test_without_one_the_log_has_it(self) -> None:
        server, _ = new_server()
        with capturedLogs() as events:
            client = Client(server)
            client.say("0/nowhere,")
            client.session.close(Reason.SLOW_READER, "why")
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "a request for an unknown namespace was refused",
                "a connection from 192.0.2.7:1 was closed: slow reader (why)",
            ],
        )
