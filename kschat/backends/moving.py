"""Moves a store into another one, page by page, and compares what both hold then: ``kschat migrate-store``.

It may be killed at any point, and called again: what is written, and how far that is, are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from kschat.backends.archive import ArchiveReader, ArchiveWriter, Checkpoint, Digest, Origin, Section
from kschat.chat.interfaces import StoreUnavailable

#: Told how far it is: what is done, a section, and how many of its records are done.
Report = Callable[[str, Section, int], None]

#: What is done, for a report.
WRITES: Final = "moved"
COMPARES: Final = "compared"


class SectionResult(msgspec.Struct, frozen=True):
    """What both stores hold of one section.

    Attributes:
        count: records.
        checksum: of them, hexadecimal.
    """

    count: int
    checksum: str


class Differs(Exception):
    """The stores do not hold the same.

    Attributes:
        sections: those that differ, with what the source and the target hold.
    """

    def __init__(self, sections: Mapping[Section, tuple[SectionResult, SectionResult]]) -> None:
        told = ", ".join(f"{name.value} ({one.count:,} and {other.count:,})" for name, (one, other) in sections.items())
        super().__init__(f"the two stores do not hold the same {told}")
        self.sections = sections


async def move(
    source: ArchiveReader, target: ArchiveWriter, report: Report, *, drop_events: bool = False
) -> dict[Section, SectionResult]:
    """Move all.

    Args:
        source: nobody writes to it.
        target: empty, or filled in part by an earlier call.
        report: called after each page.
        drop_events: whether events for a back end may be lost.

    Returns:
        What both hold.

    Raises:
        StoreUnavailable: one of them can't be used; with a sentence.
        Differs: they do not hold the same; the target can't be used by daemons.
    """
    origin = await source.origin()
    if origin.events and not drop_events:
        raise StoreUnavailable(
            f"{origin.events:,} events for a back end wait in the source, and can't be moved: let its daemon deliver "
            "them, or give --drop-events"
        )
    checkpoint = await target.begin(origin)
    sections = list(Section)
    while (section := checkpoint.section) is not None:
        moved = 0
        while checkpoint.section is section:
            page = await source.page(section, checkpoint.position)
            if page.position is None:
                rest = sections[sections.index(section) + 1 :]
                checkpoint = Checkpoint(checkpoint.source, rest[0] if rest else None)
            else:
                checkpoint = Checkpoint(checkpoint.source, section, page.position)
            await target.write(section, page.records, checkpoint)
            moved += len(page.records)
            report(WRITES, section, moved)
    found = await _compared(source, await target.reader(), origin, report)
    if await source.origin() != origin:
        raise StoreUnavailable("the source was used meanwhile")
    await target.finish()
    return found


async def _compared(
    source: ArchiveReader, target: ArchiveReader, origin: Origin, report: Report
) -> dict[Section, SectionResult]:
    """What both hold. Also the source is read once more: it may have been used between two calls."""
    found: dict[Section, SectionResult] = {}
    differing: dict[Section, tuple[SectionResult, SectionResult]] = {}
    for section in Section:
        one = await _read(source, section, origin, report)
        other = await _read(target, section, origin, report)
        found[section] = one
        if one != other:
            differing[section] = (one, other)
    if differing:
        raise Differs(differing)
    return found


async def _read(reader: ArchiveReader, section: Section, origin: Origin, report: Report) -> SectionResult:
    digest = Digest()
    position: bytes | None = b""
    while position is not None:
        page = await reader.page(section, position)
        digest.add(page.records, origin)
        position = page.position
        report(COMPARES, section, digest.count)
    return SectionResult(digest.count, digest.checksum)
