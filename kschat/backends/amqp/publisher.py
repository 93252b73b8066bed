"""Publishes with confirms and tracks returned messages. Each connection has one publisher."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import takewhile
from typing import Any, Final

import pika
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kschat.chat.interfaces import RouterUnavailable

#: Publishes that may wait for a confirm, and bytes of them; more wait here. How many do is bounded by who publishes.
MAX_UNCONFIRMED: Final = 2000
MAX_UNCONFIRMED_BYTES: Final = 64_000_000

#: The message outlives a restart of the broker, where its queue does.
PERSISTENT: Final = 2


class Publisher:
    """Publishes on a channel of its own.

    pika's wrapper for Twisted gives a returned message to whichever publish is confirmed next, which is not always the
    one it was of; so this stands on pika's own channel, and finds by its number what is confirmed and what comes back.
    (RabbitMQ sends a return before the confirm of the same one.)

    Args:
        channel: a ``Channel`` of pika for this alone; its confirms are to go to ``confirmed``.
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
        self._number = 0
        self._back: set[int] = set()
        self._waiting: dict[int, tuple[float, int, Deferred[bool]]] = {}
        self._bytes = 0
        self._line: deque[tuple[str, Mapping[str, Any], str, bytes, bool, Deferred[bool]]] = deque()
        self._heard = 0.0
        self.returned = 0
        channel.add_on_return_callback(self._came_back)

    @property
    def waits(self) -> float | None:
        """Since when a publish waits and none was confirmed; None where none waits."""
        return max(self._heard, next(iter(self._waiting.values()))[0]) if self._waiting else None

    @property
    def oldest(self) -> float | None:
        """When the oldest publish was sent that is not confirmed; None where there is none."""
        return next(iter(self._waiting.values()))[0] if self._waiting else None

    def publish(
        self, key: str, headers: Mapping[str, Any], content_type: str, body: bytes, mandatory: bool = True
    ) -> Deferred[bool]:
        """Publish.

        ``mandatory``: whether it comes back, whole, if it went to no queue.

        Returns:
            Fires once it is confirmed: whether it did not come back. Fails with RouterUnavailable.
        """
        answer: Deferred[bool] = Deferred()
        if self._line or not self._has_room():
            self._line.append((key, headers, content_type, body, mandatory, answer))
        else:
            self._send(key, headers, content_type, body, mandatory, answer)
        return answer

    def _has_room(self) -> bool:
        return len(self._waiting) < MAX_UNCONFIRMED and self._bytes < MAX_UNCONFIRMED_BYTES

    def _send(
        self,
        key: str,
        headers: Mapping[str, Any],
        content_type: str,
        body: bytes,
        mandatory: bool,
        answer: Deferred[bool],
    ) -> None:
        number = self._number + 1
        properties = pika.BasicProperties(
            delivery_mode=PERSISTENT,
            message_id=str(number),
            app_id=self._app_id,
            content_type=content_type,
            headers=dict(headers) if headers else None,
        )
        try:
            self._channel.basic_publish(self._exchange, key, body, properties, mandatory=mandatory)
        except Exception as error:  # noqa: BLE001 - pika raises while it is closing
            answer.errback(RouterUnavailable(f"RabbitMQ can't be written to: {error}"))
            return
        self._number = number
        self._waiting[number] = (self._clock.seconds(), len(body), answer)
        self._bytes += len(body)

    def give_up(self, why: str) -> None:
        """Whatever waits is answered: it may or may not have been carried."""
        line, self._line = self._line, deque()
        waiting, self._waiting = self._waiting, {}
        self._bytes = 0
        for _, _, answer in waiting.values():
            answer.errback(RouterUnavailable(why))
        for *_, answer in line:
            answer.errback(RouterUnavailable(why))

    def _came_back(self, _: object, method: object, properties: pika.BasicProperties, body: bytes) -> None:
        self.returned += 1
        self._back.add(int(properties.message_id))

    def confirmed(self, frame: Any) -> None:
        """RabbitMQ has taken a message, or all up to one; or has not."""
        self._heard = self._clock.seconds()
        method = frame.method
        number, taken = method.delivery_tag, isinstance(method, pika.spec.Basic.Ack)
        if method.multiple:
            for earlier in list(takewhile(lambda each: each <= number, self._waiting)):
                self._answer(earlier, taken)
        else:
            self._answer(number, taken)
        while self._line and self._has_room():
            self._send(*self._line.popleft())

    def _answer(self, number: int, taken: bool) -> None:
        back = number in self._back
        self._back.discard(number)
        waiting = self._waiting.pop(number, None)
        if waiting is None:
            return  # it was given up
        self._bytes -= waiting[1]
        if taken:
            waiting[2].callback(not back)
        else:
            waiting[2].errback(RouterUnavailable("RabbitMQ did not accept it"))
