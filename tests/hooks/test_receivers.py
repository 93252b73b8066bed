"""``Asker`` and ``HookClient`` with real receivers of 127.0.0.1: right, down, slow, wrong, garbage, endless."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from standardwebhooks import Webhook
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from kschat import http_client
from kschat.chat.interfaces import Decision
from kschat.counters import Counters
from kschat.hooks.asking import MAX_ANSWER, Asker, AskSettings
from kschat.hooks.breaker import FAILURES
from kschat.hooks.http import HookClient
from kschat.hooks.signing import Signer
from tests.chat.peers import message
from tests.support.http_servers import Endless, Server, ok, says, served
from tests.support.waiting import real_reactor, within

SECRET = b"s" * 32

#: Seconds that no test waits for.
LONG = 15.0


class ReceiverTests(TestCase):
    """One back end each."""

    def setUp(self) -> None:
        self.servers: list[Server] = []
        self.counters = Counters()
        self.patch(http_client, "KEEP", 600)

    async def asker(self, *answers: Callable[[Server], None], url: str = "", **settings: Any) -> Asker:
        url = url or await served(self, self.servers, *answers)
        settings = {"timeout": LONG, "concurrent": 4, **settings}
        client = HookClient(
            url,
            signer=Signer([SECRET]),
            reactor=real_reactor(),
            wall=time.time,
            timeout=LONG,
            connections=4,
            max_body=MAX_ANSWER,
        )
        asker = Asker(
            client,
            url=url,
            about=frozenset(("join", "write", "send")),
            settings=AskSettings(**settings),
            clock=real_reactor(),
            wall=time.time,
            counters=self.counters,
        )
        self.addCleanup(asker.stop)
        return asker

    def decided(self, asked: Decision | Deferred[Decision]) -> Deferred[Decision]:
        assert isinstance(asked, Deferred)
        return within(asked, "a decision", lambda: str(dict(self.counters.ask_silent)))

    async def test_the_specification_s_library_verifies_a_question(self) -> None:
        asker = await self.asker(says(ok(b'{"allow": true}')))
        self.assertEqual(Decision(True), await self.decided(asker.may_send(message("ben"))))
        head, _, body = self.servers[0].received.partition(b"\r\n\r\n")
        lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
        headers = dict(lines)
        verified = Webhook(b64encode(SECRET).decode()).verify(body, headers)
        self.assertEqual(
            ("ask.send", "ann", "ben"), (verified["type"], verified["data"]["user"], verified["data"]["to"])
        )
        self.assertEqual("application/json", headers["Content-Type"])

    async def test_nothing_of_a_user_becomes_a_header(self) -> None:
        asker = await self.asker(says(ok(b'{"allow": true}')))
        evil = "a\r\nX-Evil: 1\r\n\r\nGET / HTTP/1.1\r\n"
        await self.decided(asker.may_join(evil, "#r\r\nX-Evil: 1"))
        head, _, body = self.servers[0].received.partition(b"\r\n\r\n")
        self.assertNotIn(b"evil", head.lower())
        self.assertEqual({"user": evil, "room": "#r\r\nX-Evil: 1"}, json.loads(body)["data"])

    async def test_one_that_gives_no_answer_costs_what_it_may(self) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        for reason, answer in (
            ("status", says(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")),
            ("status", says(b"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")),
            ("invalid", says(ok(b"<html>"))),
            ("invalid", says(ok(b'{"allow": "yes"}'))),
            ("broken", says(b"garbage\r\n\r\n", True)),
            ("broken", lambda server: server.close()),
            ("too_large", Endless(head + b"\r\n", b'{"allow": true,' * 500)),
            ("too_large", Endless(head, b"X-A: " + b"a" * 1000 + b"\r\n")),
            ("too_large", says(ok(b'{"allow": true}' + b" " * MAX_ANSWER))),
        ):
            asker = await self.asker(answer)
            self.counters.ask_silent.clear()
            self.assertEqual(Decision(False, silent=True), await self.decided(asker.may_join("ann", "#r")), reason)
            self.assertEqual({reason: 1}, dict(self.counters.ask_silent))

    async def test_a_slow_one_costs_its_time_and_the_next_questions_nothing(self) -> None:
        asker = await self.asker(says(b""), timeout=0.05, silent=True)
        for _ in range(FAILURES):
            self.assertEqual(Decision(True, silent=True), await self.decided(asker.may_join("ann", "#r")))
        self.assertEqual(Decision(True, silent=True), asker.may_join("ann", "#r"))
        self.assertEqual({"timeout": FAILURES, "open": 1}, dict(self.counters.ask_silent))
        await gatherResults([within(server.lost, "the end of a connection", lambda: "") for server in self.servers])

    async def test_one_that_is_down_is_left_alone_until_it_is_back(self) -> None:
        asker = await self.asker(url="http://127.0.0.1:1/", silent=True)
        with capturedLogs() as logs:
            for _ in range(FAILURES):
                self.assertEqual(Decision(True, silent=True), await self.decided(asker.may_join("ann", "#r")))
        (line,) = [formatEvent(one) for one in logs if "questions" in formatEvent(one)]
        self.assertIn("allowed, since questions to 127.0.0.1:1 are not answered", line)
        self.assertTrue(asker.is_open)

    async def test_connections_are_used_again_and_no_more_than_they_may_be(self) -> None:
        asker = await self.asker(says(ok(b'{"allow": true}')))
        for _ in range(3):
            found = [self.decided(asker.may_join(f"u{one}", "#r")) for one in range(20)]
            self.assertEqual([Decision(True)] * 20, await gatherResults(found))
        self.assertEqual(4, len(self.servers))

    async def test_a_larger_answer_in_pieces_is_read(self) -> None:
        why = b"x" * 9000
        body = b'{"allow": false, "why": "' + why + b'"}'

        def slowly(server: Server) -> None:
            server.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 500):
                piece = body[start : start + 500]
                server.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            server.write(b"0\r\n\r\n")

        decision = await self.decided((await self.asker(slowly)).may_join("ann", "#r"))
        self.assertEqual((False, False), (decision.allowed, decision.silent))

    async def test_when_it_stops_nothing_stays(self) -> None:
        reached: Deferred[None] = Deferred()
        asker = await self.asker(lambda server: reached.callback(None))
        asked = self.decided(asker.may_join("ann", "#r"))
        await within(reached, "the question", lambda: "")
        await asker.stop()
        self.assertEqual(Decision(False, silent=True), await asked)
        await within(self.servers[0].lost, "the end of the connection", lambda: "it is open")
