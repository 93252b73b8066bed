"""The bus of a daemon without Redis: the daemon runs alone, or does not know about the others."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from kschat.chat.bus import BusListener, IBus, Wants
from kschat.chat.cluster_commands import ClusterCommand


@implementer(IBus)
class LocalBus:
    """Tells nobody anything.

    Args:
        only: whether this is the only daemon. Otherwise (relay mode without Redis) users elsewhere have no known
            presence.
    """

    up = True

    def __init__(self, only: bool = True) -> None:
        self._elsewhere = False if only else None
        self._here: set[str] = set()
        self._listener: BusListener | None = None

    def attach(self, listener: BusListener) -> None:
        self._listener = listener

    def start(self) -> None:
        """See ``IBus``. There is nothing to wait for."""

    def stop(self) -> Deferred[None]:
        """See ``IBus``. There is nothing to finish."""
        return succeed(None)

    def listen(self, user: str) -> Deferred[None]:
        """See ``IBus``. There is nobody to hear."""
        return succeed(None)

    def unlisten(self, user: str) -> None:
        """See ``IBus``. There is nobody to hear."""

    def here(self, user: str) -> None:
        self._here.add(user)
        if self._listener is not None:
            self._listener.on_presence(user, True, None)

    def gone(self, user: str, seen: int) -> None:
        self._here.discard(user)
        if self._listener is not None:
            self._listener.on_presence(user, self._elsewhere, seen)

    def publish(self, users: Sequence[str], command: ClusterCommand, echo: bool = False) -> None:
        """See ``IBus``. There is nobody to tell, and nobody else whose commands an echo would be ordered with."""

    def ask(self, user: str, command: ClusterCommand) -> Deferred[int]:
        """See ``IBus``. There is nobody to ask."""
        return succeed(0)

    def flush(self) -> Deferred[None]:
        """See ``IBus``. There is nothing to wait for."""
        return succeed(None)

    def publish_all(self, command: ClusterCommand) -> None:
        """See ``IBus``. There is nobody to tell."""

    def daemons(self) -> Deferred[int | None]:
        return succeed(None if self._elsewhere is None else 1)

    def want(self, wants: Wants) -> None:
        """See ``IBus``. There is nobody to tell."""

    def watch(self, user: str) -> None:
        """See ``IBus``. All is heard."""

    def unwatch(self, user: str) -> None:
        """See ``IBus``. All is heard."""

    def online(self, users: Sequence[str]) -> Deferred[dict[str, bool | None]]:
        return succeed({user: True if user in self._here else self._elsewhere for user in users})
