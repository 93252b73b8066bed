"""Keys from a URL: when they are fetched, what is done while they can't be, and what is not taken for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from kschat.backends import jwks
from kschat.backends.jwks import FETCH_TIMEOUT, MAX_JWKS, MAX_WAITING, PAUSE, JwksClient, JwksError, JwksSettings, fetch
from kschat.chat.keys import Keys
from kschat.chat.tokens import TokenError, Verifier
from kschat.counters import Counters
from kschat.front.endpoints import server_endpoint
from kschat.wire.engineio import Revision
from tests.chat.house import House
from tests.support.certificates import Authority
from tests.support.waiting import real_reactor, within

PRIVATE = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("a", "b")}


def jwk(kid: str) -> dict[str, Any]:
    return {**jwt.get_algorithm_by_name("ES256").to_jwk(PRIVATE[kid].public_key(), as_dict=True), "kid": kid}


def document(*kids: str) -> bytes:
    return json.dumps({"keys": [jwk(kid) for kid in kids]}).encode()


def token(kid: str, user: str = "ann") -> str:
    return jwt.encode({"data": {"id": user}}, PRIVATE[kid], "ES256", headers={"kid": kid})


class Shelf:
    """Where keys are published, in the place of a server."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Keys]] = []
        self.at: list[float] = []

    async def get(self, settings: JwksSettings, reactor: Clock) -> Keys:
        self.at.append(reactor.seconds())
        answer: Deferred[Keys] = Deferred()
        self.asked.append(answer)
        return await answer

    def give(self, *kids: str) -> None:
        self.asked.pop().callback(Keys.from_jwks(document(*kids)))

    def fail(self, why: str = "nobody is there") -> None:
        self.asked.pop().errback(JwksError(why))


