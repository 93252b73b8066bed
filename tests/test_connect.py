"""``kschat check-config --connect``: what a configuration names is opened, on real servers, and nothing is changed."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import threads
from twisted.trial.unittest import TestCase

from kschat.backends.sqlite.database import TABLES, Lock
from kschat.cli.connect import Finding, try_all
from kschat.settings import Config, load
from tests.support.certificates import Authority
from tests.support.launch import free_ports
from tests.support.rabbitmq import RabbitMQ, shared_rabbitmq
from tests.support.redis import Redis, shared_redis
from tests.support.waiting import real_reactor
from tests.test_tap import environment

SECRET = "a secret of the tests, long enough for HS256"


class ConnectTestCase(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def config(self, **settings: Any) -> Config:
        """The defaults, at a port that nobody has, and ``settings``."""
        given = {"listen": "tcp:0:interface=127.0.0.1", "store": "memory", "secret": SECRET, **settings}
        return load(given, {})

    async def found(self, **settings: Any) -> dict[str, Finding]:
        """What came of each part."""
        findings = await try_all(self.config(**settings), real_reactor())
        return {finding.part: finding for finding in findings}

    async def failed(self, part: str, **settings: Any) -> str:
        """What is wrong with the one part that can't be used."""
        found = await self.found(**settings)
        self.assertEqual([name for name, finding in found.items() if not finding.ok], [part], found)
        self.assertNotIn("\n", found[part].text)
        return found[part].text


class TestThisMachine(ConnectTestCase):
    """Ports, files, certificates."""

    async def test_a_part_has_a_line(self) -> None:
        found = await self.found()
        self.assertEqual(
            [str(found[name]) for name in ("listen", "secret")],
            ["listen: ok: tcp:0:interface=127.0.0.1 is free", "secret: ok: a key for HS256"],
        )
        self.assertEqual(list(found), ["listen", "secret", "templates"])

    async def test_a_demo_has_no_key_to_look_at(self) -> None:
        self.assertNotIn("secret", await self.found(secret="", demo="true"))

    async def test_a_port_that_somebody_has(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            listen = f"tcp:{busy.getsockname()[1]}:interface=127.0.0.1"
            self.assertEqual(await self.failed("listen", listen=listen), f"{listen}: Address already in use")
            text = await self.failed("peer_listen", peer_listen=listen)
            self.assertEqual(text, f"{listen}: Address already in use")

    async def test_an_endpoint_that_is_none(self) -> None:
        text = await self.failed("listen", listen="carrier:pigeon")
        self.assertEqual(text, "carrier:pigeon: Unknown endpoint type: 'carrier'")

    async def test_a_certificate_is_read(self) -> None:
        authority = Authority(self.directory)
        for days, said in [(30, "certificate of chat.example until "), (-3, " has expired (")]:
            certificate, key = authority.sign("chat.example", days)
            listen = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
            finding = (await self.found(listen=listen))["listen"]
            self.assertIn(said, finding.text)
            self.assertEqual(finding.ok, days > 0)

    async def test_a_key_file_names_its_keys(self) -> None:
        path = self.directory / "secret"
        path.touch(0o600)
        path.write_text(SECRET)
        self.assertEqual((await self.found(secret="", secret_file=str(path)))["secret_file"].text, "a key for HS256")

    async def test_a_file_of_sqlite_is_not_made(self) -> None:
        path = self.directory / "x.db"
        finding = (await self.found(store=f"sqlite:{path}"))["store"]
        self.assertEqual(finding.text, f"{path}, is made at the first start")
        self.assertEqual(os.listdir(self.directory), [])
        self.assertEqual(await self.failed("store", store="sqlite:/nowhere/x.db"), "there is no directory /nowhere")

    async def test_a_file_of_a_newer_kschat_or_of_something_else_is_left_as_it_is(self) -> None:
        path = self.directory / "x.db"
        for sql, said in [
            (
                "PRAGMA user_version = 99;" + "".join(f"CREATE TABLE {name} (x);" for name in TABLES),
                "its schema is version 99, and this kschat knows versions up to ",
            ),
            ("PRAGMA user_version = 0; CREATE TABLE other (x)", "it is a database of something else than kschat"),
        ]:
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(sql)
            before = path.read_bytes()
            self.assertIn(said, await self.failed("store", store=f"sqlite:{path}"))
            self.assertEqual(path.read_bytes(), before)
        path.write_text("no database")
        self.assertIn("it is no SQLite database", await self.failed("store", store=f"sqlite:{path}"))

    async def test_a_file_that_another_daemon_has(self) -> None:
        path = self.directory / "x.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 0")
        path.touch()
        lock = Lock(f"{path}.lock")
        text = await self.failed("store", store=f"sqlite:{path}")
        self.assertEqual(text, f"another kschat uses it (process {os.getpid()})")
        lock.release()
        self.assertTrue((await self.found(store=f"sqlite:{path}"))["store"].ok)

    async def test_a_directory_of_templates_and_of_the_client(self) -> None:
        (self.directory / "index.html").write_text("<p>")
        self.assertIn("index.html", await self.failed("templates", templates=str(self.directory)))
        text = await self.failed("client_dist", client_dist=str(self.directory))
        self.assertEqual(text, f"there is no socket.io.js in {self.directory}")

    async def test_as_a_command(self) -> None:
        command = [sys.executable, "-c", "from kschat.cli import run; run()", "check-config", "--connect"]

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*command, "--listen", "tcp:0:interface=127.0.0.1", *arguments],
                cwd=self.directory,
                env=environment(KSCHAT_SECRET=SECRET),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        (port,) = free_ports(1)
        ended = await threads.deferToThread(run, "--store", "none", "--amqp", f"amqp://127.0.0.1:{port}/")
        self.assertEqual((ended.returncode, ended.stderr), (1, ""))
        self.assertIn(f"amqp: FAILED: 127.0.0.1:{port}: Connection was refused", ended.stdout)
        ended = await threads.deferToThread(run)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn(f"store: ok: {self.directory}/kschat.db, is made at the first start\n", ended.stdout)


