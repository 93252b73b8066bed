"""What waits for confirms, on a channel of the test's."""

from __future__ import annotations

from typing import Any

import pika
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.amqp import publisher as module
from kschat.backends.amqp.publisher import Publisher
from kschat.chat.interfaces import RouterUnavailable


class Channel:
    """Takes publishes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.mandatory: list[bool] = []
        self.ids: list[str] = []
        self.closed = False

    def add_on_return_callback(self, callback: Any) -> None:
        self.came_back = callback

    def basic_publish(self, exchange: str, key: str, body: bytes, properties: Any, mandatory: bool) -> None:
        if self.closed:
            raise RuntimeError("it is closed")
        self.bodies.append(body)
        self.mandatory.append(mandatory)
        self.ids.append(properties.message_id)


class PublisherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(module, "MAX_UNCONFIRMED", 3)
        self.clock, self.channel = Clock(), Channel()
        self.publisher = Publisher(self.channel, "exchange", "app", self.clock)

    def confirm(self, number: int, multiple: bool = False, taken: bool = True) -> None:
        """As RabbitMQ does."""
        method = pika.spec.Basic.Ack(number, multiple) if taken else pika.spec.Basic.Nack(number, multiple)
        self.publisher.confirmed(pika.frame.Method(1, method))

    def come_back(self, number: int) -> None:
        """A publish, as one that went to no queue."""
        properties = pika.BasicProperties(message_id=self.channel.ids[number - 1])
        self.channel.came_back(None, None, properties, b"")

    def publish(self, count: int) -> list[Deferred[bool]]:
        """So many, of up to four bytes."""
        return [self.publisher.publish("key", {}, "", bytes(number % 5)) for number in range(count)]

    def test_more_than_may_be_unconfirmed_wait_and_go_out_in_their_order(self) -> None:
        answers = self.publish(8)
        self.assertEqual(len(self.channel.bodies), 3)
        for number in range(1, 9):
            self.confirm(number)
        self.assertEqual(self.channel.bodies, [bytes(number % 5) for number in range(8)])
        self.assertEqual([self.successResultOf(answer) for answer in answers], [True] * 8)

    def test_nor_more_bytes(self) -> None:
        self.patch(module, "MAX_UNCONFIRMED_BYTES", 1)
        answers = self.publish(4)
        self.assertEqual(len(self.channel.bodies), 2)
        for number in range(1, 5):
            self.confirm(number)
        self.assertEqual([self.successResultOf(answer) for answer in answers], [True] * 4)

    def test_when_it_is_given_up_all_are_told(self) -> None:
        answers = self.publish(5)
        self.publisher.give_up("it ended")
        for answer in answers:
            self.failureResultOf(answer, RouterUnavailable)
        self.confirm(1)  # late
        self.assertEqual(len(self.channel.bodies), 3)
        self.assertIsNone(self.publisher.waits)

    def test_where_it_can_t_be_written_to_each_is_told(self) -> None:
        answers = self.publish(3000)
        self.channel.closed = True
        self.confirm(3, multiple=True)
        self.assertEqual([self.successResultOf(answer) for answer in answers[:3]], [True] * 3)
        for answer in answers[3:]:
            self.failureResultOf(answer, RouterUnavailable)

    def test_it_waits_since_it_last_heard(self) -> None:
        self.publish(2)
        self.assertEqual(self.publisher.waits, 0)
        self.clock.advance(4)
        self.confirm(1)
        self.assertEqual(self.publisher.waits, 4)
        self.confirm(2)
        self.assertIsNone(self.publisher.waits)

    def test_what_came_back_is_found_though_all_are_confirmed_at_once(self) -> None:
        answers = self.publish(3)
        self.come_back(2)
        self.confirm(2, multiple=True)
        self.assertEqual([self.successResultOf(answer) for answer in answers[:2]], [True, False])
        self.assertNoResult(answers[2])
        self.confirm(3)
        self.assertTrue(self.successResultOf(answers[2]))
        self.assertEqual(self.publisher.returned, 1)

    def test_what_was_not_taken_fails(self) -> None:
        answers = self.publish(3)
        self.confirm(2, taken=False)
        self.failureResultOf(answers[1], RouterUnavailable)
        self.confirm(3, multiple=True)
        self.assertEqual([self.successResultOf(answers[number]) for number in (0, 2)], [True, True])

    def test_what_could_not_be_written_takes_no_number(self) -> None:
        self.channel.closed = True
        (lost,) = self.publish(1)
        self.failureResultOf(lost, RouterUnavailable)
        self.channel.closed = False
        (answer,) = self.publish(1)
        self.confirm(1)
        self.assertTrue(self.successResultOf(answer))

    def test_what_need_not_come_back_is_said_also_if_it_waits(self) -> None:
        for mandatory in (True, False) * 3:
            self.publisher.publish("key", {}, "", b"", mandatory)
        for number in range(1, 7):
            self.confirm(number)
        self.assertEqual(self.channel.mandatory, [True, False] * 3)
