"""What every router must do. A backend's own tests mix these in and say how one is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from kschat.chat.interfaces import IRouter, RouterEvent, RouterUnavailable, Stored
from tests.contracts.made import awkward_messages, message, stored

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase
else:
    TestCase = object


class Arrivals:
    """Takes what a router delivers."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Stored]] = []
        self.sockets: list[str | None] = []
        self.events: list[RouterEvent] = []
        self.missed_users: list[str] = []
        self._waiting: list[tuple[RouterEvent, Deferred[None]]] = []

    def deliver(self, batch: Sequence[Stored], socket: str | None = None) -> None:
        self.batches.append(list(batch))
        self.sockets.append(socket)

    def missed(self, users: Iterable[str]) -> None:
        self.missed_users += users

    def on_router_event(self, event: RouterEvent, socket: str | None = None) -> None:
        self.events.append(event)
        waiting, self._waiting = self._waiting, []
        for wanted, fires in waiting:
            if wanted is event:
                fires.callback(None)
            else:
                self._waiting.append((wanted, fires))

    def next(self, event: RouterEvent) -> Deferred[None]:
        """Fires when the router says this."""
        fires: Deferred[None] = Deferred()
        self._waiting.append((event, fires))
        return fires

    @property
    def all(self) -> list[Stored]:
        """All that arrived, in order, batches apart from each other or not."""
        return [one for batch in self.batches for one in batch]

    def of(self, user: str) -> list[Stored]:
        """What arrived for one user, in order."""
        return [one for one in self.all if one.message.recipient == user]


