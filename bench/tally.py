"""Was every number seen exactly once, and in order?"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts numbers that should arrive as ``next``, ``next + 1``, …

    The hot path belongs to the caller: a number equal to ``next`` is counted by adding one to ``next``. Any other
    goes to ``odd``.
    """

    first: int
    next: int = field(init=False)
    missing: set[int] = field(default_factory=set)
    repeated: int = 0
    disordered: int = 0

    def __post_init__(self) -> None:
        self.next = self.first

    def odd(self, number: int) -> bool:
        """Count a number that was not the next one; return whether it was seen for the first time."""
        if number >= self.next:
            self.missing.update(range(self.next, number))
            self.next = number + 1
            return True
        if number in self.missing:
            self.missing.remove(number)
            self.disordered += 1
            return True
        self.repeated += 1
        return False

    def count(self) -> int:
        """How many different numbers were seen."""
        return self.next - self.first - len(self.missing)

    def seen(self, number: int) -> bool:
        """Whether ``number`` was seen."""
        return self.first <= number < self.next and number not in self.missing

    def lost(self, other: Tally) -> int:
        """How many numbers were seen here and never by ``other``."""
        if other.next >= self.next:
            return sum(1 for number in other.missing if self.seen(number))
        behind = range(other.next, self.next)
        return sum(1 for number in (*other.missing, *behind) if self.seen(number))
