"""The packets in tests/wire/vectors are what npm's parsers make today, and can be read."""

from __future__ import annotations

from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.filepath import FilePath
from twisted.trial import unittest

from tests.support import NODE_DIRECTORY, require_node
from tests.vectors import DIRECTORY, load

FILES = ("engineio", "socketio", "refused")


class VectorsTests(unittest.TestCase):
    """The committed files against the script that makes them."""

    timeout = 60

    async def test_the_files_are_what_npm_makes_today(self) -> None:
        node = require_node()
        directory = FilePath(self.mktemp())
        script = NODE_DIRECTORY / "make_vectors.js"
        out, err, code = await getProcessOutputAndValue(node, [str(script), directory.path], env=None)
        self.assertEqual(0, code, (out + err).decode(errors="replace"))
        for name in FILES:
            made = directory.child(f"{name}.json").getContent().decode("ascii")
            self.assertEqual((DIRECTORY / f"{name}.json").read_text("ascii"), made, f"{name}.json: run make_vectors.js")

    def test_every_file_can_be_read_with_binary_as_bytes(self) -> None:
        for name in FILES:
            vectors = load(name)
            self.assertTrue(vectors)
            self.assertEqual(len(vectors), len({vector["name"] for vector in vectors}))
            for vector in vectors:
                self.assertIn(vector["revision"], (3, 4))
                self.assertTrue(all(isinstance(frame, str | bytes) for frame in vector["frames"]))
