"""What runs on a cluster have in common: from the start of all parts to the counts that must be 0."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from chaos import inboxes, report
from chaos.disclosed import LogSearch
from chaos.ledger import Ledger
from chaos.servers import Servers
from chaos.stage import Stage, Stuck
from chaos.store import GENERATION, open_store


class ClusterRun:
    """One run and its verdict.

    Args:
        reactor: the real one.
        servers: all parts.
        ledger: what clients saw.
        stage: the clients.

    Attributes:
        stuck: what did not come in time; the counts hold all the same.
        wrong: the counts that must be 0.
    """

    def __init__(self, reactor: Any, servers: Servers, ledger: Ledger, stage: Stage) -> None:
        self._reactor = reactor
        self._servers = servers
        self._ledger = ledger
        self._stage = stage
        self._search = LogSearch(stage.disclosed)
        self.stuck = ""
        self.wrong: dict[str, int] = {}

    async def run(self, play: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start all, ``play``, end all and count."""
        try:
            await self._servers.start()
            await self._stage.open()
            try:
                await play()
            except Stuck as stuck:
                self.stuck = str(stuck)
            await self._stage.close()
            await self._servers.end()
            self._search = self._servers.search(self._stage.disclosed)
            await self._count()
        finally:
            await self._stage.close()
            await self._servers.abandon()

    async def _count(self) -> None:
        ledger, members = self._ledger, self._servers.members
        self.wrong |= ledger.verdict()
        users = {actor.user for actor in ledger.actors}
        async with open_store(self._reactor, self._servers.store_url) as store:
            self.wrong |= await inboxes.verdict(
                store, users, ledger.acked, ledger.recipients, GENERATION, texts=ledger.texts
            )
        self.wrong["errors in the daemons' logs"] = sum(len(member.daemon.faults) for member in members)
        self.wrong["ends of daemons with a status"] = sum(any(member.statuses) for member in members)

    def tell(self, faults: Mapping[str, int], say: Callable[[str], object]) -> list[str]:
        """Say what happened; what must be 0 and is not."""
        self.wrong |= report.disclosures(self._search, say)
        daemons = {member.name: member.daemon for member in self._servers.members}
        return report.verdict(self._ledger, faults, wrong=self.wrong, daemons=daemons, stuck=self.stuck, say=say)