class TestRedis(ConnectTestCase):
    async def redis(self, config: str, sentinel: bool = False) -> Redis:
        server = Redis(config, sentinel=sentinel)
        self.addCleanup(server.stop)
        await server.start()
        return server

    async def test_one_that_is_there(self) -> None:
        redis = await shared_redis()
        before = redis.do("DBSIZE")
        relay = {"store": "none", "amqp": (await shared_rabbitmq()).url}
        found = await self.found(**relay, redis=redis.url)
        self.assertTrue(found["redis"].ok, found)
        self.assertRegex(found["redis"].text, rf"^127\.0\.0\.1:{redis.port}, Redis \d")
        self.assertEqual(redis.do("DBSIZE"), before)
        text = await self.failed("redis", **relay, redis=redis.url[:-1] + "99")
        self.assertIn(f"127.0.0.1:{redis.port}: it said: ERR DB index is out of range", text)
        text = await self.failed("redis", **relay, redis=f"redis://u:hunter2@127.0.0.1:{redis.port}/0")
        self.assertEqual(text, f"127.0.0.1:{redis.port}: the user or the password is wrong")
        (port,) = free_ports(1)
        text = await self.failed("redis", **relay, redis=f"redis://127.0.0.1:{port}/0")
        self.assertIn(f"127.0.0.1:{port}: Connection was refused", text)

    async def test_the_replicas_that_a_store_waits_for(self) -> None:
        redis, broker = await shared_redis(), await shared_rabbitmq()
        text = await self.failed("redis", store="redis", amqp=broker.url, redis=redis.url, redis_wait="2")
        self.assertEqual(text, f"127.0.0.1:{redis.port}: 0 replicas follow it, and redis_wait asks for 2")
        found = await self.found(store="none", amqp=broker.url, redis=redis.url, redis_wait="2")
        self.assertTrue(found["redis"].ok, found)

    async def test_sentinels_with_a_password_of_their_own(self) -> None:
        """The settings that docs/configuration.md names: ``?sentinel_user=…&sentinel_password=…``."""
        master = await self.redis("requirepass secret\n")
        sentinel = await self.redis(
            f"sentinel monitor chat 127.0.0.1 {master.port} 1\nsentinel auth-pass chat secret\nrequirepass watch\n",
            sentinel=True,
        )
        relay = {"store": "none", "amqp": (await shared_rabbitmq()).url}
        url = f"redis+sentinel://:secret@127.0.0.1:{sentinel.port}/chat/0"
        found = await self.found(**relay, redis=f"{url}?sentinel_password=watch")
        self.assertRegex(found["redis"].text, rf"^127\.0\.0\.1:{master.port}, Redis \d")
        found = await self.found(**relay, redis=f"{url}?sentinel_user=default&sentinel_password=watch")
        self.assertTrue(found["redis"].ok, found)
        text = await self.failed("redis", **relay, redis=url)
        self.assertIn(f"127.0.0.1:{sentinel.port}: it requires a password, and the URL has none", text)
        text = await self.failed("redis", **relay, redis=f"{url}?sentinel_password=wrong")
        self.assertIn("the user or the password is wrong", text)


