"""One alarm clock for all: when it rings, and for whom."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.timers import COARSE, SLOTS_A_SECOND, TimerWheel

WIDTH = 1 / SLOTS_A_SECOND
NOW = 1_700_000_000.0


class Sleeper:
    """Progress when it was woken."""

    slot: int | None = None

    def __init__(self, clock: Clock, then: Callable[[], None] | None = None) -> None:
        self.clock = clock
        self.then = then
        self.woken: list[float] = []

    def alarm(self) -> None:
        self.woken.append(self.clock.seconds())
        if self.then is not None:
            self.then()


class Wary(Clock):
    """Takes no more than three calls."""

    asked = 0

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:  # noqa: A002
        self.asked += 1
        assert self.asked <= 3, "the reactor would spin"
        return super().callLater(delay, callable, *args, **kw)


class Alarming(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.timers = TimerWheel(self.clock)

    def sleeper(self, then: Callable[[], None] | None = None) -> Sleeper:
        return Sleeper(self.clock, then)

    def step(self, seconds: float, size: float = 0.001) -> None:
        for _ in range(round(seconds / size)):
            self.clock.advance(size)

    def test_a_sleeper_is_woken_once_and_on_time(self) -> None:
        for seconds in (0, 0.001, 0.01, 0.0149, 0.02, 0.1, 0.29, 0.57, 1, 2.5, 2.503):
            sleeper = self.sleeper()
            before = self.clock.seconds()
            self.timers.schedule(sleeper, seconds)
            self.step(seconds + 2 * COARSE * WIDTH)
            (woken,) = sleeper.woken
            self.assertGreaterEqual(woken - before, seconds - 0.0011, seconds)
            self.assertLessEqual(woken - before, seconds + WIDTH * (COARSE if seconds >= 1 else 1) + 0.0011, seconds)
            self.assertIsNone(sleeper.slot)

    def test_many_that_sleep_long_share_few_slots(self) -> None:
        for number in range(1000):
            self.timers.schedule(self.sleeper(), 25 + number / 10_000)
        self.assertLessEqual(len(self.timers._slots), 12)

    def test_of_two_alarms_that_follow_one_another_the_second_is_on_time_though_the_first_was_late(self) -> None:
        """A ping after 300 ms, and 200 ms for its answer: a client that asks after 500 ms must find the end."""
        for late in (0.001, 0.005, 0.09):
            second = self.sleeper()
            first = self.sleeper(lambda second=second: self.timers.schedule(second, 0.2))  # type: ignore[misc]
            begun = self.clock.seconds()
            self.timers.schedule(first, 0.3)
            self.clock.advance(0.3 + late)
            self.step(0.3)
            self.assertLess(abs(second.woken[0] - begun - 0.5), 0.002)

    def test_after_a_reactor_that_was_very_late_everybody_has_the_whole_time(self) -> None:
        sleeper = self.sleeper(lambda: self.timers.schedule(sleeper, 0.2))
        self.timers.schedule(sleeper, 0.3)
        self.clock.advance(5)
        self.assertEqual(len(sleeper.woken), 1)
        self.clock.advance(0.19)
        self.assertEqual(len(sleeper.woken), 1)

    def test_it_catches_up_before_its_timer_when_asked(self) -> None:
        """A reactor that was held up looks at its sockets first."""
        late, later = self.sleeper(), self.sleeper()
        self.timers.schedule(late, 0.3)
        self.timers.schedule(later, 0.5)
        self.timers.catch_up()
        self.assertEqual(late.woken, [])
        self.clock.rightNow += 0.4
        self.timers.catch_up()
        self.assertEqual((len(late.woken), later.woken), (1, []))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0.2)
        self.assertEqual((len(late.woken), len(later.woken)), (1, 1))

    def test_to_catch_up_from_within_an_alarm_is_nothing(self) -> None:
        second = self.sleeper()
        first = self.sleeper(self.timers.catch_up)
        self.timers.schedule(first, 0.1)
        self.timers.schedule(second, 0.1)
        self.clock.advance(0.2)
        self.assertEqual((len(first.woken), len(second.woken)), (1, 1))

    def test_who_sleeps_no_time_again_and_again_does_not_keep_the_others_asleep(self) -> None:
        sleeper = self.sleeper(lambda: self.timers.schedule(sleeper, 0))
        self.timers.schedule(sleeper, 0)
        self.clock.advance(0.005)
        self.assertLess(len(sleeper.woken), 10)

    def test_a_new_time_replaces_the_one_before(self) -> None:
        for first, second in ((1, 2), (2, 1), (1, 1), (1, 1.001)):
            sleeper = self.sleeper()
            self.timers.schedule(sleeper, first)
            self.timers.schedule(sleeper, second)
            self.assertEqual(len(self.timers), 1)
            self.clock.advance(second - 0.1)
            self.assertEqual(sleeper.woken, [])
            self.clock.advance(5)
            self.assertEqual(len(sleeper.woken), 1)

    def test_who_is_cancelled_is_not_woken(self) -> None:
        sleeper, other = self.sleeper(), self.sleeper()
        self.timers.schedule(sleeper, 1)
        self.timers.schedule(other, 1)
        self.timers.cancel(sleeper)
        self.assertEqual(len(self.timers), 1)
        self.clock.advance(2)
        self.assertEqual((len(sleeper.woken), len(other.woken)), (0, 1))

    def test_to_cancel_who_does_not_wait_is_nothing(self) -> None:
        sleeper = self.sleeper()
        self.timers.cancel(sleeper)
        self.timers.schedule(sleeper, 1)
        self.clock.advance(2)
        self.timers.cancel(sleeper)
        self.timers.cancel(sleeper)
        self.assertEqual(len(sleeper.woken), 1)

    def test_each_is_woken_in_the_order_of_their_times(self) -> None:
        order: list[int] = []
        for number in (3, 1, 2, 5, 4):
            self.timers.schedule(self.sleeper(lambda number=number: order.append(number)), number)  # type: ignore[misc]
        self.clock.advance(10)
        self.assertEqual(order, [1, 2, 3, 4, 5])

    def test_one_timer_waits_for_all(self) -> None:
        for number in range(1000):
            self.timers.schedule(self.sleeper(), 1 + number / 7)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_sleeper_may_sleep_again_when_woken(self) -> None:
        sleeper = self.sleeper(lambda: self.timers.schedule(sleeper, 1))
        self.timers.schedule(sleeper, 1)
        self.step(10.5, 0.1)
        self.assertEqual(len(sleeper.woken), 9)
        self.timers.cancel(sleeper)
        self.clock.advance(10)
        self.assertEqual(len(sleeper.woken), 9)

    def test_who_fails_when_woken_does_not_keep_the_others_asleep(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        bad, good, later = self.sleeper(fail), self.sleeper(), self.sleeper()
        for sleeper, seconds in ((bad, 1), (good, 1), (later, 2)):
            self.timers.schedule(sleeper, seconds)
        self.clock.advance(1.5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(good.woken), 1)
        self.clock.advance(1)
        self.assertEqual(len(later.woken), 1)

    def test_who_is_cancelled_by_one_of_the_same_slot_is_not_woken(self) -> None:
        first, second = self.sleeper(lambda: self.timers.cancel(second)), self.sleeper()
        self.timers.schedule(first, 1)
        self.timers.schedule(second, 1)
        self.clock.advance(2)
        self.assertEqual((len(first.woken), len(second.woken)), (1, 0))

    def test_who_is_put_off_by_one_of_the_same_slot_is_woken_at_the_new_time_alone(self) -> None:
        first, second = self.sleeper(lambda: self.timers.schedule(second, 5)), self.sleeper()
        self.timers.schedule(first, 1)
        self.timers.schedule(second, 1)
        self.clock.advance(2)
        self.assertEqual((len(first.woken), len(second.woken)), (1, 0))
        self.assertEqual(len(self.timers), 1)
        self.clock.advance(6)
        self.assertEqual(len(second.woken), 1)

    def test_who_was_put_off_so_can_still_be_cancelled(self) -> None:
        first, second = self.sleeper(lambda: self.timers.schedule(second, 5)), self.sleeper()
        self.timers.schedule(first, 1)
        self.timers.schedule(second, 1)
        self.clock.advance(2)
        self.timers.cancel(second)
        self.clock.advance(10)
        self.assertEqual(second.woken, [])
        self.assertEqual(len(self.timers), 0)

    def test_a_late_reactor_wakes_all_whose_time_has_come_at_once(self) -> None:
        sleepers = [self.sleeper() for _ in range(50)]
        for number, sleeper in enumerate(sleepers):
            self.timers.schedule(sleeper, number / 10)
        self.clock.advance(100)
        self.assertEqual([len(sleeper.woken) for sleeper in sleepers], [1] * 50)

    def test_it_rings_on_time_wherever_the_clock_stands(self) -> None:
        """A slot's number times its width is not always the time that the slot was made from; nobody must spin."""
        for start in (0.0, 1.1, 1_700_000_000.29, 1e5 + 1 / 3):
            clock = Wary()
            clock.advance(start)
            timers = TimerWheel(clock)
            for hundredth in range(1, 200):
                sleeper = Sleeper(clock)
                clock.asked = 0
                timers.schedule(sleeper, hundredth / 100)
                while not sleeper.woken:
                    (call,) = clock.getDelayedCalls()
                    clock.advance(max(call.getTime() - clock.seconds(), 0))

    def test_cancelled_times_do_not_pile_up(self) -> None:
        """As of one who answers every ping at once, for a day."""
        sleeper = self.sleeper()
        for _ in range(24 * 60):
            self.timers.schedule(sleeper, 45)
            self.clock.advance(60)
            self.timers.schedule(sleeper, 45)
        self.assertLess(len(self.timers._slots), 10)
        self.assertLess(len(self.timers._order), 10)

    @settings(max_examples=200)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["schedule", "cancel", "advance"]), st.integers(0, 4), st.integers(0, 400)),
            max_size=40,
        )
    )
    def test_whatever_is_asked_each_is_woken_when_last_asked(self, steps: list[tuple[str, int, int]]) -> None:
        clock = Clock()
        clock.advance(NOW)
        timers = TimerWheel(clock)
        sleepers = [Sleeper(clock) for _ in range(5)]
        due: dict[int, float] = {}
        for what, which, hundredths in [*steps, ("advance", 0, 500)]:
            if what == "schedule":
                timers.schedule(sleepers[which], hundredths / 100)
                due[which] = clock.seconds() + hundredths / 100
            elif what == "cancel":
                timers.cancel(sleepers[which])
                due.pop(which, None)
            else:
                clock.advance(hundredths / 100)
                for number, sleeper in enumerate(sleepers):
                    time = due.get(number)
                    if sleeper.woken:
                        self.assertIsNotNone(time)
                        assert time is not None
                        self.assertGreaterEqual(clock.seconds(), time)
                        del due[number]
                        sleeper.woken.clear()
                    elif time is not None:
                        self.assertLess(clock.seconds(), time + WIDTH + 0.001)
        self.assertEqual((due, len(timers)), ({}, 0))
