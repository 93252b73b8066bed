"""``HttpClient`` with real servers of 127.0.0.1 that are right, slow, endless, wrong, and gone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredList, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat import http_client
from kschat.http_answers import MAX_HEAD, HttpAnswer, HttpFault
from kschat.http_client import MAX_REASON, HttpClient, check_url, is_protected
from tests.support.certificates import Authority
from tests.support.http_servers import LOOPBACK, Endless, Server, ok, says, served
from tests.support.waiting import real_reactor, within

MAX_BODY = 1000

#: Seconds that no test waits for: whatever takes so long is a fault.
LONG = 15.0


def first_of(deferreds: list[Deferred[None]]) -> Deferred[Any]:
    """Fires when one of them has."""
    return DeferredList(deferreds, fireOnOneCallback=True)


class HttpClientTests(TestCase):
    """Each server is one that listens."""

    def setUp(self) -> None:
        self.servers: list[Server] = []
        self.patch(http_client, "KEEP", 600)
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def served(self, *answers: Callable[[Server], None], description: str = LOOPBACK) -> Coroutine[Any, Any, str]:
        """The URL of a server; see there."""
        return served(self, self.servers, *answers, description=description)

    def client(self, **more: Any) -> HttpClient:
        client = HttpClient(real_reactor(), max_body=MAX_BODY, **more)
        self.addCleanup(client.stop)
        return client

    def ask(
        self,
        url: str,
        client: HttpClient | None = None,
        timeout: float = LONG,
        headers: dict[bytes, bytes] | None = None,
    ) -> Deferred[HttpAnswer]:
        client = client or self.client()
        asked = client.request(b"POST", url, headers or {}, b"the body", timeout=timeout)
        return within(asked, "an answer", lambda: "nothing")

    async def fault(self, url: str, client: HttpClient | None = None, seconds: float = LONG) -> tuple[str, str]:
        """Kind and text of what an answer fails with; the connection has ended."""
        try:
            answer = await self.ask(url, client, seconds)
        except HttpFault as fault:
            for server in self.servers:
                await within(server.lost, "the end of the connection", lambda: "it is open")
            return fault.kind, str(fault)
        raise AssertionError(answer)

    async def test_an_answer_is_given_as_it_is(self) -> None:
        url = await self.served(says(b"HTTP/1.1 418 No\r\nX-A: b\r\nContent-Length: 3\r\n\r\nabc", True))
        answer = await self.ask(url, headers={b"X-Own": b"1"})
        self.assertEqual((418, b"abc"), (answer.status, answer.body))
        self.assertEqual([b"b"], answer.headers[b"x-a"])
        head, _, body = self.servers[0].received.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /hook?x=1 HTTP/1.1\r\n"), head)
        self.assertIn(b"Content-Length: 8", head)
        self.assertIn(b"X-Own: 1", head)
        self.assertNotIn(b"ncoding", head)
        self.assertEqual(b"the body", body)

    async def test_a_redirection_is_not_followed(self) -> None:
        other = await self.served(says(ok()))
        url = await self.served(says(b"HTTP/1.1 307 x\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % other.encode()))
        self.assertEqual(307, (await self.ask(url)).status)
        self.assertEqual(1, len(self.servers))

    async def test_what_is_too_large_slow_or_no_answer_ends_the_connection(self) -> None:
        head = b"HTTP/1.1 200 OK\r\n"
        cases: list[tuple[str, str, Callable[[Server], None]]] = [
            ("too_large", f"larger than {MAX_BODY} bytes", says(ok(b"x" * (MAX_BODY + 1)))),
            ("too_large", f"larger than {MAX_BODY} bytes", says(head + b"Content-Length: 1001\r\n\r\n")),
            ("too_large", f"larger than {MAX_BODY} bytes", Endless(head + b"\r\n", b"x" * 500)),
            ("too_large", "larger than it may be", Endless(head, b"X-A: " + b"y" * 500 + b"\r\n")),
            ("broken", "", Endless(b"", b"z" * 5000)),
            ("broken", "", says(b"SSH-2.0-OpenSSH\r\n", True)),
            ("broken", "", says(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", True)),
            ("broken", "", says(b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\nabc")),
            ("broken", "", lambda server: server.close()),
            ("broken", "compressed", says(head + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")),
        ]
        for kind, text, answer in cases:
            self.servers.clear()
            found = await self.fault(await self.served(answer))
            self.assertEqual(kind, found[0], (text, found))
            self.assertIn(text, found[1])

    async def test_whatever_a_server_sends_without_an_end_is_ended(self) -> None:
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for first, again in (
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 20),
            (b"", b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 300 + b"\r\n\r\n"),
            (b"HTTP/1.1 200 ", b"O" * 500),
            (b"HTTP/1.1 200 OK\r\nX-A: b\r\n", b" folded" * 50 + b"\r\n"),
            (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 3\r\n" * 30),
            (chunked, b"1\r\na\r\n" * 100),
            (chunked + b"1", b";extension=x" * 50),
            (chunked, b"0" * 500),
            (chunked + b"fffffff\r\n", b"x" * 500),
            (chunked + b"0\r\n", b"X-A: trailer\r\n" * 30),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", b"x" * 500),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"x" * 500),
            (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\n", b"x" * 500),
        ):
            self.servers.clear()
            kind, _ = await self.fault(await self.served(Endless(first, again)))
            self.assertIn(kind, ("too_large", "broken"), (first, again[:20]))

    async def test_the_reason_is_short_and_shows_nothing_that_a_terminal_obeys(self) -> None:
        url = await self.served(says(b"\x1b[2J" * 1000 + b"\r\n\r\n", True))
        _, text = await self.fault(url)
        self.assertLessEqual(len(text), MAX_REASON)
        self.assertTrue(text.isprintable(), text)

    async def test_what_comes_after_an_answer_is_of_no_other_one(self) -> None:
        evil = ok(b"yes") + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        url = await self.served(says(evil), says(ok(b"second"), True))
        client = self.client(connections=1)
        self.assertEqual(b"yes", (await self.ask(url, client)).body)
        self.assertIn((await self.ask(url, client)).body, (b"yes", b"second"))

    async def test_an_answer_of_exactly_the_bound_is_read(self) -> None:
        url = await self.served(says(ok(b"x" * MAX_BODY), True))
        self.assertEqual(MAX_BODY, len((await self.ask(url)).body))

    async def test_one_that_says_nothing_or_does_not_end_fails_when_its_time_is_over(self) -> None:
        for answer in (says(b""), says(b"HTTP/1.1 200 OK\r\n"), says(b"HTTP/1.1 200 OK\r\n\r\nabc")):
            self.servers.clear()
            kind, text = await self.fault(await self.served(answer), seconds=0.05)
            self.assertEqual(("timeout", "no answer within 0.05 seconds"), (kind, text))

    async def test_nobody_there(self) -> None:
        port: Any = await TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1").listen(Factory())
        number = port.getHost().port
        await port.stopListening()
        kind, text = await self.fault(f"http://127.0.0.1:{number}/")
        self.assertEqual("unreachable", kind)
        self.assertIn("refused", text)

    async def test_a_connection_is_used_again_if_connections_are_kept(self) -> None:
        url = await self.served(says(ok()))
        client = self.client(connections=1)
        for _ in range(3):
            self.assertEqual(b"yes", (await self.ask(url, client)).body)
        self.assertEqual(1, len(self.servers))
        await client.stop()
        await within(self.servers[0].lost, "the end of the connection", lambda: "it is open")

    async def test_requests_at_once_have_a_connection_each_and_no_more_are_kept_than_may_be(self) -> None:
        url = await self.served(says(ok()))
        client = self.client(connections=2)
        await gatherResults([self.ask(url, client) for _ in range(3)])
        await within(first_of([server.lost for server in self.servers]), "the end of one", lambda: "all are open")
        await gatherResults([self.ask(url, client) for _ in range(2)])
        self.assertEqual(3, len(self.servers))

    async def test_a_kept_connection_that_nobody_uses_is_closed(self) -> None:
        self.patch(http_client, "KEEP", 0.05)
        url = await self.served(says(ok()))
        await self.ask(url, self.client(connections=1))
        await within(self.servers[0].lost, "the end of the connection", lambda: "it is open")

    async def test_what_a_server_sends_unasked_ends_its_connection(self) -> None:
        url = await self.served(says(ok()))
        client = self.client(connections=1)
        await self.ask(url, client)
        self.servers[0].write(ok(b"evil"))
        await within(self.servers[0].lost, "the end of the connection", lambda: "it is open")
        self.assertEqual(b"yes", (await self.ask(url, client)).body)

    async def test_nothing_is_sent_of_a_header_that_would_be_two(self) -> None:
        url = await self.served(says(ok()))
        for headers in ({b"X-A": b"b\r\nX-Evil: 1"}, {b"X-A\nX-Evil": b"1"}):
            with self.assertRaises(HttpFault):
                await self.ask(url, headers=headers)
        self.assertEqual([], self.servers)

    async def test_no_connection_is_kept_otherwise(self) -> None:
        url = await self.served(says(ok()))
        await self.ask(url)
        await within(self.servers[0].lost, "the end of the connection", lambda: "it is open")

    async def test_a_kept_connection_that_the_server_closes_as_it_is_used_costs_nothing(self) -> None:
        def first_only(server: Server) -> None:
            if server.received.count(b"the body") == 1:
                server.write(ok(b"first"))
            else:
                server.close()

        url = await self.served(first_only, says(ok(b"second"), True))
        client = self.client(connections=1)
        self.assertEqual(b"first", (await self.ask(url, client)).body)
        self.assertEqual(b"second", (await self.ask(url, client)).body)
        self.assertEqual(2, len(self.servers))

    async def test_a_server_that_closes_new_connections_too_is_asked_twice_and_no_more(self) -> None:
        url = await self.served(lambda server: server.close())
        kind, _ = await self.fault(url, self.client(connections=1))
        self.assertEqual(("broken", 2), (kind, len(self.servers)))

    async def test_stop_cancels_what_is_unanswered(self) -> None:
        asked: Deferred[None] = Deferred()
        url = await self.served(lambda server: asked.callback(None))
        client = self.client(connections=1)
        answer = client.request(b"POST", url, {}, b"the body", timeout=LONG)
        await within(asked, "the request", lambda: "nothing")
        stopped = client.stop()
        await self.assertFailure(answer, CancelledError)
        await stopped
        await within(self.servers[0].lost, "the end of the connection", lambda: "it is open")

    async def test_by_tls_the_certificate_is_verified_and_one_that_never_ends_is_ended(self) -> None:
        authority = Authority(self.directory, "root")
        certificate, key = authority.sign("127.0.0.1")
        description = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        trusting = self.client(ca=str(authority.ca), setting="hooks")
        url = await self.served(says(ok(), True), description=description)
        self.assertEqual(b"yes", (await self.ask(url, trusting)).body)
        self.assertEqual("tls", (await self.fault(url))[0])
        self.servers.clear()
        url = await self.served(Endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 500), description=description)
        self.assertEqual("too_large", (await self.fault(url, trusting))[0])
        # It would keep its end open for ever: no close_notify comes back.
        self.servers.clear()
        url = await self.served(says(ok(b"x" * (MAX_BODY + 1))), description=description)
        self.assertEqual("too_large", (await self.fault(url, trusting))[0])
        certificate, key = authority.sign("other.example.org")
        description = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        self.servers.clear()
        kind, text = await self.fault(await self.served(says(ok()), description=description), trusting)
        self.assertEqual("tls", kind)
        self.assertIn("another name", text)

    async def test_a_head_of_exactly_the_bound_is_read(self) -> None:
        head = b"HTTP/1.1 204 None\r\n"
        line = b"X-A: " + b"y" * 1000 + b"\r\n"
        while len(head) + len(line) < MAX_HEAD:
            head += line
        self.assertEqual(204, (await self.ask(await self.served(says(head + b"\r\n", True)))).status)


class UrlTests(SynchronousTestCase):
    """What a URL may be."""

    def test_urls(self) -> None:
        for url in (
            "https://a.example/x?y=1",
            "http://127.0.0.1:8080/",
            "http://[::1]:80/",
            "http://backend:9000/hook",
        ):
            check_url(url, "E")
        for url, reason in {
            "": "is not like E",
            "a.example/x": "is not like E",
            "ftp://a.example/": "is not like E",
            "file:///etc/passwd": "is not like E",
            "https:///x": "is not like E",
            "https://a.example/ x": "is not like E",
            "https://a.example/\r\nX-Evil: 1": "is not like E",
            "https://a.example/\x00": "is not like E",
            "https://bücher.example/": "xn--",
            "https://u:p@a.example/": "has a user",
            "https://a.example/#x": "fragment",
            "https://a.example:70000/": "can't be read",
            "https://[::1/": "can't be read",
        }.items():
            error = self.assertRaises(ValueError, check_url, url, "E")
            self.assertIn(reason, str(error), url)

    def test_what_is_protected_on_its_way(self) -> None:
        for url in ("https://a.example/", "http://127.0.0.1/", "http://[::1]/", "http://localhost:1/"):
            self.assertTrue(is_protected(url), url)
        for url in ("http://a.example/", "http://10.0.0.1/", "http://localhost.example.org/"):
            self.assertFalse(is_protected(url), url)
