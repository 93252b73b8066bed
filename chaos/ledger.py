"""What was said to have been sent, acknowledged and received; and what of it is wrong. No I/O."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from chaos.cast import ROOM, Actor


class Device:
    """What one actor has received.

    Attributes:
        mids: of messages; a client cuts what comes twice by them.
        keys: the messages that were not cut, in order.
        offsets: where they are in the user's inbox.
        base: all beyond this offset must have come, where the actor recovers; None before the first.
        repeats: how many were cut.
        texts: the shown text of each message, by mid, if the actor asks for updates; None if it was deleted.
    """

    __slots__ = ("base", "keys", "mids", "offsets", "repeats", "texts")

    def __init__(self) -> None:
        self.mids: set[str] = set()
        self.keys: list[str] = []
        self.offsets: set[int] = set()
        self.base: int | None = None
        self.repeats = 0
        self.texts: dict[str, str | None] = {}


class Ledger:
    """The whole run.

    Args:
        actors: who takes part.
        events: how many messages were sent, or acknowledged.
        recipients: users to whom a message went, by key.
        members: users in the room.
        unsure: whether a ``Send`` may be refused although its message was stored (the store's answer was lost), or
            stored behind a later one that was not refused.

    Attributes:
        actors: who takes part.
        events: how many messages were sent, or acknowledged.
        recipients: users to whom a message went, by key.
        acked: the mid of each message that was acknowledged, by key (``ACTOR/NUMBER``), in the order of the acks.
        awaited: users who have not received a message that was acknowledged, by key.
        unanswered: messages without an ack.
        here: actors that are connected.
        absent: users whom an actor does not see online though all are, by actor.
        changing: the texts of unacknowledged changes, by key.
        texts: the text of each changed message after its last acknowledged change, by mid; None if it was deleted.
        outdated: actors that show another text, with the message's mid.
        odd: what no client may see, in words.
        unchanged: changes that were refused for good, in words.
    """

    def __init__(self, actors: Sequence[Actor], members: Sequence[str], unsure: bool = False) -> None:
        self.actors = tuple(actors)
        self._unsure = unsure
        self.events = 0
        self._sent: dict[str, int] = {}
        self._acked: dict[str, int] = {}
        self._again: set[str] = set()
        self._sessions: Counter[str] = Counter()
        self._places: dict[str, tuple[int, int]] = {}
        self._actors = {actor.name: actor for actor in actors}
        self._members = tuple(members)
        self.recipients: dict[str, tuple[str, ...]] = {}
        self._targets: dict[str, str] = {}
        self._inboxes: defaultdict[str, dict[int, str]] = defaultdict(dict)
        self._reached: defaultdict[str, set[str]] = defaultdict(set)
        self._devices = {actor.name: Device() for actor in actors}
        self._contradictions = 0
        self.acked: dict[str, str] = {}
        self.awaited: dict[str, set[str]] = {}
        self.unanswered: set[str] = set()
        self.here: set[str] = set()
        self.absent: dict[str, list[str]] = {}
        self.changing: dict[str, str | None] = {}
        self.texts: dict[str, str | None] = {}
        self.outdated: set[tuple[str, str]] = set()
        # Messages that may never arrive, since their deletion was requested.
        self._gone: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.odd: list[str] = []
        self.unchanged: list[str] = []

    def opened(self, name: str, recovered: bool, had_offset: bool) -> None:
        """An actor is connected."""
        self.here.add(name)
        self._sessions[name] += 1
        self.counts["connections"] += 1
        self.counts["recovered"] += recovered
        if self._actors[name].recovers and had_offset and not recovered:
            # A store that is away can't say what it still has; the client is told so, and starts over.
            self.counts["not recovered"] += 1
            self._devices[name].base = None

    def shut(self, name: str) -> None:
        """An actor is not connected any more."""
        self.here.discard(name)

    def sent(self, name: str, number: int, target: str) -> None:
        """A message was sent for the first time."""
        key = f"{name}/{number}"
        sender = self._actors[name].user
        users = tuple(user for user in self._members if user != sender) if target == ROOM else (target,)
        self.recipients[key] = users
        self._targets[key] = target
        self.events += 1
        self._sent[key] = self.events
        self.unanswered.add(key)
        self.counts["sent"] += 1

    def acknowledged(self, name: str, number: int, mid: str, repeat: bool) -> None:
        """A message was acknowledged."""
        key = f"{name}/{number}"
        self.acked[key] = mid
        self.events += 1
        self._acked[key] = self.events
        if repeat:
            self._again.add(key)
        # Where an answer may be lost, what was sent and stored in one session is in the order of sending, whatever
        # the order of the acks (they wait for the router too).
        self._places[key] = (self._sessions[name], number) if self._unsure else (0, len(self.acked))
        self.unanswered.discard(key)
        self.counts["repeats"] += repeat
        missing = set(self.recipients[key]) - self._reached[key]
        if missing:
            self.awaited[key] = missing

    def changes(self, name: str, number: int, mid: str, text: str | None) -> None:
        """An actor begins to change a message of its own; ``text`` None deletes it."""
        key = f"{name}/{number}"
        self.changing[key] = text
        if text is None:
            self._gone.add(mid)
            self.awaited.pop(key, None)

    def changed(self, name: str, number: int, mid: str, error: int) -> None:
        """A change was acknowledged, or refused for good."""
        text = self.changing.pop(f"{name}/{number}")
        if error:
            self.unchanged.append(f"{name}: a change of its message {number} was refused with ER {error}")
            return
        self.counts["deleted" if text is None else "edited"] += 1
        self.texts[mid] = text
        for other in self._devices:
            self._compare(other, mid)

    def shows(self, name: str, mid: str, text: str | None) -> None:
        """A device now shows this text of a message."""
        texts = self._devices[name].texts
        if text is None and mid not in texts:
            return  # the device has never shown this message
        texts[mid] = text
        self._compare(name, mid)

    def _compare(self, name: str, mid: str) -> None:
        texts = self._devices[name].texts
        if mid in texts and mid in self.texts and texts[mid] != self.texts[mid]:
            self.outdated.add((name, mid))
        else:
            self.outdated.discard((name, mid))

    def refused(self, name: str, number: int, error: int) -> None:
        """A ``Send`` was answered by an error; it is sent again."""
        self._again.add(f"{name}/{number}")
        self.counts["refused"] += 1
        self.counts[f"ER {error}"] += 1

    def received(self, name: str, key: str, mid: str, offset: int) -> None:
        """A device was shown a message."""
        user, device = self._actors[name].user, self._devices[name]
        if self._inboxes[user].setdefault(offset, mid) != mid:
            self._contradictions += 1
        if mid in device.mids:
            device.repeats += 1
            return
        device.mids.add(mid)
        device.keys.append(key)
        device.offsets.add(offset)
        if device.base is None:
            device.base = offset
        self._reached[key].add(user)
        waiting = self.awaited.get(key)
        if waiting is not None:
            waiting.discard(user)
            if not waiting:
                del self.awaited[key]

    def newest(self, name: str) -> int:
        """Of the message that an actor received last: the count of ``events`` when it was sent; 0 before the first."""
        keys = self._devices[name].keys
        return self._sent[keys[-1]] if keys else 0

    @property
    def quiet(self) -> bool:
        """Whether all are connected, all is answered, and all that was acknowledged was received."""
        waits = self.unanswered or self.awaited or self.changing or self.outdated
        return not waits and len(self.here) == len(self._actors)

    # What is wrong.

    def verdict(self) -> Mapping[str, int]:
        """What must be 0, by name."""
        return {
            "never answered": len(self.unanswered),
            "acknowledged but never received": sum(map(len, self.awaited.values())),
            "missed by a device that recovers": len(self.missing()),
            **({} if self._unsure else {"not recovered though it had an offset": self.counts["not recovered"]}),
            "received twice after the cut by mid": sum(map(self._twice, self._devices.values())),
            "out of order for a pair": len(self.disordered()),
            "an offset with two messages": self._contradictions,
            "received with another mid than acknowledged": self._otherwise(),
            "not seen online": sum(map(len, self.absent.values())),
            "changes never answered": len(self.changing),
            "changes refused": len(self.unchanged),
            "shown otherwise than it was changed to": len(self.outdated),
            "odd events": len(self.odd),
        }

    @property
    def receipts(self) -> tuple[int, int]:
        """How many messages devices received, and how many more they cut."""
        devices = self._devices.values()
        return sum(len(device.keys) for device in devices), sum(device.repeats for device in devices)

    def missing(self) -> list[str]:
        """What devices that recover have missed, in words."""
        return [
            f"{actor.name} missed offset {offset} of {actor.user}"
            for actor in self.actors
            for offset in self._missed(actor)
        ]

    def _missed(self, actor: Actor) -> list[int]:
        device = self._devices[actor.name]
        if not actor.recovers or device.base is None:
            return []
        base = device.base
        inbox = self._inboxes[actor.user].items()
        return [
            offset for offset, mid in inbox if offset > base and offset not in device.offsets and mid not in self._gone
        ]

    @staticmethod
    def _twice(device: Device) -> int:
        return len(device.keys) - len(set(device.keys))

    def disordered(self) -> list[tuple[str, str]]:
        """Messages that came behind a later one of the same actor to the same recipient, by device.

        Later is what was sent for the first time when this one's ack had come; and, of those that were on their way
        at once, what was acknowledged later. Where the run is ``unsure``, the second is what was sent later in the same
        session, or in a later one; and what was refused, or acknowledged as a repeat, is left out of it: nobody knows
        in which session that was stored.
        """
        no_ack = self.events + 1
        none = (-1, -1)
        wrong = []
        for name, device in self._devices.items():
            newest: dict[tuple[str, str], tuple[int, int]] = {}
            begun: dict[tuple[str, str], int] = {}
            for key in device.keys:
                place = none if self._unsure and key in self._again else self._places.get(key, none)
                pair = (key.partition("/")[0], self._targets[key])
                behind = self._acked.get(key, no_ack) < begun.get(pair, 0)
                if behind or none < place < newest.get(pair, none):
                    wrong.append((name, key))
                newest[pair] = max(newest.get(pair, none), place)
                begun[pair] = max(begun.get(pair, 0), self._sent[key])
        return wrong

    def _otherwise(self) -> int:
        shown = set().union(*(device.mids for device in self._devices.values()))
        return sum(1 for key, mid in self.acked.items() if self._reached[key] and mid not in shown)
