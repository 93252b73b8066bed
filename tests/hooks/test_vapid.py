"""Signatures for push services: another library verifies them."""

from __future__ import annotations

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from py_vapid import Vapid02
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.push import bytes_of
from kschat.hooks.vapid import LIFETIME, MAX_KEPT, USED_FOR, Vapid, VapidError, VapidKey, check_contact, new_key

ORIGIN = "https://push.example.org"
NOW = 1_764_000_000.0


def claims(header: str) -> dict[str, object]:
    token = header.removeprefix("vapid t=").partition(",")[0]
    found: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return found


class VapidTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.vapid = Vapid(VapidKey(new_key()), "mailto:ops@example.org", self.clock.seconds)

    def test_a_signature_is_of_the_key_for_one_service_and_for_hours(self) -> None:
        header = self.vapid.authorization(ORIGIN)
        self.assertTrue(Vapid02.verify(header))
        self.assertEqual(claims(header), {"aud": ORIGIN, "exp": int(NOW) + LIFETIME, "sub": "mailto:ops@example.org"})
        self.assertTrue(header.endswith(f",k={self.vapid.public_key}"))
        self.assertEqual((len(bytes_of(self.vapid.public_key)), bytes_of(self.vapid.public_key)[0]), (65, 4))
        self.assertLessEqual(LIFETIME, 24 * 3600)
        # Of another key it is not valid.
        other = VapidKey(new_key()).public_key
        self.assertFalse(Vapid02.verify(header.replace(self.vapid.public_key, other)))

    def test_it_is_used_again_until_it_is_about_to_end(self) -> None:
        first = self.vapid.authorization(ORIGIN)
        self.clock.advance(USED_FOR - 1)
        self.assertEqual(self.vapid.authorization(ORIGIN), first)
        self.assertNotEqual(self.vapid.authorization("https://other.example.org"), first)
        self.clock.advance(1)
        self.assertEqual(claims(self.vapid.authorization(ORIGIN))["exp"], int(NOW) + USED_FOR + LIFETIME)

    def test_a_clock_that_is_set_back_makes_another(self) -> None:
        self.vapid.authorization(ORIGIN)
        self.clock.rightNow -= 86400
        self.assertEqual(claims(self.vapid.authorization(ORIGIN))["exp"], int(NOW) - 86400 + LIFETIME)

    def test_signatures_of_many_services_are_not_kept_for_ever(self) -> None:
        for number in range(MAX_KEPT + 2):
            self.vapid.authorization(f"https://push{number}.example.org")
        self.assertEqual(len(self.vapid._kept), 2)


class KeyTests(SynchronousTestCase):
    def refusal(self, pem: bytes) -> str:
        return str(self.assertRaises(VapidError, VapidKey, pem))

    def test_what_is_no_such_key_is_refused(self) -> None:
        curve = ec.generate_private_key(ec.SECP384R1())
        other = rsa.generate_private_key(65537, 2048)
        locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
        )
        for pem, why in (
            (b"", "is not a private key in PEM"),
            (b"\xff\x00", "is not a private key in PEM"),
            (locked, "is not a private key in PEM without a password"),
            (curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "is not a key on the curve P-256"),
            (other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "is not a key on the curve P-256"),
        ):
            self.assertIn(why, self.refusal(pem))

    def test_openssl_s_own_form_of_a_key_will_do(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        traditional = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        whole = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.assertEqual(VapidKey(traditional).public_key, VapidKey(whole).public_key)

    def test_a_contact_is_an_address_of_mail_or_a_page(self) -> None:
        for contact in ("mailto:ops@example.org", "https://example.org/contact?a=b"):
            check_contact(contact)
        for contact in (
            "",
            "ops@example.org",
            "mailto:ops",
            "http://example.org",
            "mailto:<ops@example.org>",
            "https://a b",
        ):
            self.assertRaises(VapidError, check_contact, contact)
