"""Searches logs for what they may not contain: tokens, the secret, and texts of messages. No I/O.

Each text begins with ``MARK`` (``actors.js`` has the same), which occurs nowhere else. So any log of a text is found,
also in base64, in hex or as a list of numbers.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

#: The beginning of each text.
MARK: Final = "Kx7textOfAMessage:"

#: Characters at each end of a token's part that are searched for: a truncated token is found too.
PART: Final = 16

#: Lines that are shown.
MAX_SHOWN: Final = 3


def forms(text: str) -> Iterator[str]:
    """The forms of a text inside other data: as it is, in base64, in hex, as a list of numbers."""
    data = text.encode()
    yield text
    for before in range(3):
        # Characters that also encode neighbouring bytes are left out.
        encoded = b64encode(b"\0" * before + data).decode()
        start, end = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        yield encoded[start:end]
    yield data.hex()
    for between in (",", ", "):
        yield between.join(map(str, data))


class Disclosed:
    """Searches logs, a line at a time.

    Args:
        secret: the key of the tokens.
    """

    def __init__(self, secret: str) -> None:
        self._signs: dict[str, str] = dict.fromkeys(forms(MARK), "a text")
        self._signs[secret] = "the secret"

    def used(self, token: str) -> None:
        """Search for this token too: its claims and its signature. (All tokens have the same header.)"""
        for part in token.split(".")[1:]:
            self._signs[part[:PART]] = "a token"
            self._signs[part[-PART:]] = "a token"

    def held_by(self, line: str) -> set[str]:
        """The kinds of secrets that a line contains."""
        return {what for sign, what in self._signs.items() if sign in line}


class LogSearch:
    """Reads all logs of a run.

    Args:
        disclosed: what they may not contain.

    Attributes:
        logs: the numbers of lines and characters of each log, by the server's name.
        found: how many lines contain a secret, by its kind.
        shown: some of these lines.
    """

    def __init__(self, disclosed: Disclosed) -> None:
        self._disclosed = disclosed
        self.logs: dict[str, tuple[int, int]] = {}
        self.found: Counter[str] = Counter()
        self.shown: list[str] = []

    def read(self, name: str, lines: Iterable[str]) -> None:
        """Read the whole log of the server of this name."""
        count = size = 0
        for line in lines:
            count += 1
            size += len(line) + 1
            held = self._disclosed.held_by(line)
            if held:
                self.found.update(held)
                if len(self.shown) < MAX_SHOWN:
                    self.shown.append(f"{name}: {', '.join(sorted(held))}: {line}")
        self.logs[name] = (count, size)