class TestWhenKeysAreFetched(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.shelf = Shelf()
        self.counters = Counters()
        self.verifier = Verifier(None, ("ES256",), self.clock.seconds)
        settings = JwksSettings(url="https://login.example.org/jwks?key=hidden", refresh=600)
        self.client = JwksClient(
            settings, self.verifier, reactor=self.clock, counters=self.counters, get=self.shelf.get
        )

    def start(self) -> list[str]:
        return self.lines(self.client.start)

    def lines(self, do: Callable[..., object], *args: Any) -> list[str]:
        with capturedLogs() as events:
            do(*args)
        return [formatEvent(event) or "" for event in events]

    def reason(self, kid: str) -> str:
        return str(self.assertRaises(TokenError, self.verifier.verify, token(kid)).reason)

    def test_a_start_says_that_there_are_none_and_tokens_are_refused_until_they_arrive(self) -> None:
        self.assertEqual(self.reason("a"), "no_keys")
        self.assertEqual(self.start(), ["there are no keys yet: they are fetched from login.example.org"])
        self.assertFalse(self.client.up)
        lines = self.lines(self.shelf.give, "a")
        self.assertEqual(lines, ["the keys were fetched from login.example.org: a key (a)"])
        self.assertEqual(self.verifier.verify(token("a")).user, "ann")
        self.assertEqual(self.reason("b"), "unknown_key")
        self.assertEqual((self.client.up, self.client.count), (True, 1))

    def test_they_are_fetched_again_at_an_interval_and_a_change_is_said(self) -> None:
        self.start()
        self.shelf.give("a")
        self.clock.advance(599)
        self.assertEqual(self.shelf.asked, [])
        self.clock.advance(1)
        self.assertEqual(self.lines(self.shelf.give, "a"), [])
        self.clock.advance(600)
        self.assertEqual(len(self.lines(self.shelf.give, "b")), 1)
        # A key that is not published any more is not believed any more.
        self.assertEqual(self.reason("a"), "unknown_key")

    def test_a_failure_is_said_once_and_tried_again_later_each_time_and_the_last_keys_are_used(self) -> None:
        self.start()
        self.shelf.give("a")
        self.clock.advance(600)
        line = "the keys can't be fetched from login.example.org: nobody is there; those of before are still used"
        self.assertEqual(self.lines(self.shelf.fail), [line])
        self.assertEqual(self.verifier.verify(token("a")).user, "ann")
        for wait in (3, 6, 12, 24, 48, 60, 60):
            self.clock.advance(wait - 1)
            self.assertEqual(self.shelf.asked, [])
            self.clock.advance(1)
            self.assertEqual(self.lines(self.shelf.fail), [])
        self.clock.advance(60)
        self.assertEqual(len(self.lines(self.shelf.give, "a")), 1)
        self.assertEqual(self.counters.key_fetches, {"fetched": 2, "failed": 8})

    def test_no_answer_is_a_failure(self) -> None:
        self.start()
        (line,) = self.lines(self.clock.advance, FETCH_TIMEOUT)
        said = f"no answer within {FETCH_TIMEOUT:g} seconds; all tokens are refused until they are there"
        self.assertTrue(line.endswith(said), line)
        self.clock.advance(PAUSE)
        self.assertEqual(len(self.shelf.at), 2)

    def test_what_fits_no_algorithm_is_a_failure_and_changes_nothing(self) -> None:
        self.start()
        self.shelf.give("a")
        self.clock.advance(600)
        rsa_key = jwt.get_algorithm_by_name("RS256").to_jwk(
            rsa.generate_private_key(65537, 2048).public_key(), as_dict=True
        )
        other = Keys.from_jwks(json.dumps({"keys": [rsa_key]}).encode())
        (line,) = self.lines(self.shelf.asked.pop().callback, other)
        self.assertIn("there is no key for the algorithms ES256; those of before", line)
        self.assertEqual(self.verifier.verify(token("a")).user, "ann")

    def test_who_waits_is_told_when_the_fetch_has_ended_well_or_not(self) -> None:
        self.start()
        waits = [self.client.newer() for _ in range(3)]
        assert all(waits)
        self.shelf.give("a")
        for wait in waits:
            assert wait is not None
            self.assertIsNone(self.successResultOf(wait))
        wait = self.client.newer()
        assert wait is not None
        self.clock.advance(PAUSE)
        self.shelf.fail()
        self.successResultOf(wait)

    def test_whatever_tokens_name_there_is_a_pause_between_two_fetches(self) -> None:
        self.start()
        self.shelf.give("a")
        for _ in range(100):
            self.client.newer()
            self.clock.advance(0.25)
            if self.shelf.asked:
                self.shelf.give("a")
        self.assertEqual(self.shelf.at, [PAUSE * number for number in range(len(self.shelf.at))])
        self.assertEqual(len(self.shelf.at), 1 + int(25 / PAUSE))

    def test_so_many_may_wait_and_no_more(self) -> None:
        self.start()
        waits = [self.client.newer() for _ in range(MAX_WAITING)]
        self.assertNotIn(None, waits)
        self.assertIsNone(self.client.newer())

    def test_the_operator_s_command_fetches_them_soon(self) -> None:
        self.start()
        self.shelf.give("a")
        self.clock.advance(100)
        self.assertEqual(self.client.reread(), "the keys are fetched")
        self.clock.advance(0)
        self.shelf.give("a", "b")
        self.assertEqual(self.verifier.verify(token("b")).user, "ann")

    def test_it_stops_at_any_moment_and_lets_those_go_who_wait(self) -> None:
        self.successResultOf(self.client.stop())
        self.start()
        wait = self.client.newer()
        assert wait is not None
        self.assertEqual(self.lines(lambda: self.successResultOf(self.client.stop())), [])
        self.successResultOf(wait)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIsNone(self.client.newer())


class TestSockets(SynchronousTestCase):
    """A socket whose key is not known yet waits for the fetch, which is bounded; it is not refused at once."""

    revisions: tuple[Revision, ...] = (3, 4)

    def setUp(self) -> None:
        self.shelf = Shelf()
        self.verifier = Verifier(None, ("ES256",), lambda: 0.0)
        self.clock = Clock()
        settings = JwksSettings(url="https://login.example.org/jwks")
        self.client = JwksClient(settings, self.verifier, reactor=self.clock, counters=Counters(), get=self.shelf.get)
        self.house = House(key_source=self.client, verifier=self.verifier)
        self.client.start()

    def ask(self, kid: str, revision: Revision = 4) -> Any:
        guest = self.house.stranger(revision)
        return guest.join(query=f"token={token(kid)}") if revision == 3 else guest.join({"token": token(kid)})

    def test_it_is_let_in_when_the_keys_have_come(self) -> None:
        guests = [self.ask("a", revision) for revision in self.revisions]
        self.assertEqual([guest.heard() for guest in guests], [[], []])
        self.shelf.give("a")
        self.assertEqual([[one.kind for one in guest.heard()] for guest in guests], [["connect"], ["connect"]])
        late = self.ask("b")
        self.clock.advance(PAUSE)
        self.assertEqual(late.heard(), [])
        self.shelf.give("a", "b")
        self.assertEqual([one.kind for one in late.heard()], ["connect"])

    def test_it_is_refused_when_they_have_not(self) -> None:
        guest = self.ask("a")
        self.shelf.fail()
        self.assertEqual([one.kind for one in guest.heard()], ["connect_error"])
        self.assertEqual(self.house.counters.denied, {"no_keys": 1})
        guest = self.ask("a")
        self.clock.advance(PAUSE)
        self.shelf.give("b")
        self.assertEqual([one.kind for one in guest.heard()], ["connect_error"])
        self.assertEqual(self.house.counters.denied, {"no_keys": 1, "unknown_key": 1})

    def test_one_that_left_meanwhile_is_forgotten(self) -> None:
        gone, left = self.ask("a"), self.ask("a")
        gone.leave()
        left.text("1/kschat,")
        self.shelf.give("a")
        self.assertEqual((gone.heard(), left.heard(), self.house.hub.sockets), ([], [], 0))

    def test_a_renewal_waits_too(self) -> None:
        self.shelf.give("a")
        guest = self.ask("a")
        guest.heard()
        guest.say("Token", {"token": token("b")}, ack=1)
        self.assertEqual(guest.heard(), [])
        self.clock.advance(PAUSE)
        self.shelf.give("a", "b")
        self.assertEqual(guest.acks(), {1: {"ER": 0}})
        guest.say("Token", {"token": token("b", "ben")}, ack=2)
        self.assertEqual(guest.acks()[2]["ER"], 6)


class TestUrls(SynchronousTestCase):
    def test_https_or_this_machine(self) -> None:
        for url in (
            "https://login.example.org/jwks.json",
            "https://10.0.0.1:8443/a?b=c",
            "http://127.0.0.1:8080/jwks",
            "http://[::1]/jwks",
            "http://localhost/jwks",
        ):
            jwks.check_url(url)
        for url in (
            "http://login.example.org/jwks.json",
            "http://10.0.0.1/jwks",
            "http://localhost.example.org/",
            "http://127.0.0.1.example.org/",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "https://",
            "https:///jwks",
            "https://user:password@login.example.org/",
            "https://login.example.org/#x",
            "https://login.example.org/a b",
            "https://login.example.org:x/",
            "https://[::1/",
            "",
        ):
            self.assertRaises(ValueError, jwks.check_url, url)


class Answer(Resource):
    """Answers as it is told."""

    isLeaf = True

    def __init__(self, body: bytes, code: int = 200, **headers: str) -> None:
        super().__init__()
        self._body = body
        self._code = code
        self._headers = headers
        self.asked: list[dict[bytes, Any]] = []

    def render_GET(self, request: Any) -> Any:
        self.asked.append(dict(request.requestHeaders.getAllRawHeaders()))
        request.setResponseCode(self._code)
        for name, value in self._headers.items():
            request.setHeader(name.replace("_", "-").encode(), value.encode())
        if self._code == 0:
            return NOT_DONE_YET
        return self._body


class Flood(Protocol):
    """Answers by a body without an end."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (2 * MAX_JWKS))


class TestFetching(TestCase):
    """Real HTTP and TLS, on this machine."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    async def served(self, resource: Answer, description: str = "tcp:0:interface=127.0.0.1") -> int:
        site = Site(resource)
        port: Any = await server_endpoint(real_reactor(), description).listen(site)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def fetched(self, url: str, ca: str = "") -> Deferred[Keys]:
        fetched = Deferred.fromCoroutine(fetch(JwksSettings(url=url, ca=ca), real_reactor()))
        return within(fetched, "the keys", lambda: "nothing")

    async def refusal(self, url: str, ca: str = "") -> str:
        try:
            await self.fetched(url, ca)
        except JwksError as error:
            return str(error)
        raise AssertionError("it was taken")

    async def test_keys_are_read_and_those_that_are_not_for_us_are_passed_over(self) -> None:
        odd = [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}, {"kty": "new"}, 3, {"kty": "EC", "crv": "P-256", "x": "!"}]
        answer = Answer(json.dumps({"keys": [*odd, jwk("a")]}).encode())
        port = await self.served(answer)
        keys = await self.fetched(f"http://127.0.0.1:{port}/jwks?x=1")
        self.assertIn("a", [key.kid for key in keys.keys])
        self.assertNotIn(b"Accept-Encoding", answer.asked[0])
        keys.by_algorithm(("ES256", "RS256"), strict=False)

    async def test_what_is_no_set_of_keys_is_refused_with_its_reason(self) -> None:
        cases = {
            "status 404": Answer(b"", 404),
            "status 302": Answer(b"", 302, location="http://127.0.0.1:1/"),
            "status 500": Answer(document("a"), 500),
            "not JSON": Answer(b"<html>"),
            'not of the form {"keys": [...]}': Answer(b"[]"),
            "no key that": Answer(b'{"keys":[]}'),
            f"larger than {MAX_JWKS} bytes": Answer(b" " * (MAX_JWKS + 1)),
            "compressed": Answer(document("a"), content_encoding="gzip"),
            "more than 50 keys": Answer(json.dumps({"keys": [{}] * 51}).encode()),
        }
        for reason, answer in cases.items():
            port = await self.served(answer)
            self.assertIn(reason, await self.refusal(f"http://127.0.0.1:{port}/"), reason)

    async def test_an_answer_without_an_end_is_ended(self) -> None:
        endpoint = TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(Factory.forProtocol(Flood))
        self.addCleanup(port.stopListening)
        self.assertIn("larger than", await self.refusal(f"http://127.0.0.1:{port.getHost().port}/"))

    async def test_nobody_there(self) -> None:
        endpoint = TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1")
        port: Any = await endpoint.listen(Factory())
        number = port.getHost().port
        await port.stopListening()
        self.assertIn("Connection refused", await self.refusal(f"http://127.0.0.1:{number}/"))

    async def test_a_certificate_is_verified_with_its_name(self) -> None:
        authority = Authority(self.directory, "root")
        certificate, key = authority.sign("127.0.0.1")
        listen = "ssl:0:privateKey={}:certKey={}:interface=127.0.0.1"
        port = await self.served(Answer(document("a")), listen.format(key, certificate))
        keys = await self.fetched(f"https://127.0.0.1:{port}/", str(authority.ca))
        self.assertEqual(str(keys), "a key (a)")
        self.assertIn("certificate", await self.refusal(f"https://127.0.0.1:{port}/"))
        certificate, key = authority.sign("other.example.org")
        port = await self.served(Answer(document("a")), listen.format(key, certificate))
        self.assertIn("certificate", await self.refusal(f"https://127.0.0.1:{port}/", str(authority.ca)))
