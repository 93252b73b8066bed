"""A store and its copy, which takes its place: what a run needs of them, whatever store it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol


class Logged(Protocol):
    """A server with a log."""

    def log_lines(self) -> Iterator[str]:
        """The lines of its log, over all its lives."""


class Pair(Protocol):
    """The two servers, and what belongs to them."""

    @property
    def name(self) -> str:
        """What it is, for the first line of a run."""

    @property
    def kinds(self) -> Sequence[str]:
        """The faults, in turns."""

    @property
    def servers(self) -> Mapping[str, Logged]:
        """All, by name."""

    @property
    def url(self) -> str:
        """How to open the store."""

    def settings_for(self, daemon: int) -> Mapping[str, object]:
        """Settings of one daemon, by its number, by which it uses this store."""

    async def start(self) -> None:
        """Start all. The copy is in step when this returns."""

    async def close(self) -> None:
        """Close all proxies."""

    def stop(self) -> None:
        """End all in any case, and remove their files."""

    async def befall(self, kind: str) -> None:
        """One fault, from its beginning until one server is the copy of the other again, in step. Raises Stuck."""
