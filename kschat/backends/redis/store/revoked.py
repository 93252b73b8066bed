"""Revocations of tokens: how the scripts take and return them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kschat.backends.redis.client import packing
from kschat.chat.revocation import NumberedRevocation, Revocation


def revoke_argument(head: Sequence[Any], revocation: Revocation, now: int, most: int) -> bytes:
    """The argument of the script ``revoke``. ``head``: see ``StoreClient.head``."""
    one = revocation
    return packing.pack(*head, one.key, one.before, one.until, int(one.lifted), now, most)


def listed_revocations(answer: Sequence[Sequence[Any]]) -> list[NumberedRevocation]:
    """What the script ``revocations`` has answered."""
    listed = []
    for number, key, kept in answer:
        before, until, lifted = map(int, kept.split())
        listed.append(NumberedRevocation(number, Revocation(key.decode(), before, until, bool(lifted))))
    return listed
