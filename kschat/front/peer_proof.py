"""The proof that a request comes from a daemon of the cluster: whole, and once.

It names its sender, counts the sender's requests, and authenticates both with the request's method, URI, client and
body, by a key that all daemons share. So nobody who has seen a request can send it again, or with another body. The
count takes the place of a time: daemons' clocks may differ.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from secrets import token_hex
from typing import Final

#: Counts of one sender that may arrive after a greater one: requests overtake each other on their connections.
WINDOW: Final = 16_384

#: Senders that are remembered; each start of a daemon is another.
MAX_SENDERS: Final = 1_000

_PROOF: Final = re.compile(rb"([0-9a-f]{16}) ([0-9]{1,15}) ([0-9a-f]{64}) ([0-9a-f]{64})")


class _Seen:
    """Which counts of one sender have come (as RFC 4303 has it, appendix A2)."""

    __slots__ = ("_bits", "_newest")

    def __init__(self) -> None:
        self._newest = 0
        # The lowest bit stands for the newest count.
        self._bits = 0

    def note(self, count: int) -> bool:
        """Whether ``count`` comes for the first time, as far as that is still known."""
        ahead = count - self._newest
        if ahead > 0:
            self._newest = count
            self._bits = ((self._bits << min(ahead, WINDOW)) | 1) & ((1 << WINDOW) - 1)
            return True
        bit = 1 << -ahead
        if -ahead >= WINDOW or self._bits & bit:
            return False
        self._bits |= bit
        return True


class PeerProofs:
    """Makes and checks proofs.

    Args:
        key: shared by all daemons of the cluster, for this purpose alone.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._sender = token_hex(8).encode()
        self._count = 0
        # The one that was not heard for longest comes first.
        self._senders: dict[bytes, _Seen] = {}

    def make(self, *, method: bytes, uri: bytes, client: bytes, body: bytes) -> bytes:
        """The proof of a request, and of what is said of its client."""
        self._count += 1
        count, digest = b"%d" % self._count, sha256(body).hexdigest().encode()
        return b" ".join((self._sender, count, digest, self._seal(self._sender, count, digest, method, uri, client)))

    def check(self, proof: bytes, *, method: bytes, uri: bytes, client: bytes) -> bytes | None:
        """Check the proof of a request whose head is there. It passes once.

        Returns:
            What ``fits`` needs when the body is there; None if no daemon made this request, or if it came before.
        """
        found = _PROOF.fullmatch(proof)
        if found is None:
            return None
        sender, count, digest, seal = found.groups()
        if not hmac.compare_digest(seal, self._seal(sender, count, digest, method, uri, client)):
            return None
        seen = self._senders.pop(sender, None) or _Seen()
        self._senders[sender] = seen
        if len(self._senders) > MAX_SENDERS:
            del self._senders[next(iter(self._senders))]
        return digest if seen.note(int(count)) else None

    @staticmethod
    def fits(digest: bytes, body: bytes) -> bool:
        """Whether ``body`` is that of the request whose check returned ``digest``."""
        return hmac.compare_digest(digest, sha256(body).hexdigest().encode())

    def _seal(self, *parts: bytes) -> bytes:
        # No part contains a line break: the others are parts of a head.
        return hmac.new(self._key, b"\n".join(parts), "sha256").hexdigest().encode()
