"""Session ids that identify a session's daemon, readable only by the daemons of one cluster.

An id is encrypted and authenticated with a key that all daemons share: a forged or altered id names no daemon. So a
client can neither make a daemon connect to an address of its choice nor learn the daemons' addresses.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from secrets import token_bytes
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kschat.front.peer_proof import PeerProofs

#: Random bytes, so that an id cannot be guessed and no two daemons make the same one (NIST SP 800-38D, 8.2.2).
_NONCE: Final = 12

#: Characters of the longest id that is read.
_LONGEST: Final = 400


class PeerAddress(msgspec.Struct, frozen=True):
    """Where other daemons reach a daemon."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SessionIds:
    """Makes and reads session ids.

    Args:
        secret: shared by all daemons of the cluster.
        here: where others reach this daemon.

    Attributes:
        proofs: prove to other daemons that a request comes from a daemon.
    """

    def __init__(self, secret: bytes, here: PeerAddress) -> None:
        self._seal = AESGCM(_derived(secret, b"kschat session ids"))
        self.proofs = PeerProofs(_derived(secret, b"kschat requests of peers"))
        self._here = msgspec.msgpack.encode((here.host, here.port))

    def new(self) -> str:
        """An id for a session of this daemon."""
        nonce = token_bytes(_NONCE)
        return urlsafe_b64encode(nonce + self._seal.encrypt(nonce, self._here, None)).rstrip(b"=").decode()

    def elsewhere(self, sid: str) -> PeerAddress | None:
        """The other daemon that made ``sid``; None if this daemon made it, or none did."""
        if not sid.isascii() or len(sid) > _LONGEST:
            return None
        try:
            sealed = urlsafe_b64decode(sid + "=" * (-len(sid) % 4))
            address = self._seal.decrypt(sealed[:_NONCE], sealed[_NONCE:], None)
        except (ValueError, InvalidTag):
            return None
        return None if address == self._here else PeerAddress(*msgspec.msgpack.decode(address, type=tuple[str, int]))


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.new(secret, purpose, "sha256").digest()
