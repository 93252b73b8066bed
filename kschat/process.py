"""The process that twistd runs: what signals do, where it logs, and notices at its start."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.components import Componentized
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

from kschat.logs import DaemonLog
from kschat.notify import NotifyService


class DemoNotice(Service):
    """Says in the log that the daemon is a demo."""

    log = Logger()

    def startService(self) -> None:
        """twistd logs from here on."""
        super().startService()
        self.log.warn("this is a demo: its page gives anyone a token, for any user")


class TwistdOptions(ServerOptions):
    """twistd's own options, parsed again. Those that act while they are parsed have acted already."""

    def opt_debug(self) -> None:
        """Note it; it means the foreground."""
        self["debug"] = True

    opt_b = opt_debug

    def opt_spew(self) -> None:
        """Do nothing."""

    def opt_reactor(self, name: str) -> None:
        """Do nothing."""

    opt_r = opt_reactor


def options_of(arguments: Sequence[str]) -> TwistdOptions | None:
    """twistd's options for a process that runs a .tac file; twistd does not pass them to it.

    Args:
        arguments: of the process, without its name.

    Returns:
        The options; None if there is no ``--python``, so that another program runs.
    """
    # Without arguments twistd would show its help.
    if not any(re.match(r"--python|-[a-z]*y", one) for one in arguments):
        return None
    given = TwistdOptions()
    try:
        given.parseOptions(list(arguments))
    except (usage.UsageError, SystemExit):
        return None
    return given


class Whole(MultiService):
    """The parent of all services of the process.

    Args:
        log: where the process logs; None: as twistd says.
        notify: tells the service manager; None where there is none.
    """

    def __init__(self, log: DaemonLog | None = None, notify: NotifyService | None = None) -> None:
        super().__init__()
        self._log = log
        self._notify = notify
        if notify is not None:
            notify.setServiceParent(self)

    def stopService(self) -> Deferred[Any]:
        """Stop all services, and then the watchdog."""
        ended = maybeDeferred(super().stopService)
        return ended if self._notify is None else ended.addBoth(self._ended, self._notify)

    def _ended(self, result: Any, notify: NotifyService) -> Any:
        notify.ended()
        return result

    def setServiceParent(self, parent: Any) -> None:
        """Give an application its log before twistd begins one. (The option ``--logger`` takes a name alone.)"""
        if self._log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)


class SignalService(Service):
    """Calls a function when a signal arrives, unless something else handles that signal.

    Args:
        reactor: Twisted's.
        call: called in the reactor.
    """

    number: signal.Signals

    def __init__(self, reactor: Any, call: Callable[[], None]) -> None:
        self._reactor = reactor
        self._call = call

    def privilegedStartService(self) -> None:
        """Install the handler. A signal that arrives before the reactor runs waits for it.

        It replaces an ignored signal too, such as SIGHUP under nohup: the daemon outlives the terminal in any case.
        """
        super().privilegedStartService()
        if signal.getsignal(self.number) in (signal.SIG_DFL, signal.SIG_IGN):
            signal.signal(self.number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._call)


class ReloadSignal(SignalService):
    """Makes SIGHUP read settings, keys and certificates again."""

    number = signal.SIGHUP


class RotateSignal(SignalService):
    """Makes SIGUSR1 open a new log file.

    Args:
        reactor: Twisted's.
        log: the log.
    """

    number = signal.SIGUSR1
    log = Logger()

    def __init__(self, reactor: Any, log: DaemonLog) -> None:
        super().__init__(reactor, self._rotate)
        self._log = log

    def _rotate(self) -> None:
        try:
            done = self._log.rotate()
        except OSError as error:
            self.log.error(
                "no new log file could be opened: {reason}; the log continues in the old one",
                reason=error.strerror,
            )
        else:
            self.log.info("{done}", done=done)


class StartNotice(Service):
    """Says in the log what an operator should know of the start."""

    log = Logger()

    def __init__(self, notice: str) -> None:
        self._notice = notice

    def startService(self) -> None:
        """twistd logs from here on."""
        super().startService()
        self.log.warn("{notice}", notice=self._notice)


#: Signals without a meaning here, whose default action would end the process without a drain. (``RotateSignal`` handles
#: SIGUSR1 if the log is kschat's own.)
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)


class CleanExit(Service):
    """Makes SIGTERM and SIGINT stop the reactor and the process end with status 0. SIGUSR1 and SIGUSR2 are ignored,
    unless something else handles them.

    SIGINT, which is a terminal's Ctrl-C, does not wait for clients to be told one by one; nor does a second signal. A
    third one ends the process at once.

    With the reactor's own handlers twistd, once all is stopped, kills itself with the signal, so that the status is
    143 and a supervisor cannot tell an orderly end from another.

    Args:
        reactor: Twisted's.
        hurry: makes the daemon end without waiting.
    """

    def __init__(self, reactor: Any, hurry: Callable[[], None]) -> None:
        self._reactor = reactor
        self._hurry = hurry
        self._stopped = False

    def privilegedStartService(self) -> None:
        """Takes over once the reactor has installed its own handlers, before anything says it serves."""
        super().privilegedStartService()
        for number in IGNORED:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, signal.SIG_IGN)
        self._reactor.callWhenRunning(self._take_over)

    def _take_over(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopped or number == signal.SIGINT:
            self._reactor.callFromThread(self._hurry)
        if self._stopped:
            for one in (signal.SIGTERM, signal.SIGINT):
                signal.signal(one, signal.SIG_DFL)
        else:
            self._stopped = True
            self._reactor.callFromThread(self._reactor.stop)
