"""How a batch is parted into publishes: the indices of its messages, and the keys that they go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kschat.backends.amqp.keys import Keys
from kschat.chat.interfaces import Stored

#: Keys of one publish, and about how many bytes of them: they must fit one frame of the broker's ``frame_max``, which
#: is 131,072 by default.
MAX_KEYS: Final = 400
MAX_KEYS_BYTES: Final = 60_000

#: Bytes of messages after which a batch is published in parts.
MAX_BODY: Final = 1_000_000

Part = tuple[list[int], list[str]]


def together(batch: Sequence[Stored], keys: Keys) -> list[Part]:
    """As few publishes as may be: whoever is bound by any of a part's keys gets all of it."""
    parts: list[Part] = []
    indices: list[int] = []
    named: dict[str, None] = {}
    size = room = 0
    for index, stored in enumerate(batch):
        message = stored.message
        if indices and (len(named) >= MAX_KEYS or room >= MAX_KEYS_BYTES or size >= MAX_BODY):
            parts.append((indices, list(named)))
            indices, named, size, room = [], {}, 0, 0
        indices.append(index)
        size += len(message.msg) + sum(map(len, message.attachments))
        for user, _ in stored.places:
            key = keys.of(user)
            if key in named:
                continue
            if len(named) >= MAX_KEYS or room >= MAX_KEYS_BYTES:
                # The members of a large room: the message goes out again, by the other keys.
                parts.append((indices, list(named)))
                indices, named, size, room = [index], {}, 0, 0
            named[key] = None
            room += 4 * len(key) + 8
    parts.append((indices, list(named)))
    return parts


def by_key(batch: Sequence[Stored], keys: Keys) -> list[Part]:
    """A publish for each key, so that it is told of each whether anybody was bound by it."""
    groups: dict[str, list[int]] = {}
    for index, stored in enumerate(batch):
        for user, _ in stored.places:
            indices = groups.setdefault(keys.of(user), [])
            if not indices or indices[-1] != index:
                indices.append(index)
    return [(indices, [key]) for key, indices in groups.items()]
