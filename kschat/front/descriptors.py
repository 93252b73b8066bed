"""How many connections the process may hold: the limit of its file descriptors, raised and obeyed at the start.

At the limit a daemon can accept nobody, open no file, and reach neither its store nor its broker again. So the limit is
raised as far as the system allows, and connections are bounded below it.
"""

from __future__ import annotations

import resource
from typing import Final

#: Descriptors that are no connections of clients: the log, the store's files, RabbitMQ, Redis, files that are sent,
#: and connections that were accepted to make others give way.
RESERVED: Final = 150

#: Connections below which a daemon is of no use.
LEAST: Final = 50


def raise_limit() -> int:
    """Raise the limit of this process's descriptors as far as the system allows.

    Returns:
        The limit now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            # Some systems name no limit here and have one all the same; what holds is what was read.
            pass
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def connections_within(limit: int, *, wanted: int, forwards: int, questions: int = 0) -> int:
    """Connections that a limit of descriptors can hold, ``wanted`` at most.

    Args:
        limit: of descriptors.
        wanted: connections of clients and of other daemons.
        forwards: requests that are forwarded to other daemons at once: each has a second connection.
        questions: to the operator's back end at once: each has a connection.
    """
    room = max(limit - RESERVED - questions, 0)
    if wanted + min(forwards, wanted) <= room:
        return wanted
    # Each connection may be one that is forwarded, until no more may be.
    return room // 2 if room // 2 <= forwards else room - forwards
