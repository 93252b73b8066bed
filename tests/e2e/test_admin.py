"""The admin page in real Chromium, on three daemons."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.e2e.chatting import messages_of, new_user
from tests.front.scenarios import SCENARIO, play
from tests.support import NodeClient, token
from tests.support.daemon import Daemon
from tests.support.launch import free_ports
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import Redis

KEYS = {"admin": "a-key-of-the-admin-page-" * 2, "sender": "a-key-that-sends-messages-" * 2}

#: A user's id that is markup, and turns the direction of what follows.
HOSTILE = '<img src=x onerror="alert(1)"><b>\u202e "\'&amp;'


def keys_file(test: TestCase) -> str:
    """A file with both keys."""
    directory = tempfile.mkdtemp(prefix="kschat-")
    test.addCleanup(shutil.rmtree, directory, ignore_errors=True)
    path = Path(directory) / "keys.toml"
    path.touch(mode=0o600)
    path.write_text(
        f'[operator]\nkey = "{KEYS["admin"]}"\nscopes = ["admin"]\nsender = "operator"\n'
        f'[shop]\nkey = "{KEYS["sender"]}"\nscopes = ["send"]\n'
    )
    return str(path)


class AdminPage(TestCase):
    timeout = 2 * SCENARIO

    async def test_an_operator_sees_three_daemons_and_acts_on_users(self) -> None:
        redis = Redis()
        self.addCleanup(redis.stop)
        await redis.start()
        name, ports = new_user("admin"), free_ports(3)
        settings = {
            "store": "redis",
            "amqp": (await shared_rabbitmq()).url,
            "amqp_exchange": name,
            "redis": redis.url,
            "api_keys": keys_file(self),
        }
        daemons = [await Daemon.start(self, api_listen=f"tcp:{port}:interface=127.0.0.1", **settings) for port in ports]
        for daemon in daemons:
            await daemon.ready_becomes("ready")
        node = NodeClient.start(self, 4)

        async def joins(user: str, number: int) -> Any:
            return await node.connect(f"{daemons[number].url}/kschat", query=f"token={token(user)}")

        ann, again = await joins("ann", 0), await joins("ann", 1)
        ben = await joins("ben", 1)
        await joins(HOSTILE, 0)

        async def chat(said: Mapping[str, Any]) -> None:
            for number in range(20):
                await ben.emit("Send", {"uId": "ben", "pId": "dan", "msg": f"a secret {number}"})
            await ben.emit("Send", {"uId": "ben"})

        async def noticed(said: Mapping[str, Any]) -> list[str]:
            (got,) = messages_of(await ann.next("RESPRECEIVER"))
            return [got["uId"], got["msg"]]

        async def ended(said: Mapping[str, Any]) -> None:
            for socket in (ann, again):
                await socket.next("disconnect")

        async def tries(said: Mapping[str, Any]) -> None:
            socket = await node.open(f"{daemons[1].url}/kschat", query=f"token={token('ann')}")
            await socket.next(said["sees"])
            await socket.disconnect()

        async def stop_redis(said: Mapping[str, Any]) -> None:
            redis.kill()

        async def start_redis(said: Mapping[str, Any]) -> None:
            await redis.start()

        helpers = {
            "chat": chat,
            "noticed": noticed,
            "ended": ended,
            "tries": tries,
            "stop redis": stop_redis,
            "start redis": start_redis,
        }
        apis = [f"http://127.0.0.1:{port}" for port in ports]
        await play(self, "admin", daemons, helpers=helpers, apis=apis, keys=KEYS, hostile=HOSTILE)
        logs = "".join(daemon.log for daemon in daemons)
        for name in ("notice", "disconnect", "revoke"):
            self.assertIn(f"api: operator {name} [ann]: done", logs)
        self.assertIn("api: shop counts []: not-allowed", logs)
        for secret in (*KEYS.values(), "a secret", "Closed"):
            self.assertNotIn(secret, logs)
        # A look every two seconds has no line of its own.
        self.assertLess(daemons[0].log.count("api: operator counts"), 4)
