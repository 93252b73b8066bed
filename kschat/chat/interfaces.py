"""What the chat asks of the things outside the process.

Every backend passes the tests in ``tests/contracts``, the in-memory ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Interface

from kschat.chat.messages import Message


class Stored(msgspec.Struct, frozen=True, gc=False):
    """What a store says of one message.

    Attributes:
        message: as it is kept; the first one's where ``repeat``.
        offset: its place in the recipient's inbox: 1, 2, 3, … without a hole.
        repeat: the same sender and ``cid`` were known; nothing was stored now.
    """

    message: Message
    offset: int
    repeat: bool = False


class StoreUnavailable(Exception):
    """The store can't keep messages now. Nothing of the batch was stored."""


class RouterUnavailable(Exception):
    """The router can't carry messages now."""


#: What a router calls with messages for users that are bound here, in the order of publishing.
Deliver = Callable[[Sequence[Stored]], None]


class IStore(Interface):
    """Keeps messages."""

    def append(batch: Sequence[Message]) -> Deferred[list[Stored]]:  # noqa: N805
        """Keep a batch: all of it, or nothing.

        Each message gets the next offset of its recipient's inbox. Batches are kept and answered
        in the order of the calls.

        Args:
            batch: at least one message, in the order in which they arrived.

        Returns:
            One ``Stored`` a message, in the batch's order, once they are as durable as this
            store makes them. Fails with StoreUnavailable.
        """

    def read(user: str, after: int, limit: int) -> Deferred[list[Stored]]:  # noqa: N805
        """A page of an inbox.

        Args:
            user: whose.
            after: an offset; 0 is before the first.
            limit: messages at the most.

        Returns:
            What is kept beyond ``after``, by rising offset. Fails with StoreUnavailable.
        """


class IRouter(Interface):
    """Carries messages to the daemons where their recipients are."""

    def attach(deliver: Deliver) -> None:  # noqa: N805
        """Say who takes what arrives here. Called once, before all else."""

    def bind(user: str) -> Deferred[None]:  # noqa: N805
        """From when it fires on, messages to ``user`` arrive here. Fails with RouterUnavailable."""

    def unbind(user: str) -> None:  # noqa: N805
        """Messages to ``user`` need not arrive here any more. Of one that is not bound: nothing."""

    def publish(batch: Sequence[Stored]) -> Deferred[list[bool]]:  # noqa: N805
        """Carry a batch to whoever is bound to its messages' recipients, in order.

        Returns:
            A word on each message, in order: whether anybody was bound. Fails with
            RouterUnavailable; then some may have been carried.
        """