class TestRabbitMQ(ConnectTestCase):
    async def broker(self) -> RabbitMQ:
        return await shared_rabbitmq()

    async def test_one_that_is_there_and_no_exchange_is_made(self) -> None:
        broker = await self.broker()
        exchange = self.id()
        for _ in range(2):
            found = await self.found(store="none", amqp=broker.url, amqp_exchange=exchange)
            said = f"127.0.0.1:{broker.port}, the exchange kschat.{exchange} is made at the first start"
            self.assertEqual(str(found["amqp"]), f"amqp: ok: {said}")

    async def test_an_exchange_of_another_type(self) -> None:
        broker = await self.broker()
        text = await self.failed(
            "amqp", store="none", amqp=broker.url, amqp_exchange="amq.topic", amqp_format="tutorial"
        )
        self.assertIn("inequivalent arg 'type'", text)
        found = await self.found(
            store="none",
            amqp=broker.url,
            amqp_exchange="amq.direct",
            amqp_durable="true",
            amqp_exchange_type="direct",
            amqp_format="tutorial",
        )
        self.assertEqual(found["amqp"].text, f"127.0.0.1:{broker.port}, the exchange amq.direct is there")

    async def test_what_is_wrong_is_said_with_host_and_port(self) -> None:
        broker = await self.broker()
        here = f"127.0.0.1:{broker.port}"
        text = await self.failed("amqp", store="none", amqp=f"amqp://guest:hunter2@{here}/%2F")
        self.assertTrue(text.startswith(f"{here}: "), text)
        self.assertIn("ACCESS_REFUSED", text)
        self.assertNotIn("hunter2", text)
        text = await self.failed("amqp", store="none", amqp=f"amqp://guest:guest@{here}/nowhere")
        self.assertIn("vhost", text)
        (port,) = free_ports(1)
        text = await self.failed("amqp", store="none", amqp=f"amqp://127.0.0.1:{port}/")
        self.assertIn(f"127.0.0.1:{port}: Connection was refused", text)

    async def test_of_several_brokers_one_is_enough_and_what_is_wrong_with_the_others_is_said(self) -> None:
        broker = await self.broker()
        here, nowhere = f"127.0.0.1:{broker.port}", f"127.0.0.1:{free_ports(1)[0]}"
        found = await self.found(store="none", amqp=f"amqp://guest:guest@{nowhere},{here}/%2F")
        self.assertTrue(found["amqp"].ok)
        refused, _, good = found["amqp"].text.partition("; ")
        self.assertTrue(refused.startswith(f"{nowhere}: Connection was refused"), refused)
        self.assertTrue(good.startswith(f"{here}, the exchange "), good)
        text = await self.failed("amqp", store="none", amqp=f"amqp://{nowhere},{nowhere}/")
        self.assertEqual(text.count("Connection was refused"), 2)
