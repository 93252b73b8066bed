"""How the tests, the benchmarks and the chaos runs start a daemon, or another program, on a port of 127.0.0.1.

They have in common its command line, its environment, the words by which it says that it serves, and, on the reactor,
its process.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

#: Processes run here, so that ``-m …`` and the twistd plugin of this checkout are found, whatever is installed.
REPOSITORY: Final = Path(__file__).resolve().parents[2]

#: What a daemon prints when it serves, with TLS or without.
SERVING: Final = b"serving on http"

#: Ports of servers. Linux gives those from 32768 on to outgoing connections (ip_local_port_range).
_PORTS: Final = (10_000, 32_000)
_CHANCE: Final = SystemRandom()


def free_ports(count: int) -> list[int]:
    """So many TCP ports of 127.0.0.1 that nobody listened on a moment ago, all different.

    They are below those that the system gives to outgoing connections, one of which could take a port before its server
    is started.
    """
    found: dict[int, socket.socket] = {}
    try:
        while len(found) < count:
            port, probe = _CHANCE.randrange(*_PORTS), socket.socket()
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # somebody has it, perhaps this loop
                probe.close()
            else:
                found[port] = probe
        return list(found)
    finally:
        for probe in found.values():
            probe.close()


def free_port() -> int:
    """One such port."""
    return free_ports(1)[0]


def command(port: int, settings: Mapping[str, object], twistd: Sequence[str] = ()) -> list[str]:
    """The command line of a daemon.

    Args:
        port: of 127.0.0.1.
        settings: named as in the configuration file; a True becomes a bare flag. Without a store, it is in memory.
        twistd: options of twistd itself.
    """
    arguments = [sys.executable, str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", *twistd, "kschat"]
    arguments += ["--listen", f"tcp:{port}:interface=127.0.0.1"]
    for name, value in {"store": "memory", **settings}.items():
        option = "--" + name.replace("_", "-")
        arguments += [option] if value is True else [option, str(value)]
    return arguments


def environment(secret: str, **more: str) -> dict[str, str]:
    """This process's environment, without what would configure kschat from outside.

    The secret stands in it, and so in no list of processes.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KSCHAT_") and name != "PORT"}
    ours |= {"KSCHAT_SECRET": secret, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    return ours | more


class NotServing(Exception):
    """A process ended before it served."""


class Process(ProcessProtocol):
    """A process that says in its output when it serves.

    Args:
        heard: called with each piece of its output, whole lines or not.

    Attributes:
        serving: fires when it serves; fails with NotServing.
        ended: fires with ``status`` at its end.
        status: its exit status, once it has ended; a signal that ended it is negative.
    """

    def __init__(self, heard: Callable[[bytes], object]) -> None:
        self._heard = heard
        self._begin: bytes | None = b""
        self.serving: Deferred[None] = Deferred()
        self.ended: Deferred[int] = Deferred()
        self.status = 0

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """See ``ProcessProtocol``."""
        self._heard(data)
        if self._begin is not None:
            self._begin += data
            if SERVING in self._begin:
                self._begin = None
                self.serving.callback(None)

    def processEnded(self, reason: Failure) -> None:
        """See ``ProcessProtocol``."""
        value = reason.value
        if isinstance(value, ProcessTerminated):
            self.status = value.exitCode if value.signal is None else -value.signal
        if not self.serving.called:
            self.serving.errback(NotServing(f"it ended with status {self.status} before it served"))
        self.ended.callback(self.status)
