"""The front put together in one place: nothing of it can be forgotten."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.static import Data

from kschat.counters import Counters
from kschat.front.assembly import Front, FrontSettings
from kschat.front.session_ids import PeerAddress, SessionIds
from kschat.wire.cork import Cork
from tests.front.daemon import Recorder

PACKAGE = Path(__file__).parents[2] / "kschat"


def calls(path: Path) -> set[str]:
    """The names that are called in a file."""
    tree = ast.parse(path.read_text("utf-8"))
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


class Assembly(SynchronousTestCase):
    def front(self, session_ids: SessionIds | None = None, beside: Front | None = None) -> Front:
        return Front(
            Recorder(),
            Clock(),
            settings=FrontSettings(),
            counters=Counters(),
            cork=Cork(),
            client=Data(b"", "text/plain"),
            session_ids=session_ids,
            beside=beside,
        )

    def test_nobody_else_puts_its_parts_together(self) -> None:
        parts = {
            "BoundedSite",
            "Engine",
            "EngineResource",
            "PeerResource",
            "SessionRegistry",
            "TransportContext",
            "Peers",
        }
        for path in PACKAGE.rglob("*.py"):
            if path.name != "assembly.py":
                self.assertEqual(calls(path) & parts, set(), path.name)

    def test_each_site_sees_the_heads_of_requests_and_knows_where_sessions_are(self) -> None:
        front = self.front(SessionIds(b"x" * 32, PeerAddress("127.0.0.1", 1)))
        site = front.site(Resource(), "/a/socket.io/")
        self.assertEqual((len(site.heads), site.engine_paths), (1, [b"/a/socket.io"]))
        self.assertEqual(len(front.peer_site().heads), 1)

    def test_sessions_need_a_path_of_their_own(self) -> None:
        with self.assertRaises(ValueError):
            self.front().site(Resource(), "/")

    def test_one_beside_another_shares_its_connections_and_timers_and_not_its_sessions(self) -> None:
        first = self.front()
        second = self.front(beside=first)
        self.assertIs(first.timers, second.timers)
        self.assertIs(first.connections, second.connections)
        self.assertIsNot(first.sessions, second.sessions)


class WithoutTheChat(SynchronousTestCase):
    def test_the_front_can_be_used_without_the_chat(self) -> None:
        """Only what is of the daemon's own site knows the chat."""
        program = (
            "import sys, kschat.front.standalone\n"
            "print([name for name in sys.modules if name.startswith(('kschat.chat', 'kschat.backends'))])"
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent)
        self.assertEqual((ended.stdout, ended.stderr), ("[]\n", ""))
