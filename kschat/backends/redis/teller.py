"""Says in the log why Redis is away, each reason once, and when it is back: for all links to it together."""

from __future__ import annotations

from typing import Final

from twisted.logger import Logger

#: Reasons that are told between two times that all was well.
MOST: Final = 20


class Teller:
    """One voice.

    Args:
        name: what Redis does here, as the log's sentence begins: "the store".
    """

    log = Logger()

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: dict[str, None] = {}
        self._down: set[object] = set()

    def begins(self, link: object) -> None:
        """``link`` is not up yet."""
        self._down.add(link)

    def down(self, link: object, what: str, reason: str) -> None:
        """``link`` can't use Redis. ``what`` begins the sentence that the reason ends."""
        self._down.add(link)
        if reason not in self._told and len(self._told) < MOST:
            self._told[reason] = None
            self.log.error("{name}: {what}: {reason}", name=self._name, what=what, reason=reason)

    def up(self, link: object, place: str) -> None:
        """``link`` can use it, at this place."""
        self._down.discard(link)
        if not self._down:
            back = " again" if self._told else ""
            self._told.clear()
            self.log.info("{name}: connected to Redis at {place}{back}", name=self._name, place=place, back=back)
