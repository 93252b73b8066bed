"""Canaries: the privates of pika that are touched are there, or one sentence says which is gone."""

from __future__ import annotations

from typing import Any

import pika
from pika.adapters.twisted_connection import TwistedChannel, TwistedProtocolConnection
from pika.channel import Channel
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.amqp import compat
from tests.canary import Canary, Private


def connection() -> Any:
    """A connection that was not made."""
    return TwistedProtocolConnection(pika.ConnectionParameters(), Clock())


def channel() -> Any:
    """A channel of one."""
    made = connection()
    return TwistedChannel(Channel(made._impl, 1, lambda _: None))


class Pika(Canary, SynchronousTestCase):
    module = compat
    names = (
        Private(connection, "_impl", "pika", "last_error needs, or nobody learns why a connection has ended"),
        Private(
            lambda: connection()._impl,
            "_error",
            "pika",
            "last_error needs, or nobody learns why a connection has ended",
        ),
        Private(channel, "_channel", "pika", "plain_channel is, on which all that is published and consumed stands"),
        Private(channel, "_wrap_channel_method", "pika", "answered needs, or no queue can be consumed"),
    )

    def test_a_connection_that_was_not_made_has_no_error(self) -> None:
        self.assertIsNone(compat.last_error(connection()))

    def test_the_plain_channel_is_pika_s_own(self) -> None:
        self.assertIsInstance(compat.plain_channel(channel()), Channel)
