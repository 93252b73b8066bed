"""``chaos.standby``: what daemons are told, who reaches whom, and a primary that becomes the standby of the other."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from chaos import standby
from chaos.links import ServiceProxy
from chaos.standby import StandbyPair
from tests.support.needs import require_postgresql, require_program
from tests.support.waiting import real_reactor


class UrlTests(unittest.SynchronousTestCase):
    def pair(self, wait: bool = True) -> StandbyPair:
        require_postgresql()
        require_program("cc")
        made = StandbyPair(Clock(), 2, wait=wait)
        self.addCleanup(made.stop)
        return made

    def test_each_daemon_has_both_servers_by_proxies_of_its_own(self) -> None:
        pair = self.pair()
        urls = [str(pair.settings_for(daemon)["store"]) for daemon in (0, 1)]
        self.assertNotEqual(*urls)
        for url in (*urls, pair.url):
            self.assertEqual(url.count("127.0.0.1:"), 2)
            self.assertTrue(url.endswith("/kschat?target_session_attrs=read-write"), url)

    def test_without_waiting_a_commit_is_local(self) -> None:
        self.assertIn("options=-csynchronous_commit%3Dlocal", str(self.pair(False).settings_for(0)["store"]))

    def test_only_daemon_0_is_on_the_side_of_a_primary_that_is_cut_off(self) -> None:
        pair = self.pair()
        pair.sever(pair.primary)

        def is_held(proxy: ServiceProxy) -> bool:
            return proxy.held == (True, True)

        self.assertEqual(
            [[is_held(one) for one in proxies] for proxies in pair.proxies], [[False, True], [True, False]]
        )
        self.assertTrue(all(map(is_held, pair.between)))


class FailoverTests(unittest.TestCase):
    async def test_a_primary_that_ran_on_becomes_the_standby_and_has_what_the_other_has(self) -> None:
        self.patch(standby, "NOTICE", 0.0)
        self.patch(standby, "UNFENCED", 0.0)
        require_program("cc")
        pair = StandbyPair(real_reactor(), 0)
        self.addCleanup(pair.stop)
        self.addCleanup(pair.close)
        await pair.start()
        one, other = pair.primary, pair.standby
        # (A commit waits for the standby, which is reached by the reactor.)
        await deferToThread(one.do, "CREATE TABLE notes (text text)")
        await deferToThread(one.do, "INSERT INTO notes VALUES ('before')")
        await pair.befall(standby.BESIDE)
        self.assertEqual((pair.primary, pair.standby), (other, one))
        await deferToThread(other.do, "INSERT INTO notes VALUES ('behind')")
        await pair.befall(standby.KILLED)
        self.assertEqual((pair.primary, pair.standby), (one, other))
        self.assertEqual(one.do("SELECT text FROM notes"), [("before",), ("behind",)])
