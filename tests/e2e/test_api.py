"""The HTTP API on real daemons: each curl of docs/api.md, and three daemons that act as one."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial import unittest
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from kschat.api.methods import METHODS
from tests.e2e.chatting import messages_of, new_user
from tests.e2e.test_cluster import DaemonsTestCase
from tests.support import NodeClient, token
from tests.support.daemon import Daemon
from tests.support.launch import REPOSITORY, free_ports
from tests.support.needs import require_program
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis
from tests.support.waiting import real_reactor, repeated_until, within

KEY = "a key of the tests".replace(" ", "-") * 2


def keys_file(test: unittest.TestCase) -> str:
    """A file with one key that may do all."""
    directory = tempfile.mkdtemp(prefix="kschat-")
    test.addCleanup(shutil.rmtree, directory, ignore_errors=True)
    path = Path(directory) / "keys.toml"
    path.touch(mode=0o600)
    path.write_text(f'[test]\nkey = "{KEY}"\nscopes = ["*"]\n')
    return str(path)


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
    timeout = 120

    async def test_each_curl_of_the_page_does_what_it_says(self) -> None:
        require_program("curl")
        (port,) = free_ports(1)
        daemon = await Daemon.start(self, api_listen=f"tcp:{port}:interface=127.0.0.1", api_keys=keys_file(self))
        page = (REPOSITORY / "docs" / "api.md").read_text("utf-8")
        lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
        used = {found[1] for line in lines if (found := re.search(r"/v1/([\w/]+)", line))}
        self.assertEqual(set(METHODS), used)
        environment = {"API": f"http://127.0.0.1:{port}", "KEY": KEY, "PATH": "/usr/bin:/bin", "no_proxy": "*"}
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


class Cluster(DaemonsTestCase):
    store = "redis"

    async def test_three_daemons_answer_as_one_also_after_one_is_killed(self) -> None:
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
        await asked(far, "disconnect", user="ann")
        for socket in (ann, again):
            await socket.next("disconnect")
        await repeated_until(online, lambda said: said == {"ann": False, "ben": True, "cem": False}, "presence")
        await asked(far, "revoke", user="cem")
        await asked(far, "revoke", user="cem", lift=True)
        await daemons[1].kill()
        await repeated_until(online, lambda said: said["ben"] is False, "presence after SIGKILL", 30)
        self.assertEqual({"sockets": [], "complete": True}, await asked(far, "sockets", user="ben"))
        self.no_faults(daemons[0], daemons[2])
