"""Exceptions that the library raises, and those that an application's functions may raise."""

from __future__ import annotations

from typing import Any

import msgspec

from kschat.wire.jsonnumbers import as_javascript


class Refused(Exception):
    """Raised by middleware: the client is not let in, and told why.

    Args:
        message: the ``message`` of the error that the client is given.
        data: any JSON value; its ``data``. Clients 1.x and 2.x are given it in the message's place. TypeError or
            ValueError is raised where it has no JSON.
    """

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data
        # Here, where the fault is seen and the client still gets an answer.
        self.json = None if data is None else msgspec.Raw(as_javascript(msgspec.json.encode(data)))


class Unanswered(Exception):
    """An ack that was asked for will not come.

    Attributes:
        answers: those that came of the other sockets, where several were asked.
    """

    def __init__(self, why: str, answers: list[Any] | None = None) -> None:
        super().__init__(why)
        self.answers = [] if answers is None else answers


class TimedOut(Unanswered):
    """It took too long."""


class Gone(Unanswered):
    """The socket that was asked has ended, or was not let in yet."""


class TooMany(Exception):
    """A bound of ``Bounds`` is reached."""
