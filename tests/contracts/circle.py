"""Buses of several daemons in one process, that hear each other at once, and not at all where the test says so."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from kschat.chat.bus import BusEvent, BusListener, IBus, Wants
from kschat.chat.cluster_commands import ClusterCommand, packed, unpacked
from tests.contracts.doubles import Answers


class Circle:
    """What the daemons have in common.

    Attributes:
        told: what was told, by whom, to whom.
        settled: whether who is on no daemon is known to be offline.
    """

    def __init__(self) -> None:
        self.members: list[CircleBus] = []
        self.settled = True
        self.seen: dict[str, int] = {}
        self.held = False
        self.unheard: list[tuple[CircleBus, str | None, ClusterCommand]] = []
        self.told: list[tuple[CircleBus, tuple[str, ...] | None, ClusterCommand]] = []

    def hear(self, member: CircleBus, user: str | None, command: ClusterCommand) -> None:
        """Let a daemon hear a command, at once; or later, but each in the same order, while ``held``."""
        if self.held:
            self.unheard.append((member, user, command))
        else:
            member.listener.on_commands(user, unpacked(b"\x91" + packed(command)))

    def release(self) -> None:
        """Let all hear what they did not yet."""
        self.held = False
        while self.unheard:
            self.hear(*self.unheard.pop(0))

    def bus(self) -> CircleBus:
        """One more daemon's."""
        return CircleBus(self)

    def has(self, user: str) -> bool:
        """Whether any daemon of the circle has ``user``."""
        return any(user in member.users for member in self.members)

    def heard(self, user: str, online: bool, seen: int | None) -> None:
        """Tell who watches."""
        for member in self.members:
            if user in member.watched:
                member.listener.on_presence(user, online, seen)

    def wanted(self) -> None:
        """Tell each what the others want."""
        for member in self.members:
            wants = Wants.NOTHING
            for other in self.members:
                if other is not member:
                    wants |= other.wants
            member.listener.on_wants(wants)


@implementer(IBus)
class CircleBus:
    """One daemon's; ``cut`` and ``mend`` take it out of the circle and put it in again.

    Attributes:
        answers: to ``online``; what is found when it is asked may be told later.
        listens: to ``listen``; ``flushes``: to ``flush``.
        listening: the users whose commands it hears.
    """

    listener: BusListener

    def __init__(self, circle: Circle) -> None:
        self._circle = circle
        self._here: set[str] = set()
        self.listening: set[str] = set()
        self.listens = Answers(AssertionError("it never fails"))
        self.flushes = Answers(AssertionError("it never fails"))
        self.watched: set[str] = set()
        self.wants = Wants.NOTHING
        self.answers = Answers(AssertionError("it never fails"))

    @property
    def up(self) -> bool:
        return self in self._circle.members

    @property
    def users(self) -> set[str]:
        return self._here

    def attach(self, listener: BusListener) -> None:
        self.listener = listener

    def start(self) -> None:
        self.mend()

    def stop(self) -> Deferred[None]:
        self.cut(7)
        return succeed(None)

    def mend(self) -> None:
        """From now on it is one of the circle."""
        fresh = [user for user in self._here if not self._circle.has(user)]
        self._circle.members.append(self)
        for user in fresh:
            self._circle.heard(user, True, None)
        self._circle.wanted()
        self.listener.on_bus_event(BusEvent.UP)

    def cut(self, seen: int) -> None:
        """From now on it hears nothing, and to the others its daemon is dead."""
        self._circle.members.remove(self)
        self.listener.on_bus_event(BusEvent.DOWN)
        lost = [user for user in self._here if not self._circle.has(user)]
        for user in lost:
            self._circle.heard(user, False, seen)
        if self._circle.members:
            self._circle.members[0].listener.on_daemon_lost(lost, seen)
        self._circle.wanted()

    def listen(self, user: str) -> Deferred[None]:
        def now() -> Deferred[None]:
            self.listening.add(user)
            return succeed(None)

        return self.listens.to(now)

    def unlisten(self, user: str) -> None:
        self.listening.discard(user)

    def here(self, user: str) -> None:
        fresh = not self._circle.has(user)
        self._here.add(user)
        if self.up and fresh:
            self._circle.heard(user, True, None)
        elif not self.up:
            self.listener.on_presence(user, True, None)

    def gone(self, user: str, seen: int) -> None:
        if user in self._here:
            self._here.discard(user)
            latest = self._circle.seen[user] = max(seen, self._circle.seen.get(user, 0))
            if self.up and not self._circle.has(user):
                self._circle.heard(user, False, self._circle.seen.pop(user, latest))

    def publish(self, users: Sequence[str], command: ClusterCommand, echo: bool = False) -> None:
        self._circle.told.append((self, tuple(users), command))
        if self.up:
            for user in users:
                for member in self._circle.members:
                    if (echo or member is not self) and user in member.listening:
                        self._circle.hear(member, user, command)

    def ask(self, user: str, command: ClusterCommand) -> Deferred[int]:
        if not self.up:
            return succeed(0)
        self.publish((user,), command)
        return succeed(sum(member is not self and user in member.listening for member in self._circle.members))

    def flush(self) -> Deferred[None]:
        return self.flushes.to(lambda: succeed(None))

    def publish_all(self, command: ClusterCommand) -> None:
        self._circle.told.append((self, None, command))
        if self.up:
            for member in self._circle.members:
                if member is not self:
                    self._circle.hear(member, None, command)

    def daemons(self) -> Deferred[int | None]:
        return succeed(len(self._circle.members) if self.up else None)

    def want(self, wants: Wants) -> None:
        self.wants = wants
        if self.up:
            self._circle.wanted()

    def watch(self, user: str) -> None:
        self.watched.add(user)

    def unwatch(self, user: str) -> None:
        self.watched.discard(user)

    def online(self, users: Sequence[str]) -> Deferred[dict[str, bool | None]]:
        sure = self.up and self._circle.settled
        found = {
            user: (self.up and self._circle.has(user)) or user in self._here or (None, False)[sure] for user in users
        }
        return self.answers.to(lambda: succeed(found))
