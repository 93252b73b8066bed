"""The events that a daemon sends in one reactor turn: collected, bounded, and sent in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kschat.backends.redis.client import packing
from kschat.counters import Counters

#: Commands that wait to be told, each user counted.
MAX_COMMANDS: Final = 10_000

#: Bytes that they have.
MAX_BYTES: Final = 8_000_000


class Outbox:
    """Commands by their channels.

    Args:
        counters: counts what is dropped.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        # By channel and origin. What is for all daemons stands between what came before and what came after it.
        self._commands: list[dict[tuple[bytes, bytes], list[bytes]]] = [{}]
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def put(self, channels: Sequence[bytes], command: bytes, origin: bytes, for_all: bool = False) -> None:
        """Have ``command``, in msgpack, told on each channel as ``origin``'s; beyond the bounds it is dropped.

        ``for_all``: it concerns users who have channels of their own, and keeps its place among what is told there.
        """
        count = len(channels)
        size = count * len(command)
        if self._count + count > MAX_COMMANDS or self._bytes + size > MAX_BYTES:
            self._counters.commands_dropped += count
            return
        self._count += count
        self._bytes += size
        if for_all and self._commands[-1]:
            self._commands.append({})
        commands = self._commands[-1]
        for channel in channels:
            commands.setdefault((channel, origin), []).append(command)
        if for_all:
            self._commands.append({})

    def take(self) -> tuple[bytes, int]:
        """All that waits, as a script publishes it, and how many commands that are."""
        commands, self._commands = self._commands, [{}]
        count, self._count, self._bytes = self._count, 0, 0
        parts: list[bytes] = []
        for some in commands:
            for (channel, origin), told in some.items():
                parts += (channel, origin + packing.array(told))
        return packing.texts(parts), count
