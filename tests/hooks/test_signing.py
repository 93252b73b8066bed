"""Secrets and signatures of hooks, checked by the specification's own library."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError
from twisted.trial.unittest import SynchronousTestCase

from kschat.hooks.signing import MAX_SECRETS, SecretError, Signer, read_secrets, secret_of

SECRETS = (b"a" * 24, b"b" * 64)


def written(secret: bytes) -> str:
    """A secret as text."""
    return "whsec_" + b64encode(secret).decode()


class SigningTests(SynchronousTestCase):
    """What is signed."""

    def verified(self, secret: bytes, body: bytes, headers: dict[bytes, bytes]) -> object:
        return Webhook(written(secret)).verify(body, {name.decode(): value.decode() for name, value in headers.items()})

    def test_the_library_verifies_what_any_of_the_secrets_has_signed(self) -> None:
        body = json.dumps({"msg": "für €"}).encode()
        headers = Signer(SECRETS).headers("ask_1", int(time.time()), body)
        for secret in SECRETS:
            self.assertEqual({"msg": "für €"}, self.verified(secret, body, headers))

    def test_it_refuses_another_secret_body_id_and_time(self) -> None:
        now = int(time.time())
        headers = Signer(SECRETS[:1]).headers("ask_1", now, b"{}")
        for secret, body, more in (
            (SECRETS[1], b"{}", {}),
            (SECRETS[0], b"{ }", {}),
            (SECRETS[0], b"{}", {b"webhook-id": b"ask_2"}),
            (SECRETS[0], b"{}", {b"webhook-timestamp": b"%d" % (now + 1)}),
            (SECRETS[0], b"{}", {b"webhook-signature": b"v1,"}),
        ):
            self.assertRaises(WebhookVerificationError, self.verified, secret, body, headers | more)

    def test_a_vector_of_the_specification(self) -> None:
        headers = Signer([secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]).headers(
            "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
        )
        self.assertEqual(b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", headers[b"webhook-signature"])

    def test_other_secrets_sign_from_then_on(self) -> None:
        signer = Signer(SECRETS[:1])
        before = signer.headers("a", 1, b"")
        signer.use(SECRETS)
        self.assertEqual((2, 2), (len(signer), signer.headers("a", 1, b"")[b"webhook-signature"].count(b"v1,")))
        self.assertTrue(signer.headers("a", 1, b"")[b"webhook-signature"].startswith(before[b"webhook-signature"]))


class SecretTests(SynchronousTestCase):
    """Secrets as they are written."""

    def file(self, text: str | bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def test_with_and_without_prefix_and_padding(self) -> None:
        for secret in (b"x" * 24, b"x" * 25, b"x" * 64):
            text = written(secret)
            for one in (text, text.removeprefix("whsec_"), text.rstrip("=")):
                self.assertEqual(secret, secret_of(one))

    def test_others_are_refused_and_not_shown(self) -> None:
        for text in ("", "whsec_", written(b"x" * 23), written(b"x" * 65), "whsec_ß" * 10, "a secret " * 5, "v1,abc"):
            error = self.assertRaises(SecretError, secret_of, text)
            if text:
                self.assertNotIn(text, str(error))

    def test_a_file(self) -> None:
        text = f"# the new one\n{written(SECRETS[0])}\n\n  {written(SECRETS[1])}  \r\n"
        self.assertEqual(SECRETS, read_secrets(self.file(text)))
        for bad in ("", "# none\n", written(b"x" * 24) + "\n" + "no secret", "\n".join([written(b"x" * 24)] * 11)):
            self.assertRaises(SecretError, read_secrets, self.file(bad))
        self.assertEqual(10, MAX_SECRETS)
        self.assertRaises(ValueError, read_secrets, self.file(b"\xff\xfe"))
        self.assertRaises(OSError, read_secrets, "/nowhere/at/all")
