"""A back end that is asked, with a real daemon and npm's clients: the page's example, order, a kill, a stop."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook
from twisted.internet import defer
from twisted.internet.protocol import ProcessProtocol
from twisted.trial import unittest
from twisted.web.client import Agent, readBody
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.e2e.chatting import new_user, received, send, sending
from tests.support import Daemon, NodeClient, NodeSocket, require_node, token
from tests.support.launch import REPOSITORY, free_port
from tests.support.waiting import real_reactor, repeated_until, within

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

#: Seconds: no question may end by itself.
LONG = 50


class Question:
    """A question that came. ``data``: what it is about."""

    def __init__(self, request: Any) -> None:
        body = request.content.read()
        headers = {name.decode(): value.decode() for name, value in request.getAllHeaders().items()}
        self.body = Webhook(SECRET).verify(body, headers)
        self.data: Mapping[str, Any] = self.body["data"]
        self._request = request
        self._gone = False
        request.notifyFinish().addErrback(self._lost)

    def _lost(self, _: object) -> None:
        self._gone = True

    def answer(self, **fields: object) -> None:
        if not self._gone:
            self._request.write(json.dumps(fields).encode())
            self._request.finish()


class Receiver(Resource):
    """Takes questions; the test answers."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.questions: defer.DeferredQueue[Question] = defer.DeferredQueue()

    def render_POST(self, request: Any) -> int:
        self.questions.put(Question(request))
        return NOT_DONE_YET

    def next(self) -> defer.Deferred[Question]:
        return within(self.questions.get(), "a question", lambda: "nothing was asked")


class BackEnd(ProcessProtocol):
    """The program of the page."""

    def __init__(self) -> None:
        self.output = b""
        self.ended: defer.Deferred[None] = defer.Deferred()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self.output += data

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(None)


