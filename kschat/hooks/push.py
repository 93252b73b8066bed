"""``PushConsumer``: pushes to the browsers of users for whom messages wait.

A push tells how many messages wait, and which conversation to open if all are in one. It holds no text and no name.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel

from kschat.chat.changes import is_update
from kschat.chat.interfaces import IStore, StoreUnavailable
from kschat.counters import Counters
from kschat.hooks import events
from kschat.hooks.consumer import Delivered, Delivery, Later, Outcome
from kschat.hooks.deriver import MAX_COUNTED
from kschat.hooks.events import UNDELIVERED, UndeliveredData
from kschat.hooks.push_client import PushClient, PushResult, Sent
from kschat.hooks.webpush import MAX_TEXT
from kschat.repeated_log import RepeatedLog

#: Users who are pushed to at the same time. Of one user's browsers one is pushed to after another.
MAX_IN_FLIGHT: Final = 40

#: Bytes by which a subscription is told from the user's others, in a note.
_MARK: Final = 8


class _Push(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the service worker of the page is given.

    Attributes:
        user: for whom the messages are.
        count: how many.
        more: whether there are others.
        peer: the conversation that all are in; "" if they are in several.
        url: where a click leads; "" for the page.
    """

    user: str
    count: int
    more: bool = False
    peer: str = ""
    url: str = ""


class PushConsumer:
    """Pushes to browsers. See ``Consumer``.

    Args:
        client: sends pushes.
        store: has the subscriptions.
        counters: counts pushes.
        repeated: gathers lines of the log.
        url: where a click on a notification leads, with ``{user}`` and ``{peer}``; "" for the daemon's page.
    """

    log = Logger()
    name = "push"
    max_in_flight = MAX_IN_FLIGHT
    types = frozenset({UNDELIVERED})

    def __init__(
        self, client: PushClient, store: IStore, *, counters: Counters, repeated: RepeatedLog, url: str = ""
    ) -> None:
        self._client = client
        self._store = store
        self._counters = counters
        self._url = url
        self._repeated = repeated

    def deliver(self, delivery: Delivery) -> Deferred[Outcome]:
        """Push to each browser of the user that was not pushed to at an earlier try."""
        return Deferred.fromCoroutine(self._deliver(delivery))

    async def _deliver(self, delivery: Delivery) -> Outcome:
        note = delivery.note
        had = {note[start : start + _MARK] for start in range(0, len(note), _MARK)}
        try:
            event = await self._waiting(delivery)
            if event is None:
                self._counters.pushes["delivered"] += 1
                return Delivered()
            subscriptions = await self._store.subscriptions(event.user)
        except StoreUnavailable:
            return Later(reason="store", note=note)
        text = self._text(event)
        done: list[bytes] = []
        waits: list[float | None] = []
        for one in subscriptions:
            mark = hashlib.sha256(one.endpoint.encode()).digest()[:_MARK]
            if mark in had:
                done.append(mark)
                continue
            result = await self._client.push(one, text)
            self._counters.pushes[result.sent.value] += 1
            if result.sent is not Sent.DONE and result.sent is not Sent.GONE:
                self._log(result)
            if result.sent is Sent.LATER:
                waits.append(result.wait)
                continue
            done.append(mark)
            if result.sent is Sent.GONE:
                with suppress(StoreUnavailable):  # the push service will say it again
                    await self._store.unsubscribe(event.user, one.endpoint)
        if waits:
            return Later(reason="push_service", wait=max(filter(None, waits), default=None), note=b"".join(done))
        return Delivered()

    async def _waiting(self, delivery: Delivery) -> UndeliveredData | None:
        """What is to be told now, or None: the messages may have been delivered since the event was made."""
        event = msgspec.json.decode(bytes(delivery.event.data), type=UndeliveredData)
        state = await self._store.inbox(event.user)
        if state.last <= state.cursor:
            return None
        page = await self._store.read(event.user, state.cursor, MAX_COUNTED)
        is_all = not page.entries or page.entries[-1].offset >= page.last
        messages = [entry.message for entry in page.entries if not is_update(entry.message)]
        # What came after the event has an event of its own.
        counted = [one for one in messages if one.time <= delivery.event.at]
        if not counted and (messages or is_all):
            return None
        if delivery.attempts and is_all and len(counted) < event.count:
            peers = events.conversations_of(counted)
            return msgspec.structs.replace(event, count=len(counted), more=False, conversations=peers)
        return event

    def _log(self, result: PushResult) -> None:
        """A push did not go: it may be the key, the contact, or the settings."""
        kind = "a push is tried again" if result.sent is Sent.LATER else "a push was refused"
        text = kind + ": {host}: {why}"
        self._repeated.emit(self.log, text, kind=kind, level=LogLevel.warn, host=result.host, why=result.why)

    def _text(self, event: UndeliveredData) -> bytes:
        # Those that are not counted may be in another one.
        peer = event.conversations[0] if len(event.conversations) == 1 and not event.more else ""
        url = self._url.replace("{user}", quote(event.user, "")).replace("{peer}", quote(peer, ""))
        push = _Push(event.user, event.count, event.more, peer, url)
        text = msgspec.json.encode(push)
        if len(text) > MAX_TEXT:  # ids of many bytes, each of which is three in a URL
            text = msgspec.json.encode(msgspec.structs.replace(push, url=""))
        return text

    def stop(self) -> Deferred[Any]:
        """Cancel what is being sent, and close all connections."""
        return self._client.stop()
