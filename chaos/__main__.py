"""``python -m chaos``: one run, its counts on stdout; status 1 where one is not as it must be that must be."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from chaos.actors import ActorsFailed
from chaos.daemon import DaemonFailed
from chaos.disk import DiskFailed
from chaos.options import Options, parse
from chaos.runs import RUNS
from chaos.versions import VersionMissing
from kschat.front.monotonic import use_monotonic_clock


async def main(reactor: Any, options: Options) -> None:
    """Run, and end the process."""
    use_monotonic_clock(reactor)
    try:
        wrong = await RUNS[options.mode](reactor, options, print)
    except (ActorsFailed, DaemonFailed, DiskFailed, VersionMissing) as error:
        print(f"chaos: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    if wrong:
        print(f"chaos: {', '.join(wrong)}: not as it must be", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    react(lambda reactor, options: Deferred.fromCoroutine(main(reactor, options)), (parse(sys.argv[1:]),))
