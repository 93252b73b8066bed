"""What contracts of stores that keep a number of messages ask of the tests of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kschat.chat.interfaces import IStore

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object


class BoundedContract(TestCase):
    """Mixed into a ``TestCase``."""

    async def make_bounded_store(self, most: int) -> IStore:
        """An empty store that keeps ``most`` messages."""
        raise NotImplementedError

    async def tidy(self, store: IStore) -> None:
        """Let it delete what is beyond that."""
