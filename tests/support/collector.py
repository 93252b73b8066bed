"""A collector of OpenTelemetry on this machine, which takes spans by OTLP over HTTP and decodes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from kschat.front.endpoints import server_endpoint
from tests.support.waiting import real_reactor


class Collector(Resource):
    """Keeps what is sent to it.

    Attributes:
        requests: those that came, decoded.
        headers: of the last one, by name in lower case.
        status: that they are answered by.
        hangs: they are not answered.
        url: of it; "" before it was started.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Any] = []
        self.headers: dict[str, str] = {}
        self.status = 200
        self.hangs = False
        self.url = ""
        self._port: Any = None
        self._hanging: list[tuple[Request, Deferred[Any]]] = []

    async def start(self) -> None:
        """Begin to listen."""
        self._port = await server_endpoint(real_reactor(), "tcp:0:interface=127.0.0.1").listen(Site(self))
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """End."""
        if self._port is not None:
            await self._port.stopListening()
            self._port = None
        hanging, self._hanging = self._hanging, []
        for request, ended in hanging:
            transport: Any = request.channel and request.channel.transport
            transport.abortConnection()
            await ended.addErrback(lambda _: None)

    def render_POST(self, request: Request) -> Any:
        """Take spans."""
        assert request.content is not None
        assert request.uri == b"/v1/traces", request.uri
        self.requests.append(ExportTraceServiceRequest.FromString(request.content.read()))
        self.headers = {
            name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        if self.hangs:
            self._hanging.append((request, request.notifyFinish()))
            return NOT_DONE_YET
        request.setResponseCode(self.status)
        return b""

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The attributes of each resource that sent spans."""
        return [_attributes(one.resource.attributes) for found in self.requests for one in found.resource_spans]

    @property
    def spans(self) -> list[Any]:
        """All spans, in the order of their coming."""
        return spans_of(self.requests)

    def named(self, name: str) -> list[Any]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]


def spans_of(requests: Iterable[Any]) -> list[Any]:
    """All spans of decoded requests."""
    return [
        span
        for found in requests
        for resource in found.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def attributes(span: Any) -> dict[str, Any]:
    """The attributes of a span."""
    return _attributes(span.attributes)


def _attributes(found: Any) -> dict[str, Any]:
    read: dict[str, Callable[[Any], Any]] = {
        "string_value": lambda value: value.string_value,
        "int_value": lambda value: value.int_value,
        "bool_value": lambda value: value.bool_value,
    }
    return {one.key: read[one.value.WhichOneof("value")](one.value) for one in found}
