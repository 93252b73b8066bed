"""What must be true, looked at as it happens: what was sent, acknowledged, stored and received in one world."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, NoReturn

import msgspec
from twisted.internet.defer import Deferred

from kschat.backends.memory import MemoryStore
from kschat.chat.interfaces import Progress, Stored
from kschat.chat.message import Message


class Violation(AssertionError):
    """Something is not as it must be. Its text says what, and when."""


class Draft(msgspec.Struct, eq=False):
    """A message as its sender has it.

    Attributes:
        number: its place among all of the world; its content, too.
        sender, to: a user; a user or a room.
        cid: the sender's own id of it.
        filler: bytes that it has beside.
        first_sent: when it was written first, by the count of what happened; None if it was not.
        connection: on which that was, and its place there.
        acked: when it was acknowledged.
        mid: as acknowledged.
        tries, refusals: how often it was written, and refused.
        repeat: whether it was acknowledged as a repeat.
    """

    number: int
    sender: str
    to: str
    cid: str
    filler: int = 0
    first_sent: int | None = None
    connection: tuple[int, int] = (0, 0)
    acked: int | None = None
    mid: str = ""
    tries: int = 0
    refusals: int = 0
    repeat: bool = False

    @property
    def text(self) -> str:
        """Its content."""
        return f"{self.number} {'x' * self.filler}"


class Inbox(msgspec.Struct, eq=False):
    """One user's inbox, as the store and as the user's devices have it.

    Attributes:
        stored: mids by their offsets.
        offsets: the other way round.
        received: offsets that a device has read.
        upto: all up to here were read by some device.
        reads: the last mid that the user has marked as read, by peer.
    """

    stored: dict[int, str] = {}
    offsets: dict[str, int] = {}
    received: dict[int, None] = {}
    upto: int = 0
    reads: dict[str, str] = {}


class Ledger:
    """The oracle of one world.

    Args:
        now: the world's time.
        rooms: the members of each room.
    """

    def __init__(self, now: Any, rooms: dict[str, list[str]]) -> None:
        self._now = now
        self.rooms = rooms
        self._digest = hashlib.sha256()
        self._tail: list[str] = []
        self.history: list[str] | None = None
        self.operations: list[dict[str, Any]] | None = None
        self.violation: str | None = None
        self.happened = 0
        self.counts: Counter[str] = Counter()
        self.drafts: list[Draft] = []
        self._by_cid: dict[tuple[str, str], Draft] = {}
        self.inboxes: dict[str, Inbox] = {}
        self._numbers: dict[str, int] = {}
        self._stored_by: dict[tuple[str, str], str] = {}
        # The mids of each conversation, in their order: by its room, or by its two users.
        self._conversations: dict[str, list[str]] = {}

    # What happened.

    def note(self, *words: object) -> None:
        """Something happened; it is part of the digest."""
        self.happened += 1
        line = f"{self._now():.6f} " + " ".join(map(str, words))
        self._digest.update(line.encode() + b"\n")
        self._tail.append(line)
        if len(self._tail) > 60:
            del self._tail[:30]
        if self.history is not None:
            self.history.append(line)

    def operation(self, type_: str, process: str, f: str, **value: object) -> None:
        """An operation began, or what became of it, for the history in docs/testing.md.

        Args:
            type_: ``invoke``, ``ok``, ``fail`` (it was not done), or ``info`` (it is not known whether it was done).
            process: a device, or ``nemesis`` for a fault.
            f: what it is.
            value: of what.
        """
        if self.operations is not None:
            time = round((self._now()) * 1e9)
            self.operations.append({"time": time, "process": process, "type": type_, "f": f, "value": value})

    def digest(self) -> str:
        """Of all that happened."""
        return self._digest.hexdigest()[:16]

    def tail(self) -> Sequence[str]:
        """The last of what happened."""
        return self._tail[-30:]

    def fail(self, *words: object) -> NoReturn:
        """Something is not as it must be."""
        text = " ".join(map(str, words))
        self.note("VIOLATION", text)
        if self.violation is None:
            # Who called may swallow what is raised.
            self.violation = f"at {self._now():.3f}: {text}"
        raise Violation(text)

    def inbox(self, user: str) -> Inbox:
        """That of ``user``."""
        found = self.inboxes.get(user)
        if found is None:
            found = self.inboxes[user] = Inbox()
        return found

    def recipients(self, draft: Draft) -> Sequence[str]:
        """Whose inboxes a message belongs to."""
        if draft.to.startswith("#"):
            return [member for member in self.rooms[draft.to] if member != draft.sender]
        return (draft.to,)

    # The senders.

    def draft(self, sender: str, to: str, filler: int) -> Draft:
        """A message that will be sent."""
        number = len(self.drafts)
        made = Draft(number, sender, to, f"c{number}", filler)
        self.drafts.append(made)
        self._by_cid[sender, made.cid] = made
        return made

    def sent(self, draft: Draft, device: str, connection: int, place: int) -> None:
        """It was written."""
        self.operation("invoke", device, "send", message=draft.number, to=draft.to)
        draft.tries += 1
        if draft.first_sent is None:
            draft.connection = (connection, place)
        self.note("send", draft.number, draft.sender, draft.to, draft.tries)
        if draft.first_sent is None:
            draft.first_sent = self.happened
        self.counts["sends"] += 1

    def acked(self, draft: Draft, device: str, mid: str, repeat: bool) -> None:
        """It was acknowledged."""
        self.operation("ok", device, "send", message=draft.number, to=draft.to, mid=mid, repeat=repeat)
        if draft.mid and draft.mid != mid:
            self.fail("message", draft.number, "was acknowledged with two mids")
        kept = self._stored_by.get((draft.sender, draft.cid))
        if kept != mid:
            what = "is not stored" if kept is None else "is stored with another mid"
            self.fail("message", draft.number, "was acknowledged, and", what)
        if draft.acked is None:
            self.note("ack", draft.number, repeat)
            draft.acked, draft.mid, draft.repeat = self.happened, mid, repeat
            self.counts["acknowledged"] += 1
            self.counts["repeats"] += repeat

    def refused(self, draft: Draft, device: str, error: int) -> None:
        """It was refused. What the store could not confirm may be there all the same."""
        self.operation("info" if error == 3 else "fail", device, "send", message=draft.number, to=draft.to, er=error)
        draft.refusals += 1
        self.counts["refused"] += 1
        self.note("refused", draft.number, error)

    def read(self, user: str, peer: str, mid: str) -> None:
        """A user marks messages as read."""
        reads = self.inbox(user).reads
        reads[peer] = max(mid, reads.get(peer, ""))
        self.note("read", user, peer)

    # The store.

    def stored(self, found: Sequence[Stored]) -> None:
        """The store keeps messages."""
        for one in found:
            message = one.message
            if one.repeat or one.refused is not None:
                continue
            key = (message.sender, message.cid or "")
            draft = self._by_cid.get(key)
            if draft is None:
                self.fail("something was stored that nobody has sent")
            if key in self._stored_by:
                self.fail("message", draft.number, "was stored twice")
            self._stored_by[key] = message.mid
            self._numbers[message.mid] = draft.number
            if [user for user, _ in one.places] != list(self.recipients(draft)):
                self.fail("message", draft.number, "is in the inboxes of others")
            self.conversation(draft.sender, draft.to).append(message.mid)
            for user, offset in one.places:
                inbox = self.inbox(user)
                if offset != len(inbox.stored) + 1:
                    self.fail("the store's offsets of", user, "have a hole")
                inbox.stored[offset] = message.mid
                inbox.offsets[message.mid] = offset
            self.note("stored", draft.number)

    def cursors(self, cursors: dict[str, int]) -> None:
        """The store is told of cursors."""
        for user, cursor in cursors.items():
            upto = self.inbox(user).upto
            if cursor > upto:
                self.fail("the cursor of", user, "is at", cursor, "and its devices have read up to", upto)

    def conversation(self, user: str, peer: str) -> list[str]:
        """The mids of a conversation, as the store has them."""
        key = peer if peer.startswith("#") else " ".join(sorted((user, peer)))
        return self._conversations.setdefault(key, [])

    # The recipients.

    def received(self, device: str, user: str, item: dict[str, Any]) -> int:
        """A device has read a message. Returns its offset."""
        mid, offset = item["mid"], item["offset"]
        inbox = self.inbox(user)
        if inbox.stored.get(offset) != mid:
            self.fail(device, "got at offset", offset, "what the store does not have there")
        number = self.check_content(device, item)
        self.note("receive", device, offset, number)
        self.operation("ok", device, "receive", message=number, user=user, offset=offset, mid=mid)
        self.counts["received"] += 1
        if offset not in inbox.received:
            inbox.received[offset] = None
            while inbox.upto + 1 in inbox.received:
                inbox.upto += 1
        return int(offset)

    def check_content(self, device: str, item: dict[str, Any]) -> int:
        """A message is as it was sent. Returns its number."""
        number = self._numbers.get(item["mid"])
        if number is None:
            self.fail(device, "got a message that the store does not have")
        draft = self.drafts[number]
        if item["msg"] != draft.text or str(item["uId"]) != draft.sender or str(item["pId"]) != draft.to:
            self.fail(device, "got another content of message", number)
        return number

    def synced(self, device: str, user: str, *, after: int, least: int, body: dict[str, Any]) -> None:
        """An answer to ``Sync``.

        Args:
            device: who asked.
            user: whose inbox it is.
            after: as asked.
            least: how far the inbox reached when it was asked for.
            body: the answer.
        """
        stored, at = self.inbox(user).stored, after
        for item in body["MSG"]:
            self.check_content(device, item)
            if item["offset"] != at + 1 or stored.get(at + 1) != item["mid"]:
                self.fail(device, "asked for offset", at + 1, "and got", item["offset"])
            at += 1
        if at < least and not body["more"]:
            self.fail(device, "asked for an inbox that reaches to", least, "and got it up to", at)
        self.note("synced", device, after, at)
        self.counts["syncs"] += 1

    def told_history(self, device: str, user: str, *, peer: str, least: int, body: dict[str, Any]) -> None:
        """An answer to ``History``: the newest of a conversation, which had ``least`` messages when it was asked."""
        mids = [item["mid"] for item in body["MSG"]]
        for item in body["MSG"]:
            self.check_content(device, item)
        kept = self.conversation(user, peer)
        end = kept.index(mids[-1]) + 1 if mids else 0
        if end < least or kept[end - len(mids) : end] != mids or (end > len(mids)) is not body["more"]:
            self.fail(device, "asked for a history of", least, "messages and more, and got", len(mids), "up to", end)
        self.note("history", device, peer, end, len(mids))
        self.counts["histories"] += 1

    def status(self, device: str, user: str, body: dict[str, Any]) -> None:
        """A sender is told what became of its message."""
        mid, status, peer = body["mid"], body["STATUS"], str(body["pId"])
        number = self._numbers.get(mid)
        self.note("status", device, number, status)
        if number is None or self.drafts[number].sender != user:
            self.fail(device, "got a receipt of a message that it has not sent")
        inbox = self.inbox(peer)
        if status == 2 and inbox.offsets.get(mid) not in inbox.received:
            self.fail(device, "was told that", number, "is delivered, and", peer, "has not read it")
        if status == 3 and inbox.reads.get(user, "") < mid:
            self.fail(device, "was told that", number, "is read, and", peer, "has not said so")
        self.counts["receipts"] += 1

    # At the end.

    def unacknowledged(self) -> int:
        """Messages that were written, and not acknowledged yet."""
        return sum(draft.first_sent is not None and draft.acked is None for draft in self.drafts)

    def undelivered(self) -> list[str]:
        """Whose messages are in the store and were received by no device yet."""
        return [user for user, inbox in self.inboxes.items() if inbox.upto < len(inbox.stored)]

    def check_order(self) -> None:
        """Messages of one sender to one recipient are in the order in which they were sent."""
        pairs: dict[tuple[str, str], list[Draft]] = {}
        for draft in self.drafts:
            if draft.acked is not None:
                for user in self.recipients(draft):
                    pairs.setdefault((draft.sender, user), []).append(draft)
        for (sender, user), drafts in pairs.items():
            offsets = self.inbox(user).offsets
            acks = sorted(drafts, key=lambda draft: draft.acked or 0)
            sends = sorted(drafts, key=lambda draft: draft.first_sent or 0)
            at, last = 0, 0
            for draft in sends:
                while at < len(acks) and (acks[at].acked or 0) < (draft.first_sent or 0):
                    last = max(last, offsets[acks[at].mid])
                    at += 1
                if offsets[draft.mid] < last:
                    self.fail("message", draft.number, "of", sender, "is before one that was acknowledged earlier")
            plain: dict[tuple[int, str], list[Draft]] = {}
            for draft in drafts:
                if not draft.repeat and not draft.refusals and draft.tries == 1:
                    plain.setdefault((draft.connection[0], draft.to), []).append(draft)
            for some in plain.values():
                some.sort(key=lambda draft: draft.connection[1])
                found = [offsets[draft.mid] for draft in some]
                if found != sorted(found):
                    self.fail("messages of", sender, "to", user, "on one connection are out of order")


class ModelStore(MemoryStore):
    """The store in memory, which tells the ledger what it keeps.

    Args:
        ledger: is told; None for no world.
    """

    def __init__(self, ledger: Ledger | None = None) -> None:
        super().__init__(10_000_000, 10_000_000_000, wall=lambda: 0.0)
        self._ledger = ledger

    def append(self, batch: Sequence[Message]) -> Deferred[list[Stored]]:
        """See ``IStore``."""
        answer = super().append(batch)
        if self._ledger is not None:
            answer.addCallback(self._tell, self._ledger)
        return answer

    def save_progress(self, progress: Progress) -> Deferred[None]:
        """See ``IStore``."""
        if self._ledger is not None:
            self._ledger.cursors(dict(progress.cursors))
        return super().save_progress(progress)

    def cursor(self, user: str) -> int:
        """How far ``user`` has confirmed."""
        inbox = self._inboxes.get(user)
        return 0 if inbox is None else inbox.cursor

    def _tell(self, found: list[Stored], ledger: Ledger) -> list[Stored]:
        ledger.stored(found)
        return found


def stream_of(seed: int, *names: object) -> Random:
    """Chances of their own for one part of a world: what another part does never changes them."""
    return Random("/".join(map(str, (seed, *names))))
