"""Errors of the HTTP API (RFC 9457, "Problem Details"), with stable types."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from twisted.python.failure import Failure

from kschat.api.types import Problem
from kschat.chat.interfaces import RevocationsFull, RoomFull, StoreUnavailable, TooManyRooms
from kschat.chat.message import Error, Refused

#: By the end of its type: the status, and what it is.
PROBLEMS: Final[dict[str, tuple[HTTPStatus, str]]] = {
    "invalid": (HTTPStatus.BAD_REQUEST, "The request is not valid"),
    "unauthorized": (HTTPStatus.UNAUTHORIZED, "There is no valid key"),
    "not-allowed": (HTTPStatus.FORBIDDEN, "Not allowed"),
    "not-found": (HTTPStatus.NOT_FOUND, "There is no such operation"),
    "no-message": (HTTPStatus.NOT_FOUND, "There is no such message"),
    "method": (HTTPStatus.METHOD_NOT_ALLOWED, "The method is not allowed"),
    "full": (HTTPStatus.CONFLICT, "A limit is reached"),
    "too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large"),
    "too-many": (HTTPStatus.TOO_MANY_REQUESTS, "Too many requests"),
    "busy": (HTTPStatus.SERVICE_UNAVAILABLE, "The daemon is busy"),
    "no-store": (HTTPStatus.SERVICE_UNAVAILABLE, "The store is not available"),
    "no-broker": (HTTPStatus.SERVICE_UNAVAILABLE, "The broker is not available"),
    "going-down": (HTTPStatus.SERVICE_UNAVAILABLE, "The daemon is going down"),
    "internal": (HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong"),
}

#: Statuses of requests that may succeed later.
TRY_AGAIN: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})

#: What the types begin with.
TYPE: Final = "urn:kschat:"

#: Types of requests that may succeed later.
TEMPORARY: Final = frozenset(TYPE + name for name, (status, _) in PROBLEMS.items() if status in TRY_AGAIN)

_OF_ERROR: Final = {
    Error.INVALID: "invalid",
    Error.NO_BROKER: "no-broker",
    Error.NO_STORE: "no-store",
    Error.TOO_MANY: "too-many",
    Error.TOO_LARGE: "too-large",
    Error.NOT_ALLOWED: "not-allowed",
    Error.GOING_DOWN: "going-down",
    Error.BUSY: "busy",
}


class ApiError(Exception):
    """A request is refused.

    Attributes:
        name: the end of the problem's type.
        detail: one plain sentence.
    """

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail

    @property
    def problem(self) -> Problem:
        """As it is answered."""
        status, title = PROBLEMS[self.name]
        return Problem(type=TYPE + self.name, title=title, status=status, detail=self.detail)


def error_of(failure: Failure) -> ApiError | None:
    """What a failure means to a client; None if it is a bug."""
    error = failure.value
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Refused):
        return ApiError(_OF_ERROR[error.error], error.why)
    if isinstance(error, StoreUnavailable):
        return ApiError("no-store", "The store is not available; try again.")
    if isinstance(error, RoomFull):
        return ApiError("full", "The room is full.")
    if isinstance(error, TooManyRooms):
        return ApiError("full", "The user is in as many rooms as are allowed.")
    if isinstance(error, RevocationsFull):
        return ApiError("full", "The list of revocations is full.")
    return None
