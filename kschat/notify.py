"""Reports the state of the daemon to systemd by sd_notify(3), over the socket that ``NOTIFY_SOCKET`` names.

::

    READY=1, MAINPID=…          it listens
    STATUS=…                    what `systemctl status` shows, when it has changed
    WATCHDOG=1                  twice in ``WATCHDOG_USEC``; without it systemd restarts the daemon
    RELOADING=1, READY=1        around what SIGHUP does
    STOPPING=1, EXTEND_TIMEOUT_USEC=…    the end, which takes as long as the drain
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from kschat.settings.given import reason_of

#: Seconds between two looks at the status.
STATUS_SECONDS: Final = 5.0

#: Seconds that a stop may still take after each report: more than any of its steps.
STOP_SECONDS: Final = 30.0

_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """The service manager, at the other end of the socket.

    Args:
        address: of the socket: a path, or a name in the abstract namespace that begins with ``@``.
    """

    log = Logger()

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._failed = False

    def tell(self, *lines: str) -> None:
        """Send lines in one datagram. A failure is logged once until a datagram is sent again."""
        try:
            # A socket for each datagram: a connected one would be useless after the manager was restarted.
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            ) as sender:
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._failed:
                self._failed = True
                self.log.warn("the service manager cannot be notified: {reason}", reason=reason_of(error))
        else:
            self._failed = False


def manager_of(environ: Mapping[str, str]) -> ServiceManager | None:
    """The service manager that started this process; None if it set no ``NOTIFY_SOCKET``."""
    address = environ.get("NOTIFY_SOCKET", "")
    return ServiceManager(address) if address[:1] in ("/", "@") and len(address) > 1 else None


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float:
    """Seconds of the watchdog of the process ``pid``; 0.0 if there is none."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return 0.0
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / _MICROSECONDS if text.isascii() and text.isdigit() else 0.0


class NotifyService(Service):
    """Reports readiness, status, reloads and the stop of the daemon, and feeds the watchdog.

    Args:
        manager: receives the reports.
        clock: the reactor.
        status: the state of the daemon in one line.
        when_running: calls a function once the reactor runs: ``reactor.callWhenRunning``.
        watchdog: see ``watchdog_seconds``.
    """

    def __init__(
        self,
        manager: ServiceManager,
        clock: IReactorTime,
        *,
        status: Callable[[], str],
        when_running: Callable[[Callable[[], None]], object],
        watchdog: float = 0.0,
    ) -> None:
        self._manager = manager
        self._clock = clock
        self._status = status
        self._when_running = when_running
        self._watchdog = watchdog
        self._pause = min(STATUS_SECONDS, watchdog / 2) if watchdog else STATUS_SECONDS
        self._call: IDelayedCall | None = None
        self._said = ""
        self._said_at = 0.0
        self._ending = False

    def startService(self) -> None:
        """Report readiness once the reactor runs: all ports are open then."""
        super().startService()
        self._when_running(self._ready)

    def stopService(self) -> None:
        """Report that the daemon begins to stop. The watchdog is fed until ``ended``."""
        super().stopService()
        self._ending = True
        self._manager.tell("STOPPING=1", *self._stop_lines(), *self._status_lines())

    def ended(self) -> None:
        """The daemon has stopped."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def around(self, reload: Callable[[], None]) -> None:
        """Call ``reload``, and report its beginning and its end."""
        self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.seconds() * _MICROSECONDS)}")
        try:
            reload()
        finally:
            self._manager.tell("READY=1", *self._status_lines())

    def _ready(self) -> None:
        if self.running:
            self._manager.tell("READY=1", f"MAINPID={os.getpid()}", *self._status_lines())
            self._call = self._clock.callLater(self._pause, self._look)

    def _look(self) -> None:
        self._call = self._clock.callLater(self._pause, self._look)
        lines = ["WATCHDOG=1"] if self._watchdog else []
        if self._ending:
            lines += self._stop_lines()
        if self._ending or self._clock.seconds() - self._said_at >= STATUS_SECONDS:
            lines += self._status_lines()
        if lines:
            self._manager.tell(*lines)

    def _stop_lines(self) -> list[str]:
        return [f"EXTEND_TIMEOUT_USEC={int(STOP_SECONDS * _MICROSECONDS)}"]

    def _status_lines(self) -> list[str]:
        self._said_at = self._clock.seconds()
        status = self._status()
        if status == self._said:
            return []
        self._said = status
        return [f"STATUS={status}"]
