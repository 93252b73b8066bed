"""``Webhook``: the consumer that sends each event to a URL by POST, signed."""

from __future__ import annotations

from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat.chat.clocks import WallClock
from kschat.chat.outbox import Event
from kschat.hooks.consumer import Delivered, Delivery, Later, Outcome
from kschat.hooks.http import payload
from kschat.http_answers import HttpAnswer, HttpFault
from kschat.http_client import retry_after
from kschat.outage_log import OutageLog
from kschat.repeated_log import RepeatedLog

#: Seconds that the receiver may take for one event.
TIMEOUT: Final = 10.0

#: Bytes of the body of an answer. Nothing in it is used.
MAX_ANSWER: Final = 100_000

#: Events that are sent at once.
MAX_IN_FLIGHT: Final = 8

#: Seconds for which nothing is sent after an answer 410 (Gone).
GONE_WAIT: Final = 3600.0

#: The longest that a receiver may put off events by ``Retry-After``, in seconds.
MAX_BUSY_WAIT: Final = 3600.0

#: Answers after which no other event is sent for a while either: the receiver, or what is in front of it, can't now.
_BUSY: Final = frozenset({429, 502, 503, 504})

#: What becomes of an event that was not delivered, by what the metrics call it.
REASONS: Final = ("unreachable", "timeout", "tls", "too_large", "broken", "busy", "gone", "redirect", "status")


class Poster(Protocol):
    """Sends signed requests to a URL: a ``HookClient``."""

    def post(self, id: str, body: bytes) -> Deferred[HttpAnswer]:  # noqa: A002 - the specification's
        """See ``HookClient.post``."""

    def stop(self) -> Deferred[Any]:
        """See ``HookClient.stop``."""


class Webhook:
    """See ``Consumer``.

    Args:
        poster: sends, within ``TIMEOUT``.
        url: where to, for the log.
        types: of the events that are sent.
        wall: the time of day.
        repeated: gathers lines of the log: a receiver may fail on every other event.

    Attributes:
        types: see above.
    """

    log = Logger()
    name = "webhook"
    max_in_flight = MAX_IN_FLIGHT

    def __init__(
        self, poster: Poster, url: str, *, types: frozenset[str], wall: WallClock, repeated: RepeatedLog
    ) -> None:
        self._poster = poster
        self._types = types
        self._wall = wall
        self._outages = OutageLog(self.log, name=urlsplit(url).netloc, repeated=repeated)

    @property
    def types(self) -> frozenset[str]:
        return self._types

    def use(self, types: frozenset[str]) -> None:
        """Other types of events are sent from now on."""
        self._types = types

    def deliver(self, delivery: Delivery) -> Deferred[Outcome]:
        """Send an event. A status of 2xx is a success."""
        sent = self._poster.post(delivery.event.id, body_of(delivery.event))
        return sent.addCallbacks(self._answered, self._failed)

    def stop(self) -> Deferred[Any]:
        """End the connections that are kept."""
        return self._poster.stop()

    def _answered(self, answer: HttpAnswer) -> Outcome:
        status = answer.status
        if 200 <= status < 300:
            self._outages.back("hooks are received again by {name}")
            return Delivered()
        if status == 410:
            self._down("it answers 410 (Gone): nothing is sent to it for an hour, or until SIGHUP")
            return Later(reason="gone", wait=GONE_WAIT, everything=True)
        self._down(f"the answer is status {status}")
        if status in _BUSY:
            wait = retry_after(answer.headers, self._wall())
            return Later(reason="busy", wait=None if wait is None else min(wait, MAX_BUSY_WAIT), everything=True)
        return Later(reason="redirect" if 300 <= status < 400 else "status")

    def _failed(self, failure: Failure) -> Outcome:
        failure.trap(HttpFault)
        fault: Any = failure.value
        self._down(str(fault))
        return Later(reason=fault.kind, everything=True)

    def _down(self, reason: str) -> None:
        self._outages.down("hooks are not received by {name}: {reason}; they are kept, and sent again", reason)


def body_of(event: Event) -> bytes:
    """The body of the request: the same at each try."""
    return payload(event.type, event.at / 1000, event.data)
