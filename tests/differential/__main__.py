"""``make differential``: many random sequences in each world; what fails is shrunk, and printed for ``kept``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from random import Random
from time import monotonic
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tests.differential.operations import Sequence_, as_text, random_sequence, shrunk
from tests.differential.play import Disagreement, Play
from tests.differential.worlds import OnRedis, OnSqlite, Simulated, World
from tests.support.rabbitmq import RabbitMQ
from tests.support.redis import Redis

#: Operations in each world, and how many of them are one sequence.
OPERATIONS: Final = {"memory": 20_000, "simulated": 20_000, "sqlite": 3000, "redis": 2000, "cluster": 4000}
LENGTH: Final = 60

#: Seconds that a part of a failing sequence may take to fail, while it is shrunk.
SHRINK_PATIENCE: Final = 2.0


def parse(arguments: list[str]) -> Namespace:
    parser = ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help=f"of {', '.join(OPERATIONS)}; all without any")
    parser.add_argument("--seed", type=int, default=1, help="of the first sequence; the others follow")
    parser.add_argument("--operations", type=int, help="in each world")
    found = parser.parse_args(arguments)
    for world in found.worlds:
        if world not in OPERATIONS:
            parser.error(f"there is no world {world}")
    return found


async def explore(name: str, make: Callable[[int], Awaitable[World]], seed: int, operations: int) -> bool:
    """Play in one world until so many operations are done; whether all was right."""
    began, done, first = monotonic(), 0, seed
    world = await make(seed)
    try:
        while done < operations:
            if isinstance(world, Simulated):
                world = await make(seed)
            sequence = random_sequence(Random(seed), LENGTH, 3)
            play = Play(world)
            try:
                await play.run(sequence)
            except Disagreement as error:
                print(f"{name}: seed {seed}: {error}", flush=True)
                await show(sequence[: play.done + 1], lambda seed=seed: make(seed))  # type: ignore[misc]
                return False
            done += play.done
            seed += 1
    finally:
        await world.stop()
    seconds = monotonic() - began
    print(f"{name}: {done} operations, seeds {first} to {seed - 1}, no disagreement, {seconds:.0f} s", flush=True)
    return True


async def show(sequence: Sequence_, make: Callable[[], Awaitable[World]]) -> None:
    """Print the shortest part of a sequence that fails."""
    last = ""

    async def fails(part: Sequence_) -> bool:
        nonlocal last
        world = await make()
        try:
            await Play(world, SHRINK_PATIENCE).run(part)
        except Disagreement as error:
            last = str(error)
            return True
        finally:
            await world.stop()
        return False

    if not await fails(sequence):
        print("played again it does not fail: it depends on times")
    small = await shrunk(sequence, fails, 150)
    print(f"{last}\n{as_text(small)}", flush=True)


async def main(wanted: Namespace) -> None:
    redis, broker = Redis(), RabbitMQ()
    names = wanted.worlds or list(OPERATIONS)

    async def started(world: World) -> World:
        await world.start()
        return world

    makers: dict[str, Callable[[int], Awaitable[World]]] = {
        "memory": lambda seed: started(Simulated(1, seed)),
        "simulated": lambda seed: started(Simulated(3, seed)),
        "sqlite": lambda _: started(OnSqlite()),
        "redis": lambda _: started(OnRedis(1, redis)),
        "cluster": lambda _: started(OnRedis(3, redis, broker)),
    }
    try:
        await redis.start()
        if "cluster" in names:
            await broker.start()
        right = [
            await explore(name, makers[name], wanted.seed, wanted.operations or OPERATIONS[name]) for name in names
        ]
    finally:
        redis.stop()
        broker.stop()
    if not all(right):
        raise SystemExit(1)


def run(_: Any, wanted: Namespace) -> Deferred[None]:
    return Deferred.fromCoroutine(main(wanted))


if __name__ == "__main__":
    react(run, (parse(sys.argv[1:]),))
