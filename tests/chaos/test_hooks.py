"""What the chaos counts of hooks, without a daemon."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET

from chaos.hooks import Hooks


class Request:
    """One event that is posted."""

    channel = None

    def __init__(self, id_: str, mid: str, type_: str = "message.stored-for-absent") -> None:
        self.content = BytesIO(json.dumps({"type": type_, "data": {"mid": mid, "user": "absent1"}}).encode())
        self.transport = self
        self.status = 0
        self._id = id_

    def getHeader(self, name: str) -> str:
        return self._id

    def setResponseCode(self, status: int) -> None:
        self.status = status

    def write(self, data: bytes) -> None:
        """Garbage."""

    def loseConnection(self) -> None:
        """It is closed."""

    abortConnection = loseConnection


class HooksTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.clock = Clock()
        self.hooks = Hooks(self.clock, 1, directory)

    def post(self, *arguments: str) -> Any:
        request: Any = Request(*arguments)
        return self.hooks.receiver.render_POST(request), request.status

    def test_each_message_must_have_an_event_and_one_id(self) -> None:
        self.hooks.receiver.faulty = False
        self.assertEqual(sum(self.hooks.wrong.values()), 1)  # nothing was sent
        self.hooks.stored = {("m1", "absent1"), ("m2", "absent1")}
        self.post("e1", "m1")
        self.post("e1", "m1")
        self.post("e9", "m2", "message.undelivered")
        self.assertEqual([count for count in self.hooks.wrong.values() if count], [1])
        self.post("e2", "m2")
        self.assertEqual(sum(self.hooks.wrong.values()), 0)
        self.post("e3", "m2")
        self.assertEqual([count for count in self.hooks.wrong.values() if count], [1])

    def test_the_receiver_fails_in_each_way_and_takes_what_it_answers(self) -> None:
        answers = [self.post(f"e{number}", f"m{number}") for number in range(500)]
        self.assertEqual({status for _, status in answers}, {0, 204, 500, 503})
        self.assertGreater(self.hooks.receiver.faults, 50)
        taken = len(self.hooks.receiver.ids)
        self.assertGreaterEqual(taken, sum(status == 204 for _, status in answers))
        self.assertLess(taken, 500)
        self.assertIn((NOT_DONE_YET, 0), answers)
        self.clock.advance(2)
