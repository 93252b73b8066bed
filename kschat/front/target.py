"""The target of a request line: each of its forms as a path and a query; and the header Host.

Source: RFC 9112, section 3.2 ("Request Target").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

#: A server must take it, though only clients of proxies send it (RFC 9112, 3.2.2); those of WebSockets name their own
#: schemes.
_ABSOLUTE: Final = re.compile(rb"(?:https?|wss?)://(?P<authority>[^/?#@\s]+)(?P<rest>[/?].*)?", re.IGNORECASE)

#: The value of Host: a name or an address, and perhaps a port; or nothing (RFC 9110, 7.2; RFC 3986, 3.2.2 and 3.2.3).
_HOST: Final = re.compile(rb"(?:\[[\w.:%~-]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?")

#: Requests of this version need no Host.
_WITHOUT_HOST: Final = b"HTTP/1.0"


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


def hosts_allowed(values: Sequence[bytes], version: bytes) -> bool:
    """Whether a request may have these values of Host: one valid value, or none in HTTP/1.0.

    With two values a proxy and this daemon could each take another one.
    """
    if len(values) == 1:
        return _HOST.fullmatch(values[0]) is not None
    return not values and version == _WITHOUT_HOST