class AskingTests(unittest.TestCase):
    timeout = 120

    def setUp(self) -> None:
        require_node()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.secret = self.directory / "hooks.secret"
        self.secret.touch(mode=0o600)
        self.secret.write_text(SECRET + "\n")

    async def started(self, url: str, **settings: object) -> Daemon:
        store = f"sqlite:{self.directory}/kschat.db"
        given: dict[str, Any] = {"ask_url": url, "hooks_secret_file": self.secret, "store": store, **settings}
        return await Daemon.start(self, **given)

    async def connected(self, daemon: Daemon, client: NodeClient, user: str, **data: object) -> NodeSocket:
        proof = token(user, data={"id": user, **data})
        return await client.connect(f"{daemon.url}/kschat", auth={"token": proof})

    async def test_the_example_of_the_page_refuses_one_and_lets_others_write(self) -> None:
        page = (REPOSITORY / "docs" / "asking.md").read_text("utf-8")
        (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        self.assertLessEqual(len([line for line in program.splitlines() if line.strip()]), 16)
        port = free_port()
        back_end = BackEnd()
        argv = [sys.executable, "-u", "-c", program.replace("9300", str(port))]
        process = real_reactor().spawnProcess(back_end, argv[0], argv, env={}, path=str(self.directory))

        def end() -> defer.Deferred[None]:
            process.signalProcess("KILL")
            return back_end.ended

        self.addCleanup(end)
        daemon = await self.started(f"http://127.0.0.1:{port}/", ask_about="join,write,send", ask_timeout=LONG)
        await self.answers(port)
        client = NodeClient.start(self, 4, daemon)
        alice, bob, mallory = [
            await self.connected(daemon, client, user, rooms="*") for user in ("alice", "bob", "mallory")
        ]
        (answer,) = await mallory.emit("Send", sending("mallory", "alice", "boo"))
        self.assertEqual((6, "Alice has blocked you."), (answer["ER"], answer["WHY"]))
        self.assertEqual(6, (await mallory.next("RESPSEND")).args[0]["ER"])
        await send(bob, "bob", "alice", "hello")
        self.assertEqual(["hello"], [one["msg"] for one in await received(alice, 1)])
        self.assertEqual([{"ER": 0}], await mallory.emit("Join", {"room": "all"}))
        metrics = await self.metrics(daemon)
        self.assertIn('kschat_ask_answers_total{answer="refused"} 1.0', metrics)
        self.assertIn('kschat_ask_questions_total{question="join"} 1.0', metrics)
        self.assertIn('kschat_ask_questions_total{question="write"} 2.0', metrics)
        self.assertIn('kschat_ask_questions_total{question="send"} 1.0', metrics)
        for gauge in ("in_flight", "waiting", "held", "open"):
            self.assertIn(f"kschat_ask_{gauge} 0.0", metrics)
        self.assertEqual(([], b""), (daemon.faults, re.sub(rb"127\.0\.0\.1 - - .*\n", b"", back_end.output)))

    async def answers(self, port: int) -> None:
        """Wait until somebody listens."""

        async def ask() -> bool:
            try:
                await readBody(await Agent(real_reactor()).request(b"GET", f"http://127.0.0.1:{port}/".encode()))
            except Exception:  # noqa: BLE001 - nobody there yet, in whatever way
                return False
            return True

        await repeated_until(ask, bool, "the back end")

    async def metrics(self, daemon: Daemon) -> str:
        response = await Agent(real_reactor()).request(b"GET", f"{daemon.url}/metrics".encode())
        return str((await readBody(response)).decode())

    async def test_order_and_what_is_unanswered_when_the_daemon_is_killed_or_stopped(self) -> None:
        receiver = Receiver()
        port: Any = real_reactor().listenTCP(0, Site(receiver), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/"
        daemon = await self.started(url, ask_about="send", ask_timeout=LONG)
        client = NodeClient.start(self, 4, daemon)
        ann_id, ben_id = new_user("ann"), new_user("ben")
        ann, ben = [await self.connected(daemon, client, user) for user in (ann_id, ben_id)]

        acks = [ann.emit("Send", sending(ann_id, ben_id, number)) for number in range(20)]
        questions = [await receiver.next() for _ in acks]
        for question in sorted(questions, key=lambda one: -int(one.data["msg"])):
            question.answer(allow=question.data["msg"] != 7, why="Not seven.")
        told = [ack for (ack,) in await defer.gatherResults(acks)]
        self.assertEqual([7], [number for number, ack in enumerate(told) if ack.get("ER")])
        wanted = [number for number in range(20) if number != 7]
        self.assertEqual(wanted, [one["msg"] for one in await received(ben, 19)])

        # Killed while nobody has decided: nothing is stored, and a retry is asked about again.
        lost = ann.emit_without_ack("Send", {**sending(ann_id, ben_id, "once"), "cid": "c"})
        await lost
        await receiver.next()
        await daemon.kill()
        await daemon.restart()
        ann, ben = [await self.connected(daemon, client, user) for user in (ann_id, ben_id)]
        retries = [ann.emit("Send", {**sending(ann_id, ben_id, "once"), "cid": "c"}) for _ in range(2)]
        for _ in retries:
            question = await receiver.next()
            self.assertEqual(("once", "c"), (question.data["msg"], question.data["cid"]))
            question.answer(allow=True)
        repeats = [ack.get("repeat", False) for (ack,) in await defer.gatherResults(retries)]
        self.assertEqual([False, True], repeats)
        ((history,),) = [await ben.emit("History", {"peer": ann_id, "pId": ann_id})]
        self.assertEqual(1, [one["msg"] for one in history["MSG"]].count("once"))

        # Stopped while nobody has decided: refused, to be sent again.
        refused = ann.emit("Send", sending(ann_id, ben_id, "late"))
        await receiver.next()
        ended = defer.Deferred.fromCoroutine(daemon.stop())
        ((answer,), status) = await refused, await ended
        self.assertEqual((7, 0), (answer["ER"], status))
        self.assertEqual([], daemon.faults)
