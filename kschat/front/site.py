"""The resource tree on one port: page, static files, /socket.io/, /healthz, /livez, /readyz, /metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request

#: Seconds without an answer after which the store of this process counts as stuck: far more than any disk takes.
STUCK_SECONDS: Final = 120.0

#: What ``/readyz`` says of a part.
_PART: Final[Mapping[bool | None, str]] = {True: "up", False: "down", None: "none"}


class Health(Resource):
    """``/healthz``: the process answers, and these are its numbers.

    Args:
        numbers: called for each request.
    """

    def __init__(self, numbers: Callable[[], Mapping[str, Any]]) -> None:
        super().__init__()
        self._numbers = numbers

    def render_GET(self, request: Request) -> bytes:
        """JSON, ``{"status": "ok", …}``."""
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        return msgspec.json.encode({"status": "ok", **self._numbers()}) + b"\n"


class Live(Resource):
    """``/livez``: 503 if a restart would help: the store of this process is stuck. Not if Redis or RabbitMQ is down.

    Args:
        stuck: seconds for which batches have waited for a store of this process without an answer; 0.0 if none waits.
    """

    def __init__(self, stuck: Callable[[], float]) -> None:
        super().__init__()
        self._stuck = stuck

    def render_GET(self, request: Request) -> bytes:
        """JSON, ``{"status": "live"}``; with 503 it is ``stuck``."""
        alive = self._stuck() < STUCK_SECONDS
        request.setResponseCode(200 if alive else 503)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        return msgspec.json.encode({"status": "live" if alive else "stuck"}) + b"\n"


class Ready(Resource):
    """``/readyz``: whether this daemon can do all that it is for; what can't be used is named.

    Args:
        parts: whether each part can be used, None for a part that this daemon does not have; called for each request.
        closing: whether it is going down.
    """

    def __init__(self, parts: Callable[[], Mapping[str, bool | None]], closing: Callable[[], bool]) -> None:
        super().__init__()
        self._parts = parts
        self._closing = closing

    def render_GET(self, request: Request) -> bytes:
        """JSON, ``{"status": "ready", "router": "up", …}``; with 503 it is ``degraded`` or ``closing``."""
        parts = self._parts()
        status = "closing" if self._closing() else "degraded" if False in parts.values() else "ready"
        request.setResponseCode(200 if status == "ready" else 503)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"cache-control", b"no-store")
        words = {name: _PART[up] for name, up in parts.items()}
        return msgspec.json.encode({"status": status, **words}) + b"\n"


def make_root(
    *,
    page: IResource,
    static: IResource,
    ops: Mapping[str, IResource] = MappingProxyType({}),
    beside: Mapping[str, IResource] = MappingProxyType({}),
    base_path: str = "",
) -> Resource:
    """All that a daemon serves to clients beside sessions.

    Args:
        page: at the root.
        static: at ``/static``.
        ops: what is for operators, by its name below the root.
        beside: what else is beside the page, by its path.
        base_path: the path below which all this is.
    """
    tree = _Directory()
    tree.putChild(b"", page)
    tree.putChild(b"static", static)
    for name, resource in ops.items():
        tree.putChild(name.encode("ascii"), resource)
    for path, resource in beside.items():
        put_at(tree, path, resource)
    if not base_path.strip("/"):
        return tree
    root = Resource()
    put_at(root, base_path, tree)
    return root


def make_ops_root(ops: Mapping[str, IResource]) -> Resource:
    """What is for operators alone, on a port of its own: see ``make_root``."""
    root = Resource()
    for name, resource in ops.items():
        root.putChild(name.encode("ascii"), resource)
    return root


def put_at(root: Resource, path: str, resource: IResource) -> None:
    """Put ``resource`` at ``path`` below ``root``, beside what is there. Raises ValueError for the root's own path."""
    *above, last = [segment.encode("ascii") for segment in path.split("/") if segment] or [b""]
    if not last:
        raise ValueError(f"path: {path!r} is the root's own")
    for segment in above:
        child = root.children.get(segment)
        if child is None:
            child = Resource()
            root.putChild(segment, child)
        root = child
    root.putChild(last, resource)


class _Directory(Resource):
    """A path that ends with a slash: what the page names is relative to that."""

    def render_GET(self, request: Request) -> bytes:
        """Without its slash, the browser is sent to the one with it."""
        path, mark, query = request.uri.partition(b"?")
        # Relative, since what a proxy has taken away in front is not known here.
        request.redirect(path.rpartition(b"/")[2] + b"/" + mark + query)
        request.setHeader(b"cache-control", b"no-store")
        return b""
