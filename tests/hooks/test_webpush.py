"""The encryption of pushes, beside the RFC's own example and another library."""

from __future__ import annotations

import os

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.push import PushSubscription, bytes_of, text_of
from kschat.hooks.webpush import MAX_TEXT, RECORD_BYTES, encrypt
from tests.support.push import Subscriber

#: RFC 8291, section 5 and appendix A.
TEXT = b"When I grow up, I want to be a watermelon"
SUBSCRIPTION = PushSubscription(
    "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
    "BTBZMqHH6r4Tts7J_aSIgg",
)
PRIVATE = int.from_bytes(bytes_of("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), "big")
SALT = bytes_of("DGv6ra1nlYgDCS1FRnbzlw")
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_"
    "yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


class EncryptionTests(SynchronousTestCase):
    def test_the_example_of_the_rfc(self) -> None:
        key = ec.derive_private_key(PRIVATE, ec.SECP256R1())
        body = encrypt(SUBSCRIPTION, TEXT, new_key=lambda: key, random=lambda size: SALT[:size], padded_to=1)
        self.assertEqual(text_of(body), BODY)

    @given(st.binary(max_size=MAX_TEXT))
    def test_any_text_is_read_by_another_library(self, text: bytes) -> None:
        browser = Subscriber("https://push.example.org/1")
        body = encrypt(browser.subscription, text)
        self.assertEqual(browser.text(body), text)
        self.assertLessEqual(len(body), RECORD_BYTES)

    def test_the_longest_text_fits_and_no_longer_one(self) -> None:
        browser = Subscriber("https://push.example.org/1")
        longest = os.urandom(MAX_TEXT)
        body = encrypt(browser.subscription, longest)
        self.assertEqual((browser.text(body), len(body)), (longest, RECORD_BYTES))
        self.assertRaises(ValueError, encrypt, browser.subscription, longest + b"x")

    def test_texts_of_about_the_same_length_have_the_same_size(self) -> None:
        browser = Subscriber("https://push.example.org/1")
        self.assertEqual(len({len(encrypt(browser.subscription, b"x" * length)) for length in range(256)}), 1)

    def test_no_two_pushes_are_alike_and_nobody_else_reads_them(self) -> None:
        browser, other = Subscriber("https://push.example.org/1"), Subscriber("https://push.example.org/2")
        bodies = [encrypt(browser.subscription, b"the same") for _ in range(3)]
        self.assertEqual(len({body[:16] for body in bodies}), 3)
        self.assertEqual(len({body[21:86] for body in bodies}), 3)
        self.assertRaises(http_ece.ECEException, other.text, bodies[0])
