"""The claim ``data.to``: what it allows, and where it is asked."""

from __future__ import annotations

import fnmatch
import re
from typing import Any

import jwt
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.memory import MemoryRouter, MemoryStore
from kschat.chat.composer import Draft
from kschat.chat.keys import Keys
from kschat.chat.message import MAX_ID, Error, Refused
from kschat.chat.recipients import MAX_PATTERNS, MAX_TO, Recipients, recipients_of
from kschat.chat.tokens import Identity, Issuer, TokenError, Verifier
from tests.chat.daemon import NOW, SECRET
from tests.chat.peers import Client, Daemon

_TEXT = st.text("ab*?[.", max_size=8)


class ClaimTests(SynchronousTestCase):
    """What a claim means."""

    def allowed(self, claim: object, user: str) -> bool:
        to = recipients_of(claim)
        return to is None or to.allow(user)

    def test_ids_patterns_and_all(self) -> None:
        table: list[tuple[object, str, str]] = [
            (["ann", "ben"], "ann ben", "an annn Ann  cem"),
            ([42, "007"], "42 007", "7 0042 43"),
            ([42.0], "42", "42.0"),
            (["a*"], "a ab a*", "ba A"),
            (["*a"], "a ba", "ab"),
            (["a*b*c"], "abc aXbYc abbcc", "acb ab abcd"),
            (["a**b"], "ab aXb", "a b"),
            (["ab*ba"], "abba abXba", "aba"),
            (["*"], "ann 42 #", ""),
            ("*", "ann", ""),
            ("ann", "ann", "ben"),
            ("support-*", "support-1", "support"),
            ([], "", "ann"),
            (["#team", "#*"], "", "team ann"),
            (["x?", "[ab]", "x.y"], "x? [ab] x.y", "xy a xzy"),
        ]
        for claim, right, wrong in table:
            for user in right.split():
                self.assertTrue(self.allowed(claim, user), (claim, user))
            for user in wrong.split():
                self.assertFalse(self.allowed(claim, user), (claim, user))

    @given(_TEXT.filter(bool), _TEXT)
    def test_a_pattern_matches_as_a_shell_s_star_does(self, pattern: str, text: str) -> None:
        plain = "".join(one if one == "*" else f"[{one}]" for one in pattern)
        expected = re.fullmatch(fnmatch.translate(plain), text) is not None
        self.assertIs(self.allowed([pattern], text), expected)

    def test_what_can_not_be_read_or_is_too_much_is_refused(self) -> None:
        for claim in (
            None,
            True,
            1.5,
            {},
            {"ann": 1},
            [None],
            [["ann"]],
            [True],
            [1.5],
            [""],
            "",
            ["x" * (MAX_ID + 1)],
            [10**200],
            ["ann"] * (MAX_TO + 1),
            [f"{number}*" for number in range(MAX_PATTERNS + 1)],
        ):
            with self.assertRaises(ValueError):
                recipients_of(claim)
            token = jwt.encode({"data": {"id": "ann", "to": claim}}, SECRET, algorithm="HS256")
            verifier = Verifier(Keys.from_secret(SECRET), ("HS256",), lambda: NOW)
            reason = "bad_to" if len(token) < 8192 else "too_long"
            self.assertEqual(self.assertRaises(TokenError, verifier.verify, token).reason, reason)

    def test_as_much_as_is_allowed(self) -> None:
        to = recipients_of([f"{number}*" for number in range(MAX_PATTERNS)] + [f"u{number}" for number in range(900)])
        assert to is not None
        self.assertTrue(to.allow("u899"))
        self.assertFalse(to.allow("v"))

    def test_matching_takes_time_linear_in_the_pattern(self) -> None:
        """With backtracking this one would not end."""
        self.assertFalse(self.allowed(["*a" * 60 + "*b"], "a" * MAX_ID))
        self.assertTrue(self.allowed(["*a" * 60 + "*"], "a" * MAX_ID))

    def test_a_token_says_what_it_was_given(self) -> None:
        issuer, verifier = Issuer(SECRET, lambda: NOW), Verifier(Keys.from_secret(SECRET), ("HS256",), lambda: NOW)
        self.assertIsNone(verifier.verify(issuer.issue("ann", 60)).to)
        self.assertIsNone(verifier.verify(issuer.issue("ann", 60, to=("ben", "*"))).to)
        expected = Recipients(frozenset({"ben"}), (("c", ""),))
        self.assertEqual(verifier.verify(issuer.issue("ann", 60, to=("ben", "c*"))).to, expected)
        self.assertEqual(verifier.verify(issuer.issue("ann", 60, to=())).to, Recipients())
        self.assertRaises(ValueError, issuer.issue, "ann", 60, to=("",))


