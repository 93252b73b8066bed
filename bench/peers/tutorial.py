"""The tutorial's server on Node (bench/peers/node), which kschat replaces: one process on RabbitMQ and Redis."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.base import Running
from bench.services import Services, missing
from bench.spawn import spawn
from tests.support.launch import free_port

DIRECTORY: Final = Path(__file__).with_name("node")
READY: Final = b"serving on "


def lacking() -> str:
    """What is not there that it needs to run beside its services, in a sentence; or nothing."""
    if shutil.which("node") is None:
        return "node is not installed"
    if not (DIRECTORY / "node_modules" / "socket.io").is_dir():
        return "its packages are not installed (npm ci in bench/peers/node, or make node)"
    return ""


def environment(port: int, secret: str, amqp: str, redis: str = "", *, confirm: bool = False) -> dict[str, str]:
    """The environment that ``node server.js`` takes its settings from."""
    settings = {"PORT": str(port), "SECRET": secret, "AMQP": amqp, "REDIS": redis, "CONFIRM": str(int(confirm))}
    mine: Mapping[str, str] = {f"PEER_{name}": value for name, value in settings.items()}
    return {"PATH": os.environ.get("PATH", ""), "NODE_ENV": "production", **mine}


def command() -> list[str]:
    """What starts it."""
    return [shutil.which("node") or "node", str(DIRECTORY / "server.js")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tutorial:
    """The tutorial's server. ``confirm``: it acknowledges what RabbitMQ has confirmed, which the tutorial does not.

    It lets a socket in before its queue is bound, hence the moment of silence after joining.
    """

    name: str
    confirm: bool = False
    load: tuple[str, ...] = ("--until-delivered", "--settle", "1")
    chats: bool = True

    def missing(self) -> str:
        """What must be installed first, in a sentence; or nothing."""
        return missing(("rabbitmq", "redis")) or lacking()

    def start(self, directory: Path, secret: str, services: Services) -> Running:
        """Start it and return when it serves. Raises PeerError."""
        port = free_port()
        rabbitmq, redis = services.get("rabbitmq"), services.get("redis")
        environ = environment(port, secret, rabbitmq.url, redis.url, confirm=self.confirm)
        process = spawn(command(), directory / "node.log", READY, environ)
        return Running((port,), (process,), {"rabbitmq": rabbitmq.pid, "redis": redis.pid})
