"""The limit of descriptors: raised at the start, and connections bounded below it."""

from __future__ import annotations

import resource
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.descriptors import RESERVED, connections_within, raise_limit


class Within(SynchronousTestCase):
    def test_what_is_wanted_where_there_is_room(self) -> None:
        self.assertEqual(connections_within(10_150, wanted=10_000, forwards=0), 10_000)
        self.assertEqual(connections_within(15_150, wanted=10_000, forwards=5000), 10_000)

    def test_less_where_there_is_not(self) -> None:
        self.assertEqual(connections_within(1024, wanted=10_000, forwards=0), 1024 - RESERVED)
        self.assertEqual(connections_within(1024, wanted=10_000, forwards=5000), (1024 - RESERVED) // 2)
        self.assertEqual(connections_within(1024, wanted=10_000, forwards=100), 1024 - RESERVED - 100)
        self.assertEqual(connections_within(1024, wanted=10_000, forwards=0, questions=50), 1024 - RESERVED - 50)
        self.assertEqual(connections_within(10, wanted=10_000, forwards=0), 0)

    @given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 10**6))
    def test_never_more_than_the_limit_holds(self, limit: int, wanted: int, forwards: int) -> None:
        found = connections_within(limit, wanted=wanted, forwards=forwards)
        self.assertLessEqual(found, wanted)
        self.assertLessEqual(found + min(found, forwards) + RESERVED, max(limit, RESERVED))


class Raising(SynchronousTestCase):
    def test_the_soft_limit_becomes_the_hard_one(self) -> None:
        code = (
            "import resource; from kschat.front.descriptors import raise_limit; "
            "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 500)); "
            "print(raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))"
        )
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual(printed.stdout.strip(), "500 (500, 500)")

    def test_a_system_that_refuses_leaves_it(self) -> None:
        def refuse(*_: object) -> None:
            raise ValueError("not allowed to raise maximum limit")

        self.patch(resource, "setrlimit", refuse)
        self.patch(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
        self.assertEqual(raise_limit(), 256)

    def test_no_limit_is_a_large_one(self) -> None:
        self.patch(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.assertGreater(raise_limit(), 10**9)
