"""A store that kschat does not know is added by what it says of itself, and serves a chat."""

from __future__ import annotations

from pathlib import Path

from twisted.trial import unittest

from kschat.backends.kinds import UnknownStore
from kschat.backends.table import BACKENDS
from kschat.cli.connect import try_all
from kschat.counters import Counters
from kschat.settings import SETTINGS, Config, ConfigError, load
from tests.backends.newcomer import WITH_IT
from tests.e2e.chatting import sending
from tests.support import SECRET, NodeClient, require_node, token
from tests.support.daemon import Program
from tests.support.waiting import real_reactor


def lines(path: Path) -> list[str]:
    """The lines of a file."""
    return path.read_text("utf-8").splitlines()


class NewcomerTests(unittest.TestCase):
    timeout = 60

    def config(self, **settings: str) -> Config:
        given = {"secret": SECRET, "store": f"logged:{self.path}", **settings}
        return load(given, {}, WITH_IT)

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    async def test_it_serves_a_chat(self) -> None:
        require_node()
        daemon = await Program.run(self, "-m", "tests.backends.newcomer", "PORT", str(self.path))
        client = NodeClient.start(self, 4, daemon)
        alice = await client.connect(f"{daemon.url}/kschat", auth={"token": token("alice")})
        bob = await client.connect(f"{daemon.url}/kschat", auth={"token": token("bob")})
        (answer,) = await alice.emit("Send", sending("alice", "bob", "Hello"))
        self.assertEqual(answer["RESPONSE"], "Send Emit is success.")
        (body,) = (await bob.next("RESPRECEIVER")).args
        self.assertEqual(body["MSG"][0]["msg"], "Hello")
        await client.end()
        self.assertEqual(await daemon.stop(), 0)
        self.assertEqual(daemon.faults, [])
        self.assertEqual(lines(self.path), ['"Hello"'])

    async def test_it_is_checked_by_what_it_says(self) -> None:
        for settings, reason in [
            ({"store": "logged"}, "is not a store: write memory, redis, none, sqlite:kschat.db, "),
            ({"store": "logged"}, "postgresql://kschat@localhost/kschat or logged:chat.log"),
            ({"store": "loged:x"}, "use logged:chat.log"),
            ({"amqp_exchange": ""}, "needs a name for nothing"),
            ({"amqp": "amqp://localhost/"}, "cannot be used with a store that other daemons cannot read"),
        ]:
            self.assertIn(reason, str(self.assertRaises(ConfigError, self.config, **settings)))
        with self.assertRaises(ConfigError):
            load({"secret": SECRET, "store": f"logged:{self.path}"}, {})

    async def test_check_config_looks_at_it(self) -> None:
        findings = await try_all(self.config(listen="tcp:0:interface=127.0.0.1"), real_reactor(), WITH_IT)
        self.assertIn(f"store: ok: {self.path} it is", [str(finding) for finding in findings])


class TableTests(unittest.SynchronousTestCase):
    """What comes with kschat."""

    def test_each_kind_is_found_by_its_example(self) -> None:
        for kind in BACKENDS.stores:
            self.assertIs(BACKENDS.store(kind.example)[0], kind)

    def test_an_argument_is_there_where_it_is_wanted_and_nowhere_else(self) -> None:
        for text in ("sqlite", "sqlite:", "memory:", "redis:x", "", ":", "nothing"):
            self.assertRaises(UnknownStore, BACKENDS.store, text)

    def test_what_a_kind_names_are_settings(self) -> None:
        for kind in BACKENDS.stores:
            for name in (*kind.settings, *kind.needs):
                self.assertIn(name, SETTINGS)

    def test_a_store_says_of_itself_what_it_is(self) -> None:
        config = load({"secret": SECRET}, {})
        for kind in BACKENDS.stores:
            if kind.name != "redis":
                argument = kind.example.partition(":")[2]
                store = kind.make(config, argument, reactor=real_reactor(), wall=lambda: 0.0, counters=Counters())
                self.assertEqual(store.keeps, kind.keeps, kind.name)
