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

#: Lines that are shown of each kind.
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

    def search(self, lines: Iterable[str]) -> Counter[str]:
        """How many lines hold something, by what it is."""
        return Counter(what for line in lines for what in self.held_by(line))

    def held_by(self, line: str) -> set[str]:
        """What one line holds that it may not."""
        return {what for sign, what in self._signs.items() if sign in line}

    def shown(self, lines: Iterable[str]) -> list[str]:
        """Some lines that hold something, and what."""
        found: list[str] = []
        for line in lines:
            held = self.held_by(line)
            if held:
                found.append(f"{', '.join(sorted(held))}: {line}")
                if len(found) == MOST:
                    break
        return found
