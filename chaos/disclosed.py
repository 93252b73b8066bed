"""What no log may hold: the tokens that a run used, and the texts that its clients sent. No I/O.

Each text begins with ``MARK`` (``actors.js`` has the same), which stands for nothing else, so it is found wherever a
part of a text is shown; also in the forms in which bytes are logged by mistake.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

#: How each text begins.
MARK: Final = "Kx7textOfAMessage:"

#: Characters of a part of a token by which it is recognised: what is cut off by a bound on a line is found as well.
PART: Final = 16

#: Lines that are shown.
MOST: Final = 3


def forms(text: str) -> Iterator[str]:
    """How a text that stands within others can be written: as it is, in base64, in hex, as a list of numbers."""
    data = text.encode()
    yield text
    for before in range(3):
        # What is encoded together with neighbours is left out: six bits each way.
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
        """A token is used from now on: no log may hold its content or its signature. (All have the same header.)"""
        for part in token.split(".")[1:]:
            self._signs[part[:PART]] = "a token"
            self._signs[part[-PART:]] = "a token"

    def held_by(self, line: str) -> set[str]:
        """What one line holds that it may not."""
        return {what for sign, what in self._signs.items() if sign in line}


class LogSearch:
    """Reads all logs of a run.

    Args:
        disclosed: what they may not hold.

    Attributes:
        logs: of each server its lines and characters.
        found: how many lines hold something, by what it is.
        shown: some of them, and what they hold.
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
                if len(self.shown) < MOST:
                    self.shown.append(f"{name}: {', '.join(sorted(held))}: {line}")
        self.logs[name] = (count, size)
