"""What waits for confirms, on a channel of the test's."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.amqp import publisher as module
from kschat.backends.amqp.publisher import Publisher
from kschat.chat.interfaces import RouterUnavailable


class Channel:
    """Takes publishes; the test confirms them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.confirms: list[Deferred[None]] = []
        self.closed = False

    def add_on_return_callback(self, callback: Any) -> None:
        """Nothing comes back."""

    def basic_publish(self, exchange: str, key: str, body: bytes, properties: Any, mandatory: bool) -> Deferred[None]:
        if self.closed:
            raise RuntimeError("it is closed")
        self.bodies.append(body)
        self.confirms.append(Deferred())
        return self.confirms[-1]


class PublisherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(module, "MAX_UNCONFIRMED", 3)
        self.clock, self.channel = Clock(), Channel()
        self.publisher = Publisher(self.channel, "exchange", "app", self.clock)

    def publish(self, count: int) -> list[Deferred[bool]]:
        """So many, of up to four bytes."""
        return [self.publisher.publish("key", {}, "", bytes(number % 5)) for number in range(count)]

    def test_more_than_may_be_unconfirmed_wait_and_go_out_in_their_order(self) -> None:
        answers = self.publish(8)
        self.assertEqual(len(self.channel.bodies), 3)
        for confirm in self.channel.confirms:  # it grows meanwhile
            confirm.callback(None)
        self.assertEqual(self.channel.bodies, [bytes(number % 5) for number in range(8)])
        self.assertEqual([self.successResultOf(answer) for answer in answers], [True] * 8)

    def test_nor_more_bytes(self) -> None:
        self.patch(module, "MAX_UNCONFIRMED_BYTES", 1)
        answers = self.publish(4)
        self.assertEqual(len(self.channel.bodies), 2)
        for confirm in self.channel.confirms:
            confirm.callback(None)
        self.assertEqual([self.successResultOf(answer) for answer in answers], [True] * 4)

    def test_when_it_is_given_up_all_are_told(self) -> None:
        answers = self.publish(5)
        self.publisher.give_up("it ended")
        for answer in answers:
            self.failureResultOf(answer, RouterUnavailable)
        self.channel.confirms[0].callback(None)  # late
        self.assertEqual(len(self.channel.bodies), 3)
        self.assertIsNone(self.publisher.waits)

    def test_where_it_can_t_be_written_to_each_is_told(self) -> None:
        answers = self.publish(3000)
        self.channel.closed = True
        for confirm in list(self.channel.confirms):
            confirm.callback(None)
        self.assertEqual([self.successResultOf(answer) for answer in answers[:3]], [True] * 3)
        for answer in answers[3:]:
            self.failureResultOf(answer, RouterUnavailable)

    def test_it_waits_since_it_last_heard(self) -> None:
        self.publish(2)
        self.assertEqual(self.publisher.waits, 0)
        self.clock.advance(4)
        self.channel.confirms[0].callback(None)
        self.assertEqual(self.publisher.waits, 4)
        self.channel.confirms[1].callback(None)
        self.assertIsNone(self.publisher.waits)
