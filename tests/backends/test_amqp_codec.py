"""What travels by RabbitMQ, read without one."""

from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.amqp.codec import as_tutorial, from_tutorial, packed, unpacked
from kschat.chat.ingest import cid_of
from kschat.wire.jsonnumbers import MAX_SAFE


class TutorialTests(SynchronousTestCase):
    """Messages of the tutorial's server."""

    def test_a_time_that_no_store_holds_does_not_end_what_came_with_it(self) -> None:
        for text, time in (
            ("1e300", MAX_SAFE),
            ("-1e300", -MAX_SAFE),
            ("18446744073709551616", MAX_SAFE),
            ("9223372036854775808", MAX_SAFE),
            ("-9223372036854775809", -MAX_SAFE),
            ("1.5e3", 1500),
        ):
            body = f'{{"uId":7,"pId":"8","msg":"x","msgTime":{text}}}'.encode()
            read = from_tutorial(body, lambda: "0" * 24)
            self.assertEqual(read.message.time, time, text)
            # Each of these packs the message's time.
            self.assertTrue(cid_of(read.message))
            self.assertEqual(unpacked(packed([read])), [read])
            self.assertIn(b'"msg":"x"', as_tutorial(read.message))
