"""Where a client may put its token, and whose it must be.

The places, in this order (PROTOCOL.md, "Connecting"): ``auth.token`` of the CONNECT packet
(clients 3 and 4), ``token`` of the handshake's query, ``token`` of the namespace's query
(revision 3), ``Authorization: Bearer``. The first that is there counts, also when it is
wrong. ``ksId`` of either query, where given, must be the token's user.
"""

from __future__ import annotations

from urllib.parse import parse_qs

import msgspec

from kschat.chat.tokens import Identity, TokenError, Verifier
from kschat.wire.connection import Handshake
from kschat.wire.socketio import Connect


class _Auth(msgspec.Struct, frozen=True, gc=False):
    token: object = None


_AUTH = msgspec.json.Decoder(_Auth)


def identify(verifier: Verifier, handshake: Handshake, wish: Connect) -> Identity:
    """Whose socket this is.

    Raises:
        TokenError: there is no token, it is not valid, or not that of ``ksId``.
    """
    space = _first_values(wish.query)
    identity = verifier.verify(_token(handshake, wish, space))
    ks_id = handshake.query.get("ksId") or space.get("ksId")
    if ks_id and ks_id != identity.user:
        raise TokenError("other_user")
    return identity


def _token(handshake: Handshake, wish: Connect, space: dict[str, str]) -> str:
    if wish.data:
        try:
            token = _AUTH.decode(wish.data).token
        except (msgspec.MsgspecError, RecursionError, ValueError):
            token = None  # an ``auth`` that is no object says nothing
        if token is not None:
            if not isinstance(token, str):
                raise TokenError("malformed")
            return token
    for query in (handshake.query, space):
        if "token" in query:
            return query["token"]
    kind, _, credentials = handshake.authorization.partition(" ")
    if kind.lower() == "bearer":
        return credentials.strip()
    raise TokenError("missing")


def _first_values(query: str) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qs(query, keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in pairs.items()}
