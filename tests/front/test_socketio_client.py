"""The page's own Socket.IO client, on a clock and a WebSocket that the tests move: tests/node/socketio_test.js."""

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from tests.support import NODE_DIRECTORY, require_node, within


class PagesClient(TestCase):
    async def test_its_tests_in_node_pass(self) -> None:
        running = getProcessOutputAndValue(
            require_node(), ["--test", str(NODE_DIRECTORY / "socketio_test.js")], env=None
        )
        output, errors, status = await within(running, "node --test to end", lambda: "")
        self.assertEqual(status, 0, (output + errors).decode(errors="replace"))
        self.assertIn(b"# fail 0", output)
