"""A token or a text in a daemon's log is found, in whatever form it was logged."""

from __future__ import annotations

import base64
from pathlib import Path

import jwt
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chaos.actors import SCRIPT
from chaos.daemon import Daemon
from chaos.disclosed import MARK, Disclosed, LogSearch
from chaos.report import disclosures

SECRET = "a secret of the tests that is long enough for HS256"
TEXT = f"{MARK}user1.0/17"


class DisclosedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.token = jwt.encode({"data": {"id": "user1"}, "exp": 1}, SECRET, "HS256")
        self.disclosed = Disclosed(SECRET)
        self.disclosed.used(self.token)
        self.daemon = Daemon(Clock(), 1, SECRET, {})
        self.addCleanup(self.daemon.forget)
        self.search = LogSearch(self.disclosed)

    def held(self, line: str) -> set[str]:
        """What is found where a daemon logs a line among others."""
        data = f"the line before\n{line}\nthe line after\n".encode()
        for start in range(0, len(data), 7):
            self.daemon.heard(data[start : start + 7])
        self.search.read("it", self.daemon.log_lines())
        return set(self.search.found)

    def test_what_a_daemon_may_log_is_not_found(self) -> None:
        self.assertEqual(self.held("192.0.2.7 GET /socket.io/?EIO=4&token=...&sid=... 200 17"), set())
        self.assertEqual(self.held("user1 joined, cid user1.0/17, eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"), set())

    def test_a_token_is_found(self) -> None:
        _, content, signature = self.token.split(".")
        for text in (self.token, content, signature, signature[:20], f"eyJ...{signature[-20:]}"):
            self.assertEqual(self.held(f"joined with {text!r}"), {"a token"}, text)

    def test_the_secret_is_found(self) -> None:
        self.assertEqual(self.held(f"the key is {SECRET}"), {"the secret"})

    def test_a_text_is_found(self) -> None:
        packet = f'42/kschat,["Send",{{"msg":"{TEXT}"}}]'.encode()
        for line in (TEXT, TEXT[: len(MARK)], repr(packet), packet.hex(), str(list(TEXT.encode()))):
            self.assertEqual(self.held(line), {"a text"}, line)

    def test_a_text_in_base64_is_found_wherever_it_stands(self) -> None:
        for before in range(6):
            encoded = base64.b64encode(b"x" * before + TEXT.encode()).decode()
            self.assertEqual(self.held(encoded), {"a text"}, before)

    def test_the_line_that_has_not_ended_is_searched_as_well(self) -> None:
        self.daemon.heard(TEXT.encode())
        self.search.read("it", self.daemon.log_lines())
        self.assertEqual(self.search.found, {"a text": 1})

    def test_all_of_a_long_log_is_searched(self) -> None:
        self.daemon.heard(TEXT.encode() + b"\n" + b"another line\n" * 10_000)
        self.search.read("it", self.daemon.log_lines())
        self.assertEqual(self.search.found, {"a text": 1})
        self.assertEqual(self.search.shown, [f"it: a text: {TEXT}"])
        self.assertEqual(self.search.logs, {"it": (10_001, len(TEXT) + 1 + 10_000 * len("another line\n"))})

    def test_a_run_says_what_it_read_and_counts_what_it_found(self) -> None:
        self.search.read("daemon 0", [f"the key is {SECRET}", "x"])
        self.search.read("Redis", ["Ready"])
        said: list[str] = []
        counts = disclosures(self.search, said.append)
        self.assertEqual(list(counts.values()), [1, 0])
        self.assertIn("the log of daemon 0", said[0])
        self.assertIn("2 lines", said[0])
        self.assertIn("the log of Redis", said[1])
        self.assertEqual(said[2:], [f"  daemon 0: the secret: the key is {SECRET}"])

    def test_a_log_that_holds_nothing_is_counted(self) -> None:
        self.assertEqual(list(disclosures(self.search, lambda _: None).values()), [0, 1])
        self.search.read("daemon 0", [])
        self.search.read("Redis", ["Ready"])
        self.assertEqual(list(disclosures(self.search, lambda _: None).values()), [0, 1])

    def test_clients_mark_their_texts_so(self) -> None:
        self.assertIn(f'"{MARK}"', Path(SCRIPT).read_text())
