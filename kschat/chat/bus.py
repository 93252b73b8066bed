"""The bus over which daemons exchange presence and socket-level events: ``IBus``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntFlag, auto
from typing import Protocol

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from kschat.chat.cluster_commands import ClusterCommand


class Wants(IntFlag):
    """What sockets ask for that costs nothing where nobody asks for it."""

    NOTHING = 0
    RECEIPTS = 1
    CARBONS = 2


class BusEvent(Enum):
    """What happened to a bus.

    UP: from here on all is told and heard; what was told before may not have been. It may come again.
    DOWN: nothing is.
    """

    UP = auto()
    DOWN = auto()


class BusListener(Protocol):
    """Who takes what a bus hears (``operations``)."""

    def on_commands(self, user: str | None, commands: Sequence[ClusterCommand]) -> None:
        """Commands of other daemons for a user that is here; of None for everybody."""

    def on_presence(self, user: str, online: bool | None, last_seen: int | None) -> None:
        """A user came or went, on whatever daemon, this one too: at least each that is watched.

        What is known may come again. ``last_seen`` is in milliseconds since 1970. ``online`` is None where it is
        known no more.
        """

    def on_daemon_lost(self, users: Sequence[str], last_seen: int) -> None:
        """A daemon has died, and these users of it are nowhere now. One of the others is told, for the store."""

    def on_wants(self, wants: Wants) -> None:
        """What the sockets of all other daemons ask for is another."""

    def on_bus_event(self, event: BusEvent) -> None:
        """Something happened to the bus."""


class IBus(Interface):
    """What daemons tell each other about sockets. It may be lost, and never delays a message.

    Where it can't be told (Redis is away), it is dropped at once: nothing is told late. A bus that
    could not, and then can, needs no restart: it registers every user who is here again, and then reports UP.
    """

    up = Attribute("A bool: whether it tells and hears.")

    def attach(listener: BusListener) -> None:
        """Say who takes what is heard. Called once, before all else."""

    def start() -> None:
        """Begin. What is not there yet (Redis) is waited for in the background."""

    def stop() -> Deferred[None]:
        """Take whoever is here still off, tell what was not told yet, as far as that can be done soon, and end."""

    def listen(user: str) -> Deferred[None]:
        """Hear what is told to ``user``, until ``unlisten``.

        Fires when whatever is told from then on is heard here, and what this daemon wants is known to the others; at
        once, or soon, where that can't be now. Never fails.
        """

    def unlisten(user: str) -> None:
        """Hear it no more."""

    def here(user: str) -> None:
        """``user`` has a socket on this daemon from now on, and so is online."""

    def gone(user: str, seen: int) -> None:
        """It has none any more, since ``seen`` (milliseconds since 1970)."""

    def publish(users: Sequence[str], command: ClusterCommand, echo: bool = False) -> None:
        """Tell the daemons that listen to any of ``users``.

        A daemon does not hear its own commands, except with ``echo``: then it hears the command as the others do, where
        it listens. Commands with ``echo`` to one user are heard in the same order by all daemons.
        """

    def ask(user: str, command: ClusterCommand) -> Deferred[int]:
        """Tell the other daemons that listen to ``user``.

        Fires with how many daemons these are, which may answer; with 0 where it can't be told now. Never fails.
        """

    def flush() -> Deferred[None]:
        """Fires when what was told until now is told; soon also where it can't be. Never fails."""

    def publish_all(command: ClusterCommand) -> None:
        """Tell all other daemons."""

    def daemons() -> Deferred[int | None]:
        """How many daemons there are, this one too; None where that can't be known now. Never fails.

        One that was killed counts until the others have noticed.
        """

    def want(wants: Wants) -> None:
        """What the sockets of this daemon ask for, from now on."""

    def watch(user: str) -> None:
        """Hear when ``user`` comes or goes, until ``unwatch``."""

    def unwatch(user: str) -> None:
        """Hear it no more."""

    def online(users: Sequence[str]) -> Deferred[dict[str, bool | None]]:
        """Whether each of ``users`` has a socket on any daemon; None where that can't be known now. Never fails.

        Of one that is watched, whatever changes after that is heard.
        """
