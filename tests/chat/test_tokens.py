"""Tokens: who is believed, and every way not to be."""

import base64
import json
import sys
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.keys import Keys, KeysError
from kschat.chat.tokens import MAX_TOKEN, MAX_TRIED, ClaimRules, Identity, Issuer, TokenError, Verifier, as_user

SECRET = b"a secret of the tests, 32 bytes and more"
NOW = 1_700_000_000.0


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: bytes, header: bytes = b'{"alg":"HS256","typ":"JWT"}', secret: bytes = SECRET) -> str:
    """A token of exactly these bytes, rightly signed: what no library would make."""
    body = f"{b64(header)}.{b64(payload)}"
    return f"{body}.{b64(jwt.get_algorithm_by_name('HS256').sign(body.encode(), secret))}"


def claims(**changes: Any) -> bytes:
    return json.dumps({"data": {"id": "alice"}, "exp": NOW + 60, **changes}).encode()


def clock_at(seconds: float) -> Clock:
    clock = Clock()
    clock.advance(seconds)
    return clock


def verifier(leeway: float = 0.0) -> Verifier:
    return Verifier(Keys.from_secret(SECRET), ("HS256",), clock_at(NOW).seconds, leeway=leeway)


def pem(private: Any) -> bytes:
    public: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public


def public_jwk(algorithm: str, private: Any, **members: str) -> dict[str, Any]:
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    return {**jwk, **members}


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def oct_jwk(secret: bytes, **members: Any) -> dict[str, Any]:
    return {"kty": "oct", "k": b64(secret), **members}


