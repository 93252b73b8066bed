"""Tests of stores on a server."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from kschat.chat.interfaces import IStore
from kschat.chat.message import Message
from tests.support.waiting import real_reactor


class Listener:
    """Counts how often its store was renewed, and connected."""

    def __init__(self) -> None:
        self.renewals = 0
        self.connections = 0

    def renewed(self) -> None:
        self.renewals += 1

    def reconnected(self) -> None:
        self.connections += 1


class WaitingTestCase(TestCase):
    """Waits for what a store becomes by itself."""

    timeout = 120

    async def whole(self, store: IStore, user: str, peer: str) -> list[Message]:
        """All of a conversation, oldest first."""
        found: list[Message] = []
        while True:
            page = await store.history(user, peer, before=found[0].mid if found else None, limit=1000)
            found[:0] = page.messages
            if not page.more:
                return found

    async def up(self, store: IStore, wanted: bool = True) -> None:
        """Wait until it is up, or down."""
        await self.until(lambda: bool(store.up) is wanted, f"the store to be {'up' if wanted else 'down'}")

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait for something that nothing tells of."""
        for _ in range(1000):
            if true():
                return
            await deferLater(real_reactor(), 0.02)
        raise AssertionError(f"waited in vain for {what}")
