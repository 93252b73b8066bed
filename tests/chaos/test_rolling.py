"""What a rolling restart counts, and who is in its crowd."""

from __future__ import annotations

from collections import Counter

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from chaos.cast import make_crowd
from chaos.options import parse
from chaos.rolling import MOST_AWAY, Away, joins


class RollingTests(SynchronousTestCase):
    def test_a_crowd_is_of_all_versions_and_transports_and_comes_back_as_npm_s_clients_do(self) -> None:
        crowd = make_crowd(1, 300, 4000)
        self.assertEqual(Counter(actor.version for actor in crowd), dict.fromkeys((1, 2, 3, 4), 75))
        self.assertEqual(len({actor.kind for actor in crowd}), 12)
        self.assertEqual(crowd[2].kind, "version 3, polling with an upgrade")
        options = crowd[0].client_options("t")
        self.assertEqual((options["reconnectionDelay"], options["reconnectionDelayMax"]), (1000, 5000))
        self.assertTrue(all(actor.user not in actor.targets for actor in crowd))
        self.assertEqual(make_crowd(1, 300, 4000), crowd)

    def test_a_client_is_away_from_its_disconnect_until_it_is_back(self) -> None:
        clock = Clock()
        away = Away(clock.seconds)
        away.noted(["open", "a", False, False])
        for name, seconds in (("a", 1.5), ("b", MOST_AWAY + 1)):
            away.noted(["shut", name, "transport close"])
            away.noted(["shut", name, "transport close"])
            clock.advance(seconds)
            away.noted(["open", name, False, False])
        self.assertEqual((away.longest, len(away.over)), ((MOST_AWAY + 1, "b"), 1))
        self.assertEqual(away.times, [1.5, MOST_AWAY + 1])

    def test_the_most_joins_are_those_of_a_second_of_the_log(self) -> None:
        line = "2026-11-30T09:34:5{second}+0000 [kschat.chat.application.Chat#info] {what}"
        lines = [line.format(second=second, what="ann joined from 127.0.0.1:1") for second in (1, 2, 2, 2, 3)]
        lines += [line.format(second=1, what="ann left: transport close")] * 9
        self.assertEqual((joins(lines), joins([])), (3, 0))

    def test_the_command_line(self) -> None:
        options = parse(["--rolling", "--clients", "40"])
        self.assertEqual((options.mode, options.clients), ("rolling", 40))
