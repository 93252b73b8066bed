"""Events over real HTTP: what a receiver gets, and what becomes of each kind of answer."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import standardwebhooks
from msgspec import Raw
from msgspec.structs import replace
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.server import Site

from kschat import __version__
from kschat.chat.outbox import Event
from kschat.front.endpoints import server_endpoint
from kschat.hooks.consumer import Delivered, Delivery, Later, Outcome
from kschat.hooks.events import STORED, TYPES
from kschat.hooks.signing import Signer
from kschat.hooks.webhook import GONE_WAIT, MAX_ANSWER, MAX_BUSY_WAIT, REASONS, TIMEOUT, Webhook, body_of
from tests.hooks.receivers import OTHER, SECRET, Inbox, as_text, made_webhook, never, status, verified
from tests.support import REPOSITORY
from tests.support.certificates import Authority
from tests.support.waiting import real_reactor, within

EVENT = Event("msg_1", STORED, "ben", 1_700_000_000_123, Raw(b'{"user":"ben"}'))


class Says(Protocol):
    """Answers each request by the same bytes."""

    text = b""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(self.text)


class Hangs(Protocol):
    """Ends the connection instead of an answer."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class WebhookTestCase(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.inbox = Inbox()
        self.wall: Any = time.time

    async def served(self, description: str = "tcp:0:interface=127.0.0.1") -> int:
        port: Any = await server_endpoint(real_reactor(), description).listen(Site(self.inbox))
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def spoken(self, protocol: type[Protocol]) -> int:
        endpoint = TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(Factory.forProtocol(protocol))
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def made(self, port: int, scheme: str = "http", timeout: float = TIMEOUT, ca: str = "") -> Webhook:
        url = f"{scheme}://127.0.0.1:{port}/hooks?key=1"
        made, self.signer = made_webhook(url, SECRET, wall=lambda: self.wall(), timeout=timeout, ca=ca)
        self.addCleanup(made.stop)
        return made

    def delivered(self, made: Webhook, event: Event = EVENT) -> Deferred[Outcome]:
        return within(made.deliver(Delivery(event)), "an outcome", lambda: "nothing")


class TestRequests(WebhookTestCase):
    async def test_a_receiver_that_verifies_takes_it(self) -> None:
        made = self.made(await self.served())
        self.assertEqual(await self.delivered(made), Delivered())
        ((headers, body),) = self.inbox.posts
        self.assertEqual(
            verified(SECRET, headers, body),
            {"type": STORED, "timestamp": "2023-11-14T22:13:20.123Z", "data": {"user": "ben"}},
        )
        self.assertEqual(headers["webhook-id"], "msg_1")
        self.assertLess(abs(int(headers["webhook-timestamp"]) - time.time()), 60)
        self.assertEqual(headers["content-type"], "application/json")
        self.assertEqual(headers["user-agent"], f"kschat/{__version__}")

    async def test_the_library_of_the_specification_verifies(self) -> None:
        made = self.made(await self.served())
        self.signer.use((OTHER, SECRET))
        await self.delivered(made)
        ((headers, body),) = self.inbox.posts
        for secret in (OTHER, SECRET):
            self.assertEqual(standardwebhooks.Webhook(secret).verify(body, headers)["type"], STORED)
        with self.assertRaises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(b"x" * 24).verify(body, headers)
        with self.assertRaises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(SECRET).verify(body + b" ", headers)

    async def test_another_try_has_the_same_id_and_body_and_a_signature_of_its_own_time(self) -> None:
        made = self.made(await self.served())
        await self.delivered(made)
        self.wall = lambda: time.time() + 100
        await self.delivered(made)
        (first, body), (second, again) = self.inbox.posts
        self.assertEqual((first["webhook-id"], body), (second["webhook-id"], again))
        self.assertNotEqual(first["webhook-timestamp"], second["webhook-timestamp"])
        verified(SECRET, second, again)

    async def test_connections_are_used_again(self) -> None:
        site: Any = Site(self.inbox)
        connections: list[Any] = []
        build = site.buildProtocol

        def connected(address: Any) -> Any:
            connections.append(address)
            return build(address)

        site.buildProtocol = connected
        port: Any = await server_endpoint(real_reactor(), "tcp:0:interface=127.0.0.1").listen(site)
        self.addCleanup(port.stopListening)
        made = self.made(port.getHost().port)
        for number in range(5):
            await self.delivered(made, replace(EVENT, id=f"msg_{number}"))
        self.assertEqual((len(self.inbox.posts), len(connections)), (5, 1))

    async def test_a_cookie_is_not_sent_back(self) -> None:
        made = self.made(await self.served())
        self.inbox.answer = status(200, set_cookie="session=1")
        await self.delivered(made)
        await self.delivered(made)
        self.assertNotIn("cookie", self.inbox.posts[1][0])

    async def test_a_certificate_is_verified_with_its_name(self) -> None:
        authority = Authority(self.directory, "root")
        listen = "ssl:0:privateKey={1}:certKey={0}:interface=127.0.0.1"
        port = await self.served(listen.format(*authority.sign("127.0.0.1")))
        self.assertEqual(await self.delivered(self.made(port, "https", ca=str(authority.ca))), Delivered())
        self.assertEqual(await self.delivered(self.made(port, "https")), Later(reason="tls", everything=True))
        port = await self.served(listen.format(*authority.sign("other.example.org")))
        wrong = self.made(port, "https", ca=str(authority.ca))
        self.assertEqual(await self.delivered(wrong), Later(reason="tls", everything=True))
        self.assertEqual(len(self.inbox.posts), 1)


