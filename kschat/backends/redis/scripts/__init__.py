"""What Redis does in one step each: Lua, run by its hash.

- ``common``         stands before each of the others
- ``hello``          a daemon has connected: which offsets may be given
- ``append``         keep a batch
- ``note``, ``mark``, ``room``   cursors and times, read marks, members
- ``inbox``, ``ends``, ``read``, ``seen``   what is asked of inboxes
- ``history``, ``conversations``, ``messages``   what is asked of conversations
- ``sweep``          delete a little of what is to be kept no longer
- ``restored``       somebody has put a copy in place

They are given the prefix of all keys as their one key; a cluster of Redis's own kind is not for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Final

#: Those that write nothing: they are run also while Redis takes no writes.
READING: Final = ("inbox", "ends", "read", "seen", "history", "conversations", "messages")
WRITING: Final = ("hello", "append", "note", "mark", "room", "sweep", "restored")


class Scripts:
    """The texts of the scripts, and their hashes by name."""

    def __init__(self) -> None:
        self._texts: Mapping[str, bytes] = dict(_read())
        self.hashes: Mapping[str, str] = {
            name: hashlib.sha1(text, usedforsecurity=False).hexdigest() for name, text in self._texts.items()
        }

    def text(self, name: str) -> bytes:
        """The whole of a script, as Redis is given it."""
        return self._texts[name]


def _read() -> Iterator[tuple[str, bytes]]:
    here = files(__name__)
    common = (here / "common.lua").read_bytes()
    for name in READING + WRITING:
        # With a line like this Redis sees beforehand whether it may run, and so never ends one in its midst.
        head = b"#!lua flags=no-writes\n" if name in READING else b"#!lua\n"
        yield name, head + common + (here / f"{name}.lua").read_bytes()
