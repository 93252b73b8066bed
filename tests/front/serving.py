"""A resource tree served on loopback, asked by Twisted's own Agent."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from twisted.internet import defer
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Site


class Response(NamedTuple):
    """What came back; `headers` by their names in lower case, the last of each."""

    code: int
    headers: dict[str, str]
    body: bytes


class Served:
    """`resources` at their names below `/` ("" is `/` itself), until the test's end."""

    def __init__(self, test: TestCase, **resources: Resource) -> None:
        from twisted.internet import reactor

        self._reactor = cast("Any", reactor)
        root = Resource()
        for name, resource in resources.items():
            root.putChild(name.encode() if name != "index" else b"", resource)
        site = Site(root)
        site.displayTracebacks = False
        port = self._reactor.listenTCP(0, site, interface="127.0.0.1")
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        self._agent = Agent(self._reactor, connectTimeout=10, pool=pool)
        self._url = f"http://127.0.0.1:{port.getHost().port}"
        test.addCleanup(port.stopListening)
        test.addCleanup(pool.closeCachedConnections)

    def get(self, path: str, method: str = "GET", **headers: str) -> defer.Deferred[Response]:
        """The response to a request for `path`, which goes out as it is; `if_none_match="…"` is a header."""
        named = {name.replace("_", "-"): [value] for name, value in headers.items()}
        return defer.ensureDeferred(self._ask(method.encode(), f"{self._url}{path}".encode("ascii"), Headers(named)))

    async def _ask(self, method: bytes, url: bytes, headers: Headers) -> Response:
        response = await self._agent.request(method, url, headers)
        body = await readBody(response)
        received = {
            name.decode().lower(): values[-1].decode("latin-1") for name, values in response.headers.getAllRawHeaders()
        }
        return Response(response.code, received, body)
