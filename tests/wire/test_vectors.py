"""The packets in tests/wire/vectors are what npm's parsers make today, and can be read."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import defer
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest

from tests.support import NODE_DIRECTORY, require_node
from tests.vectors import DIRECTORY, load

FILES = ("engineio", "socketio", "refused")


class VectorsTests(unittest.TestCase):
    """The committed files against the script that makes them."""

    timeout = 60

    async def _made_again(self) -> Path:
        node = require_node(self)
        directory = Path(self.mktemp())
        script = str(NODE_DIRECTORY / "make_vectors.js")
        out, err, code = await getProcessOutputAndValue(node, [script, str(directory.absolute())], env=None)
        self.assertEqual(0, code, (out + err).decode(errors="replace"))
        return directory

    def test_the_files_are_what_npm_makes_today(self) -> defer.Deferred[None]:
        async def check() -> None:
            directory = await self._made_again()
            for name in FILES:
                made = (directory / f"{name}.json").read_text("ascii")
                self.assertEqual((DIRECTORY / f"{name}.json").read_text("ascii"), made, f"{name}.json: run make_vectors.js")

        return defer.Deferred.fromCoroutine(check())

    def test_every_file_can_be_read_with_binary_as_bytes(self) -> None:
        for name in FILES:
            vectors = load(name)
            self.assertTrue(vectors)
            self.assertEqual(len(vectors), len({vector["name"] for vector in vectors}))
            for vector in vectors:
                self.assertIn(vector["revision"], (3, 4))
                self.assertTrue(all(isinstance(frame, str | bytes) for frame in vector["frames"]))