class RefusedTokens(SynchronousTestCase):
    """A table: name, the reason that must come out, the token."""

    def reason(self, token: object, checker: Verifier | None = None) -> str:
        return str(self.assertRaises(TokenError, (checker or verifier()).verify, token).reason)

    def test_every_kind_of_bad_token_is_refused_with_its_reason(self) -> None:
        good = signed(claims())
        header, payload, signature = good.split(".")
        deep = b'{"data":' + b"[" * 2500 + b"]" * 2500 + b"}"
        table: dict[str, tuple[str, object]] = {
            "none at all": ("missing", None),
            "empty": ("missing", ""),
            "a number": ("malformed", 42),
            "bytes": ("malformed", good.encode()),
            "a list": ("malformed", [good]),
            "a dict": ("malformed", {"token": good}),
            "true": ("malformed", True),
            "too long": ("too_long", signed(claims(more="x" * MAX_TOKEN))),
            "a word": ("malformed", "token"),
            "dots alone": ("malformed", ".."),
            "two segments": ("malformed", f"{header}.{payload}"),
            "four segments": ("malformed", f"{good}.{signature}"),
            "junk that base64 would skip": ("malformed", f"{header}.{payload}.{signature[:5]}!{signature[5:]}"),
            "a line feed at the end": ("malformed", good + "\n"),
            "a space before": ("malformed", " " + good),
            "padding": ("malformed", good + "="),
            "unicode": ("malformed", "жетон.жетон.жетон"),
            "digits of another script": ("malformed", good.replace("e", "\N{ARABIC-INDIC DIGIT ONE}", 1)),
            "half a surrogate pair": ("malformed", "\ud800." + good),
            "a NUL": ("malformed", good + "\0"),
            "a header that is no base64": ("malformed", f"a.{payload}.{signature}"),
            "a header that is no JSON": ("malformed", signed(claims(), b"alg:HS256")),
            "a header that is no UTF-8": ("malformed", signed(claims(), b'{"alg":"HS256","x":"\xff"}')),
            "a header that is a list": ("malformed", signed(claims(), b'["HS256"]')),
            "a header that is a string": ("malformed", signed(claims(), b'"HS256"')),
            "a deep header": ("malformed", signed(b"1", b"[" * 3000 + b"]" * 3000)),
            "a kid that is no string": ("malformed", signed(claims(), b'{"alg":"HS256","kid":1}')),
            "critical extensions": ("malformed", signed(claims(), b'{"alg":"HS256","crit":["b64"],"b64":false}')),
            "no alg": ("algorithm", signed(claims(), b"{}")),
            "alg none, unsigned": ("algorithm", b64(b'{"alg":"none"}') + f".{payload}."),
            "alg None, unsigned": ("algorithm", b64(b'{"alg":"None"}') + f".{payload}."),
            "alg none, signed": ("algorithm", signed(claims(), b'{"alg":"none"}')),
            "alg a list": ("algorithm", signed(claims(), b'{"alg":["HS256"]}')),
            "alg a dict": ("algorithm", signed(claims(), b'{"alg":{}}')),
            "alg in lower case": ("algorithm", signed(claims(), b'{"alg":"hs256"}')),
            "another HMAC": ("algorithm", jwt.encode({"data": {"id": 1}}, SECRET * 2, algorithm="HS512")),
            "RS256 where a secret is configured": ("algorithm", signed(claims(), b'{"alg":"RS256"}')),
            "another secret": ("signature", signed(claims(), secret=b"x" * 32)),
            "no signature": ("signature", f"{header}.{payload}."),
            "half a signature": ("signature", good[:-20]),
            "another's signature": ("signature", f"{header}.{b64(claims(data={'id': 'bob'}))}.{signature}"),
            "a signature that is no base64": ("malformed", f"{header}.{payload}.a"),
            "claims that are no JSON": ("malformed", signed(b"alice")),
            "claims that are no UTF-8": ("malformed", signed(b'{"data":{"id":"\xff"}}')),
            "claims that are a list": ("malformed", signed(b"[]")),
            "claims that are null": ("malformed", signed(b"null")),
            "claims that are a number": ("malformed", signed(b"1")),
            # Python 3.13 reads deeper than those before it: then it is a user's id that is none.
            "deep claims": ("no_user" if sys.version_info >= (3, 13) else "malformed", signed(deep)),
            "an integer of 5000 digits": ("malformed", signed(b'{"data":{"id":' + b"9" * 5000 + b"}}")),
            "exp NaN": ("malformed", signed(b'{"data":{"id":1},"exp":NaN}')),
            "exp Infinity": ("malformed", signed(b'{"data":{"id":1},"exp":Infinity}')),
            "exp 1e999": ("malformed", signed(b'{"data":{"id":1},"exp":1e999}')),
            "exp of 400 digits": ("bad_expiry", signed(b'{"data":{"id":1},"exp":' + b"9" * 400 + b"}")),
            "exp text": ("bad_expiry", signed(claims(exp=str(NOW + 60)))),
            "exp true": ("bad_expiry", signed(claims(exp=True))),
            "exp null": ("bad_expiry", signed(claims(exp=None))),
            "exp a list": ("bad_expiry", signed(claims(exp=[NOW + 60]))),
            "exp in the past": ("expired", signed(claims(exp=NOW - 1))),
            "exp this very second": ("expired", signed(claims(exp=NOW))),
            "exp negative": ("expired", signed(claims(exp=-1))),
            "exp zero": ("expired", signed(claims(exp=0))),
            "exp a hugely negative number": ("bad_expiry", signed(b'{"data":{"id":1},"exp":-' + b"9" * 400 + b"}")),
            "no data": ("no_user", signed(b"{}")),
            "data null": ("no_user", signed(claims(data=None))),
            "data a list": ("no_user", signed(claims(data=["alice"]))),
            "data a string": ("no_user", signed(claims(data="alice"))),
            "no id": ("no_user", signed(claims(data={}))),
            "id null": ("no_user", signed(claims(data={"id": None}))),
            "id empty": ("bad_user", signed(claims(data={"id": ""}))),
            "id a fraction": ("bad_user", signed(claims(data={"id": 1.5}))),
            "id a double beyond 2**53": ("bad_user", signed(claims(data={"id": 1e22}))),
            "id true": ("bad_user", signed(claims(data={"id": True}))),
            "id a list": ("bad_user", signed(claims(data={"id": ["alice"]}))),
            "id a dict": ("bad_user", signed(claims(data={"id": {}}))),
            "id too long": ("bad_user", signed(claims(data={"id": "a" * 129}))),
            "id of 129 digits": ("bad_user", signed(b'{"data":{"id":' + b"9" * 129 + b"}}")),
            "id of 4000 digits": ("bad_user", signed(b'{"data":{"id":' + b"9" * 4000 + b"}}")),
            "id a room": ("bad_user", signed(claims(data={"id": "#room"}))),
            "id half a surrogate pair": ("malformed", signed(b'{"data":{"id":"\\ud800"}}')),
        }
        seen = {name: self.reason(token) for name, (_, token) in table.items()}
        self.assertEqual(seen, {name: reason for name, (reason, _) in table.items()})

    def test_a_public_key_is_no_shared_secret(self) -> None:
        private = rsa.generate_private_key(65537, 2048)
        checker = Verifier(Keys.from_pem(pem(private)), ("RS256",), clock_at(NOW).seconds)
        self.assertEqual(self.reason(signed(claims(), secret=pem(private)), checker), "algorithm")

    def test_the_error_holds_neither_the_token_nor_the_secret(self) -> None:
        error = self.assertRaises(TokenError, verifier().verify, signed(claims(exp="never")))
        self.assertEqual(repr(error), "TokenError('bad_expiry')")
        self.assertTrue(error.__suppress_context__ or error.__context__ is None)
        self.assertNotIn("secret", repr(Keys.from_secret(SECRET)))

    @settings(max_examples=300)
    @given(st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*")))
    def test_junk_is_refused(self, junk: object) -> None:
        self.assertRaises(TokenError, verifier().verify, junk)

    @settings(max_examples=300)
    @given(st.binary(max_size=200), st.one_of(st.just(b'{"alg":"HS256"}'), st.binary(max_size=60)))
    def test_any_bytes_rightly_signed_are_an_identity_or_refused(self, payload: bytes, header: bytes) -> None:
        self.identity_or_refused(signed(payload, header))

    @settings(max_examples=300)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["data", "id", "exp", "rooms", "x"]), inner, max_size=5)
            ),
            max_leaves=12,
        ),
        st.dictionaries(st.sampled_from(["kid", "typ", "crit"]), st.none() | st.integers() | st.text(), max_size=2),
    )
    def test_any_json_rightly_signed_is_an_identity_or_refused(self, payload: object, header: dict[str, Any]) -> None:
        self.identity_or_refused(signed(json.dumps(payload).encode(), json.dumps({"alg": "HS256", **header}).encode()))

    def identity_or_refused(self, token: str) -> None:
        try:
            identity = verifier().verify(token)
        except TokenError:
            return
        self.assertIsInstance(identity, Identity)
        self.assertIsNotNone(as_user(identity.user))


