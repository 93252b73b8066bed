"""What all contracts of stores begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kschat.chat.interfaces import IStore

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object


class Contract(TestCase):
    """Mixed into a ``TestCase``. Each test gets a store of its own, which is empty and has been started."""

    async def make_store(self) -> IStore:
        """An empty store. Who makes it cleans up after it (``addCleanup``)."""
        raise NotImplementedError

    async def settle(self, store: IStore) -> None:
        """Let the store do what it does by and by."""