class RouterContract(TestCase):
    """Mixed into a ``TestCase``. Each test gets a router to which nobody is bound."""

    async def make_router(self) -> IRouter:
        """A router that works, to which nothing is attached. Who makes it cleans up after it."""
        raise NotImplementedError

    async def settle(self) -> None:
        """Fires when all that was published has arrived, and what was unbound is."""

    async def attached(self, *users: str) -> tuple[IRouter, Arrivals]:
        """A router, and what arrives there for ``users``."""
        router, arrivals = await self.make_router(), Arrivals()
        router.attach(arrivals)
        for user in users:
            await router.bind(user, user)
        return router, arrivals

    async def test_it_provides_the_interface(self) -> None:
        self.assertTrue(verifyObject(IRouter, await self.make_router()))

    async def test_a_message_arrives_where_its_recipient_is_bound(self) -> None:
        router, arrivals = await self.attached("ben")
        batch = stored("ben")
        self.assertEqual(await router.publish(batch, exact=True), [True])
        await self.settle()
        self.assertEqual(arrivals.all, batch)

    async def test_a_message_to_nobody_bound_does_not_arrive_and_is_said_so(self) -> None:
        router, arrivals = await self.attached("ben")
        self.assertEqual(await router.publish(stored("cem"), exact=True), [False])
        await self.settle()
        self.assertEqual(arrivals.all, [])

    async def test_a_sender_being_bound_is_nothing_to_its_recipient(self) -> None:
        router, arrivals = await self.attached("ann")
        self.assertEqual(await router.publish(stored("ben", sender="ann"), exact=True), [False])
        await self.settle()
        self.assertEqual(arrivals.all, [])

    async def test_there_is_a_word_on_each_message_in_the_order_of_the_batch(self) -> None:
        router, arrivals = await self.attached("ben", "cem")
        batch = stored("dan", "ben", "dan", "dan", "cem", "ben", "eve")
        self.assertEqual(await router.publish(batch, exact=True), [False, True, False, False, True, True, False])
        await self.settle()
        self.assertEqual(arrivals.of("ben"), [batch[1], batch[5]])
        self.assertEqual(arrivals.of("cem"), [batch[4]])
        self.assertEqual(len(arrivals.all), 3)

    async def test_a_batch_arrives_in_its_order(self) -> None:
        router, arrivals = await self.attached("ben", "cem")
        batch = stored(*["ben", "cem", "ben", "ben"] * 25)
        await router.publish(batch)
        await self.settle()
        self.assertEqual(arrivals.all, batch)

    async def test_batches_that_do_not_wait_for_each_other_arrive_in_order(self) -> None:
        router, arrivals = await self.attached("ben")
        batches = [stored("ben", "ben") for _ in range(30)]
        answers = await gatherResults([router.publish(batch, exact=True) for batch in batches])
        self.assertEqual(answers, [[True, True]] * 30)
        await self.settle()
        self.assertEqual(arrivals.all, [one for batch in batches for one in batch])

    async def test_a_batch_to_many_users_arrives_once_for_each(self) -> None:
        users = [f"user {number}" for number in range(700)]
        router, arrivals = await self.attached(*users[::2])
        batch = stored(*users)
        self.assertEqual(await router.publish(batch, exact=True), [True, False] * 350)
        await self.settle()
        self.assertEqual(arrivals.all, batch[::2])

    async def test_nothing_arrives_once_a_user_is_unbound(self) -> None:
        router, arrivals = await self.attached("ben", "cem")
        router.unbind("ben", "ben")
        await self.settle()
        batch = stored("ben", "cem")
        self.assertEqual(await router.publish(batch, exact=True), [False, True])
        await self.settle()
        self.assertEqual(arrivals.all, batch[1:])

    async def test_to_unbind_a_user_that_is_not_bound_is_nothing(self) -> None:
        router, arrivals = await self.attached("ben")
        router.unbind("cem", "cem")
        router.unbind("cem", "cem")
        await self.settle()
        self.assertEqual(await router.publish(stored("ben", "cem"), exact=True), [True, False])
        await self.settle()
        self.assertEqual(len(arrivals.all), 1)

    async def test_a_user_bound_twice_gets_a_message_once_and_is_unbound_by_once(self) -> None:
        router, arrivals = await self.attached("ben", "ben")
        batch = stored("ben")
        self.assertEqual(await router.publish(batch, exact=True), [True])
        await self.settle()
        self.assertEqual(arrivals.all, batch)
        router.unbind("ben", "ben")
        await self.settle()
        self.assertEqual(await router.publish(stored("ben"), exact=True), [False])

    async def test_a_user_can_be_bound_again(self) -> None:
        router, arrivals = await self.attached("ben")
        router.unbind("ben", "ben")
        await router.bind("ben", "ben")
        batch = stored("ben")
        self.assertEqual(await router.publish(batch, exact=True), [True])
        await self.settle()
        self.assertEqual(arrivals.all, batch)

    async def test_the_last_word_counts_when_nobody_waits(self) -> None:
        router, arrivals = await self.attached()
        bound = [router.bind("ben", "ben"), router.bind("cem", "cem")]
        router.unbind("ben", "ben")
        router.unbind("cem", "cem")
        bound.append(router.bind("cem", "cem"))
        await gatherResults(bound)
        await self.settle()
        batch = stored("ben", "cem")
        self.assertEqual(await router.publish(batch, exact=True), [False, True])
        await self.settle()
        self.assertEqual(arrivals.all, batch[1:])

    async def test_a_message_to_a_room_arrives_once_where_any_of_its_members_is_bound(self) -> None:
        router, arrivals = await self.attached("ben", "cem")
        places = [(("ben", 7), ("cem", 8), ("dan", 9)), (("eve", 1), ("cem", 9)), (("dan", 10), ("eve", 2)), ()]
        batch = [Stored(message("ann", "#room"), place) for place in places]
        await router.publish(batch)
        await self.settle()
        self.assertEqual(arrivals.all, batch[:2])

    async def test_a_message_to_the_largest_room_arrives_with_all_its_places(self) -> None:
        router, arrivals = await self.attached("user 999")
        batch = [Stored(message("ann", "#room"), tuple((f"user {n}", n + 1) for n in range(1000)))]
        self.assertEqual(await router.publish(batch, exact=True), [True])
        await self.settle()
        self.assertEqual(arrivals.all, batch)

    async def test_many_users_are_bound_at_once(self) -> None:
        router, arrivals = await self.attached()
        users = [f"user {number}" for number in range(300)]
        await gatherResults([router.bind(user, user) for user in users])
        self.assertEqual(await router.publish(stored(*users), exact=True), [True] * 300)
        await self.settle()
        self.assertEqual(len(arrivals.all), 300)

    async def test_no_user_s_id_means_another_s(self) -> None:
        users = [
            "*",
            "#",
            "ben",
            "ben.",
            "ben.*",
            "ks_ben",
            "Ben",
            "ben ",
            "b*n",
            "b?n",
            "[b]en",
            "be\0n",
            "é",
            "e\N{COMBINING ACUTE ACCENT}",
        ]
        for user in users:
            router, arrivals = await self.attached(user)
            batch = stored(*users)
            self.assertEqual(await router.publish(batch, exact=True), [other == user for other in users], user)
            await self.settle()
            self.assertEqual([one.message.recipient for one in arrivals.all], [user])
            router.unbind(user, user)
            await self.settle()

    async def test_a_message_arrives_as_it_was_published_however_odd(self) -> None:
        router, arrivals = await self.attached()
        for number, (what, one) in enumerate(awkward_messages().items(), 1):
            await router.bind(one.recipient, one.recipient)
            given = Stored(one, ((one.recipient, number * 2**33),))
            self.assertEqual(await router.publish([given], exact=True), [True], what)
            await self.settle()
            arrived = arrivals.all[-1]
            self.assertEqual(arrived, given, what)
            self.assertEqual(type(arrived.message.pId), type(one.pId), what)
            self.assertEqual(bytes(arrived.message.msg), bytes(one.msg), what)
            self.assertEqual(len(arrivals.all), number, what)


class FailingRouterContract(TestCase):
    """For routers that can be away. Mixed in beside ``RouterContract``."""

    async def make_router(self) -> IRouter:
        """See ``RouterContract``."""
        raise NotImplementedError

    async def break_off(self, router: IRouter) -> None:
        """From here on what ``router`` needs is away."""
        raise NotImplementedError

    async def test_to_publish_while_the_router_is_away_fails_and_does_not_raise(self) -> None:
        router = await self.make_router()
        router.attach(Arrivals())
        await self.break_off(router)
        published = router.publish(stored("ben"), exact=True)
        with self.assertRaises(RouterUnavailable):
            await published

    async def test_to_bind_while_the_router_is_away_fails_and_does_not_raise(self) -> None:
        router = await self.make_router()
        router.attach(Arrivals())
        await self.break_off(router)
        bound = router.bind("ben", "ben")
        with self.assertRaises(RouterUnavailable):
            await bound

    async def test_to_unbind_while_the_router_is_away_is_nothing(self) -> None:
        router = await self.make_router()
        router.attach(Arrivals())
        await router.bind("ben", "ben")
        await self.break_off(router)
        router.unbind("ben", "ben")
        router.unbind("cem", "cem")
