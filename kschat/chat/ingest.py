"""Stores messages from servers without a store, such as the tutorial's server on the same exchange.

They arrive without an offset, at each daemon where the recipient has a socket. The first append assigns the offset; the
others get it back as repeats, because the ``cid`` is made from the whole message. No client's own ``cid`` is as long,
so none can collide with it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

import msgspec
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.interfaces import RETRY_WAIT, IStore, Stored, StoreUnavailable
from kschat.chat.message import Message
from kschat.counters import Counters

#: Messages that wait for the store; of more, the oldest are lost, as they would be with the server they came from.
MAX_WAITING: Final = 10_000

#: Messages that are appended together.
MAX_BATCH: Final = 500

#: What their cids begin with, before 64 digits. (Clients may give 64 characters in all.)
PREFIX: Final = "adopted:"


class ForeignIngest:
    """Appends what came without a place, in its order, and hands it on with the place it has then.

    Args:
        clock: the reactor.
        store: keeps messages.
        counters: counts.
        deliver: takes what was appended.
    """

    log = Logger()

    def __init__(
        self, *, clock: IReactorTime, store: IStore, counters: Counters, deliver: Callable[[Sequence[Stored]], None]
    ) -> None:
        self._clock = clock
        self._store = store
        self._counters = counters
        self._deliver = deliver
        self._waiting: deque[Message] = deque()
        self._busy = False

    def take(self, messages: Iterable[Message]) -> None:
        """Take messages, each perhaps not for the first time."""
        waiting = self._waiting
        waiting.extend(msgspec.structs.replace(message, cid=cid_of(message)) for message in messages)
        while len(waiting) > MAX_WAITING:
            waiting.popleft()
            self._counters.not_ingested += 1
        self._go_on()

    def _go_on(self) -> None:
        # One batch at a time, so that their order stays; what comes meanwhile is the next one.
        if self._busy or not self._waiting:
            return
        batch = list(islice(self._waiting, MAX_BATCH))
        self._waiting = deque(islice(self._waiting, MAX_BATCH, None))
        self._busy = True
        appended = maybeDeferred(self._store.append, batch)
        appended.addCallbacks(self._stored, self._not_stored, errbackArgs=(batch,)).addErrback(self._failed)

    def _stored(self, stored: Sequence[Stored]) -> None:
        self._busy = False
        self._counters.ingested += sum(1 for one in stored if one.places and not one.repeat)
        try:
            self._deliver([one for one in stored if one.places])
        finally:
            self._go_on()

    def _not_stored(self, failure: Failure, batch: Sequence[Message]) -> None:
        if failure.check(StoreUnavailable) is None:
            self.log.failure("messages from another server could not be stored", failure)
        self._waiting.extendleft(reversed(batch))
        self._clock.callLater(RETRY_WAIT, self._again)

    def _again(self) -> None:
        self._busy = False
        self.take(())

    def _failed(self, failure: Failure) -> None:
        self.log.failure("messages from another server could not be passed to the router", failure)


def cid_of(message: Message) -> str:
    """The same for the same message, wherever it arrived, and for no other."""
    said: tuple[object, ...] = (message.uId, message.pId, message.time, bytes(message.msg))
    if message.cid is not None:  # it came from a daemon, which names it
        said = (message.sender, message.cid)
    return PREFIX + hashlib.sha256(msgspec.msgpack.encode(said)).hexdigest()
