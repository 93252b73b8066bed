"""What a consumer of events is: the webhook, Web Push."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import msgspec
from twisted.internet.defer import Deferred

from kschat.chat.outbox import Event


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """An event for a consumer.

    Attributes:
        event: it.
        attempts: how often it was tried before.
        note: what the consumer gave with its last ``Later``; b"" at first.
    """

    event: Event
    attempts: int = 0
    note: bytes = b""


class Delivered(msgspec.Struct, frozen=True):
    """The consumer has it."""


class Later(msgspec.Struct, frozen=True, kw_only=True):
    """It is to be tried again.

    Attributes:
        reason: one of a few words of the consumer's own, for the metrics.
        wait: seconds until then; None for the back-off.
        note: what the consumer wants to know then; at most ``outbox.MAX_NOTE`` bytes.
        everything: no other event of this consumer is to be tried before, either.
    """

    reason: str
    wait: float | None = None
    note: bytes = b""
    everything: bool = False


class Dropped(msgspec.Struct, frozen=True):
    """It is not to be tried again. ``reason``: as above."""

    reason: str


Outcome: TypeAlias = Delivered | Later | Dropped


class Consumer(Protocol):
    """Is given events. Each may come again after a crash, with the same id.

    Attributes:
        name: with which events are kept; it never changes.
        max_in_flight: events that it is given at once.
    """

    name: str
    max_in_flight: int

    @property
    def types(self) -> frozenset[str]:
        """The types of events that are queued for it, from now on."""

    def deliver(self, delivery: Delivery) -> Deferred[Outcome]:
        """Take an event. It bounds the time itself. If it fails, that is logged, and the event is tried again."""

    def stop(self) -> Deferred[Any]:
        """End what is left of it: the daemon ends, and gives it nothing more."""
