"""Keys that cannot be used are one sentence at start, not a refusal of every token later."""

import base64
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.keys import Keys, KeysError
from kschat.chat.tokens import Issuer, Verifier

LONG = base64.urlsafe_b64encode(b"k" * 64).rstrip(b"=").decode()


def public_pem(private: Any) -> bytes:
    public: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


class UnusableKeysAreSaid(SynchronousTestCase):
    def sentence(self, make: Callable[..., object], *arguments: Any) -> str:
        return str(self.assertRaises(KeysError, make, *arguments))

    def check(self, keys: Keys, *algorithms: str) -> Verifier:
        return Verifier(keys, algorithms, Clock().seconds)

    def test_short_secrets(self) -> None:
        self.assertIn("at least 32 bytes and this has 31", self.sentence(Issuer, b"x" * 31, Clock().seconds))
        secret = Keys.from_secret(b"x" * 32)
        self.check(secret, "HS256")
        self.assertIn("at least 64 bytes", self.sentence(self.check, secret, "HS512"))
        self.assertIn("empty", self.sentence(Keys.from_secret, b""))

    def test_a_public_key_given_as_the_secret(self) -> None:
        pem = public_pem(ed25519.Ed25519PrivateKey.generate())
        self.assertIn("which anyone may know", self.sentence(Keys.from_secret, pem))

    def test_short_rsa_keys(self) -> None:
        keys = Keys.from_pem(public_pem(rsa.generate_private_key(65537, 1024)))
        self.assertIn("at least 2048 bits and this has 1024", self.sentence(self.check, keys, "RS256"))

    def test_private_unknown_and_broken_pem(self) -> None:
        private = ed25519.Ed25519PrivateKey.generate()
        secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.assertIn("is a private key", self.sentence(Keys.from_pem, secret))
        for junk in (b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff"):
            self.assertIn("no public key", self.sentence(Keys.from_pem, junk))
        for other in (x25519.X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())):
            self.assertIn("no supported algorithm", self.sentence(Keys.from_pem, public_pem(other)))

    def test_algorithms_that_are_unknown_mixed_or_without_a_key(self) -> None:
        secret = Keys.from_secret(b"x" * 64)
        self.assertIn("'none' is not one of", self.sentence(self.check, secret, "HS256", "none"))
        self.assertIn("never mixed", self.sentence(self.check, secret, "HS256", "RS256"))
        self.assertIn("no algorithm is given", self.sentence(self.check, secret))
        self.assertIn("no key for the algorithm ES256", self.sentence(self.check, secret, "ES256"))

    def test_files_that_are_no_jwk_set(self) -> None:
        for junk in (b"", b"{", b"\xff", b"[" * 5000):
            self.assertIn("is not JSON", self.sentence(Keys.from_jwks, junk))
        for junk in (b"1", b"[]", b"{}", b'{"keys":{}}', b'{"keys":null}'):
            self.assertIn("not of the form", self.sentence(Keys.from_jwks, junk))

    def test_keys_for_other_uses_are_passed_over(self) -> None:
        others = [
            1,
            {},
            {"kty": "new"},
            {"kty": ["oct"]},
            {"kty": "oct", "k": LONG, "use": "enc"},
            {"kty": "EC", "crv": "secp256k1"},
            {"kty": "OKP", "crv": "X25519", "x": LONG},
            {"kty": "oct", "k": LONG, "alg": "A256KW"},
        ]
        self.assertIn("holds no key", self.sentence(Keys.from_jwks, jwks(*others)))
        (kept,) = Keys.from_jwks(jwks(*others, {"kty": "oct", "k": LONG, "kid": "good", "alg": "HS384"})).keys
        self.assertEqual((kept.kid, kept.algorithms), ("good", ("HS384",)))

    def test_broken_keys_are_named_by_place_and_kid_without_their_material(self) -> None:
        good = {"kty": "oct", "k": LONG, "kid": "a"}
        for broken in (
            {"kty": "oct", "kid": "b"},
            {"kty": "oct", "kid": "b", "k": ""},
            {"kty": "oct", "kid": "b", "k": 7},
            {"kty": "oct", "kid": "b", "k": "a"},
            {"kty": "RSA", "kid": "b", "n": LONG},
            {"kty": "EC", "crv": "P-256", "kid": "b", "x": LONG, "y": LONG},
            {"kty": "OKP", "crv": "Ed25519", "kid": "b", "x": "AA"},
        ):
            sentence = self.sentence(Keys.from_jwks, jwks(good, broken))
            self.assertEqual(sentence, "key 2 of the JWK Set (kid 'b') is broken", broken)
        self.assertIn("(kid 7)", self.sentence(Keys.from_jwks, jwks({**good, "kid": 7})))
