"""Several daemons on one port without systemd and without a proxy: ``kschat run --processes N``.

The parent serves no client. It opens the port for clients, which all daemons accept from, so that no connection is
refused or lost while one of them restarts. It restarts a daemon that has ended, and kills one that does not answer. It
passes signals on::

    SIGTERM, SIGINT   all daemons drain and end, then the parent
    SIGHUP            all read settings, keys and certificates again
    SIGUSR1           all open a new log file
    SIGUSR2           the daemons are restarted one by one: each drains, and serves again before the next one ends

The daemons act as one through RabbitMQ and Redis, and forward requests of polling clients to each other.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure
from zope.interface import implementer

from kschat.launch import Launch, make_plan
from kschat.logs import make_log
from kschat.notify import NotifyService, manager_of, watchdog_seconds
from kschat.settings import Config, ConfigError

#: Seconds until a daemon that ended by itself is started again, at first and at most; twice as long each time.
FIRST_DELAY: Final = 0.5
MAX_DELAY: Final = 30.0

#: Seconds of service after which the next end of a daemon counts as its first one.
STABLE: Final = 60.0

#: Seconds without a report after which a daemon that has served is killed. It reports at least twice in that time.
WATCHDOG: Final = 30.0

#: Seconds within which a daemon that SIGUSR2 restarts has to serve; else the others are not restarted.
START_PATIENCE: Final = 60.0

#: Bytes that are read of a report.
MAX_REPORT: Final = 4096

#: Process, user and group of the sender of a report, in the message SCM_CREDENTIALS (unix(7)).
_CREDENTIALS: Final = struct.Struct("3i")

#: The first descriptor that is handed over (sd_listen_fds(3)).
_FIRST_DESCRIPTOR: Final = 3


class Running(Protocol):
    """A process that was started."""

    pid: int | None

    def signalProcess(self, signalID: int) -> None:
        """As ``IProcessTransport`` has it. (Twisted knows the names of few signals.)"""


class Member(ProcessProtocol):
    """One of the daemons, across its restarts.

    Args:
        number: of the process, from 0.
        ended: called each time that its process ends, with the reason.

    Attributes:
        running: its process; None if it has ended.
        served: when it began to serve; None before.
        delay: seconds until it is started again after it has ended by itself.
        restart: the call that will start it again.
        watchdog: the call that will kill it, unless it reports before.
        waiting: fires once it serves or has ended.
        told: whether it was told to end.
        missed: signals that it gets once it serves.
    """

    def __init__(self, number: int, ended: Callable[[Member, Failure], None]) -> None:
        self.number = number
        self._ended = ended
        self.running: Running | None = None
        self.served: float | None = None
        self.delay = FIRST_DELAY
        self.restart: IDelayedCall | None = None
        self.watchdog: IDelayedCall | None = None
        self.waiting: Deferred[bool] | None = None
        self.told = False
        self.missed: set[signal.Signals] = set()

    def processEnded(self, reason: Failure) -> None:
        """See ``ProcessProtocol``."""
        self._ended(self, reason)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self.running is not None:
            with contextlib.suppress(ProcessExitedAlready):  # ``processEnded`` is about to be called
                self.running.signalProcess(number.value)

    def changes(self) -> Deferred[bool]:
        """Fires when it serves (True), or has ended (False)."""
        self.waiting = Deferred()
        return self.waiting

    def changed(self, serves: bool) -> None:
        """It serves, or has ended."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.callback(serves)


