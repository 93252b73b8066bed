"""Questions to all daemons: how long they wait for the answers."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.cluster_commands import SocketsRequest, StatusRequest
from kschat.chat.inquiries import INQUIRY_WAIT, Answers, Inquiries


class CountingBus:
    """A bus that counts daemons when the test says so."""

    def __init__(self) -> None:
        self.up = True
        self.counted: Deferred[int | None] = Deferred()
        self.ids: list[str] = []

    def publish_all(self, command: StatusRequest) -> None:
        self.ids.append(command.id)

    def ask(self, user: str, command: SocketsRequest) -> Deferred[int | None]:
        self.ids.append(command.id)
        return self.counted

    def daemons(self) -> Deferred[int | None]:
        return self.counted


class InquiryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.bus = CountingBus()
        bus: Any = self.bus
        self.inquiries = Inquiries(self.clock, bus)
        self.asked = Deferred.fromCoroutine(self.inquiries.ask(StatusRequest))

    def test_it_ends_with_the_last_answer(self) -> None:
        self.bus.counted.callback(3)
        self.inquiries.answered(self.bus.ids[0], "one")
        self.assertNoResult(self.asked)
        self.inquiries.answered(self.bus.ids[0], "two")
        self.assertEqual(self.successResultOf(self.asked), Answers(["one", "two"], True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_it_waits_no_longer_for_daemons_that_are_silent(self) -> None:
        self.bus.counted.callback(3)
        self.inquiries.answered(self.bus.ids[0], "one")
        self.clock.advance(INQUIRY_WAIT)
        self.assertEqual(self.successResultOf(self.asked), Answers(["one"], False))

    def test_it_waits_no_longer_for_a_bus_that_is_silent(self) -> None:
        self.inquiries.answered(self.bus.ids[0], "one")
        self.clock.advance(INQUIRY_WAIT)
        self.assertEqual(self.successResultOf(self.asked), Answers(["one"], False))
        self.bus.counted.callback(2)

    def test_without_a_number_of_daemons_it_is_over_at_once(self) -> None:
        self.bus.counted.callback(None)
        self.assertEqual(self.successResultOf(self.asked), Answers([], False))

    def test_daemons_that_have_a_user_are_asked_alone(self) -> None:
        self.bus.counted = succeed(1)
        asked = Deferred.fromCoroutine(self.inquiries.ask_about("ann", SocketsRequest))
        self.inquiries.answered(self.bus.ids[1], "one")
        self.assertEqual(self.successResultOf(asked), Answers(["one"], True))

    def test_a_bus_that_is_down_does_not_know_who_has_the_user(self) -> None:
        self.bus.up = False
        self.bus.counted = succeed(0)
        asked = Deferred.fromCoroutine(self.inquiries.ask_about("ann", SocketsRequest))
        self.assertEqual(self.successResultOf(asked), Answers([], False))
