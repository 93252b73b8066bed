"""What stands in the inboxes of a store afterwards, asked for as the chat does: by ``IStore``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

import msgspec

from kschat.chat.interfaces import Entry, IStore

PAGE = 500


async def verdict(
    store: IStore,
    users: Iterable[str],
    acked: Mapping[str, str],
    recipients: Mapping[str, Iterable[str]],
    generation: int = 0,
    *,
    texts: Mapping[str, str | None] | None = None,
) -> Mapping[str, int]:
    """What must be 0, by name.

    Args:
        store: with all messages that there ever were.
        users: whose inboxes there are.
        acked: the mid of each message that was acknowledged, by its cid.
        recipients: of each message, by its cid.
        texts: the text of each changed message, by its mid; None if it was deleted.
        generation: where offsets may go on, behind a multiple of it, when the store has been away; 0 for nowhere.
    """
    mids: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    kept: dict[str, set[str]] = {}
    holes = double = wrong = 0
    for user in users:
        entries = await _inbox(store, user)
        mine = [entry.message.mid for entry in entries]
        kept[user] = set(mine)
        double += len(mine) - len(kept[user])
        offsets = [0, *(entry.offset for entry in entries)]
        holes += sum(not _follows(*pair, generation) for pair in pairwise(offsets))
        for entry in entries:
            if texts and entry.message.mid in texts:
                wrong += msgspec.json.decode(entry.message.msg) != texts[entry.message.mid]
            if entry.message.cid is not None:
                mids[entry.message.sender, entry.message.cid].add(entry.message.mid)
    lost = [cid for cid, mid in acked.items() if any(mid not in kept[user] for user in recipients[cid])]
    return {
        "stored twice with the same cid": double + sum(len(some) - 1 for some in mids.values()),
        "acknowledged but not stored": len(lost),
        "holes in inboxes": holes,
        "stored otherwise than it was changed to": wrong,
    }


def _follows(offset: int, after: int, generation: int) -> bool:
    return after == offset + 1 or (after > offset and generation > 0 and (after - 1) % generation == 0)


async def _inbox(store: IStore, user: str) -> list[Entry]:
    entries: list[Entry] = []
    while page := (await store.read(user, entries[-1].offset if entries else 0, PAGE)).entries:
        entries += page
    return entries