class Processes:
    """The daemons.

    Args:
        clock: the reactor.
        count: of daemons.
        launch: starts the process with a number, and tells the protocol of its end.
        done: called with the exit status when all have ended.

    Attributes:
        ready: fires when all have served.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        count: int,
        launch: Callable[[int, Member], Running],
        done: Callable[[int], object],
    ) -> None:
        self._clock = clock
        self._launch = launch
        self._done = done
        self._members = [Member(number, self._ended) for number in range(count)]
        self._status = 0
        self._ending = self._rolling = False
        self.ready: Deferred[None] = Deferred()

    def start(self) -> None:
        """Start all."""
        for member in self._members:
            if not self._ending:  # one before it could not be started
                self._start(member)

    def lives(self, number: int, serves: bool) -> None:
        """A process has reported; ``serves``: it reports that it serves."""
        member = self._members[number]
        if member.running is None:
            return  # its last report
        if serves and member.served is None:
            member.served = self._clock.seconds()
            member.watchdog = self._clock.callLater(WATCHDOG, self._kill, member)
            for missed in member.missed:
                member.send(missed)
            member.missed.clear()
            member.changed(True)
        elif member.watchdog is not None:
            member.watchdog.reset(WATCHDOG)
        if not self.ready.called and all(member.served is not None for member in self._members):
            self.log.info("{count} processes serve", count=len(self._members))
            self.ready.callback(None)

    def status(self) -> str:
        """The state in one line, for the service manager."""
        serving = sum(member.served is not None for member in self._members)
        return f"{'Closing' if self._ending else 'Serving'}: {serving} of {len(self._members)} processes"

    def forward(self, number: signal.Signals) -> None:
        """Pass SIGHUP or SIGUSR1 on. It would end a process that does not handle it yet, which so gets it later."""
        for member in self._members:
            if member.served is None:
                member.missed.add(number)
            else:
                member.send(number)

    def stop(self, number: signal.Signals) -> None:
        """End all, and call ``done``. Another call passes the signal on again."""
        if not self._ending:
            self._ending = True
            for member in self._members:
                if member.restart is not None:
                    member.restart.cancel()
                    member.restart = None
        for member in self._members:
            member.send(number)
        self._look()

    async def roll(self) -> None:
        """Restart the daemons one by one."""
        if self._ending or self._rolling or not self.ready.called:
            self.log.warn("the processes are not restarted: they are starting, restarting or ending")
            return
        self._rolling = True
        try:
            for member in self._members:
                if not await self._replace(member):
                    return
            self.log.info("{count} processes were restarted", count=len(self._members))
        finally:
            self._rolling = False

    async def _replace(self, member: Member) -> bool:
        """Restart a daemon. Returns whether it serves, so that the next one may be restarted."""
        self.log.info("process {number} is restarted", number=member.number)
        member.told = True
        if member.restart is not None:
            member.restart.cancel()
            member.restart = None
        member.send(signal.SIGTERM)
        while member.running is not None:
            await member.changes()
        member.told = False
        if self._ending:
            return False
        self._start(member)
        late = self._clock.callLater(START_PATIENCE, member.changed, False)
        serves = await member.changes()
        if late.active():
            late.cancel()
        if not serves and not self._ending:
            self.log.error("process {number} does not serve; the others are not restarted", number=member.number)
        return serves

    def _kill(self, member: Member) -> None:
        member.watchdog = None
        self.log.error("process {number} does not answer and is killed", number=member.number)
        member.send(signal.SIGKILL)

    def _start(self, member: Member) -> None:
        member.restart = member.served = None
        try:
            member.running = self._launch(member.number, member)
        except OSError:
            self._ended(member, Failure())

    def _ended(self, member: Member, why: Failure) -> None:
        served, member.served, member.running = member.served, None, None
        if member.watchdog is not None:
            member.watchdog.cancel()
            member.watchdog = None
        if self._ending:
            self._look()
        elif member.told:
            pass  # ``_replace``, which is told below, starts it again
        elif not self.ready.called:
            # The others would end for the same reason, which is in its log.
            self.log.error("process {number} ended before it served", number=member.number)
            self._status = 1
            self.stop(signal.SIGTERM)
        else:
            if served is not None and self._clock.seconds() - served >= STABLE:
                member.delay = FIRST_DELAY
            self.log.error(
                "process {number} ended ({why}) and is started again in {seconds:g} seconds",
                number=member.number,
                why=why.getErrorMessage().rstrip("."),
                seconds=member.delay,
            )
            member.restart = self._clock.callLater(member.delay, self._start, member)
            member.delay = min(2 * member.delay, MAX_DELAY)
        member.changed(False)

    def _look(self) -> None:
        if all(member.running is None for member in self._members):
            self._done(self._status)


@implementer(IReadDescriptor)
class Notifications:
    """Receives the reports of a daemon, which sends them as to systemd. See ``kschat.notify``.

    Args:
        address: of the socket, in Linux's abstract namespace, which needs no file; without the ``@``. All users of
            the machine can send to it, so that reports of other users are ignored.
        lives: called for each report, with whether it says that the daemon serves.
    """

    def __init__(self, address: str, lives: Callable[[bool], object]) -> None:
        self._lives = lives
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(f"\0{address}")

    def fileno(self) -> int:
        """See ``IReadDescriptor``."""
        return self._socket.fileno()

    def doRead(self) -> None:
        """Read one report; the reactor calls again if there are more."""
        with contextlib.suppress(BlockingIOError):
            report, beside, *_ = self._socket.recvmsg(MAX_REPORT, socket.CMSG_SPACE(_CREDENTIALS.size))
            for _, kind, data in beside:
                if kind == socket.SCM_CREDENTIALS and _CREDENTIALS.unpack(data)[1] == os.getuid():
                    self.heard(report)

    def heard(self, report: bytes) -> None:
        """Pass on what a report says."""
        self._lives(b"READY=1" in report.split(b"\n"))

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "notifications"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has stopped."""
        self._socket.close()


