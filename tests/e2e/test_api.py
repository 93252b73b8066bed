"""The HTTP API on real daemons: each curl of docs/api.md, and three daemons that act as one."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from kschat.api.methods import METHODS
from kschat.cli.api_commands import API_COMMANDS
from kschat.cli.definitions import NO, REFUSED, UNREACHABLE
from tests.e2e.chatting import messages_of, new_user
from tests.e2e.test_cluster import DaemonsTestCase
from tests.support import NodeClient, token
from tests.support.daemon import Daemon
from tests.support.launch import REPOSITORY, free_ports
from tests.support.needs import require_program
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis
from tests.support.tokens import SECRET
from tests.support.waiting import real_reactor, repeated_until, within

#: Of each operation, beside those that cover what the document says.
STRANGE_REQUESTS = 10

KEY = "a key of the tests".replace(" ", "-") * 2


def keys_file(test: unittest.TestCase) -> str:
    """A file with one key that may do all."""
    directory = tempfile.mkdtemp(prefix="kschat-")
    test.addCleanup(shutil.rmtree, directory, ignore_errors=True)
    path = Path(directory) / "keys.toml"
    path.touch(mode=0o600)
    path.write_text(f'[test]\nkey = "{KEY}"\nscopes = ["*"]\n')
    return str(path)


class Tail(ProcessProtocol):
    """A command that runs until it is interrupted: it is, once it has printed so many lines.

    Attributes:
        ended: fires with its exit status.
        output: what it printed.
    """

    def __init__(self, lines: int) -> None:
        self.ended: Deferred[int] = Deferred()
        self.output = b""
        self._lines = lines

    def outReceived(self, data: bytes) -> None:
        self.output += data
        if self.output.count(b"\n") >= self._lines and self.transport is not None:
            self.transport.signalProcess("INT")

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(reason.value.exitCode)


@implementer(IBodyProducer)
class Body:
    """A body."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.length = len(body)

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self.body)
        return succeed(None)

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


async def asked(port: int, name: str, **body: object) -> Any:
    """What an operation answers."""
    headers = Headers({"Authorization": [f"Bearer {KEY}"], "Connection": ["close"]})
    url = f"http://127.0.0.1:{port}/v1/{name}".encode()
    response = await Agent(real_reactor()).request(b"POST", url, headers, Body(json.dumps(body).encode()))
    answer = json.loads(await readBody(response))
    assert response.code == 200, (response.code, answer)
    return answer


class Documented(unittest.TestCase):
    timeout = 300

    async def test_each_curl_of_the_page_does_what_it_says(self) -> None:
        require_program("curl")
        (port,) = free_ports(1)
        daemon = await Daemon.start(self, api_listen=f"tcp:{port}:interface=127.0.0.1", api_keys=keys_file(self))
        page = (REPOSITORY / "docs" / "api.md").read_text("utf-8")
        lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
        used = {found[1] for line in lines if (found := re.search(r"/v1/([\w/]+)", line))}
        self.assertEqual(set(METHODS), used)
        (sent,) = (await asked(port, "send", **{"from": "ann", "to": "ben", "msg": "to be edited"}))["results"]
        environment = {
            "MID": sent["mid"],
            "API": f"http://127.0.0.1:{port}",
            "KEY": KEY,
            "PATH": "/usr/bin:/bin",
            "no_proxy": "*",
        }
        for line in lines:
            program = ["/bin/sh", "-c", line + " --fail-with-body"]
            ended = getProcessOutputAndValue(program[0], program[1:], env=environment, reactor=real_reactor())
            output, errors, status = await within(ended, line, lambda: daemon.log)
            self.assertEqual(0, status, (line, output, errors))
            json.loads(output)
        self.assertIn("api: test send [ann]: done", daemon.log)
        self.assertNotIn("has shipped", daemon.log)
        self.assertNotIn(KEY, daemon.log)
        self.assertEqual([], daemon.faults)

    async def test_what_is_made_of_the_document_by_a_stranger_is_answered_as_it_says(self) -> None:
        """Requests that are valid by the OpenAPI document, and those that are not, each operation's in turn."""
        (port,) = free_ports(1)
        daemon = await Daemon.start(
            self, api_listen=f"tcp:{port}:interface=127.0.0.1", api_keys=keys_file(self), store="memory"
        )
        directory = tempfile.mkdtemp(prefix="kschat-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        program = [
            *(str(Path(sys.executable).with_name("schemathesis")), "--no-color", "run"),
            f"http://127.0.0.1:{port}/openapi.json",
            *("--header", f"Authorization: Bearer {KEY}"),
            *("--phases", "coverage,fuzzing", "--max-examples", str(STRANGE_REQUESTS), "--seed", "1"),
            # A busy machine is no fault of the API.
            *("--suppress-health-check", "all", "--request-timeout", "60"),
        ]
        environ = {"PATH": "/usr/bin:/bin", "HOME": directory, "no_proxy": "*"}
        ended = getProcessOutputAndValue(program[0], program[1:], environ, directory, real_reactor())
        output, errors, status = await within(ended, "schemathesis", lambda: daemon.log, 240)
        self.assertEqual(0, status, (output.decode(), errors.decode()))
        self.assertIn(f"Tested: {len(METHODS)}", output.decode())
        self.assertEqual([], daemon.faults)


