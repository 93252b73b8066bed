"""The resource tree on one port: page, static files, /socket.io/, /healthz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request


class Health(Resource):
    """``/healthz``: the process answers, and these are its numbers.

    Args:
        numbers: called for each request.
    """

    isLeaf = True

    def __init__(self, numbers: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self._numbers = numbers

    def render_GET(self, request: Request) -> bytes:
        """JSON, ``{"status": "ok", …}``."""
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        return msgspec.json.encode({"status": "ok", **self._numbers()}) + b"\n"


def make_root(page: IResource, static: IResource, engine: IResource, health: IResource) -> Resource:
    """The tree. (``/metrics`` and ``/readyz`` have their place here.)"""
    root = Resource()
    root.putChild(b"", page)
    root.putChild(b"static", static)
    root.putChild(b"socket.io", engine)
    root.putChild(b"healthz", health)
    return root
