"""A daemon that serves and can't do what it is for says so."""

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.readiness import LOOK_EVERY, START_PATIENCE, ReadyNotice


class TestReadyNotice(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.parts = {"the store": True, "RabbitMQ": True}
        self.notice = ReadyNotice(lambda: self.parts, self.clock)

    def lines(self, seconds: float) -> list[str]:
        with capturedLogs() as events:
            self.clock.advance(seconds)
        return [formatEvent(event) for event in events]

    def test_where_all_can_be_used_nothing_is_said_and_nobody_looks_again(self):
        self.notice.startService()
        self.assertEqual(self.lines(START_PATIENCE), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_missing_is_said_once_and_that_it_is_there_too(self):
        self.parts["RabbitMQ"] = False
        self.notice.startService()
        (line,) = self.lines(START_PATIENCE)
        self.assertIn("not ready: RabbitMQ can't be used", line)
        self.assertIn("kschat check-config --connect", line)
        self.assertEqual(self.lines(LOOK_EVERY), [])
        self.parts["RabbitMQ"] = True
        self.assertEqual(self.lines(LOOK_EVERY), ["ready: all parts of this daemon can be used"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_daemon_that_ends_says_nothing(self):
        self.parts["RabbitMQ"] = False
        self.notice.startService()
        self.notice.stopService()
        self.assertEqual(self.lines(START_PATIENCE), [])
