"""Secrets and signatures."""

from __future__ import annotations

import base64
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kschat.hooks.signing import read_secrets, signature
from tests.hooks.receivers import OTHER, SECRET, as_text, verified


class TestSecrets(SynchronousTestCase):
    def read(self, text: str) -> tuple[bytes, ...]:
        path = Path(self.mktemp())
        path.write_text(text)
        return read_secrets(str(path))

    def refusal(self, text: str) -> str:
        with self.assertRaises(ValueError) as caught:
            self.read(text)
        return str(caught.exception)

    def test_one_or_two_with_the_newest_first(self) -> None:
        self.assertEqual(self.read(as_text(SECRET) + "\n"), (SECRET,))
        text = f"# the new one\n{as_text(OTHER)}\n\n  {as_text(SECRET)}  \r\n"
        self.assertEqual(self.read(text), (OTHER, SECRET))

    def test_what_is_none_is_refused_by_a_sentence_that_does_not_show_it(self) -> None:
        cases = {
            "": "holds 0 secrets",
            "\n".join([as_text(SECRET)] * 3): "holds 3 secrets",
            "hunter2hunter2hunter2": "does not begin with whsec_",
            "whsec_hunter2!": "not base64",
            as_text(b"short"): "5 bytes",
            as_text(b"x" * 65): "65 bytes",
            "x" * 20_000: "is larger than",
        }
        for text, reason in cases.items():
            said = self.refusal(text)
            self.assertIn(reason, said)
            self.assertNotIn("hunter2", said)

    def test_a_file_that_is_not_there(self) -> None:
        self.assertRaises(OSError, read_secrets, "/nowhere/secret")


class TestSignatures(SynchronousTestCase):
    def test_the_example_of_the_specification(self) -> None:
        secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        body = b'{"test": 2432232314}'
        found = signature((secret,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
        self.assertEqual(found, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")

    def test_each_of_two_secrets_verifies(self) -> None:
        headers = {"webhook-id": "msg_1", "webhook-timestamp": "1614265330"}
        headers["webhook-signature"] = signature((OTHER, SECRET), "msg_1", 1614265330, b'{"a":1}')
        for secret in (OTHER, SECRET):
            self.assertEqual(verified(secret, headers, b'{"a":1}'), {"a": 1})
        for changed in ({"webhook-id": "msg_2"}, {"webhook-timestamp": "1614265331"}):
            self.assertRaises(AssertionError, verified, SECRET, {**headers, **changed}, b'{"a":1}')
        self.assertRaises(AssertionError, verified, SECRET, headers, b'{"a":2}')
        self.assertRaises(AssertionError, verified, b"x" * 24, headers, b'{"a":1}')
