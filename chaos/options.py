"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

Mode = Literal["daemon", "cluster", "alone", "failover", "postgresql", "brokers", "clock", "rolling"]


#: The value of ``--from`` that means the release before this version.
PREVIOUS: Final = "previous"


class Options(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        seed: what is random comes from it; the machine's timing does not.
        kills: how often the daemon is killed.
        faults: how many other faults there are; of a cluster, how many befall RabbitMQ, Redis and daemons; of a store
            with a copy, how many befall the two.
        memory: on the memory store, which no kill may hit.
        keep: whether the file stays, to be looked at.
        mode: one ``daemon``, a ``cluster``, each fault of a cluster ``alone``, each ``failover`` of its Redis, the
            faults of a ``postgresql`` with a standby, each fault of three RabbitMQ nodes (``brokers``), the ``clock``
            that is set, or a ``rolling`` restart.
        stopped: seconds that a process of a cluster is stopped for.
        fsync: Redis's ``appendfsync`` (``always``, ``everysec``, ``no``).
        steps: how often the clock is set.
        wait: ``redis_wait`` of the daemons on a Redis that fails over; 0 of a PostgreSQL: ``synchronous_commit`` is
            ``local``.
        clients: of a rolling restart.
        before: the version that the daemons run before it; "": this one.
        kinds: the daemons whose clock is set: ``memory``, ``sqlite``, ``relay``, ``cluster``.
    """

    seed: int = 1
    kills: int = 20
    faults: int = 150
    memory: bool = False
    keep: bool = False
    mode: Mode = "daemon"
    stopped: float = 20.0
    fsync: str = "always"
    steps: int = 60
    wait: int = 1
    clients: int = 300
    before: str = ""
    kinds: tuple[str, ...] = ("memory", "sqlite", "relay", "cluster")

    @property
    def seconds(self) -> float:
        """The most that a run may take until all is sent, on a slow machine."""
        if self.mode == "cluster":
            return 120.0 + (30.0 + self.stopped) * self.faults
        return 60.0 + 15.0 * self.kills + 1.0 * self.faults


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; a wrong one ends the process with a sentence and status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description="Kill daemons and what they stand on, cut clients, and count what was lost."
    )
    add = parser.add_argument
    add("--cluster", action="store_true", help="three daemons on RabbitMQ and Redis; without it, one on SQLite")
    add("--alone", action="store_true", help="on such a cluster each fault alone, and how long it was felt")
    add("--clock", action="store_true", help="set the clock of daemons of each kind, an hour forwards and backwards")
    add("--steps", type=int, default=60, help="how often the clock is set, in all (default 60)")
    add("--failover", action="store_true", help="two daemons on a Redis that its replica replaces again and again")
    add("--postgresql", action="store_true", help="two daemons on a PostgreSQL with a synchronous standby")
    add("--rolling", action="store_true", help="three daemons behind haproxy are restarted one by one, with a crowd")
    add("--clients", type=int, default=300, help="clients of a rolling restart (default 300)")
    add(
        "--from",
        dest="before",
        nargs="?",
        const=PREVIOUS,
        default="",
        help="restart from this version (a tag, a commit, or a directory with its source; without a value: the release "
        "before) to this one",
    )
    add(
        "--wait",
        type=int,
        choices=(0, 1),
        help="of --failover and --postgresql: 0 waits for no copy, and messages are lost",
    )
    add("--brokers", action="store_true", help="three RabbitMQ nodes, each fault of a node alone")
    add("--seed", type=int, default=1, help="of all that is random (default 1)")
    add("--kills", type=int, help="times that the one daemon is killed and started again (default 20)")
    add(
        "--faults",
        type=int,
        help="connections that are cut, stalled or half-closed (default 150); of a cluster, how "
        "often something befalls RabbitMQ, Redis or a daemon (default 36); or how many befall a store with a copy "
        "(default 20)",
    )
    add("--stopped", type=float, default=20.0, help="seconds that a part of a cluster is stopped for (default 20)")
    add("--fsync", choices=("always", "everysec", "no"), default="always", help="Redis's appendfsync (default always)")
    add("--memory", action="store_true", help="one daemon on the memory store, without kills")
    add("--keep", action="store_true", help="leave the SQLite file where it is, and say where")
    given = parser.parse_args(arguments)
    kinds: tuple[Mode, ...] = ("cluster", "alone", "failover", "postgresql", "brokers", "clock", "rolling")
    modes = [mode for mode in kinds if getattr(given, mode)]
    if modes and (given.kills or given.memory or given.keep):
        parser.error("--kills, --memory and --keep are of one daemon")
    if len(modes) > 1:
        parser.error(f"--{modes[0]} and --{modes[1]} are two runs")
    if (given.alone or given.brokers or given.clock) and given.faults is not None:
        parser.error("--alone and --brokers do each fault once, and --clock has --steps")
    if given.wait is not None and not (given.failover or given.postgresql):
        parser.error("--wait is of --failover and --postgresql")
    if given.before and not given.rolling:
        parser.error("--from is of --rolling")
    if given.steps < 4:
        parser.error("--steps is less than one for each kind of daemon, which are four")
    if given.kills is None:
        given.kills = 0 if given.memory else 20
    if given.faults is None:
        given.faults = 36 if given.cluster else 20 if given.failover or given.postgresql else 150
    if given.memory and given.kills:
        parser.error("the memory store ends with its daemon: --memory goes with --kills 0")
    if min(given.kills, given.faults, given.stopped) < 0:
        parser.error("kills, faults and seconds are not negative")
    mode: Mode = modes[0] if modes else "daemon"
    return Options(
        given.seed,
        given.kills,
        given.faults,
        given.memory,
        given.keep,
        mode,
        given.stopped,
        given.fsync,
        given.steps,
        1 if given.wait is None else given.wait,
        given.clients,
        given.before,
    )
