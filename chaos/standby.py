"""A PostgreSQL with a standby, and what becomes of the two: which one is the primary changes again and again.

What decides here that the standby takes over is the run itself, as an operator or Patroni does. It never asks the old
primary, which is fenced only later: for some seconds two servers accept writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from signal import SIGCONT, SIGSTOP
from typing import Any, Final

import psycopg
from twisted.internet.task import deferLater

from chaos.disk import SlowDisk
from chaos.links import ServiceProxy
from chaos.stage import Stuck
from tests.support.postgresql import PostgreSQL

#: The primary loses its place to the standby: it is killed; it is stopped, and continues later; it is cut off, with
#: daemon 0 on its side, and they come back later; it knows nothing of it.
KILLED: Final = "primary killed, standby promoted"
STOPPED: Final = "primary stopped, standby promoted"
CUT_OFF: Final = "primary cut off, standby promoted"
BESIDE: Final = "standby promoted beside the primary"

#: It keeps its place.
RESTARTED: Final = "primary killed, started again"
PAUSED: Final = "primary stopped, continued"
ALONE: Final = "standby killed, started again"
SLOW: Final = "primary on a slow disk"

KINDS: Final = (KILLED, STOPPED, CUT_OFF, BESIDE, RESTARTED, PAUSED, ALONE, SLOW)

#: Seconds until a failure is noticed, and the standby is promoted.
NOTICE: Final = 1.0

#: Seconds that a server is stopped for or cut off, or a disk is slow: longer than daemons wait for an answer.
LONG: Final = 8.0

#: Seconds until an old primary is fenced that can be reached: longer than daemons need to find the newer one.
UNFENCED: Final = 6.0

#: Milliseconds that a sync of the slow disk takes longer.
DELAY: Final = 400

#: Seconds until the standby must be in step.
PATIENCE: Final = 60.0
LOOK: Final = 0.05


class StandbyPair:
    """The servers over all their lives, and the proxies by which daemons and the standby reach them.

    Args:
        reactor: the real one.
        daemons: the number of daemons. Each has its own proxy to each server.
        wait: whether a commit waits for the standby. Else daemons use ``synchronous_commit = local``.

    Attributes:
        kinds: see ``Pair``.
        primary, standby: the servers, by their present places.
        between: the proxy before each server, by which the other one follows it.
        proxies: of each daemon, one before each server.
    """

    def __init__(self, reactor: Any, daemons: int, *, wait: bool = True) -> None:
        self._reactor = reactor
        self._wait = wait
        self.kinds = KINDS
        config = (
            "hot_standby = on\nwal_log_hints = on\nwal_keep_size = 256MB\nmax_wal_size = 256MB\nmin_wal_size = 64MB\n"
            "wal_retrieve_retry_interval = 500ms\n"
            f"synchronous_standby_names = '{'*' if wait else ''}'\n"
        )
        self._disks = [SlowDisk(reactor), SlowDisk(reactor)]
        one = PostgreSQL(config, environ=self._disks[0].environ)
        # Each follows the other by a proxy, which is before the server that is followed.
        self.between = [ServiceProxy(reactor, one.port)]
        other = PostgreSQL(config, one, upstream=self.between[0].port, environ=self._disks[1].environ)
        self.between.append(ServiceProxy(reactor, other.port))
        one.upstream = self.between[1].port
        self._both = (one, other)
        self.primary, self.standby = one, other
        self.proxies = [[ServiceProxy(reactor, server.port) for server in self._both] for _ in range(daemons)]

    @property
    def name(self) -> str:
        """See ``Pair``."""
        return f"PostgreSQL with a standby, synchronous_commit = {'on' if self._wait else 'local'}"

    @property
    def servers(self) -> Mapping[str, PostgreSQL]:
        """See ``Pair``."""
        return {f"PostgreSQL {number}": server for number, server in enumerate(self._both)}

    @property
    def url(self) -> str:
        """See ``Pair``."""
        return self._url([server.port for server in self._both])

    def settings_for(self, daemon: int) -> Mapping[str, object]:
        """See ``Pair``."""
        return {"store": self._url([proxy.port for proxy in self.proxies[daemon]])}

    def _url(self, ports: list[int]) -> str:
        places = ",".join(f"127.0.0.1:{port}" for port in ports)
        options = "" if self._wait else "&options=-csynchronous_commit%3Dlocal"
        return f"postgresql://kschat:secret@{places}/kschat?target_session_attrs=read-write{options}"

    async def start(self) -> None:
        """See ``Pair``."""
        for proxy in self._all_proxies:
            await proxy.start()
        for server in self._both:
            await server.start()
        await self._settle()

    async def close(self) -> None:
        """See ``Pair``."""
        for proxy in self._all_proxies:
            await proxy.stop()

    def stop(self) -> None:
        """See ``Pair``."""
        for server in self._both:
            server.stop()
        for disk in self._disks:
            disk.remove()

    @property
    def _all_proxies(self) -> list[ServiceProxy]:
        return [*self.between, *(proxy for proxies in self.proxies for proxy in proxies)]

    async def befall(self, kind: str) -> None:
        """See ``Pair``.

        Args:
            kind: one of ``KINDS``.

        Raises:
            Stuck: it did not come in time.
        """
        primary, standby = self.primary, self.standby
        if kind == RESTARTED:
            primary.kill()
            await deferLater(self._reactor, NOTICE)
            await primary.start()
        elif kind == PAUSED:
            await self._paused(primary, LONG)
        elif kind == ALONE:
            standby.kill()
            await deferLater(self._reactor, LONG)
            await standby.start()
        elif kind == SLOW:
            self._disks[self._both.index(primary)].slow(DELAY, LONG)
            await deferLater(self._reactor, LONG)
        else:
            await self._fail_over(kind, primary, standby)
        await self._settle()

    async def _paused(self, server: PostgreSQL, seconds: float) -> None:
        server.signal(SIGSTOP)
        try:
            await deferLater(self._reactor, seconds)
        finally:
            server.signal(SIGCONT)

    async def _fail_over(self, kind: str, old: PostgreSQL, new: PostgreSQL) -> None:
        if kind == KILLED:
            old.kill()
        elif kind == STOPPED:
            old.signal(SIGSTOP)
        elif kind == CUT_OFF:
            self.sever(old)
        await deferLater(self._reactor, NOTICE)
        await new.promote()
        self.primary, self.standby = new, old
        if kind in (STOPPED, CUT_OFF):
            await deferLater(self._reactor, LONG)
            if kind == STOPPED:
                old.signal(SIGCONT)
            for proxy in self._all_proxies:
                proxy.release()
        if kind != KILLED:
            await deferLater(self._reactor, UNFENCED)
            old.kill()
        await old.follow(new)
        await old.start()

    def sever(self, old: PostgreSQL) -> None:
        """Cut a server off from the other one and from all daemons but daemon 0, which does not reach the other one."""
        at = self._both.index(old)
        for proxy in self.between:
            proxy.hold()
        for daemon, proxies in enumerate(self.proxies):
            proxies[at if daemon else 1 - at].hold()

    async def _settle(self) -> None:
        """Wait until the standby is in step with the primary. Raises Stuck."""
        await self._until(self._in_step, "the standby to be in step with the primary")

    def _in_step(self) -> bool:
        wanted = "sync" if self._wait else "async"
        found = self.primary.do(
            "SELECT state, sync_state FROM pg_stat_replication WHERE application_name = 'standby'", "postgres"
        )
        return found == [("streaming", wanted)]

    async def _until(self, true: Callable[[], bool], what: str) -> None:
        end = self._reactor.seconds() + PATIENCE
        while not self._looked(true):
            if self._reactor.seconds() > end:
                logs = [f"{name}: {list(one.log_lines())[-20:]}" for name, one in self.servers.items()]
                raise Stuck(f"waited {PATIENCE:g} s in vain for {what}\n" + "\n".join(logs))
            await deferLater(self._reactor, LOOK)

    @staticmethod
    def _looked(true: Callable[[], bool]) -> bool:
        try:
            return true()
        except psycopg.OperationalError:  # it does not serve yet
            return False
