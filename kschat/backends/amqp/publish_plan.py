"""Splits a batch into publishes and chooses the messages and routing keys of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from kschat.backends.amqp import codec
from kschat.backends.amqp.keys import Keys
from kschat.chat.interfaces import Stored

#: Keys of one publish, and about how many bytes of them: they must fit one frame of the broker's ``frame_max``, which
#: is 131,072 by default.
MAX_KEYS: Final = 400
MAX_KEYS_BYTES: Final = 60_000

#: Bytes of messages after which a batch is published in parts.
MAX_BODY: Final = 1_000_000


class Publish(msgspec.Struct, frozen=True, gc=False):
    """One message to RabbitMQ.

    Attributes:
        indices: in the batch, of what it carries.
        key: the routing key.
        headers: with further keys, or what the message's own form has no place for.
        content_type, body: what it carries.
    """

    indices: Sequence[int]
    key: str
    headers: Mapping[str, Any]
    content_type: str
    body: bytes


def as_tutorial(batch: Sequence[Stored], keys: Keys) -> list[Publish]:
    """A publish for each place of each message, in the tutorial's form."""
    publishes = []
    for index, one in enumerate(batch):
        body = codec.as_tutorial(one.message)
        for user, offset in one.places:
            key = keys.of(user)
            headers = {**keys.headers([key]), **codec.place_header(one.message, user, offset)}
            publishes.append(Publish((index,), key, headers, codec.TUTORIAL, body))
    return publishes


def together(batch: Sequence[Stored], keys: Keys) -> list[Publish]:
    """As few publishes as may be: whoever is bound by any of a part's keys gets all of it."""
    return [_packed(batch, indices, names, keys) for indices, names in _together(batch, keys)]


def by_key(batch: Sequence[Stored], keys: Keys) -> list[Publish]:
    """A publish for each key, so that it is told of each whether anybody was bound by it."""
    groups: dict[str, list[int]] = {}
    for index, stored in enumerate(batch):
        for user, _ in stored.places:
            indices = groups.setdefault(keys.of(user), [])
            if not indices or indices[-1] != index:
                indices.append(index)
    return [_packed(batch, indices, [key], keys) for key, indices in groups.items()]


def _packed(batch: Sequence[Stored], indices: Sequence[int], names: Sequence[str], keys: Keys) -> Publish:
    body = codec.packed([batch[index] for index in indices])
    return Publish(indices, names[0], keys.headers(names), codec.BATCH, body)


def _together(batch: Sequence[Stored], keys: Keys) -> list[tuple[list[int], list[str]]]:
    parts: list[tuple[list[int], list[str]]] = []
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
