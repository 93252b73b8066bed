"""A proof passes once, whatever the order in which requests arrive, and what is remembered is bounded."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.peer_proof import MAX_SENDERS, WINDOW, PeerProofs

KEY = b"k" * 32


class ProofTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sender, self.receiver = PeerProofs(KEY), PeerProofs(KEY)

    def made(self, body: bytes = b"") -> bytes:
        return self.sender.make(method=b"POST", uri=b"/x", client=b"192.0.2.7 80", body=body)

    def passes(self, proof: bytes, receiver: PeerProofs | None = None) -> bytes | None:
        return (receiver or self.receiver).check(proof, method=b"POST", uri=b"/x", client=b"192.0.2.7 80")

    def test_each_passes_once_in_any_order(self) -> None:
        proofs = [self.made() for _ in range(300)]
        Random(1).shuffle(proofs)
        self.assertNotIn(None, [self.passes(proof) for proof in proofs])
        self.assertEqual({self.passes(proof) for proof in proofs}, {None})

    def test_one_that_is_older_than_the_window_does_not_pass(self) -> None:
        oldest, *_, newest = [self.made() for _ in range(WINDOW + 1)]
        self.assertIsNotNone(self.passes(newest))
        self.assertIsNone(self.passes(oldest))

    def test_another_body_does_not_fit(self) -> None:
        digest = self.passes(self.made(b"one"))
        assert digest is not None
        self.assertEqual((PeerProofs.fits(digest, b"one"), PeerProofs.fits(digest, b"two")), (True, False))

    def test_senders_that_were_not_heard_for_long_are_forgotten(self) -> None:
        first = self.made()
        self.passes(first)
        for _ in range(MAX_SENDERS):
            self.passes(PeerProofs(KEY).make(method=b"POST", uri=b"/x", client=b"192.0.2.7 80", body=b""))
        self.assertEqual(len(self.receiver._senders), MAX_SENDERS)

    @given(st.binary(max_size=200))
    def test_anything_else_passes_never(self, text: bytes) -> None:
        self.assertIsNone(self.passes(text, PeerProofs(KEY)))
