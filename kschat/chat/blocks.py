"""Block lists, as one daemon's users have them: who blocks whom, for what is not stored (typing, presence).

Messages are refused by the store, which has the lists, in the same step as it would keep them. What was asked of the
store is remembered while its user has a socket here; the daemons of both users are told of each change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed

from kschat.chat.bus import IBus
from kschat.chat.cluster_commands import BlockChange
from kschat.chat.hub import Hub
from kschat.chat.interfaces import Blocks

#: Users of whom one user's relation is remembered; beyond it all are asked for again.
MAX_KNOWN: Final = 1000

_NOBODY: Final = Blocks()


class BlockLists:
    """Who blocks whom, of the users here.

    Args:
        hub: has the store, and tells who is here.
        bus: tells other daemons.
        changed: called with each change, of whatever daemon.
    """

    def __init__(self, hub: Hub, bus: IBus, changed: Callable[[BlockChange], None]) -> None:
        self._hub = hub
        self._bus = bus
        self._changed = changed
        # By user, and then by the other: whether the one blocks the other, and the other the one.
        self._known: dict[str, dict[str, tuple[bool, bool]]] = {}
        # By user: what is heard while the store is asked for that one's relations. It is newer than the answer.
        self._heard: dict[str, list[list[BlockChange]]] = {}
        # How often changes may have been missed: an answer from before that may be out of date.
        self._missed = 0

    def change(self, user: str, peer: str, *, blocked: bool, most: int) -> Deferred[None]:
        """``user`` blocks ``peer`` from now on, or does so no more.

        Returns:
            Fires when the store has it. Fails with StoreUnavailable, or BlockListFull beyond ``most``.
        """
        store = self._hub.store
        changed = store.block(user, peer, most) if blocked else store.unblock(user, peer)

        def tell(is_new: bool) -> None:
            if is_new:
                change = BlockChange(user, peer, blocked)
                self.heard(change)
                self._bus.publish((user, peer), change)

        told: Deferred[None] = changed.addCallback(tell)
        return told

    def between(self, user: str, peers: Sequence[str]) -> Deferred[Blocks]:
        """Which of ``peers`` ``user`` blocks, and which block ``user``. Fails with StoreUnavailable."""
        if not self._hub.store.keeps:
            return succeed(_NOBODY)
        known = self._known.get(user, {})
        unknown = [peer for peer in peers if peer not in known]
        if unknown:
            return self._ask(user, peers, unknown)
        return succeed(
            Blocks(
                frozenset(peer for peer in peers if known[peer][0]),
                frozenset(peer for peer in peers if known[peer][1]),
            )
        )

    def _ask(self, user: str, peers: Sequence[str], unknown: Sequence[str]) -> Deferred[Blocks]:
        heard: list[BlockChange] = []
        self._heard.setdefault(user, []).append(heard)
        missed = self._missed

        def answered(result: Any) -> Any:
            # By what it is, and not by what it is equal to.
            left = [one for one in self._heard[user] if one is not heard]
            if left:
                self._heard[user] = left
            else:
                del self._heard[user]
            return result

        def found(blocks: Blocks) -> Deferred[Blocks]:
            if self._missed != missed:
                return self.between(user, peers)
            return self._found(_changed(blocks, user, heard), user, peers=peers, asked=unknown)

        asked: Deferred[Blocks] = self._hub.store.blocks(user, unknown).addCallbacks(answered, answered)
        return asked.addCallback(found)

    def _found(self, found: Blocks, user: str, *, peers: Sequence[str], asked: Sequence[str]) -> Deferred[Blocks]:
        known = self._known.setdefault(user, {}) if self._hub.inbox(user) is not None else {}
        earlier = [peer for peer in peers if peer in known]
        if len(earlier) + len(asked) < len(peers):
            return self.between(user, peers)  # what was known has been forgotten meanwhile
        blocked = found.blocked | {peer for peer in earlier if known[peer][0]}
        blockers = found.blockers | {peer for peer in earlier if known[peer][1]}
        if len(known) + len(asked) > MAX_KNOWN:
            known.clear()
        known.update({peer: (peer in found.blocked, peer in found.blockers) for peer in asked})
        return succeed(Blocks(blocked, blockers))

    def heard(self, change: BlockChange) -> None:
        """A list was changed, by whatever daemon."""
        for user, peer in ((change.user, change.peer), (change.peer, change.user)):
            for heard in self._heard.get(user, ()):
                heard.append(change)
            known = self._known.get(user)
            if known is not None:
                known.pop(peer, None)
        self._changed(change)

    def left(self, user: str) -> None:
        """``user`` has no socket here any more."""
        self._known.pop(user, None)

    def forget(self) -> None:
        """Changes may have been missed."""
        self._missed += 1
        self._known.clear()


def _changed(blocks: Blocks, user: str, changes: Sequence[BlockChange]) -> Blocks:
    """``blocks`` of ``user`` after ``changes``."""
    blocked, blockers = set(blocks.blocked), set(blocks.blockers)
    for change in changes:
        whose, other = (blocked, change.peer) if change.user == user else (blockers, change.user)
        (whose.add if change.blocked else whose.discard)(other)
    return Blocks(frozenset(blocked), frozenset(blockers))
