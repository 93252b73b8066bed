"""A store with something of everything, and all that can be read of it: for tests that move one."""

from __future__ import annotations

from typing import Any

from msgspec import Raw

from kschat.chat.interfaces import IStore, Progress
from kschat.chat.message import Message
from kschat.chat.push import PushSubscription
from kschat.chat.revocation import Revocation
from tests.contracts.made import awkward_messages, message
from tests.contracts.updates import delete, edit, react

USERS = ("ann", "ben", "cem", "dee", "eve", "7", "8", "lone")
ROOMS = ("#r", "#empty", "#déjà")


async def fill(store: IStore) -> list[Message]:
    """Write everything into an empty store; the messages that have a cid."""
    for user in ("ann", "ben", "cem"):
        await store.join("#r", user, 10)
    await store.join("#empty", "lone", 10)
    sent = []
    for number in range(40):
        for batch in (
            [message("ann", "ben", cid=f"a{number}"), message("ben", "ann"), message("cem", "#r", cid=f"r{number}")],
            [message("ann", "#r"), message("dee", "dee"), message("eve", "ann")],
        ):
            sent += [one.message for one in await store.append(batch)]
        if number == 20:
            # Out, and in again: what was written meanwhile counts as read.
            await store.leave("#r", "ben")
            await store.append([message("ann", "#r")])
            await store.join("#r", "ben", 10)
            await store.join("#r", "dee", 10)
    await store.append([one for one in awkward_messages().values() if one.recipient[:1] != "#"])
    await store.append([message("ann", "ben", msg=Raw(b'"%b"' % (b"x" * 300_000))) for _ in range(4)])
    await store.join("#déjà", "ann", 10)
    await store.join("#déjà", "ben", 10)
    await store.append([message("ben", "#déjà", msg=Raw(b'"' + b"y" * 500 + b'"'), attachments=(b"\0\1",))])
    by = {one.cid: one for one in sent if one.cid is not None}
    await store.change(edit(by["a3"], b'"edited"', cid="e1"))
    await store.change(delete(by["a4"]))
    await store.change(react(by["a5"], "x", "ben"))
    await store.change(react(by["r6"], "y", "ann"))
    await store.change(edit(by["r39"], b'"the newest"'))
    await store.mark_read("ben", "ann", by["a10"].mid)
    await store.mark_read("ann", "ben", by["a39"].mid)
    await store.mark_read("ann", "#r", by["r30"].mid)
    await store.mark_read("dee", "#r", by["r25"].mid)
    await store.block("ann", "eve", 10)
    await store.block("lone", "ann", 10)
    for number in range(3):
        subscription = PushSubscription(f"https://push.example/{9 - number}", f"key{number}", f"auth{number}")
        await store.subscribe("ann", subscription, 5)
    await store.subscribe("ben", PushSubscription("https://push.example/ben", "k", "a"), 5)
    for key in ("uann", "tjti", "uben"):
        await store.revoke(Revocation(key, 5, 2_000_000_000_000), now=1_700_000_000_000, most=10)
    await store.revoke(Revocation("uann", 0, 2_000_000_000_000, True), now=1_700_000_000_000, most=10)
    await store.append([message("gone", "ann"), message("ann", "gone")])
    await store.erase("gone")
    ends = await store.ends(["ann", "ben"])
    await store.save_progress(Progress({"ann": ends["ann"] - 1, "ben": ends["ben"] - 3}, {"ann": 5000, "lone": 6000}))
    return [one for one in by.values() if one.cid != "a4"]


async def everything(store: IStore) -> dict[str, Any]:
    """All that the store tells."""
    told: dict[str, Any] = {"epoch": store.epoch}
    for user in USERS:
        state = await store.inbox(user)
        # Where an empty inbox begins, stores say in several ways.
        told[f"inbox of {user}"] = state if state.first <= state.last else state.cursor
        told[f"entries of {user}"] = await _entries(store, user)
        told[f"conversations of {user}"] = listed = await store.conversations(user, 100)
        for peer in (one.peer for one in listed):
            told[f"{user} and {peer}"] = pages = await _pages(store, user, peer)
            if peer in ROOMS:
                newest = [one for page in pages for one in page.messages][-30:]
                told[f"readers of {peer} for {user}"] = [
                    sorted(await store.readers(peer, user, one.mid) or ()) for one in newest
                ]
        told[f"rooms of {user}"] = sorted(await store.rooms(user))
        told[f"blocked by {user}"] = sorted(await store.blocked(user))
        told[f"subscriptions of {user}"] = await store.subscriptions(user)
    for room in ROOMS:
        told[f"members of {room}"] = sorted(await store.members(room))
    told["seen"] = await store.last_seen(list(USERS))
    told["revocations"] = await store.revocations(0, 100)
    return told


async def _entries(store: IStore, user: str) -> list[Any]:
    found: list[Any] = []
    while page := list((await store.read(user, found[-1].offset if found else 0, 100)).entries):
        found += page
    return found


async def _pages(store: IStore, user: str, peer: str) -> list[Any]:
    found: list[Any] = []
    before: str | None = None
    while True:
        page = await store.history(user, peer, before=before, limit=30)
        found.insert(0, page)
        if not page.more:
            return found
        before = page.messages[0].mid