class TestAnswers(WebhookTestCase):
    async def test_each_status(self) -> None:
        cases: list[tuple[Any, Outcome]] = [
            (status(200), Delivered()),
            (status(201), Delivered()),
            (status(299), Delivered()),
            (status(301, location="http://127.0.0.1:1/"), Later(reason="redirect")),
            (status(307, location="/other"), Later(reason="redirect")),
            (status(400), Later(reason="status")),
            (status(404), Later(reason="status")),
            (status(500), Later(reason="status")),
            (status(501, retry_after="5"), Later(reason="status")),
            (status(429, retry_after="7"), Later(reason="busy", wait=7.0, everything=True)),
            (status(503, retry_after="1000000"), Later(reason="busy", wait=MAX_BUSY_WAIT, everything=True)),
            (status(503, retry_after="-5"), Later(reason="busy", everything=True)),
            (status(503, retry_after="soon"), Later(reason="busy", everything=True)),
            (status(502), Later(reason="busy", everything=True)),
            (status(504), Later(reason="busy", everything=True)),
            (status(410), Later(reason="gone", wait=GONE_WAIT, everything=True)),
        ]
        made = self.made(await self.served())
        for answer, outcome in cases:
            self.inbox.answer = answer
            self.assertEqual(await self.delivered(made), outcome)
        # No redirect was followed.
        self.assertEqual(len(self.inbox.posts), len(cases))

    async def test_a_date_to_come_back_at(self) -> None:
        made = self.made(await self.served())
        self.wall = lambda: 784_111_700.0
        self.inbox.answer = status(503, retry_after="Sun, 06 Nov 1994 08:49:37 GMT")
        self.assertEqual(await self.delivered(made), Later(reason="busy", wait=77.0, everything=True))
        self.wall = lambda: 784_111_900.0
        self.assertEqual(await self.delivered(made), Later(reason="busy", wait=0.0, everything=True))

    async def test_nobody_there(self) -> None:
        endpoint = TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1")
        gone: Any = await endpoint.listen(Factory())
        port = gone.getHost().port
        await gone.stopListening()
        self.assertEqual(await self.delivered(self.made(port)), Later(reason="unreachable", everything=True))

    async def test_no_answer(self) -> None:
        self.inbox.answer = never
        made = self.made(await self.served(), timeout=0.2)
        self.assertEqual(await self.delivered(made), Later(reason="timeout", everything=True))

    async def test_what_is_no_http(self) -> None:
        for text in (b"220 mail.example.org ESMTP\r\n" * 3, b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100 + b"\r\n\r\n"):
            made = self.made(await self.spoken(type("Says", (Says,), {"text": text})), timeout=1.0)
            outcome = await self.delivered(made)
            assert isinstance(outcome, Later)
            self.assertIn(outcome.reason, ("broken", "timeout"))
            self.assertTrue(outcome.everything)

    async def test_a_connection_that_ends_without_an_answer(self) -> None:
        made = self.made(await self.spoken(Hangs))
        self.assertEqual(await self.delivered(made), Later(reason="broken", everything=True))

    async def test_an_answer_without_an_end_is_ended(self) -> None:
        for head in (b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 500 Oh\r\nContent-Length: 99999999\r\n\r\n"):
            made = self.made(await self.spoken(type("Says", (Says,), {"text": head + b" " * (2 * MAX_ANSWER)})))
            self.assertEqual(await self.delivered(made), Later(reason="too_large", everything=True))

    async def test_an_answer_whose_body_never_comes_is_a_timeout(self) -> None:
        text = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
        made = self.made(await self.spoken(type("Says", (Says,), {"text": text})), timeout=0.3)
        self.assertEqual(await self.delivered(made), Later(reason="timeout", everything=True))

    async def test_the_log_says_each_reason_once_and_that_it_is_back_and_no_secret(self) -> None:
        made = self.made(await self.served())
        with capturedLogs() as events:
            for answer in (status(500), status(500), None, status(410), None):
                self.inbox.answer = answer
                await self.delivered(made)
        lines = [formatEvent(one) or "" for one in events if one["log_namespace"].startswith("kschat")]
        down, up = (
            f"hooks are not received by {made._outages.name}",
            f"hooks are received again by {made._outages.name}",
        )
        kept = "they are kept, and sent again"
        gone = "it answers 410 (Gone): nothing is sent to it for an hour, or until SIGHUP"
        expected = [f"{down}: the answer is status 500; {kept}", up, f"{down}: {gone}; {kept}", up]
        self.assertEqual(lines, expected)
        self.assertNotIn("key=1", "".join(lines))

    async def test_many_at_once(self) -> None:
        made = self.made(await self.served())
        found = await gatherResults([self.delivered(made, replace(EVENT, id=f"msg_{n}")) for n in range(30)])
        self.assertEqual(found, [Delivered()] * 30)
        self.assertEqual(len(self.inbox.events), 30)


class TestPage(SynchronousTestCase):
    """docs/hooks.md."""

    def test_the_lines_for_a_shell_make_the_signature(self) -> None:
        page = (REPOSITORY / "docs" / "hooks.md").read_text("utf-8")
        (lines,) = re.findall(r"(?ms)^```sh\n(.*?)^```", page)
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "hooks.secret").write_text(as_text(SECRET) + "\n")
        body = body_of(EVENT)
        given = {"PATH": os.environ["PATH"], "ID": "msg_1", "TIMESTAMP": "1700000000", "BODY": body.decode()}
        ran = subprocess.run(
            ["sh", "-ec", lines], env=given, cwd=directory, capture_output=True, check=True, timeout=60
        )
        signed = Signer([SECRET]).headers("msg_1", 1_700_000_000, body)[b"webhook-signature"].decode()
        self.assertEqual(f"v1,{ran.stdout.decode().strip()}", signed)

    def test_each_event_has_its_section_and_each_reason_its_place(self) -> None:
        page = (REPOSITORY / "docs" / "hooks.md").read_text("utf-8")
        headings = "\n".join(line for line in page.splitlines() if line.startswith("### "))
        for type_ in TYPES:
            self.assertIn(f"`{type_}`", headings)
        metrics = (REPOSITORY / "docs" / "metrics.md").read_text("utf-8")
        (row,) = [line for line in metrics.splitlines() if "kschat_hook_deliveries_total" in line]
        for reason in REASONS:
            self.assertIn(reason, row)


class TestBodies(SynchronousTestCase):
    def test_it_is_json_of_type_time_and_data(self) -> None:
        event = replace(EVENT, at=1_700_000_000_000, data=Raw('{"user":"bén"}'.encode()))
        self.assertEqual(
            body_of(event).decode(),
            '{"type":"message.stored-for-absent","timestamp":"2023-11-14T22:13:20.000Z","data":{"user":"bén"}}',
        )
