"""A rolling restart: three daemons behind Debian's haproxy, as ``deploy/haproxy.cfg`` has it, are restarted one by one.

A crowd of npm's clients of four versions talks meanwhile. The run counts what the restart costs them: lost messages
(none may be), failed attempts to connect, the time without a connection, and the joins in one second, which the daemons
limit. The daemons may run an earlier version until then; while the restart goes on, both versions are in one cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.task import deferLater

from bench.stats import percentile
from chaos import report
from chaos.cast import make_crowd
from chaos.cluster_run import ClusterRun
from chaos.ledger import Ledger
from chaos.options import PREVIOUS, Options
from chaos.servers import Servers
from chaos.stage import SECRET, Stage
from chaos.versions import Version, latest
from tests.support.launch import REPOSITORY
from tests.support.proxies import haproxy

#: Seconds: haproxy notices within 2 that a daemon is going down.
DRAIN_NOTICE, DRAIN_TIME = 4, 8

#: ``rate_handshakes`` of a daemon; and the joins that may be in one second of its log: the time from a handshake to its
#: join varies.
HANDSHAKES = 40
MOST_JOINS = 60

#: Most milliseconds between two messages of one client.
PACE = 4000

#: Seconds that a client may be without a connection.
MOST_AWAY = 5.0

#: Seconds of talk before the first restart, after each, and until haproxy has seen that a daemon is back.
TALK = 5.0


class Balancer:
    """haproxy, which all clients connect to."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._haproxy = haproxy(ports)
        self.port = self._haproxy.port

    def addCleanup(self, call: Callable[[], object]) -> None:
        """Ignore what a test would do at its end; ``stop`` does it."""

    async def start(self) -> None:
        """See ``stage.Way``."""
        test: Any = self
        await self._haproxy.start(test)

    async def stop(self) -> None:
        """See ``stage.Way``."""
        self._haproxy.stop()


def joins(lines: Iterable[str]) -> int:
    """The most sockets that joined in one second of a daemon's log."""
    seconds = Counter(line[: len("2026-11-30T09:34:53")] for line in lines if " joined from " in line)
    return max(seconds.values(), default=0)


class Away:
    """How long clients were without a connection.

    Attributes:
        began: when the clients began to connect.
        times: of each time that a client was away, the seconds.
        longest: the longest of them, and the client.
        over: a line for each time longer than ``MOST_AWAY``.
        errors: a line for each failed attempt to connect.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.began = seconds()
        self._since: dict[str, float] = {}
        self.times: list[float] = []
        self.longest = (0.0, "")
        self.over: list[str] = []
        self.errors: list[str] = []

    def noted(self, note: Sequence[Any]) -> None:
        """Read one note of a client."""
        kind, name, *rest = note
        now = self._seconds()
        if kind == "shut":
            self._since.setdefault(name, now)
        elif kind == "err":
            self.errors.append(f"{now - self.began:6.1f} s, {name}: {rest[0]}")
        elif kind == "open" and name in self._since:
            away = now - self._since.pop(name)
            self.times.append(away)
            self.longest = max(self.longest, (away, name))
            if away > MOST_AWAY:
                self.over.append(f"{now - self.began:6.1f} s, {name}: away for {away:.1f} s")


class Rolling:
    """One run and its state."""

    def __init__(self, reactor: Any, options: Options, say: Callable[[str], object]) -> None:
        self._reactor = reactor
        self._say = say
        more = {"drain_notice": DRAIN_NOTICE, "drain_time": DRAIN_TIME, "rate_handshakes": HANDSHAKES}
        self.servers = Servers(reactor, SECRET, "everysec", more=more)
        actors = make_crowd(options.seed, options.clients, PACE)
        self.ledger = Ledger(actors, (), unsure=True)
        way = Balancer([member.port for member in self.servers.members])
        self.stage = Stage(reactor, options.seed, self.ledger, (), {actor.name: way for actor in actors})
        self.away = Away(reactor.seconds)
        self.stage.watch = self.away.noted
        self.restarts = self.joins = 0
        self.before = _before(options)
        if self.before is not None:
            for member in self.servers.members:
                member.daemon.root = self.before.root
        self.played = ClusterRun(reactor, self.servers, self.ledger, self.stage)

    async def play(self) -> None:
        """Restart each daemon."""
        began = self.away.began = self._reactor.seconds()
        await self.stage.begin()
        await deferLater(self._reactor, TALK)
        for member in self.servers.members:
            self._say(
                f"{self._reactor.seconds() - began:7.1f} s, {len(self.ledger.acked):6} acked: {member.name} restarts"
            )
            await member.end()
            member.daemon.root = REPOSITORY
            await member.start()
            self.restarts += 1
            await deferLater(self._reactor, TALK)
            here = lambda: len(self.ledger.here) == len(self.ledger.actors)  # noqa: E731
            await self.stage.until(here, "all clients to be connected")
        self.stage.hush()
        await self.stage.settle(look=False)
        self.joins = max(joins(member.daemon.log_lines()) for member in self.servers.members)


def _before(options: Options) -> Version | None:
    """The version before. Raises VersionMissing."""
    if not options.before:
        return None
    return Version(latest() if options.before == PREVIOUS else options.before)


async def run(reactor: Any, options: Options, say: Callable[[str], object]) -> list[str]:
    """One run, told to ``say`` line by line; what must be 0 and is not."""
    one = Rolling(reactor, options, say)
    members = len(one.servers.members)
    say(f"seed {options.seed}: {report.who(one.ledger)}, {members} daemons behind haproxy, RabbitMQ, Redis")
    if one.before is not None:
        say(f"from version {one.before.text} to this one")
    try:
        await one.played.run(one.play)
    finally:
        if one.before is not None:
            one.before.forget()
    away, wrong = one.away, one.played.wrong
    wrong["clients away for more than 5 s"] = len(away.over)
    wrong["attempts to connect that failed"] = len(away.errors)
    wrong["joins in a second beyond the bound"] = max(0, one.joins - MOST_JOINS)
    times = sorted(away.times) or [0.0]
    shares = ", ".join(f"{share} % of them at most {percentile(times, share / 100):.2f} s" for share in (50, 90, 99))
    say(f"times without a connection: {len(away.times)}, {shares}")
    longest, name = away.longest
    who = next((f"{name}, {one.kind}" for one in one.ledger.actors if one.name == name), "nobody")
    say(f"longest without a connection: {longest:.2f} s ({who}); {MOST_AWAY:g} s are allowed")
    say(f"most joins at one daemon in a second: {one.joins} (it lets {HANDSHAKES} sessions begin)")
    for text in (*away.errors[: report.MOST], *away.over[: report.MOST]):
        say(f"  {text}")
    return one.played.tell({"restarts of a daemon": one.restarts}, say)
