"""What all clients together may make a daemon hold; beyond it the largest holder is ended."""

from __future__ import annotations

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from kschat.budget import Budget


class Client:
    """Holds bytes."""

    def __init__(self, budget: Budget, address: str = "a") -> None:
        self.budget = budget
        self.held_for = address
        self.real = 0
        self.ended = False

    def hold(self, size: int, real: int | None = None) -> None:
        self.real = size if real is None else real
        self.budget.set(self, size)

    def measure(self) -> int:
        return self.real

    def end_largest(self) -> None:
        self.ended = True
        self.budget.set(self, 5)  # its last words


class BudgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.evicted: Counter[str] = Counter()
        self.budget = Budget(1000, self.evicted)

    def test_below_the_limit_nobody_is_ended(self) -> None:
        clients = [Client(self.budget) for _ in range(10)]
        for client in clients:
            client.hold(100)
        self.assertEqual(self.budget.held, 1000)
        for client in clients:
            client.hold(0)
        self.assertEqual((self.budget.held, self.budget._sizes, self.evicted), (0, {}, {}))

    def test_beyond_it_the_largest_is(self) -> None:
        clients = [Client(self.budget) for _ in range(3)]
        for client, size in zip(clients, (300, 400, 301), strict=True):
            client.hold(size)
        self.assertEqual([client.ended for client in clients], [False, True, False])
        self.assertEqual((self.budget.held, self.evicted), (601, {"buffered": 1}))

    def test_so_many_that_there_is_room_again(self) -> None:
        clients = [Client(self.budget) for _ in range(11)]
        for client in clients:
            client.hold(100)
        self.assertEqual((self.budget.held, sum(client.ended for client in clients)), (900, 2))

    def test_many_small_ones_of_one_address_go_before_a_larger_one_of_another(self) -> None:
        other = Client(self.budget, "b")
        other.hold(200)
        flood = [Client(self.budget) for _ in range(100)]
        for client in flood:
            client.hold(10)
        self.assertFalse(other.ended)
        self.assertGreater(sum(client.ended for client in flood), 0)
        self.assertLessEqual(self.budget.held, 1000)

    def test_what_has_left_meanwhile_does_not_count(self) -> None:
        reads, does_not = Client(self.budget), Client(self.budget)
        reads.hold(900, real=0)
        does_not.hold(300)
        self.assertEqual((reads.ended, does_not.ended, self.budget.held), (False, False, 300))

    def test_the_one_that_asks_may_be_the_largest(self) -> None:
        client = Client(self.budget)
        client.hold(2000)
        self.assertTrue(client.ended)
        self.assertEqual(self.budget.held, 0)

    def test_what_nobody_can_be_ended_for_counts_all_the_same(self) -> None:
        client = Client(self.budget)
        client.hold(100)
        self.budget.add(1000)
        client.hold(101)
        self.assertTrue(client.ended)
        self.budget.add(-1000)
        self.assertEqual(self.budget.held, 0)
