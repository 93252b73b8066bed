"""The status of this daemon, for operators: ``DaemonStatus``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from kschat.chat.clocks import WallClock
from kschat.chat.cluster_commands import Buckets, DaemonStatus
from kschat.chat.hub import Hub
from kschat.chat.message import Error
from kschat.counters import Counters

#: The numbers of ``Counters`` that a status has.
COUNTED: Final = ("sent", "repeated", "delivered", "confirmed", "batches", "unrouted", "blocked", "turned_away")

#: Those of ``Counters`` that say what was refused, by reason. (The ``refused`` stand apart.)
REFUSALS: Final = ("denied", "limited", "full", "rejected")


class Reporter:
    """Reports the status of a daemon.

    Args:
        hub: has the users and sockets.
        counters: count.
        wall: the time of day.
        name: of the daemon: its machine and its process.
        version: of kschat.
    """

    def __init__(self, *, hub: Hub, counters: Counters, wall: WallClock, name: str, version: str) -> None:
        self._hub = hub
        self._counters = counters
        self._name = name
        self._version = version
        self._since = wall()
        self._connections: Callable[[], int] = lambda: 0
        self._services: Callable[[], Mapping[str, bool | None]] = dict
        self._queues: Callable[[], Mapping[str, int]] = dict
        self._lags: Callable[[], Mapping[str, float]] = dict

    def shows(
        self,
        *,
        connections: Callable[[], int],
        services: Callable[[], Mapping[str, bool | None]],
        queues: Callable[[], Mapping[str, int]],
        lags: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """Add what the chat does not know: TCP connections, services (None for one that is not used), queues, lags."""
        self._connections = connections
        self._services = services
        self._queues = queues
        self._lags = lags

    def status(self) -> DaemonStatus:
        """The status now."""
        counters = self._counters
        return DaemonStatus(
            name=self._name,
            version=self._version,
            since=self._since,
            connections=self._connections(),
            sockets=self._hub.sockets,
            users=self._hub.users,
            counts={name: getattr(counters, name) for name in COUNTED},
            refused={Error(code).name.lower(): count for code, count in counters.refused.items()},
            services={name: up for name, up in self._services().items() if up is not None},
            latency={
                name: Buckets(tuple(found.bounds), tuple(found.counts))
                for name, found in (counters.message_seconds | counters.batch_seconds).items()
            },
            queues=dict(self._queues()),
            refusals={
                kind: {str(reason): count for reason, count in getattr(counters, kind).items()} for kind in REFUSALS
            },
            lags=dict(self._lags()),
        )
