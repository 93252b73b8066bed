"""The load: ``python -m soak.load --port PORT``; every few seconds a line of JSON says what its clients have done.

It ends when its standard input does. Tokens are signed with the secret in KSCHAT_SECRET.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.task import LoopingCall, react
from twisted.python.failure import Failure

from soak.crowd import Crowd, Pace

#: Seconds between two lines.
EVERY: Final = 5.0


class UntilClosed(Protocol):
    """The standard input.

    Attributes:
        closed: fires at its end.
    """

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008 - Twisted's own signature
        """See ``Protocol``."""
        if not self.closed.called:
            self.closed.callback(None)


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """Run the clients until the standard input ends."""
    pace = Pace(life=options.life, rest=options.rest, act=options.act, ramp=options.ramp)
    secret = os.environ["KSCHAT_SECRET"]
    crowd = Crowd(reactor, options.port, clients=options.clients, secret=secret, seed=options.seed, pace=pace)
    output = StandardIO(until := UntilClosed(), reactor=reactor)
    crowd.begin()
    telling = LoopingCall(lambda: output.write(json.dumps(crowd.counts.told()).encode() + b"\n"))
    telling.clock = reactor
    told = telling.start(EVERY)
    await until.closed
    telling.stop()
    await told
    # What is connected still ends with the process.
    os._exit(0)


def main(arguments: Sequence[str]) -> None:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(prog="python -m soak.load", description="Clients that come, go, poll and sleep.")
    add = parser.add_argument
    add("--port", type=int, action="append", required=True, help="may be repeated: a connection takes one of them")
    add("--clients", type=int, default=5000)
    add("--seed", type=int, default=1)
    for name in Pace.__struct_fields__:
        add(f"--{name}", type=float, default=getattr(Pace(), name), help="see crowd.Pace (default %(default)g)")
    options = parser.parse_args(arguments)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.freeze()
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options)))


if __name__ == "__main__":
    main(sys.argv[1:])
