"""docs/library.md: each name of ours in the table from npm's is there."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.server import Server
from kschat.server.socket import Socket
from kschat.wire.connection import Handshake

PAGE = Path(__file__).parents[2] / "docs" / "library.md"

#: Names of npm's server, as its documentation lists them, that a newcomer looks for.
NPMS = (
    "fetchSockets socketsJoin socketsLeave disconnectSockets onAny prependAny offAny onAnyOutgoing once off "
    "removeAllListeners disconnecting allowRequest path headers address query auth issued secure url data timeout "
    "emitWithAck volatile compress except local use connectionStateRecovery serverSideEmit broadcast rooms nsp send "
    "cors pingInterval pingTimeout maxHttpBufferSize perMessageDeflate serveClient transports cookie parser allowEIO3 "
    "clientsCount connection_error socket.request socket.conn connectTimeout upgradeTimeout io.close io.attach"
)


class Table(SynchronousTestCase):
    def setUp(self) -> None:
        page = PAGE.read_text("utf-8")
        table = page[page.index("## From npm's names") :]
        self.rows = [line.strip("|").split(" | ", 1) for line in table.splitlines() if line.startswith("|")][2:]

    def test_what_a_newcomer_looks_for_is_there(self) -> None:
        theirs = " ".join(row[0] for row in self.rows)
        self.assertEqual(
            [name for name in NPMS.split() if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", theirs)], []
        )

    def test_each_name_of_ours_can_be_used(self) -> None:
        owners = {"namespace": Server(Clock()).of(), "socket": Socket, "socket.handshake": Handshake}
        ours = " ".join(row[1] for row in self.rows)
        found = re.findall(r"(?<![\w/])(namespace|socket\.handshake|socket)\.(\w+)", ours)
        self.assertGreater(len(found), 40)
        for owner, name in found:
            there = hasattr(owners[owner], name) or name in Socket.__slots__
            self.assertTrue(there, f"{owner}.{name}")
