"""What clients must see, said from docs/clients.md: it knows no store, no daemon and no time.

What was done is told to it one after the other, each when its answer has come. Between two moments of rest not all is
certain: a message that was written to a device may be proved by then, or not. So of a cursor two bounds are kept, and
of an event that is told on the way (a receipt, a carbon) whether a client must see it, or may.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: What is told to sockets beside messages, as it is counted: the event and what it says.
Told = tuple[str, str]


@dataclass(eq=False)
class Kept:
    """One message."""

    mid: str
    sender: str
    recipient: str
    body: dict[str, Any]  # as History shows it

    @property
    def number(self) -> int:
        return int(self.mid[:16], 16)


@dataclass(eq=False)
class Talk:
    """A conversation: its messages, and up to which number each of its users has read it."""

    messages: list[Kept] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return self.messages[-1].number if self.messages else 0


@dataclass(eq=False)
class Box:
    """A user's inbox. All up to ``low`` was proved for certain, and nothing beyond ``high`` can have been."""

    messages: list[Kept] = field(default_factory=list)
    low: int = 0
    high: int = 0

    @property
    def last(self) -> int:
        return len(self.messages)


@dataclass(frozen=True)
class Token:
    """What lets a socket in.

    Attributes:
        user: whose it is.
        id: its ``jti``, which no other one has.
        issued: its ``iat``.
        to: whom it may write to; None: everybody.
    """

    user: str
    id: str
    issued: int
    to: frozenset[str] | None = None

    def may_write_to(self, peer: str) -> bool:
        return self.to is None or peer[0] == "#" or peer in self.to


@dataclass(eq=False)
class Device:
    """A socket that was let in.

    Attributes:
        token: by which; the one that holds.
        begins: it has all up to some offset between these two.
        pids: what it shows when it comes back, and what it has shown.
        more: whether it is told events that the tutorial does not know.
        acks: whether it has called the ack of a RESPRECEIVER: from then on acks alone prove.
        must: what it must be told beside messages, and how often; ``may``: what it may be told.
        bases: by user, the offset up to which messages may have been told as delivered before it came.
        watches: by user, whether it was online as far as this socket was told.
    """

    token: Token
    options: frozenset[str]
    mode: str
    begins: tuple[int, int]
    pids: tuple[str, ...] = ()
    alive: bool = True
    more: bool = False
    acks: bool = False
    must: Counter[Told] = field(default_factory=Counter)
    may: Counter[Told] = field(default_factory=Counter)
    bases: dict[str, int] = field(default_factory=dict)
    watches: dict[str, bool] = field(default_factory=dict)

    @property
    def user(self) -> str:
        return self.token.user

    @property
    def proves(self) -> bool:
        """Whether it proves what it is written from now on."""
        if self.mode == "acks":
            return "recover" not in self.options  # whose events ask for no ack
        return self.mode == "all" or (self.mode == "pong" and not self.acks)


