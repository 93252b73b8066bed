"""``Webhook``: the consumer that sends each event to a URL by POST, signed."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kschat import __version__
from kschat.chat.clocks import WallClock
from kschat.chat.outbox import Event
from kschat.hooks.consumer import Delivered, Delivery, Later, Outcome
from kschat.hooks.signing import signature
from kschat.http_client import Answer, HttpClient, HttpError
from kschat.outage_log import OutageLog

#: Seconds that the receiver may take for one event.
TIMEOUT: Final = 10.0

#: Bytes of an answer that are read. Nothing in it is used.
MAX_ANSWER: Final = 10_000

#: Events that are sent at once.
MAX_IN_FLIGHT: Final = 8

#: Seconds for which nothing is sent after an answer 410 (Gone).
GONE_WAIT: Final = 3600.0

#: The longest that a receiver may put off events by ``Retry-After``, in seconds.
MAX_RETRY_AFTER: Final = 3600.0

#: Answers after which no other event is sent for a while either: the receiver, or what is in front of it, can't now.
_BUSY: Final = frozenset({429, 502, 503, 504})

#: What becomes of an event that was not delivered, by what the metrics call it.
REASONS: Final = ("connect", "timeout", "tls", "answer", "busy", "gone", "redirect", "status")

_encode: Final = msgspec.json.Encoder().encode


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where events are sent.

    Attributes:
        url: ``https:``, or ``http:`` on this machine.
        ca: file with the certificates that the receiver's is trusted by; empty for the system's.
        secrets: that requests are signed with, the newest first.
        types: of the events that are sent.
    """

    url: str
    ca: str = ""
    secrets: Sequence[bytes]
    types: frozenset[str]


class _Body(msgspec.Struct, frozen=True):
    """What is sent."""

    type: str
    timestamp: str
    data: msgspec.Raw


class Webhook:
    """See ``Consumer``.

    Args:
        settings: where events are sent.
        reactor: Twisted's.
        wall: the time of day.

    Raises:
        AddressError: the file of certificates can't be used.
    """

    log = Logger()
    name = "webhook"
    max_in_flight = MAX_IN_FLIGHT

    def __init__(self, settings: WebhookSettings, reactor: Any, wall: WallClock) -> None:
        self._settings = settings
        self._wall = wall
        self._client = HttpClient(
            reactor,
            ca=settings.ca,
            setting="hooks",
            timeout=TIMEOUT,
            max_answer=MAX_ANSWER,
            cut=True,
            connections=MAX_IN_FLIGHT,
        )
        self._outages = OutageLog(self.log, name=urlsplit(settings.url).netloc)

    @property
    def types(self) -> frozenset[str]:
        return self._settings.types

    def use(self, types: frozenset[str]) -> None:
        """Other types of events are sent from now on."""
        self._settings = msgspec.structs.replace(self._settings, types=types)

    def use_secrets(self, secrets: Sequence[bytes]) -> None:
        """Requests are signed with these from now on."""
        self._settings = msgspec.structs.replace(self._settings, secrets=secrets)

    def deliver(self, delivery: Delivery) -> Deferred[Outcome]:
        """Send an event. A status of 2xx is a success, whatever comes after it."""
        event, settings = delivery.event, self._settings
        body = body_of(event)
        now = int(self._wall())
        headers = {
            "content-type": "application/json",
            "user-agent": f"kschat/{__version__}",
            "webhook-id": event.id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(settings.secrets, event.id, now, body),
        }
        sent = self._client.request("POST", settings.url, headers, body)
        return sent.addCallbacks(self._answered, self._failed, errbackArgs=(delivery,))

    def close(self) -> Deferred[Any]:
        """End the connections that are kept."""
        return self._client.close()

    def _answered(self, answer: Answer) -> Outcome:
        status = answer.status
        if 200 <= status < 300:
            if self._outages.is_open:
                self.log.info("hooks are received again by {name}", name=self._outages.name)
            self._outages.up()
            return Delivered()
        if status == 410:
            self._down("it answers 410 (Gone): nothing is sent to it for an hour, or until SIGHUP")
            return Later(reason="gone", wait=GONE_WAIT, everything=True)
        self._down(f"the answer is status {status}")
        if status in _BUSY:
            return Later(reason="busy", wait=self._retry_after(answer), everything=True)
        return Later(reason="redirect" if 300 <= status < 400 else "status")

    def _failed(self, failure: Failure, delivery: Delivery) -> Outcome:
        failure.trap(HttpError)
        error: Any = failure.value
        if error.kind == "answer" and not delivery.attempts:
            # The receiver may have closed a connection that was kept, in the moment in which the request was sent.
            return Later(reason="answer", wait=0.0)
        self._down(str(error))
        reason = error.kind if error.kind in REASONS else "answer"
        return Later(reason=reason, everything=True)

    def _down(self, reason: str) -> None:
        self._outages.down("hooks are not received by {name}: {reason}; they are kept, and sent again", reason)

    def _retry_after(self, answer: Answer) -> float | None:
        """Seconds; RFC 9110, section 10.2.3: a number of them, or a date."""
        text = answer.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return min(float(text), MAX_RETRY_AFTER)
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return min(max(date.timestamp() - self._wall(), 0.0), MAX_RETRY_AFTER)


def body_of(event: Event) -> bytes:
    """The body of the request: the same at each try."""
    at = datetime.datetime.fromtimestamp(event.at / 1000, datetime.UTC)
    return _encode(_Body(event.type, at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), event.data))
