"""What waits for a peer that polls, and what of it is proved."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.wire.engineio import Frame, Revision
from kschat.wire.outbox import FRAME_COST, Outbox
from kschat.wire.payload import decode

puts = st.tuples(st.just("put"), st.binary(min_size=1, max_size=40), st.booleans())
steps = st.lists(st.one_of(puts, st.just(("take",)), st.just(("ask",)), st.just(("prove",))), max_size=60)


class OutboxTests(SynchronousTestCase):
    def test_what_waits_is_counted_with_what_its_frames_cost(self) -> None:
        outbox = Outbox(4, 1000)
        self.assertFalse(outbox)
        for _ in range(3):
            outbox.put(b"4abc")
        self.assertTrue(outbox)
        self.assertEqual(outbox.unsent, 3 * (4 + FRAME_COST))
        outbox.take()
        self.assertEqual((bool(outbox), outbox.unsent), (False, 0))

    def test_frames_are_given_away_as_they_were_put_in(self) -> None:
        for revision in (3, 4):
            outbox = Outbox(revision, 1000)
            outbox.put(b"4a")
            outbox.put(b"\x04\x01", True)
            self.assertEqual(list(outbox.take_frames()), [Frame(b"4a"), Frame(b"\x04\x01", True)])
            self.assertEqual((bool(outbox), outbox.unsent), (False, 0))

    def test_one_frame_goes_before_all_that_waits(self) -> None:
        outbox = Outbox(3, 1000)
        outbox.put(b"4a")
        self.assertEqual(outbox.alone(Frame(b"6")), Frame(b"1:6"))
        self.assertTrue(outbox)

    def test_of_nothing_the_proof_is_there_at_once(self) -> None:
        outbox = Outbox(4, 1000)
        self.assertTrue(outbox.await_confirmation(7))
        self.assertEqual((outbox.confirmed(), outbox.confirmed()), (7, None))

    @given(steps, st.sampled_from((3, 4)), st.integers(1, 200))
    def test_all_comes_once_and_in_order_and_a_proof_never_before_it_was_read(
        self, course: list[tuple[object, ...]], revision: Revision, limit: int
    ) -> None:
        outbox = Outbox(revision, limit, True)
        put: list[bytes] = []
        came: list[bytes] = []
        read = asked = 0
        for step in course:
            match step:
                case ("put", bytes(data), binary):
                    frame = b"\x04" + data if binary else b"4" + data.hex().encode()
                    put.append(frame)
                    outbox.put(frame, bool(binary))
                case ("take",) if outbox:
                    came += [one.payload for one in decode(outbox.take().payload, revision)]
                case ("ask",) if outbox.awaited is None:
                    asked = len(put)
                    self.assertEqual(outbox.await_confirmation(asked), read == asked)
                case ("prove",):
                    outbox.asked_for_more()
                    read = len(came)
                    awaited = outbox.awaited is not None
                    self.assertEqual(outbox.confirmed(), asked if awaited and read >= asked else None)
        while outbox:
            came += [one.payload for one in decode(outbox.take().payload, revision)]
        self.assertEqual(len(came), len(put))
        self.assertEqual([one for one in came if one[:1] == b"4"], [one for one in put if one[:1] == b"4"])
        self.assertEqual(outbox.unsent, 0)
