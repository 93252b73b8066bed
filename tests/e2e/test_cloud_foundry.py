"""The app as Cloud Foundry stages and starts it, with real services and npm's clients (``tests.support.foundry``)."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.threads import deferToThread

from kschat.front.polling import LAST_WORDS_TIMEOUT
from tests.e2e.deployed import DeployedTestCase
from tests.support import REPOSITORY, SECRET, require_node
from tests.support.foundry import Droplet, Instance
from tests.support.needs import require_program
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis

#: Seconds from SIGTERM to SIGKILL (Cloud Foundry's documents: "App Container Lifecycle").
KILLED_AFTER = 10


class CloudFoundryTests(DeployedTestCase):
    #: As the router passes a request on.
    routed: ClassVar[Mapping[str, str]] = {
        "Host": "chat.example.com",
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Proto": "https",
    }

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
            self.assertEqual(200, (await self.get(instance.url + application.health_check_http_endpoint))[0])
            await self.assert_serves_the_page(instance.url, SECRET)
            self.assertEqual(404, (await self.get(f"{instance.url}/metrics"))[0])
        await self.assert_two_clients_chat(one, other, SECRET)
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
