"""The command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import msgspec


class Options(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        seed: what is random comes from it; the machine's timing does not.
        kills: how often the daemon is killed.
        faults: how many other faults there are.
        memory: on the memory store, which no kill may hit.
        keep: whether the file stays, to be looked at.
    """

    seed: int = 1
    kills: int = 20
    faults: int = 150
    memory: bool = False
    keep: bool = False

    @property
    def seconds(self) -> float:
        """The most that a run may take until all is sent, on a slow machine."""
        return 60.0 + 15.0 * self.kills + 1.0 * self.faults


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; a wrong one ends the process with a sentence and status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description="Kill a daemon and cut its clients, and count what was lost."
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="of all that is random (default 1)")
    add("--kills", type=int, help="times that the daemon is killed and started again (default 20)")
    add("--faults", type=int, default=150, help="connections that are cut, stalled or half-closed (default 150)")
    add("--memory", action="store_true", help="on the memory store, without kills")
    add("--keep", action="store_true", help="leave the SQLite file where it is, and say where")
    given = parser.parse_args(arguments)
    if given.kills is None:
        given.kills = 0 if given.memory else 20
    if given.memory and given.kills:
        parser.error("the memory store ends with its daemon: --memory goes with --kills 0")
    if min(given.kills, given.faults) < 0:
        parser.error("kills and faults are counts")
    return Options(given.seed, given.kills, given.faults, given.memory, given.keep)