class Cluster(DaemonsTestCase):
    """Three daemons, of which the third is asked."""

    store = "redis"

    async def three(self) -> tuple[list[Daemon], list[int]]:
        """Daemons that act as one, and the ports of their APIs."""
        name = new_user("api")
        ports = free_ports(3)
        settings = {
            "store": "redis",
            "amqp": (await shared_rabbitmq()).url,
            "amqp_exchange": name,
            "redis": (await shared_redis()).url,
            "redis_prefix": name,
            "api_keys": keys_file(self),
        }
        daemons = [await Daemon.start(self, api_listen=f"tcp:{port}:interface=127.0.0.1", **settings) for port in ports]
        for daemon in daemons:
            await daemon.ready_becomes("ready")
        return daemons, ports

    async def test_three_daemons_answer_as_one_also_after_one_is_killed(self) -> None:
        daemons, ports = await self.three()
        node = NodeClient.start(self, 4)
        ann, ben, again = [
            await node.connect(f"{daemons[number].url}/kschat", query=f"token={token(user)}", events=["price", "all"])
            for number, user in ((0, "ann"), (1, "ben"), (1, "ann"))
        ]
        far = ports[2]

        async def online() -> dict[str, Any]:
            found = (await asked(far, "presence", users=["ann", "ben", "cem"]))["users"]
            return {user: one["online"] for user, one in found.items()}

        await repeated_until(online, lambda said: said == {"ann": True, "ben": True, "cem": False}, "presence")
        listed = await asked(far, "sockets", user="ann")
        self.assertEqual((2, True), (len(listed["sockets"]), listed["complete"]))
        (sent,) = (await asked(far, "send", to="ann", msg="hi", cid="1"))["results"]
        for socket in (ann, again):
            (got,) = messages_of(await socket.next("RESPRECEIVER"))
            self.assertEqual((sent["mid"], "system", "hi"), (got["mid"], got["uId"], got["msg"]))
        (repeat,) = (await asked(ports[0], "send", to="ann", msg="hi", cid="1"))["results"]
        self.assertEqual((sent["mid"], True), (repeat["mid"], repeat["repeat"]))
        (mine,) = (await asked(far, "send", **{"from": "cem", "to": "dan", "msg": "hi"}))["results"]
        for name, user, more in (
            ("edit", "cem", {"msg": "ho"}),
            ("react", "dan", {"emoji": "+1"}),
            ("delete", "cem", {}),
        ):
            await asked(far, f"messages/{name}", user=user, mid=mine["mid"], **more)
        await asked(far, "notice", user="dan", text="closed at six")
        await asked(far, "emit", to="ben", event="price", args=[1])
        self.assertEqual([1], list((await ben.next("price")).args))
        await asked(far, "broadcast", event="all")
        for socket in (ann, ben, again):
            await socket.next("all")
        await asked(far, "rooms/add", room="#r", users=["ann", "ben"])
        page = await asked(ports[1], "rooms/members", room="#r")
        self.assertEqual(["ann", "ben"], page["members"])
        await asked(far, "rooms/remove", room="#r", users=["ben"])
        page = await asked(ports[0], "history", user="ann", peer="system")
        self.assertEqual(["hi"], [one["msg"] for one in page["messages"]])
        (one,) = (await asked(far, "conversations", user="ann"))["conversations"]
        self.assertEqual(("system", 1), (one["peer"], one["unread"]))
        self.assertEqual({"rooms": ["#r"]}, await asked(ports[1], "rooms/of", user="ann"))
        self.assertEqual(["ann", "ben"], (await asked(far, "online"))["users"])
        counts = await asked(far, "counts")
        self.assertEqual((True, 3, 3), (counts["complete"], len(counts["daemons"]), sum_of(counts, "sockets")))
        exported = await asked(ports[1], "export", user="ann")
        self.assertEqual((["#r"], "system"), (exported["about"]["rooms"], exported["peer"]))
        await asked(far, "disconnect", user="ann")
        for socket in (ann, again):
            await socket.next("disconnect")
        await repeated_until(online, lambda said: said == {"ann": False, "ben": True, "cem": False}, "presence")
        await asked(far, "revoke", user="cem")
        await asked(far, "revoke", user="cem", lift=True)
        await asked(far, "revoke/token", jti="1", expires=2_000_000_000)
        await asked(far, "revoke/issued", issued_before=1_000_000_000)
        parts = [{"operation": "presence", "body": {"users": ["ann"]}}, {"operation": "counts", "body": {}}]
        self.assertEqual([200, 200], [one["status"] for one in (await asked(far, "batch", requests=parts))["results"]])
        self.assertEqual(1, (await asked(ports[0], "erase", user="ann"))["messages"])
        self.assertEqual([], (await asked(ports[1], "conversations", user="ann"))["conversations"])
        self.assertEqual(set(METHODS), used_operations(daemons))
        await daemons[1].kill()
        await repeated_until(online, lambda said: said["ben"] is False, "presence after SIGKILL", 30)
        self.assertEqual({"sockets": [], "complete": True}, await asked(far, "sockets", user="ben"))
        await repeated_until(
            lambda: asked(far, "counts"), lambda said: len(said["daemons"]) == 2 and said["complete"], "counts", 30
        )
        self.assertEqual([], (await asked(far, "online"))["users"])
        self.no_faults(daemons[0], daemons[2])

    async def test_each_command_does_its_work_through_any_of_three_daemons(self) -> None:
        daemons, ports = await self.three()
        node = NodeClient.start(self, 4)
        ann = await node.connect(f"{daemons[0].url}/kschat", query=f"token={token('ann')}")
        ben = await node.connect(f"{daemons[1].url}/kschat", query=f"token={token('ben')}")
        used: set[str] = set()

        def called(arguments: tuple[str, ...], of: int) -> tuple[list[str], dict[str, str]]:
            """The program and its environment."""
            used.add(arguments[0])
            environ = {
                "KSCHAT_API": f"http://127.0.0.1:{ports[of]}",
                "KSCHAT_API_KEY": KEY,
                "KSCHAT_SECRET": SECRET,
                "PATH": "/usr/bin:/bin",
            }
            return [sys.executable, "-c", "from kschat.cli import run; run()", *arguments, "--json"], environ

        async def kschat(*arguments: str, status: int = 0, of: int = 2) -> Any:
            """A command, with `--json`; what it printed."""
            program, environ = called(arguments, of)
            ended = getProcessOutputAndValue(
                program[0], program[1:], env=environ, path=str(REPOSITORY), reactor=real_reactor()
            )
            output, errors, code = await within(ended, " ".join(arguments), lambda: daemons[of].log, 60)
            self.assertEqual(status, code, (arguments, output, errors))
            lines = [json.loads(line) for line in output.splitlines()]
            return lines if arguments[0] == "export" else lines[0] if lines else None

        await repeated_until(lambda: asked(ports[2], "online"), lambda said: said["users"] == ["ann", "ben"], "online")
        self.assertEqual({"users": ["ann", "ben"], "complete": True}, await kschat("online"))
        self.assertTrue((await kschat("online", "ann", of=1))["users"]["ann"]["online"])
        await kschat("online", "ann", "cem", status=NO)
        sent = await kschat("send", "ann", "hi", "--from", "ben", "--cid", "1")
        (got,) = messages_of(await ann.next("RESPRECEIVER"))
        self.assertEqual((sent["results"][0]["mid"], "hi"), (got["mid"], got["msg"]))
        self.assertEqual(["hi"], [one["msg"] for one in (await kschat("history", "ann", "ben", of=0))["messages"]])
        program, environ = called(("tail", "ann", "--interval", "0.1"), 1)
        tail = Tail(2)
        real_reactor().spawnProcess(tail, program[0], program, environ, str(REPOSITORY))
        await kschat("send", "ann", "again", of=0)
        self.assertEqual(130, await within(tail.ended, "tail", lambda: tail.output.decode(), 60))
        self.assertEqual(["hi", "again"], [json.loads(line)["msg"] for line in tail.output.splitlines()])
        self.assertEqual({"changed": ["ann", "ben"]}, await kschat("rooms", "add", "team", "ann", "ben"))
        self.assertEqual({"rooms": ["#team"]}, await kschat("rooms", "of", "ben", of=1))
        self.assertEqual(1, len((await kschat("sockets", "ann"))["sockets"]))
        status = await kschat("status", "--interval", "0.1")
        self.assertEqual((3, True), (len(status["now"]["daemons"]), status["now"]["complete"]))
        services = {name for one in status["now"]["daemons"] for name in one["services"]}
        self.assertEqual({"router", "store", "bus"}, services)
        first, *rest = await kschat("export", "ann")
        self.assertEqual((["#team"], {"hi", "again"}), (first["rooms"], {one["msg"] for one in rest}))
        await kschat("disconnect", "ben", of=0)
        await ben.next("disconnect")
        self.assertEqual({"messages": 2}, await kschat("erase", "ann", "--yes", of=1))
        await ann.next("disconnect")
        self.assertEqual({"messages": [], "next": None}, await kschat("history", "ben", "ann", of=0))
        made = await kschat("token", "--user", "ann")
        self.assertTrue((await kschat("token", "inspect", made["token"]))["accepted"])
        await kschat("send", "#team", "hi", status=REFUSED)
        await daemons[2].kill()
        await kschat("send", "ann", "hi", status=UNREACHABLE)
        self.assertEqual(set(API_COMMANDS), used - {"token"})
        self.no_faults(daemons[0], daemons[1])


def sum_of(counts: Any, name: str) -> int:
    """A figure of all daemons together."""
    return sum(one[name] for one in counts["daemons"])


def used_operations(daemons: list[Daemon]) -> set[str]:
    """The operations that were done, as the audit logs say."""
    return {name for daemon in daemons for name in re.findall(r"api: test (\S+) \[.*\]: done", daemon.log)}
