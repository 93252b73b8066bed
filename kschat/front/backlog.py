"""The listen backlog: as long as the system allows, unless an endpoint sets another.

Twisted's default is 50. If more clients connect within one turn of the reactor, the kernel drops their SYNs, and they
retry after 1, 3, 7, … seconds: of 5,000 that connected at once, the last had joined after 49 s.

The system caps the backlog at ``net.core.somaxconn`` (listen(2)).
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Final

#: Where Linux says its bound.
SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")

#: Linux's own default since 5.4. With less, the clients of a busy daemon wait when they all come back at once.
ENOUGH: Final = 4096

# Of each kind of endpoint that has a backlog: which of its arguments that are not named it would be.
_PLACES: Final = {"tcp": 2, "tcp6": 1, "ssl": 5, "unix": 2}

# What ends an argument: a colon that no backslash stands before.
_ARGUMENT: Final = re.compile(r"(?:[^\\:]|\\.)*", re.DOTALL)

# How the name of an argument begins it.
_NAMED: Final = re.compile(r"(?:[^\\=]|\\.)*=", re.DOTALL)


def system_backlog(path: Path | None = None) -> int:
    """The bound of the system. ``path``: where it says it, in the place of ``SOMAXCONN``."""
    try:
        return int((path or SOMAXCONN).read_text())
    except (OSError, ValueError):
        return socket.SOMAXCONN


def with_backlog(description: str, backlog: int) -> str:
    """A Twisted endpoint's description with ``backlog``, unless it says one itself.

    ``haproxy:`` is passed over, as what stands behind it is the endpoint. One of a kind that has no backlog of its own
    (``systemd:``, whose socket unit says it, or a plugin's) is given back as it is.
    """
    rest = description.removeprefix("haproxy:")
    kind, *arguments = _split(rest)
    place = _PLACES.get(kind)
    if place is None or not arguments:
        return description
    unnamed = [argument for argument in arguments if not _NAMED.match(argument)]
    if len(unnamed) > place or any(argument.startswith("backlog=") for argument in arguments):
        return description
    return f"{description}:backlog={backlog}"


def small_backlog(description: str) -> int | None:
    """The system's bound where it holds for an endpoint and is less than ``ENOUGH``; else None."""
    backlog = system_backlog()
    return backlog if backlog < ENOUGH and with_backlog(description, backlog) != description else None


def _split(description: str) -> list[str]:
    found = []
    position = 0
    while True:
        match = _ARGUMENT.match(description, position)
        assert match is not None
        found.append(match[0])
        position = match.end() + 1
        if position > len(description):
            return found
