"""The app as Cloud Foundry stages and starts it, with real services and npm's clients (``tests.support.foundry``)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial import unittest
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers

from kschat.front.polling import LAST_WORDS_TIMEOUT
from tests.e2e.chatting import messages_of, new_user, sending
from tests.support import REPOSITORY, SECRET, NodeClient, require_node, token
from tests.support.foundry import Droplet, Instance
from tests.support.needs import require_program
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis
from tests.support.waiting import real_reactor

#: Seconds from SIGTERM to SIGKILL (Cloud Foundry's documents: "App Container Lifecycle").
KILLED_AFTER = 10


class CloudFoundryTests(unittest.TestCase):
    timeout = 300

    async def services(self) -> dict[str, list[dict[str, Any]]]:
        """Those of the tests, as brokers describe theirs."""
        amqp, redis = await shared_rabbitmq(), await shared_redis()
        return {
            "p.rabbitmq": [
                {
                    "label": "p.rabbitmq",
                    "name": "kschat-rabbitmq",
                    "tags": ["rabbitmq"],
                    "credentials": {"protocols": {"amqp": {"uri": amqp.url, "uris": [amqp.url]}}},
                }
            ],
            "user-provided": [
                {
                    "label": "user-provided",
                    "name": "kschat-redis",
                    "tags": [],
                    "credentials": {"host": "127.0.0.1", "port": redis.port},
                }
            ],
        }

    async def get(self, instance: Instance, path: str) -> tuple[int, bytes]:
        """As the router passes a request on."""
        routed = {"Host": "chat.example.com", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
        headers = Headers({name: [value] for name, value in routed.items()})
        response = await Agent(real_reactor()).request(b"GET", f"{instance.url}{path}".encode(), headers)
        return response.code, await readBody(response)

    async def test_it_serves_the_page_and_two_clients_on_two_instances(self) -> None:
        require_node()
        directory = tempfile.mkdtemp(prefix="kschat-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        droplet = await deferToThread(Droplet, Path(directory) / "droplet")
        (application,) = droplet.manifest.applications
        services = await self.services()
        one, other = [await Instance.begin(self, droplet, services, SECRET) for _ in range(application.instances)]
        for instance in (one, other):
            ready = await instance.ready_becomes("ready")
            self.assertEqual(("up", "up", "up"), (ready["router"], ready["store"], ready["bus"]))
            self.assertEqual(200, (await self.get(instance, application.health_check_http_endpoint))[0])
            status, page = await self.get(instance, f"/?uid=1&rid=2&token={token('1')}")
            self.assertEqual(200, status)
            for path in re.findall(rb'(?:src|href)="(/?static/[^"]+)"', page)[:5]:
                self.assertEqual(200, (await self.get(instance, "/" + path.decode().lstrip("/")))[0], path)
            self.assertEqual(404, (await self.get(instance, "/metrics"))[0])
        users = new_user("one"), new_user("other")
        clients = [NodeClient.start(self, 4, one), NodeClient.start(self, 2, other)]
        sockets = [
            await client.connect(f"{instance.url}/kschat", query=f"token={token(user)}", transports=transports)
            for client, instance, user, transports in zip(
                clients, (one, other), users, (["polling"], ["websocket"]), strict=True
            )
        ]
        for this, that in ((0, 1), (1, 0)):
            (ack,) = await sockets[this].emit("Send", sending(users[this], users[that], "hello"))
            self.assertEqual("Send Emit is success.", ack["RESPONSE"], ack)
            (got,) = messages_of(await sockets[that].next("RESPRECEIVER"))
            self.assertEqual("hello", got["msg"])
        self.assertEqual([0, 0], [await instance.stop() for instance in (one, other)])
        self.assertNotIn("messages are lost", one.log)
        self.assertEqual([], one.faults + other.faults)

    def test_an_instance_ends_before_it_is_killed(self) -> None:
        text = (REPOSITORY / "manifest.yml").read_text()
        (drain,) = re.findall(r"KSCHAT_DRAIN_TIME: (\d+)", text)
        self.assertLess(int(drain) + LAST_WORDS_TIMEOUT, KILLED_AFTER)
        self.assertNotIn("DRAIN_NOTICE", text)

    def test_npm_install_succeeds(self) -> None:
        npm = require_program("npm")
        place = self.mktemp()
        Path(place).mkdir()
        shutil.copy(REPOSITORY / "package.json", place)
        ended = subprocess.run(
            [npm, "install", "--offline"], cwd=place, capture_output=True, text=True, timeout=120, check=False
        )
        self.assertEqual(0, ended.returncode, ended.stderr)

    def test_the_page_names_what_the_files_name(self) -> None:
        page = (REPOSITORY / "docs" / "cloud-foundry.md").read_text("utf-8")
        manifest = (REPOSITORY / "manifest.yml").read_text("utf-8")
        created = re.findall(r"(?m)^cf create-service \S+ \S+ (\S+)", page)
        self.assertEqual(created, re.findall(r"(?m)^      - (kschat-\w+)$", manifest))
        for name in set(re.findall(r"(?m)^cf (?:set-env|start|add-network-policy) (\S+)", page)):
            self.assertIn(f"- name: {name}\n", manifest)
        (port,) = set(re.findall(r"PEER_PORT:-(\d+)", (REPOSITORY / "Procfile").read_text()))
        self.assertIn(f"--protocol tcp --port {port}", page)
        for name, value in re.findall(r"`(KSCHAT_\w+|health-check\S+): (\S+)`", page):
            self.assertIn(f"{name}: {value}\n", manifest)
