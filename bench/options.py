"""The command line of the load generator."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from bench.clients import Manner


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """One load. Times are seconds; ``rate`` is messages a second of all clients together, 0 for the closed loop."""

    ports: tuple[int, ...]
    clients: int
    manner: Manner
    ring: bool
    echo: bool
    seconds: float
    warmup: float
    settle: float
    rate: float
    idle: tuple[int, ...]
    watch: tuple[int, ...]
    prefix: str
    seed: int


def steered(ports: tuple[int, ...], clients: int, rate: float, seed: int) -> LoadOptions:
    """Clients that some bench of its own steers: what a load would do by itself is off."""
    return LoadOptions(
        ports=ports,
        clients=clients,
        manner=Manner(),
        ring=False,
        echo=False,
        seconds=0,
        warmup=0,
        settle=0,
        rate=rate,
        idle=(),
        watch=(),
        prefix="b",
        seed=seed,
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def parse(arguments: Sequence[str]) -> LoadOptions:
    """Read the command line; a wrong one ends the process with a sentence and status 2."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="Put load on a kschat daemon or a peer.")
    add = parser.add_argument
    add("--port", type=int, action="append", required=True, help="may be repeated: clients take the ports in turn")
    add("--clients", type=int, default=100, help="sockets, each a user (default 100)")
    add("--window", type=int, default=4, help="messages of a sender on their way at once (default 4)")
    add("--until-delivered", action="store_true", help="a message is on its way until acknowledged and arrived")
    add("--ring", action="store_true", help="each writes to the next, instead of in pairs")
    add("--eio", type=int, choices=(3, 4), default=4, help="Engine.IO's revision (default 4)")
    add("--answer", action="store_true", help="answer RESPRECEIVER's ack")
    add("--batch", action="store_true", help="ask for several messages in a frame")
    add("--texts", type=_numbers, default=Manner().texts, help="lengths of the messages' texts, taken in turn")
    add("--rate", type=float, default=0, help="open loop: messages a second of all clients together")
    add("--seconds", type=float, default=5, help="measured seconds (default 5)")
    add("--warmup", type=float, default=1, help="seconds before, under the same load (default 1)")
    add("--settle", type=float, default=0, help="seconds of silence between joining and the load (default 0)")
    add("--idle", type=_numbers, default=(), metavar="N,N", help="only join so many sockets, step by step")
    add("--echo", action="store_true", help="the server is a plain TCP echo")
    add("--watch", type=int, action="append", default=[], metavar="PID", help="tell this process's CPU seconds")
    add("--prefix", default="b", help="what users' names begin with (default b)")
    add("--seed", type=int, default=1, help="of masks and of the open loop's moments (default 1)")
    given = parser.parse_args(arguments)
    if not (given.ring or given.idle) and given.clients % 2:
        parser.error("pairs need an even number of clients")
    if given.window < 1 or given.clients < 1 or min(given.texts) < 10:
        parser.error("clients and window are at least 1, texts at least 10")
    manner = Manner(
        revision=given.eio,
        window=given.window,
        until_delivered=given.until_delivered,
        answers=given.answer,
        batch=given.batch,
        texts=given.texts,
    )
    return LoadOptions(
        ports=tuple(given.port),
        clients=max(given.clients, *given.idle) if given.idle else given.clients,
        manner=manner,
        ring=given.ring,
        echo=given.echo,
        seconds=given.seconds,
        warmup=given.warmup,
        settle=given.settle,
        rate=given.rate,
        idle=given.idle,
        watch=tuple(given.watch),
        prefix=given.prefix,
        seed=given.seed,
    )
