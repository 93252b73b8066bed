"""The operator's settings of tracing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

import msgspec

from kschat import http_client

#: How the URL of a collector looks.
EXAMPLE: Final = "http://localhost:4318"

#: What of OpenTelemetry is used.
_NEEDED: Final = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")

#: Where collectors take spans.
_PATH: Final = "/v1/traces"


class TracingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator has set.

    Attributes:
        url: of the collector, to which spans are posted.
        sample: the part, from 0 to 1, of API calls, hook requests and batches that spans are made of.
        store: the kind of store.
    """

    url: str
    sample: float
    store: str


def check_endpoint(url: str) -> None:
    """That spans can be sent to a collector. Raises ValueError; the text ends a sentence that begins with the URL."""
    http_client.check_url(url, EXAMPLE)
    if urlsplit(url).query:
        raise ValueError("has a query, which is not supported: keys go into OTEL_EXPORTER_OTLP_HEADERS")


def is_installed() -> bool:
    """Whether OpenTelemetry's SDK and exporter are there. They are optional."""
    try:
        return all(find_spec(name) is not None for name in _NEEDED)
    except ModuleNotFoundError:
        return False


def traces_url(endpoint: str) -> str:
    """Where spans are posted: below the URL of the collector, unless it names the place itself."""
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH
