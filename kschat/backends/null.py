"""No store: relay mode, as in the tutorial. A message to an offline user is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kschat.backends.kinds import StoreKind
from kschat.chat.clocks import WallClock
from kschat.chat.conversations import is_room
from kschat.chat.interfaces import (
    NO_BOUND,
    Blocks,
    Conversation,
    InboxPage,
    InboxState,
    IStore,
    Page,
    Progress,
    Stored,
    StoreListener,
    StoreUnavailable,
)
from kschat.chat.message import Error, Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import NumberedRevocation, Revocation
from kschat.counters import Counters

_EMPTY: Final = InboxState()


@implementer(IStore)
class NullStore:
    """Keeps nothing: each message has one place, its recipient's, with the offset 0.

    A message to a room is refused, since nobody knows who its members are; so is whatever asks for what was kept.
    """

    keeps = False
    up = True
    epoch = ""
    outbox = None

    def attach(self, listener: StoreListener) -> None:
        """See ``IStore``. It stays the same for as long as it runs."""

    def start(self) -> None:
        """See ``IStore``. There is nothing to begin."""

    def stop(self) -> Deferred[None]:
        """See ``IStore``. There is nothing to finish."""
        return succeed(None)

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        return succeed([_placed(message) for message in batch])

    def change(self, update: Message) -> Deferred[Stored]:
        return _kept_nothing()

    def find(self, user: str, mid: str, peer: str | None) -> Deferred[Message | None]:
        return _kept_nothing()

    def readers(self, room: str, user: str, mid: str) -> Deferred[list[str] | None]:
        return _kept_nothing()

    def inbox(self, user: str) -> Deferred[InboxState]:
        return succeed(_EMPTY)

    def ends(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return succeed({})

    def read(self, user: str, after: int, limit: int) -> Deferred[InboxPage]:
        return succeed(InboxPage([]))

    def is_outdated(self, offset: int) -> None:
        """See ``IStore``. There is no other."""

    def save_progress(self, progress: Progress) -> Deferred[None]:
        return succeed(None)

    def last_seen(self, users: Sequence[str]) -> Deferred[dict[str, int]]:
        return succeed({})

    def history(self, user: str, peer: str, *, before: str | None, limit: int) -> Deferred[Page]:
        return _kept_nothing()

    def conversations(self, user: str, limit: int, *, before: str | None = None) -> Deferred[list[Conversation]]:
        return _kept_nothing()

    def mark_read(self, user: str, peer: str, mid: str) -> Deferred[bool]:
        return _kept_nothing()

    def join(self, room: str, user: str, most: int, *, most_rooms: int = NO_BOUND) -> Deferred[bool]:
        return _kept_nothing()

    def leave(self, room: str, user: str) -> Deferred[bool]:
        return _kept_nothing()

    def members(self, room: str) -> Deferred[list[str]]:
        return _kept_nothing()

    def rooms(self, user: str) -> Deferred[list[str]]:
        return _kept_nothing()

    def block(self, user: str, peer: str, most: int) -> Deferred[bool]:
        return _kept_nothing()

    def unblock(self, user: str, peer: str) -> Deferred[bool]:
        return _kept_nothing()

    def blocked(self, user: str) -> Deferred[list[str]]:
        return _kept_nothing()

    def blocks(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        return succeed(Blocks())

    def subscribe(self, user: str, subscription: PushSubscription, most: int) -> Deferred[None]:
        return _kept_nothing()

    def unsubscribe(self, user: str, endpoint: str | None) -> Deferred[int]:
        return _kept_nothing()

    def subscriptions(self, user: str) -> Deferred[list[PushSubscription]]:
        return _kept_nothing()

    def erase(self, user: str) -> Deferred[int]:
        return _kept_nothing()

    def revoke(self, revocation: Revocation, *, now: int, most: int) -> Deferred[None]:
        """See ``IStore``. Each daemon remembers it as long as it runs."""
        return succeed(None)

    def revocations(self, after: int, limit: int) -> Deferred[list[NumberedRevocation]]:
        return succeed([])


def _placed(message: Message) -> Stored:
    if is_room(message.recipient):
        return Stored(message, (), False, Error.NOT_ALLOWED)
    return Stored(message, ((message.recipient, 0),))


def _kept_nothing() -> Deferred[Any]:
    return fail(StoreUnavailable("this server keeps no messages"))


def _make(config: object, argument: str, *, reactor: Any, wall: WallClock, counters: Counters) -> NullStore:
    return NullStore()


STORE = StoreKind(
    name="none",
    example="none",
    shared=True,
    keeps=False,
    needs={"amqp": "needs RabbitMQ: give amqp too, such as amqp://guest:guest@localhost:5672/"},
    make=_make,
)
