"""A back end in the test's hands: it keeps what it is asked, and answers when it is told to."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed

from kschat.http_answers import HttpAnswer, HttpFault, Kind


class Asked:
    """One question that was posted."""

    def __init__(self, id: str, body: bytes, timeout: float) -> None:  # noqa: A002 - the specification's
        self.id = id
        self.body: dict[str, Any] = json.loads(body)
        self.kind = str(self.body["type"]).removeprefix("ask.")
        self.data: dict[str, Any] = self.body["data"]
        self.timeout = timeout
        self.fires: Deferred[HttpAnswer] = Deferred()

    def answer(self, status: int = 200, body: bytes | None = None, **fields: Any) -> None:
        """Answer it: with ``fields`` as JSON, unless a body is given."""
        self.fires.callback(HttpAnswer(status, {}, json.dumps(fields).encode() if body is None else body))

    def fail(self, kind: Kind = "timeout") -> None:
        """Say nothing."""
        self.fires.errback(HttpFault(kind, "as the test wants"))


class FakePoster:
    """Takes questions.

    Attributes:
        asked: those that were not taken from here yet, in the order in which they came.
        kept: connections that are kept.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.kept = 0

    def post(self, id: str, body: bytes, *, timeout: float | None = None) -> Deferred[HttpAnswer]:  # noqa: A002
        assert timeout is not None
        self.asked.append(Asked(id, body, timeout))
        return self.asked[-1].fires

    def keep(self, connections: int) -> None:
        self.kept = connections

    def stop(self) -> Deferred[None]:
        asked, self.asked = self.asked, []
        for one in asked:
            if not one.fires.called:
                one.fires.errback(CancelledError())
        return succeed(None)

    def take(self) -> Asked:
        """The oldest question."""
        return self.asked.pop(0)

    def allow(self, **fields: Any) -> None:
        """Allow all that is asked, and all that is asked then."""
        while self.asked:
            self.take().answer(allow=True, **fields)
