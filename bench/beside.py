"""One peer's figures as multiples of another's, round by round: what travels from one machine to another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.measure import Loaded
from bench.stats import Spread

NODE: Final = "node"
ECHO: Final = "echo"
MEMORY: Final = "memory"


@dataclass(slots=True)
class Rounds:
    """The figures of one peer, round by round."""

    closed: list[Loaded] = field(default_factory=list)
    open: list[Loaded] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, the first one underlined."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _ratio(figure: Callable[[Loaded], float], ours: Iterable[Loaded], theirs: Iterable[Loaded]) -> str:
    """The median, least and most of ours / theirs, of the same rounds."""
    pairs = [(figure(one), figure(other)) for one, other in zip(ours, theirs, strict=True)]
    if any(not base for _, base in pairs):
        return "-"
    return Spread.of([one / base for one, base in pairs]).show(2)


def _own(figures: Loaded) -> float:
    return figures.cpu_us


def _with_services(figures: Loaded) -> float:
    return figures.cpu_us + sum(figures.services.values())


def beside_node(results: Mapping[str, Rounds]) -> str:
    """The table of all chats as multiples of the tutorial's server; nothing where that was not measured."""
    node = results.get(NODE)
    others = {name: result for name, result in results.items() if name not in (NODE, ECHO)}
    if node is None or not others:
        return ""
    heads = [f"beside {NODE}", "messages/s", "p50", "p99", "own CPU/message", "and its services'"]
    rows = [
        [
            name,
            _ratio(lambda figures: figures.rate, result.closed, node.closed),
            _ratio(lambda figures: figures.latency.get("p50", 0.0), result.open, node.open),
            _ratio(lambda figures: figures.latency.get("p99", 0.0), result.open, node.open),
            _ratio(_own, result.closed, node.closed),
            _ratio(_with_services, result.closed, node.closed),
        ]
        for name, result in others.items()
    ]
    return columns([heads, *rows])


def ratios(results: Mapping[str, Rounds]) -> Iterable[str]:
    """Yield each peer's cost as a multiple of the echo's."""
    echo = results.get(ECHO)
    if echo is not None:
        for name, result in results.items():
            if result is not echo:
                times = _ratio(_own, result.closed, echo.closed)
                yield f"{name}: a message costs {times} times an echo of a frame of the same size"


def against_memory(results: Mapping[str, Rounds]) -> Iterable[str]:
    """Yield each durable store's cost as a multiple of the memory store's."""
    memory = results.get(MEMORY)
    if memory is not None:
        for name, result in results.items():
            if name.startswith("sqlite"):
                times = _ratio(_own, result.closed, memory.closed)
                yield f"{name}: a message costs {times} times one of the memory store"
