"""How many copies of Redis's data must have what was written before it counts as stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kschat.backends.redis.client.settings import Settings
from kschat.counters import Counters


class Copies:
    """The question that follows what was written, over the same connection, and what its answer means.

    Redis answers ``WAIT`` once so many replicas have all that its connection wrote before, or when the time is over.
    ``WAITAOF`` also waits until the append-only files of Redis itself and of those replicas are on their disks.

    Args:
        settings: how many copies are wanted, and for how long they are waited for.
        counters: count what became of the waits.

    Attributes:
        on_disk: whether the server is asked for what the disks have.
    """

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self.wanted = settings.wait
        self.on_disk = False
        self.counts = counters.waits
        self._milliseconds = max(int(settings.wait_timeout * 1000), 1)  # 0 would wait for ever

    @property
    def command(self) -> tuple[str | int, ...]:
        """What Redis is asked."""
        if self.on_disk:
            return "WAITAOF", 1, self.wanted, self._milliseconds
        return self.in_memory

    @property
    def in_memory(self) -> tuple[str | int, ...]:
        """What Redis is asked for data that only have to survive a failover."""
        return "WAIT", self.wanted, self._milliseconds

    def lacking(self, role: Sequence[Any]) -> int | None:
        """Bytes of Redis's data that the replicas have not confirmed that are waited for: of the last one of them.

        Args:
            role: Redis's answer to ``ROLE``. A replica that is missing there has nothing. Each reports what it has once
                a second or so, and after each ``WAIT``.

        Returns:
            None where the answer is not a master's.
        """
        if role[0] != b"master":
            return None
        offset = int(role[1])
        confirmed = sorted((int(replica[2]) for replica in role[2]), reverse=True)
        last = confirmed[self.wanted - 1] if len(confirmed) >= self.wanted else 0
        return max(offset - last, 0)

    def missing(self, answer: int | list[int], what: str = "what was written") -> str:
        """Why an answer is not enough, in words; "" where it is.

        Args:
            answer: of ``WAIT`` how many replicas have it; of ``WAITAOF`` whether Redis's own disk has, and how many
                replicas' disks.
            what: they should have.
        """
        if isinstance(answer, int):
            return "" if answer >= self.wanted else f"only {answer} of {self.wanted} replicas have {what}"
        own, others = answer
        if not own:
            return f"Redis's own disk does not have {what}"
        return "" if others >= self.wanted else f"the disks of only {others} of {self.wanted} replicas have {what}"
