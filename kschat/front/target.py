"""The target of a request line: each of its forms as a path and a query.

Source: RFC 9112, section 3.2 ("Request Target").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

#: A server must take it, though only clients of proxies send it (RFC 9112, 3.2.2); those of WebSockets name their own
#: schemes.
_ABSOLUTE: Final = re.compile(rb"(?:https?|wss?)://(?P<authority>[^/?#@\s]+)(?P<rest>[/?].*)?", re.IGNORECASE)


class Target(NamedTuple):
    """What a request is for.

    Attributes:
        uri: path and query; or ``*``, the server as a whole.
        authority: host and port, which stand in the place of the header Host; None where they were not named.
    """

    uri: bytes
    authority: bytes | None = None


def parse_target(target: bytes, slashes_before: Iterable[bytes] = ()) -> Target | None:
    """Read the target of a request line.

    Args:
        target: as it came.
        slashes_before: paths in front of which several slashes are the same as one. (``//socket.io/`` is what a client
            makes of a base URL that ends with a slash. For other paths nothing is merged: what a proxy keeps to itself
            by its path must have one spelling.)

    Returns:
        None where it has none of the forms that a server is sent.
    """
    authority = None
    if not target.startswith(b"/"):
        if target == b"*":
            return Target(target)
        found = _ABSOLUTE.fullmatch(target)
        if found is None:
            return None
        authority, target = found["authority"], found["rest"] or b"/"
        if target.startswith(b"?"):
            target = b"/" + target
    if target.startswith(b"//"):
        merged = b"/" + target.lstrip(b"/")
        if any(re.match(re.escape(path) + rb"(?:[/?]|$)", merged) for path in slashes_before):
            target = merged
    return Target(target, authority)