def run(config: Config, launch: Launch, environ: Mapping[str, str], reactor: Any) -> int:
    """Run the daemons until they have ended.

    Args:
        config: their settings, which are in order.
        launch: how many, and their options.
        environ: of this process.
        reactor: Twisted's.

    Returns:
        The exit status.

    Raises:
        ConfigError: they cannot be started with these settings.
    """
    plan = make_plan(config, launch)
    try:
        log = make_log(
            {"nodaemon": True, "logfile": launch.logfile},
            form=config.log_format,
            level=config.log_level,
            size=config.log_rotate,
        )
    except OSError as error:
        plan.close()
        raise ConfigError(f"the log can't be written to {error.filename}: {error.strerror}") from None
    assert log is not None
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    if config.metrics and not config.ops_listen:
        Processes.log.warn(
            "ops_listen is not set: /metrics and /healthz on the port for clients show one of the processes, not "
            "always the same"
        )
    address = f"kschat-run-{os.getpid()}-{secrets.token_hex(8)}"
    theirs = {name: value for name, value in environ.items() if not name.startswith(("LISTEN_", "WATCHDOG_"))}
    theirs |= {**plan.environ, "WATCHDOG_USEC": str(int(WATCHDOG * 1_000_000))}
    descriptors = {_FIRST_DESCRIPTOR + index: one.fileno() for index, one in enumerate(plan.sockets)}

    def start(number: int, member: Member) -> Running:
        command = launch.command(os.getpid(), *plan.options[number], number=number)
        running: Running = reactor.spawnProcess(
            member,
            command[0],
            command,
            env={**theirs, "NOTIFY_SOCKET": f"@{address}-{number}"},
            childFDs={0: 0, 1: 1, 2: 2, **descriptors},
        )
        return running

    statuses: list[int] = []

    def done(status: int) -> None:
        if not statuses:
            statuses.append(status)
            if notify is not None:
                notify.ended()
            reactor.stop()

    processes = Processes(reactor, count=launch.count, launch=start, done=done)
    for number in range(launch.count):
        reactor.addReader(Notifications(f"{address}-{number}", partial(processes.lives, number)))
    manager = manager_of(environ)
    notify = None
    if manager is not None:
        notify = NotifyService(
            manager,
            reactor,
            status=processes.status,
            when_running=lambda call: processes.ready.addCallback(lambda _: call()),
            watchdog=watchdog_seconds(environ, os.getpid()),
        )
        notify.startService()

    def end(number: signal.Signals) -> None:
        if notify is not None and notify.running:
            notify.stopService()
        processes.stop(number)

    def reload() -> None:
        again = partial(processes.forward, signal.SIGHUP)
        again() if notify is None else notify.around(again)

    def rotate() -> None:
        try:
            Processes.log.info("{done}", done=log.rotate())
        except OSError as error:
            Processes.log.error("no new log file could be opened: {reason}", reason=error.strerror)
        processes.forward(signal.SIGUSR1)

    def roll() -> None:
        Deferred.fromCoroutine(processes.roll()).addErrback(
            lambda failure: Processes.log.failure("the processes could not be restarted", failure)
        )

    calls: Mapping[signal.Signals, Callable[[], object]] = {
        signal.SIGTERM: partial(end, signal.SIGTERM),
        signal.SIGINT: partial(end, signal.SIGINT),
        signal.SIGHUP: reload,
        signal.SIGUSR1: rotate,
        signal.SIGUSR2: roll,
    }

    def take_over() -> None:
        for number, call in calls.items():
            signal.signal(number, lambda *_, call=call: reactor.callFromThread(call))
        processes.start()

    reactor.callWhenRunning(take_over)
    try:
        reactor.run()
    finally:
        plan.close()
    return statuses[0] if statuses else 1
