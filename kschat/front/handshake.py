"""Decides whether a request may begin or use a session. Pure: from facts to a refusal.

Source: socketio/socket.io, ``docs/engine.io-protocol`` ("Handshake"); the errors and their order are those of the
reference server.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

from kschat.front.engine_request import EngineRequest
from kschat.wire.engineio import Revision


class Refusal(msgspec.Struct, frozen=True):
    """Why a request is not served, in Engine.IO's words.

    Attributes:
        code: Engine.IO's.
        message: for the client's program and its reader.
        status: of the HTTP response.
        retry_in: seconds until the client may try again, where that is known.
    """

    code: int
    message: str
    status: int = HTTPStatus.BAD_REQUEST
    retry_in: float | None = None

    @property
    def body(self) -> bytes:
        """The JSON that the client reads."""
        return msgspec.json.encode({"code": self.code, "message": self.message})


UNKNOWN_TRANSPORT: Final = Refusal(0, "Transport unknown")
UNKNOWN_SID: Final = Refusal(1, "Session ID unknown")
BAD_METHOD: Final = Refusal(2, "Bad handshake method")
BAD_REQUEST: Final = Refusal(3, "Bad request")
FORBIDDEN: Final = Refusal(4, "Forbidden", HTTPStatus.FORBIDDEN)
UNSUPPORTED_VERSION: Final = Refusal(5, "Unsupported protocol version")
#: Not one of Engine.IO's: clients try again after a while, as with any status but 200.
TOO_MANY: Final = Refusal(4, "Too many sessions", HTTPStatus.SERVICE_UNAVAILABLE)
#: Clients retry after this too, and reach another daemon, or this one after its restart.
GOING_DOWN: Final = Refusal(4, "The server is going down", HTTPStatus.SERVICE_UNAVAILABLE, 1.0)


def too_often(retry_in: float) -> Refusal:
    """An address begins too many sessions. Stock clients of all versions try again, later each time."""
    return Refusal(FORBIDDEN.code, "Too many sessions from this address", HTTPStatus.TOO_MANY_REQUESTS, retry_in)


def too_many_at_once(retry_in: float) -> Refusal:
    """The queue of handshakes is full."""
    return Refusal(TOO_MANY.code, TOO_MANY.message, TOO_MANY.status, retry_in)


_TRANSPORTS: Final = ("polling", "websocket")


class KnownSession(msgspec.Struct, frozen=True):
    """The facts about an open session that decide whether a request may belong to it.

    Attributes:
        revision: of the session.
        polls: whether its transport is HTTP long-polling.
    """

    revision: Revision
    polls: bool


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a request beside its query.

    Attributes:
        method: of HTTP.
        upgrade: whether the request asks to become a WebSocket.
        session: the open session that ``sid`` names; None if there is none.
        origin_allowed: whether its page may connect.
        polling_full: whether there are as many polling sessions as may be, in all or of the client's address.
    """

    method: bytes
    upgrade: bool
    session: KnownSession | None
    origin_allowed: Callable[[], bool]
    polling_full: Callable[[], bool]


def refusal_of(query: EngineRequest, facts: Facts) -> Refusal | None:
    """The first reason to refuse a request, in the reference server's order; None if it is to be served."""
    if query.transport not in _TRANSPORTS:
        return UNKNOWN_TRANSPORT
    if query.sid is not None:
        wrong = _refusal_within_session(query, facts)
    elif facts.method != b"GET":
        return BAD_METHOD
    else:
        wrong = None if facts.upgrade == (query.transport == "websocket") else BAD_REQUEST
    if wrong is not None:
        return wrong
    if not facts.origin_allowed():
        return FORBIDDEN
    if query.revision is None:
        return UNSUPPORTED_VERSION
    if facts.session is not None:
        return None if facts.session.revision == query.revision else BAD_REQUEST
    if query.transport == "polling" and facts.polling_full():
        return TOO_MANY
    return None


def _refusal_within_session(query: EngineRequest, facts: Facts) -> Refusal | None:
    if facts.session is None:
        return UNKNOWN_SID
    if query.transport == "websocket":
        # Whether the session takes it is decided once the WebSocket stands.
        return None if facts.upgrade and facts.method == b"GET" else BAD_REQUEST
    if facts.upgrade or facts.method not in (b"GET", b"POST") or not facts.session.polls:
        return BAD_REQUEST
    return None
