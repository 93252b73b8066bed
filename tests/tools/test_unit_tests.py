"""What `make unit` runs needs no service; what does is left out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tools.unit_tests import modules


class TestModules(SynchronousTestCase):
    def test_what_needs_nothing_is_in(self) -> None:
        found = modules()
        for name in ("tests.wire.test_session", "tests.chat.test_inbox", "tests.test_config"):
            self.assertIn(name, found)

    def test_what_needs_a_service_is_not(self) -> None:
        for name in modules():
            self.assertFalse(name.startswith("tests.e2e."), name)
        for name in ("tests.backends.test_redis", "tests.backends.test_amqp", "tests.test_tap", "tests.test_packaging"):
            self.assertNotIn(name, modules())

    def test_the_more_part_needs_nothing(self) -> None:
        self.assertGreater(len(modules()), 60)
