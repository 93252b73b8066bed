"""The bus of a daemon without Redis."""

from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.backends.local import LocalBus
from kschat.chat.bus import IBus
from tests.contracts.bus import BusContract, Ears


class LocalBusContractTests(BusContract, TestCase):
    async def make_buses(self, count: int) -> list[IBus]:
        return [LocalBus() for _ in range(count)]


class OneOfSeveral(SynchronousTestCase):
    def test_of_who_is_not_here_it_knows_nothing(self) -> None:
        bus, ears = LocalBus(only=False), Ears()
        bus.attach(ears)
        bus.here("ann")
        self.assertEqual(self.successResultOf(bus.online(["ann", "ben"])), {"ann": True, "ben": None})
        bus.gone("ann", 5)
        self.assertEqual(self.successResultOf(bus.online(["ann"])), {"ann": None})
        self.assertEqual(ears.changes, [("ann", True, None), ("ann", None, 5)])
