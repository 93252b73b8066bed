"""Places in a pool: bounded in all and by address; who has proved nothing gives way, the oldest first."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.pool import Place, Pool


class Client:
    """Has a place."""

    def __init__(self, name: str = "", proved: bool = False) -> None:
        self.name = name
        self.proved = proved
        self.gone = False

    def give_way(self) -> None:
        self.gone = True


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.full: Counter[str] = Counter()
        self.evicted: Counter[str] = Counter()
        self.pool = Pool("places", limit=4, limit_per_address=2, full=self.full, evicted=self.evicted)

    def enter(self, address: str, proved: bool = False) -> tuple[Client, Place]:
        self.assertTrue(self.pool.has_room(address))
        client = Client(proved=proved)
        return client, self.pool.enter(client, address)

    def test_the_oldest_newcomer_gives_way(self) -> None:
        clients = [self.enter(f"{number}")[0] for number in range(6)]
        self.assertEqual([client.gone for client in clients], [True, True, False, False, False, False])
        self.assertEqual((self.pool.taken, self.evicted, self.full), (4, {"places": 2}, {}))

    def test_who_has_come_back_gives_way_later_and_who_was_heard_of_last_the_last(self) -> None:
        (first, one), (second, two), (third, _), (fourth, _) = (self.enter(f"{number}") for number in range(4))
        self.pool.returned(one)
        self.pool.returned(two)
        self.pool.returned(one)
        gone = []
        for number in range(4):
            self.enter(f"new {number}", proved=True)
            gone.append([client.gone for client in (first, second, third, fourth)])
        self.assertEqual(
            gone,
            [
                [False, False, True, False],
                [False, False, True, True],
                [False, True, True, True],
                [True, True, True, True],
            ],
        )

    def test_who_has_proved_itself_never_does(self) -> None:
        clients = [self.enter(f"{number}")[0] for number in range(4)]
        for client in clients:
            client.proved = True
        for _ in range(3):
            self.assertFalse(self.pool.has_room("new"))
        self.assertEqual((self.full, self.evicted), ({"places": 3}, {}))
        self.assertFalse(any(client.gone for client in clients))

    def test_an_address_that_is_full_takes_from_itself_alone(self) -> None:
        other, _ = self.enter("other")
        own = [self.enter("own")[0] for _ in range(5)]
        self.assertEqual([client.gone for client in own], [True, True, True, False, False])
        self.assertFalse(other.gone)
        self.assertEqual((self.pool.taken, self.pool.of("own")), (3, 2))
        own[3].proved = own[4].proved = True
        self.assertFalse(self.pool.has_room("own"))
        self.assertEqual((self.full, self.evicted), ({"places_per_address": 1}, {"places_per_address": 3}))
        self.assertTrue(self.pool.has_room("new"))

    def test_nobody_s_address_has_no_bound_of_its_own(self) -> None:
        for _ in range(4):
            self.enter("")
        self.assertEqual((self.pool.taken, self.evicted), (4, {}))

    def test_an_address_that_becomes_known_counts_from_then_on(self) -> None:
        (_, one), (_, two), (third, three) = self.enter("", True), self.enter("", True), self.enter("", True)
        self.assertTrue(self.pool.move(one, "a"))
        self.assertTrue(self.pool.move(two, "a"))
        self.assertFalse(self.pool.move(three, "a"))
        self.assertEqual((self.pool.of("a"), three.address, self.full), (2, "", {"places_per_address": 1}))
        self.assertTrue(self.pool.move(one, "b"))
        self.assertTrue(self.pool.move(three, "a"))
        self.assertFalse(third.gone)

    def test_a_place_is_left_once(self) -> None:
        client, place = self.enter("a")
        self.assertTrue(self.pool.leave(place))
        self.assertFalse(self.pool.leave(place))
        self.assertFalse(self.pool.move(place, "b"))
        self.pool.returned(place)
        self.assertEqual((self.pool.taken, self.pool.of("a"), client.gone), (0, 0, False))


class AnyCourse(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool("places", limit=6, limit_per_address=3, full=Counter(), evicted=Counter())
        self.places: list[tuple[Client, Place]] = []

    @rule(address=st.sampled_from(["", "a", "b", "c"]))
    def enters(self, address: str) -> None:
        if self.pool.has_room(address):
            client = Client()
            self.places.append((client, self.pool.enter(client, address)))

    @rule(number=st.integers(0, 9), address=st.sampled_from(["", "a", "b", "c"]), what=st.sampled_from("prml"))
    def happens(self, number: int, address: str, what: str) -> None:
        if number < len(self.places):
            client, place = self.places[number]
            if what == "p":
                client.proved = True
            elif what == "r":
                self.pool.returned(place)
            elif what == "m":
                self.pool.move(place, address)
            else:
                self.pool.leave(place)
                client.gone = True

    @invariant()
    def holds(self) -> None:
        self.places = [one for one in self.places if not one[0].gone]
        assert self.pool.taken == len(self.places) <= 6
        for address in "abc":
            assert self.pool.of(address) == sum(place.address == address for _, place in self.places) <= 3
        for rank in (0, 1):
            queued = set(self.pool._queues[rank])
            assert queued <= {place for _, place in self.places}
            by_address = {place for queue in self.pool._by_address[rank].values() for place in queue}
            assert by_address == {place for place in queued if place.address}


class AnyCourseTests(SynchronousTestCase):
    def test_the_bounds_hold_and_nothing_is_kept_of_places_that_were_left(self) -> None:
        run_state_machine_as_test(AnyCourse)