class SendingTests(SynchronousTestCase):
    """Where it is asked."""

    def setUp(self) -> None:
        self.store = MemoryStore(1000, 10**6)
        self.daemon = Daemon(self.store, MemoryRouter())

    def client(self, to: Any, user: str = "ann") -> Client:
        client = self.daemon.client(user)
        client.token = jwt.encode({"data": {"id": user, "to": to}}, SECRET, algorithm="HS256")
        return client.join()

    def sent(self, client: Client, peer: object) -> Any:
        number = client.emit("Send", {"uId": client.user, "pId": peer, "msg": "hi", "rno": 1})
        self.daemon.clock.advance(0)
        return client.answer(number)

    def test_a_send_to_somebody_else_is_refused_with_the_reason(self) -> None:
        ann, ben = self.client(["cem", 42]), self.daemon.joined("ben", {"typing": "1"})
        answer = self.sent(ann, "ben")
        self.assertEqual((answer["ER"], answer["WHY"]), (6, "Your token does not allow you to write to this user."))
        self.assertEqual([one["ER"] for one in ann.events("RESPSEND")], [6])
        self.assertEqual(ann.ask("Typing", {"pId": "ben"})["ER"], 6)
        self.assertEqual((ben.messages(), ben.events("RESPTYPING")), ([], []))
        for peer in ("cem", 42, "42", 42.0):
            self.assertIn("mid", self.sent(ann, peer), peer)
        self.assertEqual(ann.ask("Typing", {"pId": "cem"}), {"ER": 0})
        self.assertEqual(self.daemon.counters.refused[Error.NOT_ALLOWED], 2)

    def test_who_may_not_be_written_to_may_write(self) -> None:
        ann = self.client([])
        ben = self.daemon.joined("ben")
        self.assertIn("mid", self.sent(ben, "ann"))
        self.assertEqual(len(ann.messages()), 1)

    def test_rooms_have_their_members(self) -> None:
        ann = self.client([])
        self.successResultOf(self.store.join("#team", "ann", 10))
        self.assertIn("mid", self.sent(ann, "#team"))
        self.assertEqual(self.sent(self.client(["#other"]), "#other")["WHY"], "You are not a member of that room.")

    def test_a_message_without_a_socket_too(self) -> None:
        operations = self.daemon.chat.operations
        identity = Identity("ann", None, to=Recipients(frozenset({"cem"})))
        refused = self.failureResultOf(operations.send(identity, Draft(recipient="ben", msg=Raw(b"1"))), Refused)
        self.assertEqual(getattr(refused.value, "error", None), Error.NOT_ALLOWED)
        sent = operations.send(identity, Draft(recipient="cem", msg=Raw(b"1")))
        self.daemon.clock.advance(0)
        self.successResultOf(sent)

    def test_a_renewed_token_counts_from_then_on(self) -> None:
        ann = self.client(["cem"])
        self.assertEqual(self.sent(ann, "ben")["ER"], 6)
        token = jwt.encode({"data": {"id": "ann"}}, SECRET, algorithm="HS256")
        self.assertEqual(ann.ask("Token", {"token": token}), {"ER": 0})
        self.assertIn("mid", self.sent(ann, "ben"))
