"""The connect request of a client: its token, its options, its recovery offset.

The token is looked for in these places, in this order (PROTOCOL.md, "Connecting"):
``auth.token`` of the CONNECT packet (clients 3 and 4), ``token`` of the handshake's query,
``token`` of the namespace's query (revision 3), ``Authorization: Bearer``. The first one found
counts, even if it is invalid. A ``ksId`` names the token's user: the one that came in the token's own place, or else
one that came without a token beside it. (A client that joins ``/`` and ``/kschat`` on one connection says who it is in
the handshake's query and again in ``auth``; the query's ``ksId`` belongs to the query's token then.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs

import msgspec

from kschat.chat.session import Options
from kschat.chat.tokens import Identity, TokenError, Verifier, as_user
from kschat.wire.connection import Handshake
from kschat.wire.errors import ProtocolError
from kschat.wire.jsonnumbers import MAX_REWRITTEN, NUMBER, as_javascript
from kschat.wire.socketio import Connect

_AUTH = msgspec.json.Decoder(dict[str, Any])
_YES = frozenset({"1", "true"})


class ConnectRequest(msgspec.Struct, frozen=True):
    """What a client said.

    Attributes:
        auth: the object of the CONNECT packet.
        query: the handshake's query.
        space: the namespace's query.
        authorization: the header of that name.
    """

    auth: Mapping[str, Any]
    query: Mapping[str, str]
    space: Mapping[str, str]
    authorization: str

    @classmethod
    def of(cls, handshake: Handshake, wish: Connect) -> ConnectRequest:
        """Take apart what a client said. What can't be read says nothing."""
        auth: Mapping[str, Any] = {}
        if wish.data:
            # As it is, since a ksId is exact; else without numbers that nobody can read.
            try:
                auth = _AUTH.decode(wish.data)
            except (msgspec.MsgspecError, RecursionError, ValueError):
                with suppress(msgspec.MsgspecError, RecursionError, ValueError, ProtocolError):
                    auth = _AUTH.decode(as_javascript(wish.data, MAX_REWRITTEN))
        return cls(auth, handshake.query, _first_values(wish.query), handshake.authorization)

    def identify(self, verifier: Verifier) -> Identity:
        """Whose socket this is.

        Raises:
            TokenError: there is no token, it is not valid, or not that of ``ksId``.
        """
        token, beside = self._token()
        identity = verifier.verify(token)
        ks_id = beside.get("ksId")
        if ks_id in (None, ""):
            lone = (place.get("ksId") for place in self._places if place.get("token") is None)
            ks_id = next((one for one in lone if one not in (None, "")), None)
        if ks_id is not None and as_user(ks_id) != identity.user and as_user(_number(ks_id)) != identity.user:
            raise TokenError("other_user")
        return identity

    def options(self) -> Options:
        """What the client asks for."""
        return Options(
            batch=self._asks("batch"),
            receipts=self._asks("receipts"),
            carbons=self._asks("carbons"),
            recover=self._asks("recover"),
            updates=self._asks("updates"),
            more=any(map(self._asks, ("goodbye", "typing", "batch", "receipts", "carbons", "recover", "updates"))),
        )

    def claim(self) -> tuple[str, int] | None:
        """The ``pid`` and offset that a client shows which comes back; None where it shows none."""
        pid, offset = self.auth.get("pid"), self.auth.get("offset")
        if isinstance(pid, str) and isinstance(offset, str) and len(offset) < 18 and offset.isdecimal():
            return pid, int(offset)
        return None

    def _asks(self, name: str) -> bool:
        value = self.auth.get(name, self.query.get(name, self.space.get(name)))
        return value == 1 or str(value) in _YES

    @property
    def _places(self) -> tuple[Mapping[str, Any], ...]:
        """Where a token may stand, in the order in which they are looked at; the header comes after them."""
        return self.auth, self.query, self.space

    def _token(self) -> tuple[Any, Mapping[str, Any]]:
        """The token that counts, and what stands beside it."""
        for place in self._places:
            token = place.get("token")
            if token is not None:
                return token, place
        kind, _, credentials = self.authorization.partition(" ")
        if kind.lower() == "bearer":
            return credentials.strip(), {}
        raise TokenError("missing")


def new_pid(user: str, epoch: str) -> str:
    """What a client of ``user`` shows when it comes back, on whatever daemon, as long as the store's offsets hold."""
    return f"{_pid_head(user, epoch)}{token_urlsafe(9)}"


def is_pid_of(user: str, epoch: str, pid: str) -> bool:
    """Whether ``pid`` was made for ``user``, by offsets that still hold. (It proves nothing; the token does.)"""
    return pid.startswith(_pid_head(user, epoch))


def _pid_head(user: str, epoch: str) -> str:
    return hashlib.sha256(f"{epoch}/{user}".encode("utf-8", "surrogatepass")).hexdigest()[:16] + "."


def _number(ks_id: object) -> float | None:
    """The number that a ``ksId`` is, which a program may have written as 42.0 or 4.2e1."""
    return float(ks_id) if isinstance(ks_id, str) and NUMBER.fullmatch(ks_id) else None


def _first_values(query: str) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qs(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in pairs.items()}
