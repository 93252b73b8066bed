"""Token buckets: what is taken, when there is more, and that the tables forget what is like new."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.counters import Counters
from kschat.rates import MIN_REFUSALS, MULTIPLE, AddressLimits, Bucket, Rate, RateSettings, Subjects


class TestRate(SynchronousTestCase):
    def setUp(self) -> None:
        self.bucket = Bucket()
        self.now = 1_000_000.0

    def taken(self, rate: Rate, tries: int = 1000) -> int:
        return sum(not rate.take(self.bucket, self.now) for _ in range(tries))

    def test_a_burst_and_then_the_average(self) -> None:
        rate = Rate("r", 5, 10)
        self.assertEqual(self.taken(rate), 50)
        for _ in range(3):
            self.now += 1
            self.assertEqual(self.taken(rate), 5)
        self.now += 3600
        self.assertEqual(self.taken(rate), 50)

    def test_what_waits_as_long_as_it_is_told_is_taken(self) -> None:
        rate = Rate("r", 2, 2)
        self.taken(rate)
        wait = rate.take(self.bucket, self.now)
        self.assertAlmostEqual(wait, 0.5)
        self.now += wait - 0.01
        self.assertTrue(rate.take(self.bucket, self.now))
        self.now += 0.01
        self.assertFalse(rate.take(self.bucket, self.now))

    def test_a_limit_below_one_in_a_burst_lets_one_pass(self) -> None:
        rate = Rate("r", 0.01, 10)
        self.assertEqual(self.taken(rate), 1)
        self.now += 99
        self.assertEqual(self.taken(rate), 0)
        self.now += 1
        self.assertEqual(self.taken(rate), 1)

    def test_another_limit_holds_from_then_on_and_debts_stay(self) -> None:
        rate = Rate("r", 0, 10, 128)
        self.assertEqual(self.taken(rate, 1000), 1000)
        rate.use(5, 10)
        self.assertEqual(self.taken(rate), 50)
        rate.use(50, 10)
        self.assertEqual(self.taken(rate), 0)
        self.now += 1
        self.assertEqual(self.taken(rate), 50)
        self.assertEqual(rate.lease, 7)
        rate.use(0, 10)
        self.assertEqual(self.taken(rate, 1000), 1000)

    def test_no_limit(self) -> None:
        self.assertEqual(self.taken(Rate("r", 0, 10), 100_000), 100_000)

    def test_more_than_a_burst_is_taken_of_a_full_bucket_and_paid_for(self) -> None:
        rate = Rate("r", 100, 1)
        self.assertFalse(rate.take(self.bucket, self.now, 1000))
        self.assertAlmostEqual(rate.take(self.bucket, self.now, 1), 9.01, places=3)
        self.assertAlmostEqual(rate.take(self.bucket, self.now, 1000), 10, places=3)
        self.now += 10
        self.assertFalse(rate.take(self.bucket, self.now, 1000))

    def test_what_was_done_already_is_a_debt(self) -> None:
        rate = Rate("r", 10, 1)
        rate.charge(self.bucket, self.now, 30)
        self.assertAlmostEqual(rate.wait(self.bucket, self.now), 2)
        self.now += 2
        self.assertFalse(rate.wait(self.bucket, self.now))

    def test_what_is_given_back_can_be_taken_again(self) -> None:
        rate = Rate("r", 10, 1)
        self.assertFalse(rate.take(self.bucket, self.now, 10))
        rate.give_back(self.bucket, 4)
        self.assertEqual(self.taken(rate), 4)

    def test_a_multiple_of_the_limit_is_told(self) -> None:
        for per_second, most in ((1000, (MULTIPLE - 1) * 1000), (1, MIN_REFUSALS)):
            rate, bucket, refused = Rate("r", per_second, 10), Bucket(), 0
            while not rate.is_overrun(bucket, self.now):
                refused += 1
            self.assertEqual(refused, most)

    def test_the_first_that_is_refused_is_no_multiple_however_large(self) -> None:
        rate = Rate("r", 10, 1)
        self.assertFalse(rate.is_overrun(self.bucket, self.now, 10_000))
        self.assertTrue(rate.is_overrun(self.bucket, self.now, 1))

    def test_one_that_tries_for_less_than_a_multiple_is_never_told_so(self) -> None:
        rate, done, refused = Rate("r", 10, 1), 0, 0
        for _ in range(10_000):
            self.now += 0.04  # 25 a second
            if rate.take(self.bucket, self.now):
                refused += 1
                self.assertFalse(rate.is_overrun(self.bucket, self.now))
            else:
                done += 1
        self.assertEqual(done // 10, 400)
        self.assertEqual(done + refused, 10_000)

    def test_what_is_taken_ahead_is_a_small_part_of_a_burst(self) -> None:
        self.assertEqual([Rate("r", rate, 10, 32).lease for rate in (0.1, 1, 64, 10_000)], [1, 1, 10, 32])


class _Subject:
    def __init__(self) -> None:
        self.full = True
        self.held = 0

    def may_be_forgotten(self, now: float) -> bool:
        return self.full and not self.held


class TestSubjects(SynchronousTestCase):
    def test_those_like_new_ones_are_forgotten(self) -> None:
        table = Subjects(_Subject)
        for number in range(10_000):
            table.get(str(number), 0)
        self.assertLess(len(table), 5)

    def test_those_that_are_not_stay_until_there_are_too_many(self) -> None:
        table = Subjects(_Subject, 100)
        first = table.get("first", 0)
        first.held = 1
        for number in range(1000):
            table.get(str(number), 0).full = False
        self.assertLessEqual(len(table), 101)
        self.assertIs(table.get("first", 0), first)


class TestAddresses(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.counters = Counters()

    def limits(self, **settings: float) -> AddressLimits:
        rates: Any = {"burst": 2.0, **settings}
        return AddressLimits(RateSettings(**rates), self.clock.seconds, self.counters)

    def test_handshakes(self) -> None:
        limits = self.limits(address_handshakes=5)
        self.assertEqual([limits.handshake("192.0.2.7") for _ in range(10)], [0.0] * 10)
        self.assertAlmostEqual(limits.handshake("192.0.2.7"), 0.2)
        self.assertEqual(limits.handshake("192.0.2.8"), 0.0)
        self.assertEqual(self.counters.limited, {"address_handshakes": 1})
        self.clock.advance(0.2)
        self.assertEqual(limits.handshake("192.0.2.7"), 0.0)

    def test_nobody_s_address_has_no_limits(self) -> None:
        limits = self.limits(address_handshakes=1, address_joins=1, address_failed_tokens=1)
        for _ in range(10):
            limits.failed_token("")
            self.assertFalse(limits.handshake("") or limits.join(""))

    def test_joins(self) -> None:
        limits = self.limits(address_joins=1)
        self.assertEqual([bool(limits.join("192.0.2.7")) for _ in range(3)], [False, False, True])
        self.assertEqual(self.counters.limited, {"address_joins": 1})

    def test_failed_tokens_keep_an_address_from_joining_and_no_other(self) -> None:
        limits = self.limits(address_failed_tokens=1)
        joined = 0
        while not limits.join("192.0.2.7"):
            limits.failed_token("192.0.2.7")
            joined += 1
            self.assertLess(joined, 100)
        self.assertEqual(joined, 3)
        self.assertFalse(limits.join("192.0.2.8"))
        self.assertEqual(self.counters.limited, {"address_failed_tokens": 1})
        self.clock.advance(2)
        self.assertFalse(limits.join("192.0.2.7"))

    def test_no_limits(self) -> None:
        limits = self.limits()
        for _ in range(1000):
            limits.failed_token("192.0.2.7")
            self.assertFalse(limits.join("192.0.2.7") or limits.handshake("192.0.2.7"))
