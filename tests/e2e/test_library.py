"""The program in docs/library.md, as it stands there, with npm's clients."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial import unittest

from tests.support import REPOSITORY, NodeClient, NodeSocket, require_node
from tests.support.daemon import Program

PAGE = REPOSITORY / "docs" / "library.md"
EXAMPLE = re.compile(r"<!-- a test runs this program as it stands -->\n```python\n(.*?)```\n", re.DOTALL)


def example() -> str:
    """The program."""
    (program,) = EXAMPLE.findall(PAGE.read_text("utf-8"))
    return str(program)


class ExampleTests(unittest.TestCase):
    timeout = 120

    def setUp(self) -> None:
        require_node()
        self.path = Path(self.mktemp()).absolute()
        self.path.write_text(example(), "utf-8")

    async def start(self) -> Program:
        return await Program.run(self, str(self.path), "tcp:PORT:interface=127.0.0.1")

    async def client(self, program: Program, version: int, name: str) -> NodeSocket:
        given = {"query": f"name={name}"} if version < 3 else {"auth": {"name": name}}
        client = NodeClient.start(self, version, program)
        return await client.open(f"{program.url}/rooms", events=["said", "joined"], **given)

    async def test_clients_of_each_version_meet_in_a_room(self) -> None:
        program = await self.start()
        names = ("ann", "ben", "cid", "dan")
        sockets = [await self.client(program, version, name) for version, name in zip((1, 2, 3, 4), names, strict=True)]
        for number, socket in enumerate(sockets):
            await socket.next("connect")
            self.assertEqual(await socket.emit("join", "tea"), [list(names[: number + 1])])
            for other in sockets[:number]:
                self.assertEqual((await other.next("joined")).args, [names[number]])
        for socket, name in zip(sockets, names, strict=True):
            self.assertEqual(await socket.emit("say", "tea", "hello"), [3])
            for other in sockets:
                if other is not socket:
                    said = await other.next("said")
                    self.assertEqual((said.args, said.asks_ack), ([name, "hello"], True))
        await sockets[0].disconnect()
        self.assertEqual(await sockets[1].emit("say", "tea", "still here?"), [2])
        self.assertEqual(await program.stop(), 0)
        self.assertEqual(program.faults, [])

    async def test_who_has_no_name_is_told_so(self) -> None:
        program = await self.start()
        for version in (1, 2, 3, 4):
            socket = await self.client(program, version, "")
            told = await socket.next("error" if version < 3 else "connect_error")
            text = told.args[0] if version < 3 else told.args[0]["$error"]
            self.assertEqual(text, "a name, please")

    def test_it_is_short(self) -> None:
        lines = [line for line in example().splitlines() if line]
        self.assertLessEqual(len(lines), 36)
