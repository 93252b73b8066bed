"""Canaries: what ``redis/connection`` replaces of txredisapi's protocol is called there by these names.

They are not private, and no page documents them: under another name answers would be mangled, or come to nobody.
"""

from __future__ import annotations

import inspect

import txredisapi
from twisted.trial.unittest import SynchronousTestCase
from txredisapi import HiredisProtocol

from kschat.backends.redis.client.connection import Connection
from tests.canary import Private, Without, gone

NAMES = (
    Private(lambda: HiredisProtocol, "replyReceived", "txredisapi", "Connection takes answers by"),
    Private(lambda: HiredisProtocol, "tryConvertData", "txredisapi", "Connection keeps answers as they are by"),
    Private(lambda: HiredisProtocol, "handleTransactionData", "txredisapi", "Connection does without transactions by"),
    Private(lambda: HiredisProtocol, "execute_command", "txredisapi", "Connection sends commands by"),
    Private(lambda: txredisapi, "InvalidData", "txredisapi", "tells Connection that it is no Redis"),
    Private(lambda: txredisapi, "ResponseError", "txredisapi", "is what Redis refuses with"),
)


class Txredisapi(SynchronousTestCase):
    """Of what Connection derives from."""

    def test_each_name_is_there(self) -> None:
        for private in NAMES:
            sentence = gone(private)
            if sentence:
                self.fail(sentence)

    def test_of_each_that_is_gone_one_sentence_says_so(self) -> None:
        for private in NAMES:
            sentence = gone(private, Without(private.owner(), private.name))
            self.assertIn(f"has no {private.name} any more", sentence)
            self.assertNotIn("\n", sentence)

    def test_they_are_what_is_replaced(self) -> None:
        ours = {
            name
            for name in vars(Connection)
            if name in dir(HiredisProtocol) and inspect.isfunction(vars(Connection)[name])
        }
        twisted = {"__init__", "connectionMade", "connectionLost", "dataReceived"}
        self.assertEqual(ours - twisted, {one.name for one in NAMES if one.owner() is HiredisProtocol})
