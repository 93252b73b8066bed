"""Publishes with confirms, and knows what came back. One a connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import pika
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kschat.chat.interfaces import RouterUnavailable

#: Publishes that may wait for a confirm, and bytes of them; more wait here. How many do is bounded by who publishes.
MAX_UNCONFIRMED: Final = 2000
MAX_UNCONFIRMED_BYTES: Final = 64_000_000

#: The message outlives a restart of the broker, where its queue does.
PERSISTENT: Final = 2


class Publisher:
    """Publishes on a channel of its own.

    pika gives a returned message to whichever publish is confirmed next, which is not always the one it was of; so
    each has an id, and what came back is found by that. (RabbitMQ sends a return before the confirm of the same one.)

    Args:
        channel: a ``TwistedChannel`` on which confirms are switched on.
        exchange: to which all goes.
        app_id: what tells this daemon's messages from others.
        clock: says since when a confirm is awaited.

    Attributes:
        returned: how many came back, since nobody was bound.
    """

    def __init__(self, channel: Any, exchange: str, app_id: str, clock: IReactorTime) -> None:
        self._channel = channel
        self._exchange = exchange
        self._app_id = app_id
        self._clock = clock
        self._ids = count(1)
        self._back: set[str] = set()
        self._waiting: dict[str, tuple[float, int, Deferred[bool]]] = {}
        self._bytes = 0
        self._line: deque[tuple[str, Mapping[str, Any], str, bytes, Deferred[bool]]] = deque()
        self._heard = 0.0
        self.returned = 0
        channel.add_on_return_callback(self._came_back)

    @property
    def waits(self) -> float | None:
        """Since when a publish waits and none was confirmed; None where none waits."""
        return max(self._heard, next(iter(self._waiting.values()))[0]) if self._waiting else None

    def publish(self, key: str, headers: Mapping[str, Any], content_type: str, body: bytes) -> Deferred[bool]:
        """Publish; whether it went to any queue, once it is confirmed. Fails with RouterUnavailable."""
        answer: Deferred[bool] = Deferred()
        if self._line or not self._has_room():
            self._line.append((key, headers, content_type, body, answer))
        else:
            self._send(key, headers, content_type, body, answer)
        return answer

    def _has_room(self) -> bool:
        return len(self._waiting) < MAX_UNCONFIRMED and self._bytes < MAX_UNCONFIRMED_BYTES

    def _send(
        self, key: str, headers: Mapping[str, Any], content_type: str, body: bytes, answer: Deferred[bool]
    ) -> None:
        name = f"{next(self._ids):x}"
        properties = pika.BasicProperties(
            delivery_mode=PERSISTENT,
            message_id=name,
            app_id=self._app_id,
            content_type=content_type,
            headers=dict(headers) if headers else None,
        )
        self._waiting[name] = (self._clock.seconds(), len(body), answer)
        self._bytes += len(body)
        try:
            confirmed = self._channel.basic_publish(self._exchange, key, body, properties, mandatory=True)
        except Exception as error:  # noqa: BLE001 - pika raises while it is closing
            del self._waiting[name]
            self._bytes -= len(body)
            answer.errback(RouterUnavailable(f"RabbitMQ can't be written to: {error}"))
        else:
            confirmed.addCallbacks(self._confirmed, self._failed, callbackArgs=(name,), errbackArgs=(name,))

    def give_up(self, why: str) -> None:
        """Whatever waits is answered: it may or may not have been carried."""
        line, self._line = self._line, deque()
        for name in list(self._waiting):
            self._answer(name, Failure(RouterUnavailable(why)))
        for _, _, _, _, answer in line:
            answer.errback(RouterUnavailable(why))

    def _came_back(self, message: Any) -> None:
        self.returned += 1
        self._back.add(message.properties.message_id)

    def _confirmed(self, _: object, name: str) -> None:
        self._heard = self._clock.seconds()
        back = name in self._back
        self._back.discard(name)
        self._answer(name, not back)

    def _failed(self, failure: Failure, name: str) -> None:
        if failure.check(pika.exceptions.UnroutableError) is not None:
            self._confirmed(None, name)  # of this one, or of another: the id says it
        else:
            self._back.discard(name)
            self._answer(name, Failure(RouterUnavailable("RabbitMQ did not take it")))

    def _answer(self, name: str, result: bool | Failure) -> None:
        waiting = self._waiting.pop(name, None)
        if waiting is not None:
            self._bytes -= waiting[1]
            waiting[2].callback(result)  # a Failure makes it fail
            while self._line and self._has_room():
                self._send(*self._line.popleft())
