"""The parsed query of a request on ``/socket.io/``.

Source: socketio/socket.io, ``docs/engine.io-protocol`` ("URLs", "Query parameters", "Headers").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from twisted.web.http import parse_qs
from twisted.web.server import Request

from kschat.front.channel import BoundedRequest
from kschat.front.clients import ClientAddress
from kschat.wire.connection import Handshake
from kschat.wire.engineio import Revision

_REVISIONS: Final[dict[str, Revision]] = {"3": 3, "4": 4}

#: A time and nothing else. SocketIOClient of .NET and Unity sends the time in seconds, twice within one second.
_TIME: Final = re.compile(rb"[0-9]{0,13}")


class EngineRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The query of a request, as far as Engine.IO defines it.

    Attributes:
        transport: ``polling``, ``websocket``, or any other text; None without one.
        sid: the session's id; None for a request that begins a session.
        revision: None where ``EIO`` is neither 3 nor 4.
        base64: binary is to be sent as text (``b64``).
        script: the digits of ``j``, where the answer is to be a script (JSONP); they may be empty.
        stamp: the cache-busting ``t`` parameter; None if the client does not make it unique per request.
    """

    transport: str | None
    sid: str | None
    revision: Revision | None
    base64: bool
    script: bytes | None
    stamp: bytes | None

    @classmethod
    def of(cls, args: Mapping[bytes, Sequence[bytes]]) -> EngineRequest:
        """Read a parsed query."""
        number = args.get(b"j")
        stamp = args.get(b"t")
        return cls(
            transport=_first(args, b"transport"),
            sid=_first(args, b"sid"),
            revision=_REVISIONS.get(_first(args, b"EIO") or ""),
            base64=_first(args, b"b64") in ("1", "true"),
            script=re.sub(rb"[^0-9]", b"", number[0])[:10] if number else None,
            stamp=stamp[0][:64] if stamp and not _TIME.fullmatch(stamp[0]) else None,
        )

    @classmethod
    def of_uri(cls, uri: bytes) -> EngineRequest:
        """Read the query of a request whose body has not arrived."""
        return cls.of(parse_qs(uri.partition(b"?")[2], keep_blank_values=True))


def handshake_of(request: Request, time: float = 0.0, whole: bool = False) -> Handshake:
    """What the application is told of the request that begins a session.

    Args:
        request: the request.
        time: now, in seconds since the epoch.
        whole: include all headers and the URL, which the session then keeps in memory.
    """
    client = client_of(request)
    more: dict[str, Any] = {}
    if whole:
        headers = request.requestHeaders.getAllRawHeaders()
        more["headers"] = {_latin(name).lower(): _latin(b", ".join(values)) for name, values in headers}
        more["url"] = _latin(request.uri)
    return Handshake(
        query={name.decode("utf-8", "replace"): _text(values) for name, values in request.args.items()},
        authorization=(request.getHeader(b"authorization") or b"").decode("latin-1"),
        peer=str(client),
        address=client.host if client.key else "",
        client=client.key,
        time=time,
        secure=bool(is_secure(request)),
        **more,
    )


def client_of(request: Request) -> ClientAddress:
    """The client that a request comes from."""
    assert isinstance(request, BoundedRequest)
    return request.client_address


def is_secure(request: Request) -> bool | None:
    """Whether the client speaks TLS; None where that is not known."""
    assert isinstance(request, BoundedRequest)
    return request.secure


def is_upgrade(request: Request) -> bool:
    """Whether a request asks to become a WebSocket."""
    return b"websocket" in (request.getHeader(b"upgrade") or b"").lower()


def _first(args: Mapping[bytes, Sequence[bytes]], name: bytes) -> str | None:
    values = args.get(name)
    return _text(values) if values else None


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


def _text(values: Sequence[bytes]) -> str:
    return values[0].decode("utf-8", "replace")
