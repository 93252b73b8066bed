"""Answers to requests on ``/socket.io/``: headers, CORS, gzip, JSONP.

Source: socketio/socket.io, ``docs/engine.io-protocol`` ("Headers", "JSONP").
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from twisted.web.server import Request

from kschat.front.engine_request import EngineRequest
from kschat.wire import jsonp
from kschat.wire.engineio import Frame

#: Bytes from which a body is compressed, for clients that accept it: the reference server's threshold.
GZIP_FROM: Final = 1024

#: Compressing blocks the reactor: at this level a megabyte takes some milliseconds, and text still shrinks well.
_GZIP_LEVEL: Final = 1

_HEADER_NAMES: Final = re.compile(rb"[\w\-]+(\s*,\s*[\w\-]+)*", re.ASCII)


def allow_origin(request: Request) -> None:
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


def answer(request: Request, body: bytes, content_type: bytes, *, status: int = 200) -> None:
    """Answer a request, and be done with it."""
    request.setResponseCode(status)
    request.setHeader(b"content-type", content_type)
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"content-length", b"%d" % len(body))
    request.write(body)
    request.finish()


def answer_poll(request: Request, query: EngineRequest, body: Frame) -> None:
    """Give a polling body to a GET, as a script if it query so, and compressed if that pays."""
    data = body.payload
    kind = b"application/octet-stream" if body.binary else b"text/plain; charset=UTF-8"
    if query.script is not None:
        data = jsonp.script(query.script, data)
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
