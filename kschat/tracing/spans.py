"""What the other floors know of tracing: ``Tracer`` and ``Span``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from twisted.internet.defer import Deferred


class Span(Protocol):
    """A piece of work. Its name and what is beside it are of a fixed set: no text of a message, no token, no user."""

    def headers(self) -> Mapping[str, str]:
        """The headers (W3C Trace Context) for a request that is a part of it, by name."""

    def end(self, *, status: int | None = None, error: str = "") -> None:
        """It is done. Must not raise.

        Args:
            status: of the HTTP answer.
            error: the kind of failure, of a few; "" for none.
        """


class Tracer(Protocol):
    """Makes spans. Its methods do not raise, and never wait."""

    def serve(self, name: str, headers: Mapping[str, str]) -> Span:
        """Begin a span of a request that somebody makes.

        Args:
            name: of the operation.
            headers: of the request, by their names in lower case, as far as it has them: ``traceparent``,
                ``tracestate``.
        """

    def call(self, name: str, host: str) -> Span:
        """Begin a span of a request to ``host``."""

    def work(self, name: str, messages: int, parent: Span | None = None) -> Span:
        """Begin a span of work with so many messages."""


class TracerBackend(Tracer, Protocol):
    """One that sends its spans somewhere."""

    def start(self) -> object:
        """Begin; before, there are no spans."""

    def stop(self) -> Deferred[None]:
        """Send what waits, and end; the caller bounds the time."""


#: The headers of a request that say which span it is a part of.
TRACE_HEADERS = ("traceparent", "tracestate")
