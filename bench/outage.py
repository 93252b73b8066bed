"""A crash of RabbitMQ below a daemon, and when what of it happened. It knows no load."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.services import Services
from bench.spawn import PeerError, readiness

_PATIENCE: Final = 90.0
"""Seconds until a restart must be over."""
_LOOK: Final = 0.02
"""Seconds between two looks."""


@dataclass(slots=True)
class Restart:
    """What a restart of RabbitMQ was to a daemon. Moments are of ``time.perf_counter``."""

    killed: float = 0.0
    lost: float = 0.0
    accepts: float = 0.0
    bound: float = 0.0


class Watch(threading.Thread):
    """Kills RabbitMQ, starts it again, and notes when what happened. ``over`` when all is."""

    def __init__(self, services: Services, port: int) -> None:
        super().__init__(daemon=True)
        self._services = services
        self._port = port
        self.restart = Restart()
        self.error = ""
        self.over = False

    def run(self) -> None:
        """Do it."""
        try:
            self._run()
        except (OSError, PeerError, TimeoutError) as error:
            self.error = str(error) or type(error).__name__
        self.over = True

    def _run(self) -> None:
        restart, broker = self.restart, self._services.get("rabbitmq")
        restart.killed = time.perf_counter()
        self._services.kill("rabbitmq")
        restart.lost = self._when(lambda: not self._routes())
        starting = threading.Thread(target=self._services.again, args=("rabbitmq",), daemon=True)
        starting.start()
        restart.accepts = self._when(lambda: _accepts(broker.port))
        restart.bound = self._when(self._routes)
        starting.join(_PATIENCE)

    def _routes(self) -> bool:
        return readiness(self._port)["router"] == "up"

    @staticmethod
    def _when(done: Callable[[], bool]) -> float:
        end = time.perf_counter() + _PATIENCE
        while not done():
            if time.perf_counter() > end:
                raise TimeoutError("RabbitMQ's restart took too long")
            time.sleep(_LOOK)
        return time.perf_counter()


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
