"""Where a token may stand, which of several counts, whose it must be, and what else a client says when it comes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.connect_request import ConnectRequest, is_pid_of, new_pid
from kschat.chat.keys import Keys
from kschat.chat.session import Options
from kschat.chat.tokens import Issuer, TokenError, Verifier
from kschat.wire.connection import Handshake
from kschat.wire.socketio import Connect

SECRET = b"a secret of the tests, 32 bytes and more"
CLOCK = Clock()
VERIFIER = Verifier(Keys.from_secret(SECRET), ("HS256",), CLOCK.seconds)

#: The token of a user who is named by the place that it stands in.
TOKENS = {user: Issuer(SECRET, CLOCK.seconds).issue(user, 60) for user in ("auth", "query", "space", "bearer", "42")}


def request(
    auth: object = None, query: dict[str, str] | None = None, space: str = "", authorization: str = ""
) -> ConnectRequest:
    data = b"" if auth is None else auth if isinstance(auth, bytes) else json.dumps(auth).encode()
    handshake = Handshake(query=query or {}, authorization=authorization)
    return ConnectRequest.of(handshake, Connect("/kschat", data, space))


class PlacesOfAToken(SynchronousTestCase):
    def said(self, *places: str, bad: str = "") -> ConnectRequest:
        """A request with a token in each of ``places``, a bad one in ``bad``."""
        tokens = {place: "bad" if place == bad else TOKENS[place] for place in places}
        return request(
            {"token": tokens["auth"]} if "auth" in places else None,
            {"token": tokens["query"]} if "query" in places else {},
            f"token={tokens['space']}" if "space" in places else "",
            f"Bearer {tokens['bearer']}" if "bearer" in places else "",
        )

    def refused(self, said: ConnectRequest) -> str:
        return str(self.assertRaises(TokenError, said.identify, VERIFIER).reason)

    def test_each_place_is_looked_at(self) -> None:
        for place in ("auth", "query", "space", "bearer"):
            self.assertEqual(self.said(place).identify(VERIFIER).user, place)

    def test_the_first_place_counts(self) -> None:
        places = ["auth", "query", "space", "bearer"]
        for first in range(4):
            for last in range(first, 4):
                self.assertEqual(self.said(*places[first : last + 1]).identify(VERIFIER).user, places[first])

    def test_the_first_place_counts_also_when_its_token_is_wrong(self) -> None:
        places = ["auth", "query", "space", "bearer"]
        for first in range(4):
            self.assertEqual(self.refused(self.said(*places[first:], bad=places[first])), "malformed")

    def test_without_a_token_nobody_is_let_in(self) -> None:
        for said in (
            request(),
            request({}),
            request({"token": None}),
            request(query={"Token": TOKENS["query"]}),
            request(space="x=1"),
            request(authorization="Basic dXNlcjpwYXNz"),
            request(authorization="Bearer"),
            request(authorization="Bearer "),
            request({"token": ""}),
            request(query={"token": ""}),
        ):
            self.assertEqual(self.refused(said), "missing", said)

    def test_an_empty_token_of_the_query_is_not_passed_over(self) -> None:
        said = request(query={"token": ""}, authorization=f"Bearer {TOKENS['bearer']}")
        self.assertEqual(self.refused(said), "missing")

    def test_a_token_that_is_null_says_nothing(self) -> None:
        said = request({"token": None}, {"token": TOKENS["query"]})
        self.assertEqual(said.identify(VERIFIER).user, "query")

    def test_a_token_that_is_no_string_is_malformed(self) -> None:
        values: list[Any] = [0, 42, True, False, [TOKENS["auth"]], {"token": TOKENS["auth"]}]
        for value in values:
            self.assertEqual(self.refused(request({"token": value}, {"token": TOKENS["query"]})), "malformed")

    def test_an_auth_that_is_no_object_says_nothing(self) -> None:
        for auth in (b"null", b'"token"', b"1", b"[]", b"{", b'{"token":1e', b"\xff", b'{"a":%b}' % (b"9" * 5000)):
            self.assertEqual(request(auth, {"token": TOKENS["query"]}).identify(VERIFIER).user, "query")

    def test_the_word_bearer_is_read_whatever_its_case(self) -> None:
        for word in ("Bearer", "bearer", "BEARER"):
            self.assertEqual(request(authorization=f"{word} {TOKENS['bearer']} ").identify(VERIFIER).user, "bearer")

    def test_the_first_of_several_values_counts(self) -> None:
        said = request(space=f"token={TOKENS['space']}&token={TOKENS['query']}")
        self.assertEqual(said.identify(VERIFIER).user, "space")

    def test_a_namespace_s_query_may_be_encoded(self) -> None:
        said = request(space="%74oken=" + TOKENS["space"].replace(".", "%2E") + "&x=%C3%A9")
        self.assertEqual(said.identify(VERIFIER).user, "space")

    def test_a_namespace_s_query_of_many_fields_says_nothing(self) -> None:
        said = request(space="&".join(["a=b"] * 50 + [f"token={TOKENS['space']}"]))
        self.assertEqual(self.refused(said), "missing")

    def test_ks_id_must_be_the_token_s_user(self) -> None:
        token = TOKENS["42"]
        for query, space in (({"ksId": "42"}, ""), ({}, "ksId=42"), ({"ksId": ""}, ""), ({"ksId": ""}, "ksId=42")):
            self.assertEqual(request({"token": token}, query, space).identify(VERIFIER).user, "42")
        for query, space in (({"ksId": "43"}, ""), ({}, "ksId=43"), ({"ksId": "042"}, ""), ({"ksId": "42 "}, "")):
            self.assertEqual(self.refused(request({"token": token}, query, space)), "other_user")

    def test_a_ks_id_may_be_written_as_programs_write_doubles(self) -> None:
        token = TOKENS["42"]
        for text in ("42.0", "4.2e1", "420E-1"):
            self.assertEqual(request({"token": token}, {"ksId": text}).identify(VERIFIER).user, "42")
            self.assertEqual(request({"token": token, "ksId": float(text)}).identify(VERIFIER).user, "42")
        for text in ("42.5", "43.0", "inf", "4_2", " 42", "1e400"):
            self.assertEqual(self.refused(request({"token": token}, {"ksId": text})), "other_user")

    def test_an_auth_may_hold_any_number(self) -> None:
        for text in ("1e400", "9" * 5000):
            wish = Connect("/kschat", f'{{"token":"{TOKENS["42"]}","more":{text}}}'.encode())
            self.assertEqual(ConnectRequest.of(Handshake(), wish).identify(VERIFIER).user, "42")

    def test_ks_id_is_compared_with_the_token_that_it_came_with(self) -> None:
        ann = {"token": TOKENS["query"], "ksId": "query"}
        said = request({"token": TOKENS["42"], "ksId": "42"}, ann)
        self.assertEqual(said.identify(VERIFIER).user, "42")
        self.assertEqual(request({"token": TOKENS["42"]}, ann).identify(VERIFIER).user, "42")
        self.assertEqual(request({"token": TOKENS["42"], "ksId": 42}, ann).identify(VERIFIER).user, "42")
        said = request({"token": TOKENS["42"]}, {}, f"token={TOKENS['space']}&ksId=space")
        self.assertEqual(said.identify(VERIFIER).user, "42")
        said = request(None, ann, f"token={TOKENS['space']}&ksId=space")
        self.assertEqual(said.identify(VERIFIER).user, "query")

    def test_ks_id_of_another_user_beside_the_token_that_counts_is_refused(self) -> None:
        others: list[Any] = ["query", 43, True, ["42"], {"id": "42"}, 42.5, "#42", "x" * 200]
        for other in others:
            said = request({"token": TOKENS["42"], "ksId": other}, {"token": TOKENS["query"], "ksId": "query"})
            self.assertEqual(self.refused(said), "other_user", other)
        for place in ({"ksId": "43"}, {"ksId": "43", "token": TOKENS["42"]}):
            self.assertEqual(self.refused(request(None, place, authorization=f"Bearer {TOKENS['42']}")), "other_user")

    def test_ks_id_alone_lets_nobody_in(self) -> None:
        self.assertEqual(self.refused(request(query={"ksId": "42"})), "missing")

    @settings(max_examples=150)
    @given(
        st.binary(max_size=60)
        | st.text(max_size=30).map(lambda text: json.dumps({"token": text, "pid": text}).encode()),
        st.dictionaries(st.sampled_from(["token", "ksId", "batch"]), st.text(max_size=20)),
        st.text(max_size=60),
        st.text(max_size=60),
    )
    def test_whatever_is_said_the_only_error_is_a_token_s(
        self, auth: bytes, query: dict[str, str], space: str, authorization: str
    ) -> None:
        said = request(auth, query, space, authorization)
        said.options()
        said.claim()
        self.assertRaises(TokenError, said.identify, VERIFIER)


class Wishes(SynchronousTestCase):
    def test_who_asks_for_nothing_gets_nothing(self) -> None:
        self.assertEqual(request({"token": "x"}, {"EIO": "4"}, "a=b").options(), Options())

    def test_each_can_be_asked_for_in_auth_and_in_both_queries(self) -> None:
        for name in ("batch", "receipts", "carbons", "recover", "more"):
            expected = Options(**{name: True, "more": True})
            name = "typing" if name == "more" else name
            for said in (
                request({name: 1}),
                request({name: "1"}),
                request({name: True}),
                request({name: "true"}),
                request(query={name: "1"}),
                request(query={name: "true"}),
                request(space=f"{name}=1"),
            ):
                self.assertEqual(said.options(), expected, said)

    def test_anything_else_asks_for_nothing(self) -> None:
        values: list[Any] = [0, 2, "", "0", "no", "yes", None, False, [1], {"a": 1}, 1.5, "١"]
        for value in values:
            self.assertFalse(request({"batch": value}).options().batch, value)

    def test_auth_comes_before_the_queries(self) -> None:
        self.assertFalse(request({"batch": 0}, {"batch": "1"}, "batch=1").options().batch)
        self.assertFalse(request({}, {"batch": "0"}, "batch=1").options().batch)


class Claims(SynchronousTestCase):
    def test_one_who_comes_back_shows_its_pid_and_its_offset(self) -> None:
        self.assertEqual(request({"pid": "p.1", "offset": "17"}).claim(), ("p.1", 17))
        self.assertEqual(request({"pid": "p.1", "offset": "0"}).claim(), ("p.1", 0))

    def test_anything_else_is_no_claim(self) -> None:
        values: list[Any] = [None, {}, {"pid": "p"}, {"offset": "1"}, {"pid": 1, "offset": "1"}]
        values += [{"pid": "p", "offset": bad} for bad in (1, "", "-1", "1.0", "x", "9" * 30, "²", None, ["1"])]
        for value in values:
            self.assertIsNone(request(value).claim(), value)

    def test_a_pid_is_known_as_its_user_s_and_its_epoch_s_alone(self) -> None:
        for user in ("ann", "é", "x" * 128, "\ufffd"):
            pid = new_pid(user, "e1")
            self.assertTrue(is_pid_of(user, "e1", pid))
            self.assertFalse(is_pid_of(user + "x", "e1", pid))
            self.assertFalse(is_pid_of(user, "e2", pid))
            self.assertNotEqual(pid, new_pid(user, "e1"))
            self.assertNotIn(user, pid)
