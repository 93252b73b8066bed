"""The replica of a daemon that has no Redis: it is alone, or does not know of the others."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from kschat.chat.ireplica import IReplica, ReplicaListener, Wants
from kschat.chat.words import Word


@implementer(IReplica)
class LoneReplica:
    """Tells nobody anything.

    Args:
        only: whether there is no other daemon; else of whoever is not here nothing is known (relay mode without Redis).
    """

    up = True

    def __init__(self, only: bool = True) -> None:
        self._elsewhere = False if only else None
        self._here: set[str] = set()
        self._listener: ReplicaListener | None = None

    def attach(self, listener: ReplicaListener) -> None:
        """See ``IReplica``."""
        self._listener = listener

    def start(self) -> None:
        """See ``IReplica``. There is nothing to wait for."""

    def stop(self) -> Deferred[None]:
        """See ``IReplica``. There is nothing to finish."""
        return succeed(None)

    def listen(self, user: str) -> Deferred[None]:
        """See ``IReplica``. There is nobody to hear."""
        return succeed(None)

    def unlisten(self, user: str) -> None:
        """See ``IReplica``. There is nobody to hear."""

    def here(self, user: str) -> None:
        """See ``IReplica``."""
        self._here.add(user)
        if self._listener is not None:
            self._listener.changed(user, True, None)

    def gone(self, user: str, seen: int) -> None:
        """See ``IReplica``."""
        self._here.discard(user)
        if self._listener is not None:
            self._listener.changed(user, self._elsewhere, seen)

    def tell(self, users: Sequence[str], word: Word, echo: bool = False) -> None:
        """See ``IReplica``. There is nobody to tell, and nobody else whose words an echo would be ordered with."""

    def ask(self, user: str, word: Word) -> Deferred[int]:
        """See ``IReplica``. There is nobody to ask."""
        return succeed(0)

    def flush(self) -> Deferred[None]:
        """See ``IReplica``. There is nothing to wait for."""
        return succeed(None)

    def tell_all(self, word: Word) -> None:
        """See ``IReplica``. There is nobody to tell."""

    def want(self, wants: Wants) -> None:
        """See ``IReplica``. There is nobody to tell."""

    def watch(self, user: str) -> None:
        """See ``IReplica``. All is heard."""

    def unwatch(self, user: str) -> None:
        """See ``IReplica``. All is heard."""

    def online(self, users: Sequence[str]) -> Deferred[dict[str, bool | None]]:
        """See ``IReplica``."""
        return succeed({user: True if user in self._here else self._elsewhere for user in users})
