"""``chaos.servers``: which faults befall a cluster."""

from __future__ import annotations

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from chaos import disk, links
from chaos.servers import KINDS, deck


class Member:
    """A daemon's name."""

    name = "daemon 0"


class DeckTests(SynchronousTestCase):
    def test_each_kind_befalls_each_part_before_one_does_again(self) -> None:
        members: Any = [Member()]
        all_of_them = {(name, kind) for name in ("RabbitMQ", "Redis", "daemon 0") for kind in KINDS}
        all_of_them |= {(name, kind) for name in ("RabbitMQ", "Redis") for kind in links.KINDS}
        all_of_them.add(("Redis", disk.KIND))
        faults = deck(random.Random(1), members, 2 * len(all_of_them))
        self.assertEqual(set(faults[: len(all_of_them)]), all_of_them)
        self.assertEqual(set(faults[len(all_of_them) :]), all_of_them)
