"""The daemon's log: its destination, level, format (text or JSON) and rotation.

twistd's own log has one format and all levels, and on SIGUSR1 it keeps writing to a file that logrotate has moved away.
This one compares the open file with the file of that name.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from string import Formatter
from typing import Any, Final, Protocol

import msgspec
from twisted.application.service import Service
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    LogPublisher,
    formatEvent,
    formatEventAsClassicLogText,
    globalLogPublisher,
)
from zope.interface import implementer

from kschat.counters import COUNTED_LEVELS

#: The levels of ``log_level``. A line of a lower one is not written.
LEVELS: Final = ("debug", "info", "warn", "error")

#: The forms of ``log_format``.
FORMATS: Final = ("text", "json")

#: Where twistd logs to in the background, unless it is told.
DEFAULT_FILE: Final = "twistd.log"

#: Fields that a line of JSON has beside those that its text shows.
BESIDE: Final = ("socket",)

_ORDER: Final[Mapping[Any, int]] = {level: rank for rank, level in enumerate(LogLevel.iterconstants())}


class Output(Protocol):
    """A stream for lines."""

    def write(self, text: str, /) -> object:
        """Write ``text``."""

    def flush(self) -> object:
        """Write out what is buffered."""


class LogFile:
    """A log file, opened for appending.

    Args:
        path: of the file.
        size: bytes beyond which it is renamed (``NAME.1``, the older ones ``NAME.2`` and so on) and a new one opened;
            0: another program rotates it.
    """

    def __init__(self, path: str, size: int = 0) -> None:
        self.path = os.path.abspath(path)
        self.size = size
        self._file = self._open()
        self._written = os.fstat(self._file.fileno()).st_size

    def write(self, text: str, /) -> None:
        """Append a text. Each is one write, so that no line is torn."""
        data = text.encode("utf-8", "backslashreplace")
        if self.size and self._written and self._written + len(data) > self.size:
            try:
                self.rotate()
            except OSError:
                # The daemon may lack the right to write to the directory. No line is lost; it tries again after
                # ``size`` more bytes.
                self._written = 0
        self._written += len(data)
        self._file.write(data)

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rotate(self) -> str:
        """Open a new file. If that fails, raises OSError and keeps the open one.

        Returns:
            What was done, for the log.
        """
        mine = os.fstat(self._file.fileno())
        try:
            named = os.stat(self.path)
        except FileNotFoundError:
            named = None
        if named is not None and (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino):
            self._rename()
            return f"{self.path} was renamed to {self.path}.1; a new file was opened"
        self._use_new()
        return f"{self.path} was moved away; a new file was opened"

    def _open(self) -> Any:
        return open(self.path, "ab", buffering=0)

    def _use_new(self) -> None:
        before, self._file = self._file, self._open()
        self._written = os.fstat(self._file.fileno()).st_size
        before.close()

    def _rename(self) -> None:
        directory, name = os.path.split(self.path)
        pattern = re.compile(re.escape(name) + r"\.([0-9]+)")
        numbers = sorted(
            (int(found[1]) for one in os.listdir(directory) if (found := pattern.fullmatch(one))), reverse=True
        )
        for number in numbers:
            os.rename(f"{self.path}.{number}", f"{self.path}.{number + 1}")
        os.rename(self.path, f"{self.path}.1")
        self._use_new()


@implementer(ILogObserver)
class DaemonLog:
    """Writes the lines of a daemon.

    Args:
        output: a ``LogFile``, or a stream.
        form: one of ``FORMATS``.
        level: one of ``LEVELS``.
    """

    def __init__(self, output: Output, *, form: str = "text", level: str = "info") -> None:
        self._output = output
        self._line: Callable[[LogEvent], str | None] = as_json if form == "json" else as_text
        self.level = level

    @property
    def level(self) -> str:
        """Lines of lower levels are not written. It can be changed."""
        return LEVELS[self._rank]

    @level.setter
    def level(self, level: str) -> None:
        self._rank = LEVELS.index(level)

    def __call__(self, event: LogEvent) -> None:
        """See ``ILogObserver``."""
        if _ORDER.get(event.get("log_level"), 1) < self._rank:
            return
        line = self._line(event)
        if line:
            self._output.write(line)
            self._output.flush()

    def rotate(self) -> str:
        """Open a new file. Raises OSError. Returns what was done, for the log."""
        if isinstance(self._output, LogFile):
            return self._output.rotate()
        return "the log goes to the standard output, which has no file to rotate"


@implementer(ILogObserver)
class LogCount(Service):
    """Counts lines by their level, whether they are written or not.

    Args:
        logged: the counts, of the levels in ``COUNTED_LEVELS``.
        publisher: what tells of them.
    """

    def __init__(self, logged: Counter[str], publisher: LogPublisher = globalLogPublisher) -> None:
        self._logged = logged
        self._publisher = publisher

    def startService(self) -> None:
        """Begin to count."""
        super().startService()
        self._publisher.addObserver(self)

    def stopService(self) -> None:
        """Count no more."""
        super().stopService()
        self._publisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """See ``ILogObserver``."""
        level = event.get("log_level")
        if level is not None and level.name in COUNTED_LEVELS:
            self._logged[level.name] += 1


def as_text(event: LogEvent) -> str | None:
    """A line as twistd writes it, with its traceback; None for an event without a text."""
    return formatEventAsClassicLogText(event)


def as_json(event: LogEvent) -> str | None:
    """A line of JSON; None for an event without a text.

    ``time`` (UTC, RFC 3339), ``level``, ``logger``, ``message``; ``fields`` are the values that the text shows and the
    socket's id, ``traceback`` is that of a failure.
    """
    failure = event.get("log_failure")
    message = formatEvent(event) or (str(failure.value) if failure is not None else "")
    if not message:
        return None
    level = event.get("log_level")
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="microseconds"),
        "level": "info" if level is None else level.name,
        "logger": event.get("log_namespace") or "-",
        "message": message,
    }
    fields = {name: event[name] for name in _shown(event) if isinstance(event.get(name), str | int | float | bool)}
    if fields:
        line["fields"] = fields
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    # A text from outside may hold half a surrogate pair, which is no UTF-8.
    text = msgspec.json.encode(_encodable(line)).decode()
    return f"{text}\n"


def _shown(event: LogEvent) -> list[str]:
    """The names of the fields that the text of an event shows. (Others may hold what must not be in a log.)"""
    form = event.get("log_format")
    if not isinstance(form, str):
        return []
    names = [name for _, name, _, _ in Formatter().parse(form) if name]
    return list(dict.fromkeys([*(re.split(r"[.\[(]", name)[0] for name in names), *BESIDE]))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _encodable(one) for name, one in value.items()}
    return value


def make_log(options: Mapping[str, Any], *, form: str, level: str, size: int) -> DaemonLog | None:
    """The log of a daemon under twistd.

    Args:
        options: twistd's own.
        form: one of ``FORMATS``.
        level: one of ``LEVELS``.
        size: see ``LogFile``.

    Returns:
        The log; None where twistd was given another one (``--syslog``, ``--logger``).

    Raises:
        OSError: the file can't be written.
    """
    if options.get("syslog") or options.get("logger"):
        return None
    path = options.get("logfile") or ""
    foreground = options.get("nodaemon") or options.get("debug")
    if path == "-" or (foreground and not path):
        # In the background there is no standard output: twistd itself says so.
        return DaemonLog(sys.stdout, form=form, level=level) if foreground else None
    return DaemonLog(LogFile(path or DEFAULT_FILE, size), form=form, level=level)