class Oracle:
    """All that is right, at this moment."""

    def __init__(self, users: list[str], max_room: int) -> None:
        self.users = users
        self.max_room = max_room
        self.boxes = {user: Box() for user in users}
        self.talks: dict[tuple[str, ...], Talk] = {}
        self.known: dict[tuple[str, str], Kept] = {}
        self.devices: list[Device] = []
        #: since the last rest: what was told, and to which sockets; who came or went
        self.told: list[tuple[Callable[[Device], bool], Told]] = []
        self.moved: set[str] = set()
        #: by user, when a socket that ended since the last rest may have done so
        self.latest: dict[str, int] = {}
        #: whom each user blocks, as pairs; and the pairs that changed since the last rest
        self.blocks: set[tuple[str, str]] = set()
        self.unsettled: set[tuple[str, str]] = set()
        #: users and ids whose tokens are revoked; and by user, until when they were issued
        self.revoked: set[str] = set()
        self.revoked_ids: set[str] = set()
        self.revoked_until: dict[str, int] = {}
        #: when each user was last seen, at the earliest and at the latest
        self.seen: dict[str, tuple[int, int]] = {}

    # Devices.

    def of(self, user: str) -> list[Device]:
        return [device for device in self.devices if device.alive and device.user == user]

    def online(self, user: str) -> bool:
        return bool(self.of(user))

    def blocked(self, user: str) -> list[str]:
        return sorted(peer for one, peer in self.blocks if one == user)

    def block(self, user: str, peer: str, *, blocked: bool) -> None:
        """``user`` blocks ``peer`` from now on, or does so no more. Daemons hear of it a moment later."""
        (self.blocks.add if blocked else self.blocks.discard)((user, peer))
        self.unsettled.add((user, peer))
        self.moved.add(user)

    def hides(self, user: str, watcher: str) -> bool:
        """Whether ``user`` is shown to ``watcher`` as one of whom nothing is known."""
        return (user, watcher) in self.blocks

    def sees(self, watcher: str, user: str) -> bool:
        """Whether ``watcher`` sees that ``user`` is online."""
        return self.online(user) and not self.hides(user, watcher)

    def revoke(self, kind: str, token: Token) -> None:
        """Tokens count no more: all of its user, this one, or those of its user that were issued until it was."""
        if kind == "user":
            self.revoked.add(token.user)
        elif kind == "jti":
            self.revoked_ids.add(token.id)
        else:
            self.revoked_until[token.user] = max(token.issued, self.revoked_until.get(token.user, 0))

    def refuses(self, token: Token) -> bool:
        """Whether a token is revoked."""
        until = self.revoked_until.get(token.user, -1)
        return token.user in self.revoked or token.id in self.revoked_ids or token.issued <= until

    def joined(self, device: Device) -> None:
        """A socket was let in."""
        if not self.online(device.user):
            self.moved.add(device.user)
        self.devices.append(device)
        for matches, told in self.told:
            if matches(device):
                device.may[told] += 1
        device.bases = {user: self.high(user) for user in self.users}

    def left(self, device: Device, earliest: int, latest: int) -> None:
        """A socket has ended."""
        box = self.boxes[device.user]
        if device.proves:
            box.high = box.last
        device.alive = False
        # An earlier one may end later: another daemon has to be told of it.
        latest = self.latest[device.user] = max(latest, self.latest.get(device.user, 0))
        if not self.online(device.user):
            self.moved.add(device.user)
            self.seen[device.user] = (earliest, latest)

    def high(self, user: str) -> int:
        """The greatest offset that may be proved now."""
        box = self.boxes[user]
        if any(device.proves for device in self.of(user)):
            box.high = box.last
        return box.high

    def mode(self, device: Device, mode: str) -> None:
        """From now on a device proves what it was written otherwise than before."""
        self.high(device.user)
        device.mode = mode
        self.high(device.user)

    def claimed(self, device: Device, offset: int) -> None:
        """A socket came back, and was let in where it showed that it has all up to ``offset``."""
        box = self.boxes[device.user]
        box.low, box.high = max(box.low, offset), max(box.high, offset)

    def replaced_by(self, user: str, pid: str) -> list[Device]:
        """Whom a claim of ``pid`` ends."""
        return [device for device in self.of(user) if pid in device.pids]

    # Messages.

    def talk(self, user: str, peer: str) -> Talk | None:
        """A conversation, where ``user`` may see it."""
        talk = self.talks.get(_key(user, peer))
        return talk if talk is not None and (peer[0] != "#" or user in talk.read) else None

    def may_send(self, sender: str, peer: str, cid: str | None) -> bool:
        if cid is not None and (sender, cid) in self.known:
            return True
        return peer[0] != "#" or self.talk(sender, peer) is not None

    def sent(self, origin: Device, message: Kept, cid: str | None) -> None:
        """A message was acknowledged, and not as a repeat."""
        peer = message.recipient
        talk = self.talks.setdefault(_key(message.sender, peer), Talk())
        talk.messages.append(message)
        recipients = [user for user in talk.read if user != message.sender] if peer[0] == "#" else [peer]
        for user in recipients:
            self.boxes[user].messages.append(message)
        if cid is not None:
            self.known[(message.sender, cid)] = message
        self._tell_carbon(origin, message)

    def swallowed(self, origin: Device, message: Kept) -> None:
        """A message was acknowledged whose recipient blocks its sender: its sender's other devices alone see it."""
        self._tell_carbon(origin, message)

    def _tell_carbon(self, origin: Device, message: Kept) -> None:
        sender = message.sender
        self.tell(
            lambda device: device.user == sender and "carbons" in device.options and device is not origin,
            ("RESPCARBON", message.mid),
        )

    def tell(
        self, matches: Callable[[Device], bool], told: Told, perhaps: Callable[[Device], bool] | None = None
    ) -> None:
        """Something is told to the sockets that match; perhaps to others, also such as come before the rest."""
        perhaps = perhaps or matches
        self.told.append((perhaps, told))
        for device in self.devices:
            if device.alive and matches(device):
                device.must[told] += 1
            elif device.alive and perhaps(device):
                device.may[told] += 1

    def read(self, user: str, peer: str, number: int) -> bool:
        """A conversation is read up to a message; whether anything was not."""
        talk = self.talk(user, peer)
        if talk is None:
            return False
        before, upto = talk.read.get(user, 0), min(number, talk.last)
        if upto <= before:
            return False
        talk.read[user] = upto
        return any(before < one.number <= upto and one.sender != user for one in talk.messages)

    def history(self, user: str, peer: str, before: int | None, limit: int) -> tuple[list[dict[str, Any]], bool]:
        talk = self.talk(user, peer)
        listed = [one.body for one in talk.messages if before is None or one.number < before] if talk else []
        return listed[-limit:], len(listed) > limit

    def conversations(self, user: str) -> list[tuple[str, dict[str, Any], int]]:
        listed = []
        for key, talk in self.talks.items():
            peer = key[0] if key[0][0] == "#" else next((one for one in key if one != user), user)
            if user in (talk.read if peer[0] == "#" else key) and talk.messages:
                read = talk.read.get(user, 0)
                unread = sum(one.sender != user and one.number > read for one in talk.messages)
                listed.append((talk.last, peer, talk.messages[-1].body, unread))
        listed.sort(key=lambda one: one[0], reverse=True)
        return [(peer, last, unread) for _, peer, last, unread in listed]

    def inbox(self, user: str, after: int) -> list[tuple[int, dict[str, Any]]]:
        return [(offset, one.body) for offset, one in enumerate(self.boxes[user].messages, 1) if offset > after]

    # Rooms.

    def join(self, user: str, room: str) -> bool:
        """Whether there was a place."""
        talk = self.talks.setdefault((room,), Talk())
        if user in talk.read:
            return True
        if len(talk.read) >= self.max_room:
            return False
        talk.read[user] = talk.last
        return True

    def leave(self, user: str, room: str) -> None:
        talk = self.talks.get((room,))
        if talk is not None:
            talk.read.pop(user, None)

    # At rest.

    def rest(self) -> None:
        """All that was under way has arrived; each device was written all, and has proved what it proves."""
        for user, box in self.boxes.items():
            for device in self.of(user):
                if device.proves:
                    box.low = box.high = box.last
        for device in self.devices:
            if device.alive and "receipts" in device.options:
                self._receipts(device)
        self.told.clear()
        self.moved.clear()
        self.unsettled.clear()
        self.latest.clear()

    def _receipts(self, device: Device) -> None:
        for user, box in self.boxes.items():
            for offset, message in enumerate(box.messages[: box.high], 1):
                if message.sender == device.user and message.recipient == user:
                    told = ("RESPSTATUS", f"2 {message.mid}")
                    if device.bases[user] < offset <= box.low:
                        device.must[told] = 1
                        device.may.pop(told, None)
                    elif told not in device.must:
                        device.may[told] = 1


def _key(user: str, peer: str) -> tuple[str, ...]:
    return (peer,) if peer[0] == "#" else (min(user, peer), max(user, peer))
