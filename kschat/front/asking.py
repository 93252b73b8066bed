"""What a request on ``/socket.io/`` asks for, and how it is answered: headers, CORS, gzip, JSONP.

Source: socketio/socket.io, ``docs/engine.io-protocol`` ("URLs", "Query parameters", "Headers", "JSONP").
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from twisted.web.http import parse_qs
from twisted.web.server import Request

from kschat.wire import jsonp
from kschat.wire.connection import Handshake
from kschat.wire.engineio import Frame, Revision

_REVISIONS: Final[dict[str, Revision]] = {"3": 3, "4": 4}

#: Bytes from which on a body is compressed, for who takes it: the reference server's.
GZIP_FROM: Final = 1024

#: The reactor waits for it: at this level a megabyte takes some milliseconds, and text shrinks well all the same.
_GZIP_LEVEL: Final = 1

_HEADER_NAMES: Final = re.compile(rb"[\w\-]+(\s*,\s*[\w\-]+)*", re.ASCII)

#: The time and no more: SocketIOClient of .NET and Unity, which asks often, sends that of the second.
_TIME: Final = re.compile(rb"[0-9]{0,13}")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The query of a request, as far as Engine.IO knows it.

    Attributes:
        transport: ``polling``, ``websocket``, or whatever stands there.
        sid: the session's id; None for a request that begins one.
        revision: None where ``EIO`` is neither 3 nor 4.
        base64: binary is to be sent as text (``b64``).
        script: the digits of ``j``, where the answer is to be a script; they may be none.
        stamp: ``t``, which no two requests of a client have in common; None where it may be that they have.
    """

    transport: str | None
    sid: str | None
    revision: Revision | None
    base64: bool
    script: bytes | None
    stamp: bytes | None

    @classmethod
    def of(cls, args: Mapping[bytes, Sequence[bytes]]) -> Asked:
        """Read a query that was taken apart."""
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
    def of_uri(cls, uri: bytes) -> Asked:
        """The same of a request that is not whole yet."""
        return cls.of(parse_qs(uri.partition(b"?")[2], keep_blank_values=True))


def handshake_of(request: Request, time: float = 0.0, whole: bool = False) -> Handshake:
    """What the request that begins a session says to the application.

    Args:
        request: it.
        time: now, in seconds since the epoch.
        whole: with all headers and the URL, which a session then keeps.
    """
    more: dict[str, Any] = {}
    if whole:
        headers = request.requestHeaders.getAllRawHeaders()
        more["headers"] = {_latin(name).lower(): _latin(b", ".join(values)) for name, values in headers}
        more["url"] = _latin(request.uri)
    return Handshake(
        query={name.decode("utf-8", "replace"): _text(values) for name, values in request.args.items()},
        authorization=(request.getHeader(b"authorization") or b"").decode("latin-1"),
        peer=peer(request),
        time=time,
        secure=request.isSecure(),
        **more,
    )


def peer(request: Request) -> str:
    """Where a request comes from, for the log."""
    address = request.getClientAddress()
    host = getattr(address, "host", None)
    return f"{host}:{address.port}" if host else "unix"


def is_upgrade(request: Request) -> bool:
    """Whether a request wants to become a WebSocket."""
    return b"websocket" in (request.getHeader(b"upgrade") or b"").lower()


def name_origin(request: Request) -> None:
    """Let the page that asks read the answer, whatever it will be.

    Browsers with clients 1.x and 2.x poll with credentials, and take no ``*`` then.
    """
    origin = request.getHeader(b"origin")
    request.setHeader(b"vary", b"Origin")
    if origin is not None:
        request.setHeader(b"access-control-allow-origin", origin)
        request.setHeader(b"access-control-allow-credentials", b"true")


def answer_preflight(request: Request) -> bytes:
    """A browser asks whether a page may ask."""
    request.setResponseCode(204)
    request.setHeader(b"access-control-allow-methods", b"GET, POST")
    wanted = request.getHeader(b"access-control-request-headers") or b""
    if _HEADER_NAMES.fullmatch(wanted):
        request.setHeader(b"access-control-allow-headers", wanted)
    request.setHeader(b"access-control-max-age", b"600")
    return b""


def answer(request: Request, body: bytes, content_type: bytes, status: int = 200) -> None:
    """Answer a request, and be done with it."""
    request.setResponseCode(status)
    request.setHeader(b"content-type", content_type)
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()


def answer_poll(request: Request, asked: Asked, body: Frame) -> None:
    """Give a polling body to a GET, as a script if it asked so, and compressed if that pays."""
    data = body.payload
    kind = b"application/octet-stream" if body.binary else b"text/plain; charset=UTF-8"
    if asked.script is not None:
        data = jsonp.script(asked.script, data)
        kind = b"text/javascript; charset=UTF-8"
        request.setHeader(b"x-content-type-options", b"nosniff")
    if len(data) >= GZIP_FROM:
        request.responseHeaders.addRawHeader(b"vary", b"Accept-Encoding")
        if takes_gzip(request.getHeader(b"accept-encoding") or b""):
            packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
            data = packer.compress(data) + packer.flush()
            request.setHeader(b"content-encoding", b"gzip")
    answer(request, data, kind)


def takes_gzip(accepted: bytes) -> bool:
    """Of an Accept-Encoding header (RFC 9110, section 12.5.3)."""
    for item in accepted.lower().split(b","):
        coding, _, weight = item.partition(b";")
        if coding.strip() in (b"gzip", b"x-gzip"):
            return not re.fullmatch(rb"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return False


def _first(args: Mapping[bytes, Sequence[bytes]], name: bytes) -> str | None:
    values = args.get(name)
    return _text(values) if values else None


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


def _text(values: Sequence[bytes]) -> str:
    return values[0].decode("utf-8", "replace")
