"""Which run is meant by which mode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from chaos import alone, brokers, clock, cluster, failover, rolling, run
from chaos.options import Options

Run = Callable[[Any, Options, Callable[[str], object]], Awaitable[list[str]]]

RUNS: Final[Mapping[str, Run]] = MappingProxyType(
    {
        "daemon": run.run,
        "cluster": cluster.run,
        "alone": alone.run,
        "failover": failover.run,
        "postgresql": failover.run,
        "brokers": brokers.run,
        "clock": clock.run,
        "rolling": rolling.run,
    }
)
"""Each is told its options, and says what must be 0 and is not."""