class AcceptedTokens(SynchronousTestCase):
    def test_a_token_as_the_tutorials_back_end_makes_it(self) -> None:
        token = jwt.encode({"data": {"id": 42, "name": "x"}, "iat": NOW + 5, "exp": NOW + 9}, SECRET)
        self.assertEqual(verifier().verify(token), Identity("42", NOW + 9, (), issued=NOW + 5, name="x"))

    def test_claims_without_a_rule_are_not_looked_at(self) -> None:
        odd = {"nbf": NOW + 1000, "iat": "yesterday", "aud": "others", "sub": 7, "iss": None, "jti": []}
        self.assertEqual(verifier().verify(signed(claims(**odd))).user, "alice")

    def test_a_token_must_claim_what_the_rules_say(self) -> None:
        def outcome(rules: ClaimRules, **odd: Any) -> str:
            checker = Verifier(Keys.from_secret(SECRET), ("HS256",), clock_at(NOW).seconds, rules=rules)
            try:
                return checker.verify(signed(claims(**odd))).user
            except TokenError as error:
                return error.reason

        audience = ClaimRules(audience=("chat", "app"))
        good: list[Any] = ["chat", "app", ["chat"], ["x", "app"]]
        bad: list[Any] = ["x", "", "chat ", "Chat", ["x"], [], None, 1, {}, {"chat": 1}, ["chat", 1], [["chat"]], True]
        for aud in good:
            self.assertEqual(outcome(audience, aud=aud), "alice", aud)
        for aud in bad:
            self.assertEqual(outcome(audience, aud=aud), "audience", aud)
        self.assertEqual(outcome(audience), "audience")
        issuer = ClaimRules(issuer=("https://a.example/", "b"))
        self.assertEqual(outcome(issuer, iss="b"), "alice")
        odd_issuers: list[Any] = ["https://a.example", "c", "", ["b"], None, 1, {}]
        for iss in odd_issuers:
            self.assertEqual(outcome(issuer, iss=iss), "issuer", iss)
        self.assertEqual(outcome(issuer), "issuer")
        checker = Verifier(
            Keys.from_secret(SECRET), ("HS256",), clock_at(NOW).seconds, rules=ClaimRules(require_exp=True)
        )
        error = self.assertRaises(TokenError, checker.verify, signed(b'{"data":{"id":"alice"}}'))
        self.assertEqual(error.reason, "no_expiry")
        self.assertEqual(checker.verify(signed(claims())).user, "alice")

    def test_an_issuer_with_the_same_rules_makes_tokens_that_pass(self) -> None:
        rules = ClaimRules(audience=("chat", "app"), issuer=("us",), require_exp=True)
        clock = clock_at(NOW)
        checker = Verifier(Keys.from_secret(SECRET), ("HS256",), clock.seconds, rules=rules)
        self.assertEqual(checker.verify(Issuer(SECRET, clock.seconds, rules).issue("zoë", 60)).user, "zoë")

    def test_other_keys_hold_from_then_on_and_unfit_ones_change_nothing(self) -> None:
        checker, old, new = verifier(), signed(claims()), signed(claims(), secret=b"n" * 32)
        self.assertRaises(KeysError, checker.use, Keys.from_secret(b"short"))
        self.assertEqual(checker.verify(old).user, "alice")
        checker.use(Keys.from_secret(b"n" * 32))
        self.assertEqual(checker.verify(new).user, "alice")
        self.assertRaises(TokenError, checker.verify, old)

    def test_without_keys_nobody_is_believed(self) -> None:
        checker = Verifier(None, ("HS256",), clock_at(NOW).seconds)
        for token in (signed(claims()), signed(claims(), b'{"alg":"HS256","kid":"a"}')):
            self.assertEqual(self.assertRaises(TokenError, checker.verify, token).reason, "no_keys")
        error = self.assertRaises(TokenError, checker.verify, signed(claims(), b'{"alg":"RS256"}'))
        self.assertEqual(error.reason, "algorithm")

    def test_when_it_was_issued_and_its_own_id_are_known(self) -> None:
        def told(**odd: Any) -> tuple[float | None, str | None]:
            identity = verifier().verify(signed(claims(**odd)))
            return identity.issued, identity.token_id

        self.assertEqual(told(), (None, None))
        self.assertEqual(told(iat=NOW - 5, jti="a1"), (NOW - 5, "a1"))
        self.assertEqual(told(iat=1.5, jti=17), (1.5, "17"))
        neither: list[Any] = [None, True, [], {}, 10**400]
        for odd in ("1", *neither):
            self.assertEqual(told(iat=odd), (None, None))
        for odd in (1.5, *neither):
            self.assertEqual(told(jti=odd), (None, None))

    def test_a_number_and_its_string_are_the_same_user(self) -> None:
        for value in (7, "7"):
            self.assertEqual(verifier().verify(signed(claims(data={"id": value}))).user, "7")

    def test_a_whole_number_is_the_same_user_however_it_is_written(self) -> None:
        for text in ("42", "42.0", "4.2e1"):
            payload = b'{"data":{"id":%b}}' % text.encode()
            self.assertEqual(verifier().verify(signed(payload)).user, "42")

    def test_users_of_128_characters_of_any_script(self) -> None:
        for user in ("я" * 128, "a b", "-1", "0", "\N{PILE OF POO}", "x#", "quote'\"<b>"):
            self.assertEqual(verifier().verify(signed(claims(data={"id": user}))).user, user)
        self.assertEqual(verifier().verify(signed(claims(data={"id": -5}))).user, "-5")

    def test_a_token_without_exp_lasts(self) -> None:
        self.assertIsNone(verifier().verify(signed(b'{"data":{"id":"alice"}}')).expires)

    def test_a_token_ends_by_the_clock_that_was_given(self) -> None:
        clock = clock_at(NOW)
        checker = Verifier(Keys.from_secret(SECRET), ("HS256",), clock.seconds)
        token = signed(claims(exp=NOW + 10))
        clock.advance(9.75)
        self.assertEqual(checker.verify(token).expires, NOW + 10)
        clock.advance(0.25)
        self.assertEqual(self.assertRaises(TokenError, checker.verify, token).reason, "expired")

    def test_leeway_prolongs_a_token_and_what_its_socket_is_told(self) -> None:
        self.assertEqual(verifier(leeway=5).verify(signed(claims(exp=NOW - 4))).expires, NOW + 1)
        error = self.assertRaises(TokenError, verifier(leeway=5).verify, signed(claims(exp=NOW - 5)))
        self.assertEqual(error.reason, "expired")

    def test_rooms_are_names_or_all(self) -> None:
        def rooms(value: object) -> object:
            return verifier().verify(signed(claims(data={"id": 1, "rooms": value}))).rooms

        self.assertEqual(rooms(["a", "b"]), ("a", "b"))
        self.assertEqual(rooms("*"), "*")
        others: list[Any] = [None, 3, "a", {}, ["a", 1], []]
        for value in others:
            self.assertEqual(rooms(value), ())

    def test_an_issued_token_is_accepted_until_its_end(self) -> None:
        clock = clock_at(NOW + 0.5)
        issuer, checker = Issuer(SECRET, clock.seconds), Verifier(Keys.from_secret(SECRET), ("HS256",), clock.seconds)
        self.assertEqual(checker.verify(issuer.issue("zoë", 60)), Identity("zoë", NOW + 61, (), issued=NOW))
        self.assertEqual(checker.verify(issuer.issue("1", 0.5, ("a", "b"))).rooms, ("a", "b"))
        self.assertEqual(checker.verify(issuer.issue("1", 1, "*")).rooms, "*")

    def test_no_token_is_issued_that_would_be_refused(self) -> None:
        issuer = Issuer(SECRET, clock_at(NOW).seconds)
        for user in ("", "#room", "x" * 129, "\ud800"):
            self.assertRaises(ValueError, issuer.issue, user, 60)


