"""``python -m bench.large``, on a store that is small."""

import contextlib
import io
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.large import BOUND, TIMES, Figure, Large, parse, table
from bench.services import Services


class TestLarge(SynchronousTestCase):
    """What it prints."""

    def test_each_thing_is_done_and_told(self) -> None:
        sizes = ["--sqlite", "4000", "--undelivered", "200", "--members", "20", "--times", "10", "--alone", "0.1"]
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        told = io.StringIO()
        with Services() as services, contextlib.redirect_stdout(told):
            large = Large("sqlite", directory, services, parse(sizes))
            large.fill()
            with large.daemon() as running:
                large.questions(running.ports[0])
        rows = [line.split("|")[1].strip() for line in table([large]).splitlines()]
        for name in ("Send", "connect, nothing new", "Send to a room of 20", "backup"):
            self.assertIn(name, rows)
        self.assertIn("Send to a room of 20", told.getvalue())

    def test_what_is_beyond_the_bound_is_marked(self) -> None:
        for during, alone, held in (
            (BOUND, 1.0, True),
            (BOUND + 1, 1.0, False),
            (BOUND + 1, BOUND, True),
            (TIMES * BOUND + 1, BOUND, False),
        ):
            figure = Figure("a thing", "1 s", during, alone)
            self.assertEqual(figure.held, held)
            self.assertEqual("**!**" in figure.others, not held)
        self.assertTrue(Figure("a thing", "1 s").held)
