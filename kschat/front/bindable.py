"""Checks whether a server endpoint is free: binds it without a reactor, and releases it at once.

``twistd`` forks before services start, and a later failure reaches the terminal as the repr of some bytes; so ports are
checked before. Another process may still take the port in between: ``port`` has an error sentence for that.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from kschat.unix_paths import MAX_PATH


class _Trial:
    """Stands where an endpoint expects the reactor, and only looks whether it could listen."""

    def __init__(self, relative: bool) -> None:
        self._relative = relative
        self.tried = False

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> None:
        """As ``IReactorTCP`` has it. Raises CannotListenError."""
        self.tried = True
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((interface, port))
                probe.listen(1)
        except OSError as error:
            raise CannotListenError(interface, port, error) from None

    def listenSSL(self, port: int, factory: object, context: object, backlog: int = 50, interface: str = "") -> None:
        """As ``IReactorSSL`` has it. Raises CannotListenError."""
        self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(self, address: str, *_: object, **__: object) -> None:
        """As ``IReactorUNIX`` has it: a socket that nobody listens at is taken over. Raises CannotListenError."""
        path = Path(os.fsdecode(address))
        if not self._relative and not path.is_absolute():
            return  # twistd may change to another directory before it is listened at
        self.tried = True
        try:
            if len(os.fsencode(path)) > MAX_PATH:
                raise OSError(36, f"its path is longer than {MAX_PATH} bytes, the most that a socket can have")
            if not path.parent.is_dir():
                raise FileNotFoundError(2, f"there is no directory {path.parent}")
            if path.exists():
                if not stat.S_ISSOCK(path.stat().st_mode):
                    raise FileExistsError(17, "it is a file, and no socket")
                with socket.socket(socket.AF_UNIX) as probe:
                    if probe.connect_ex(os.fspath(path)) == 0:
                        raise OSError(98, os.strerror(98))
            elif not os.access(path.parent, os.W_OK | os.X_OK):
                raise PermissionError(13, os.strerror(13))
        except OSError as error:
            raise CannotListenError(None, address, error) from None


def cannot_listen(description: str, relative: bool = False) -> str | None:
    """Try an endpoint.

    Args:
        description: as Twisted has it (``tcp:3000``).
        relative: whether a path that is no absolute one is taken from here.

    Returns:
        "" where it could be listened at; why not, where it could not; None where only the start can tell (``systemd:``
        and what plugins bring).
    """
    trial: Any = _Trial(relative)
    failures: list[Failure] = []
    try:
        endpoint = serverFromString(trial, description)
    except Exception as error:  # noqa: BLE001 - each kind of endpoint raises what it likes
        return endpoint_fault(error)
    try:
        endpoint.listen(Factory()).addErrback(failures.append)
    except Exception:  # noqa: BLE001 - as above
        failures.append(Failure())
    if failures and (failures[0].check(AttributeError, TypeError, NotImplementedError) is not None):
        return None
    if failures:
        return reason(failures[0])
    return "" if trial.tried else None


def unreadable(description: str) -> str:
    """Why Twisted takes a text for no endpoint; "" where it is one. Of ``ssl:`` it reads the files."""
    try:
        serverFromString(None, description)  # only what listens needs a reactor
    except Exception as error:  # noqa: BLE001 - each kind of endpoint raises what it likes
        return endpoint_fault(error)
    return ""


def endpoint_fault(error: Exception) -> str:
    """Why Twisted takes a text for no endpoint, in words for whoever wrote it."""
    text = " ".join(str(error).split())
    if text.startswith("invalid literal for int()"):
        return f"it has {text.rpartition(': ')[2]} where a number is wanted"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: {os.fsdecode(error.filename)}"
    if type(error).__module__.startswith("OpenSSL"):
        return "a file for TLS holds no PEM key or certificate of the kind that is wanted"
    if isinstance(error, TypeError) and "keyword argument" in text:
        return f"it has a part that such an endpoint does not know ({text.rpartition(' ')[2]})"
    if isinstance(error, TypeError) and "missing" in text and (part := re.search(r"'(\w+)'$", text)):
        return f"it has no {part[1]}"
    if isinstance(error, TypeError) and "positional arguments" in text:
        return "it has more parts than such an endpoint knows"
    if isinstance(error, IndexError | KeyError):
        return "systemd has handed over no such socket"
    return text or type(error).__name__


def reason(failure: Failure) -> str:
    """Why listening failed, in the system's words, on one line."""
    inner = getattr(failure.value, "socketError", None)
    text = getattr(inner, "strerror", None) or failure.getErrorMessage()
    return " ".join(str(text).split()).rstrip(".")