class SeveralKeys(SynchronousTestCase):
    """Rotation: old and new keys at once, told apart by kid."""

    def test_the_kid_picks_the_key(self) -> None:
        old, new = b"o" * 32, b"n" * 32
        checker = Verifier(
            Keys.from_jwks(jwks(oct_jwk(old, kid="old"), oct_jwk(new, kid="new"))), ("HS256",), clock_at(NOW).seconds
        )

        def outcome(secret: bytes, header: dict[str, str]) -> str:
            try:
                return checker.verify(signed(claims(), json.dumps({"alg": "HS256", **header}).encode(), secret)).user
            except TokenError as error:
                return error.reason

        self.assertEqual(outcome(old, {"kid": "old"}), "alice")
        self.assertEqual(outcome(new, {"kid": "new"}), "alice")
        self.assertEqual(outcome(old, {}), "alice")
        self.assertEqual(outcome(new, {}), "alice")
        self.assertEqual(outcome(old, {"kid": "new"}), "signature")
        self.assertEqual(outcome(old, {"kid": "older"}), "unknown_key")
        self.assertEqual(outcome(b"x" * 32, {}), "signature")

    def test_a_key_without_kid_serves_a_token_with_one(self) -> None:
        token = signed(claims(), b'{"alg":"HS256","kid":"whatever"}')
        self.assertEqual(verifier().verify(token).user, "alice")

    def test_a_token_without_kid_tries_a_bounded_number_of_keys(self) -> None:
        secrets = [bytes([place]) * 32 for place in range(MAX_TRIED + 1)]
        keys = Keys.from_jwks(jwks(*(oct_jwk(secret, kid=str(place)) for place, secret in enumerate(secrets))))
        checker = Verifier(keys, ("HS256",), clock_at(NOW).seconds)
        self.assertEqual(checker.verify(signed(claims(), secret=secrets[MAX_TRIED - 1])).user, "alice")
        self.assertRaises(TokenError, checker.verify, signed(claims(), secret=secrets[MAX_TRIED]))

    def test_asymmetric_tokens_by_pem_and_by_jwks(self) -> None:
        cases: list[tuple[str, Any]] = [
            ("RS256", rsa.generate_private_key(65537, 2048)),
            ("PS512", rsa.generate_private_key(65537, 2048)),
            ("ES256", ec.generate_private_key(ec.SECP256R1())),
            ("ES384", ec.generate_private_key(ec.SECP384R1())),
            ("ES512", ec.generate_private_key(ec.SECP521R1())),
            ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
            ("EdDSA", ed448.Ed448PrivateKey.generate()),
        ]
        for algorithm, private in cases:
            token = jwt.encode({"data": {"id": "alice"}}, private, algorithm=algorithm, headers={"kid": "k"})
            jwk = public_jwk(algorithm, private, kid="k")
            for keys in (Keys.from_pem(pem(private)), Keys.from_jwks(jwks(jwk))):
                checker = Verifier(keys, (algorithm,), clock_at(NOW).seconds)
                self.assertEqual(checker.verify(token).user, "alice", algorithm)
                for broken in (token[:-9], f"{token}AAAA", token.rsplit(".", 1)[0] + ".", signed(claims())):
                    error = self.assertRaises(TokenError, checker.verify, broken)
                    self.assertIn(error.reason, ("signature", "algorithm", "malformed"))

    def test_keys_of_several_kinds_at_once(self) -> None:
        private: dict[str, Any] = {
            "r": rsa.generate_private_key(65537, 2048),
            "e": ec.generate_private_key(ec.SECP256R1()),
        }
        keys = Keys.from_jwks(
            jwks(public_jwk("RS256", private["r"], kid="r"), public_jwk("ES256", private["e"], kid="e", alg="ES256"))
        )
        checker = Verifier(keys, ("RS256", "ES256"), clock_at(NOW).seconds)
        for kid, algorithm in (("r", "RS256"), ("e", "ES256")):
            token = jwt.encode({"data": {"id": kid}}, private[kid], algorithm=algorithm, headers={"kid": kid})
            self.assertEqual(checker.verify(token).user, kid)
        crossed = jwt.encode({"data": {"id": 1}}, private["r"], algorithm="RS256", headers={"kid": "e"})
        self.assertEqual(self.assertRaises(TokenError, checker.verify, crossed).reason, "unknown_key")
