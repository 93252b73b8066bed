"""Revoked tokens: what is revoked, and whether a token is. Pure: no store, no sockets, no clock.

A token is never revoked by its text: two texts can be the same token, because the encoding of a signature is malleable.
"""

from __future__ import annotations

from typing import Final

import msgspec

from kschat.chat.message import MAX_ID
from kschat.chat.tokens import Identity, as_user

#: Revocations that are kept at the same time.
MAX_REVOCATIONS: Final = 50_000

#: Longest id of a token (``jti``) that can be revoked, in characters.
MAX_TOKEN_ID: Final = 256

#: The time that a revocation without an end is kept until, in milliseconds since 1970. Lua counts exactly up to here.
FOREVER: Final = 2**53 - 1

#: Milliseconds for which it is kept that a revocation was lifted, so that every daemon learns of it.
LIFTED_KEPT: Final = 30 * 86_400_000

#: Milliseconds by which a time may be ahead of the daemon's clock.
MAX_AHEAD: Final = 60_000

#: Milliseconds that a token is remembered beyond its ``exp``: ``token_leeway`` is an hour at the most.
LEEWAY: Final = 3_600_000

#: What the keys of revocations begin with.
_USER: Final = "u"
_TOKEN: Final = "t"
_ISSUED: Final = "i"


class Revocation(msgspec.Struct, frozen=True, gc=False):
    """Some tokens that count no more.

    Attributes:
        key: which: those of a user, the one of an id, or those that were issued early (of a user, or of all).
        before: of those that were issued early: up to this time, in milliseconds since 1970; otherwise 0.
        until: when it may be forgotten, in milliseconds since 1970.
        lifted: whether it holds no more.
    """

    key: str
    before: int = 0
    until: int = FOREVER
    lifted: bool = False

    def after(self, earlier: Revocation | None) -> Revocation:
        """What holds if this comes after another one with the same key: revoking less does not lift the rest."""
        if earlier is None or earlier.lifted or self.lifted:
            return self
        return msgspec.structs.replace(
            self, before=max(self.before, earlier.before), until=max(self.until, earlier.until)
        )


class NumberedRevocation(msgspec.Struct, frozen=True, gc=False):
    """A revocation with the number that the store gave it: each change gets a greater one."""

    number: int
    revocation: Revocation


class RevocationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be revoked, as an operator names it: a user, a token, or what was issued early.

    Attributes:
        user: all tokens of this user, whenever they were issued; with ``issued_before``, those alone.
        jti: the token with this id.
        expires: the ``exp`` of that token, in seconds since 1970, if it is known.
        issued_before: tokens that were issued (``iat``) up to this time, in seconds since 1970, and those that do not
            say when.
        lift: take such a revocation back.
    """

    user: str | int | None = None
    jti: str | None = None
    expires: float | None = None
    issued_before: float | None = None
    lift: bool = False

    def revocation(self, now: int, keep: int) -> Revocation:
        """What this means.

        Args:
            now: milliseconds since 1970.
            keep: milliseconds for which what has no end of its own is kept; 0 for ever.

        Raises:
            ValueError: the request is not valid; the text is one sentence.
        """
        key = self._key()
        if self.lift:
            return Revocation(key, 0, now + LIFTED_KEPT, lifted=True)
        kept = min(now + keep, FOREVER) if keep else FOREVER
        if self.jti is not None:
            return Revocation(key, 0, kept if self.expires is None else _milliseconds(self.expires, "expires") + LEEWAY)
        if self.issued_before is None:
            return Revocation(key)
        before = _milliseconds(self.issued_before, "issued_before")
        if before > now + MAX_AHEAD:
            raise ValueError("issued_before is in the future: that would refuse tokens that are issued from now on")
        return Revocation(key, before, kept)

    def _key(self) -> str:
        if self.jti is not None:
            if self.user is not None or self.issued_before is not None:
                raise ValueError("jti names one token: leave out user and issued_before")
            if not 0 < len(self.jti) <= MAX_TOKEN_ID:
                raise ValueError(f"jti is not 1 to {MAX_TOKEN_ID} characters long")
            if not _is_text(self.jti):
                raise ValueError("jti holds half of a surrogate pair")
            return _TOKEN + self.jti
        if self.expires is not None:
            raise ValueError("expires is of a token: give jti too")
        if self.user is None:
            if self.issued_before is None:
                raise ValueError("name what is revoked: a user, a jti, or issued_before")
            return _ISSUED
        user = as_user(self.user)
        if user is None:
            raise ValueError(f"user is not 1 to {MAX_ID} characters long, or begins with #")
        return (_USER if self.issued_before is None else _ISSUED) + user


class RevocationList:
    """The revocations that hold, by their keys."""

    def __init__(self) -> None:
        self._held: dict[str, Revocation] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: str) -> bool:
        return key in self._held

    def add(self, revocation: Revocation) -> None:
        """One more holds, or holds no more."""
        key = revocation.key
        if revocation.lifted:
            self._held.pop(key, None)
        else:
            self._held[key] = revocation.after(self._held.get(key))

    def refuses(self, identity: Identity) -> bool:
        """Whether the token of ``identity`` is revoked."""
        held = self._held
        if not held:
            return False
        user = identity.user
        if _USER + user in held or (identity.token_id is not None and _TOKEN + identity.token_id in held):
            return True
        for key in (_ISSUED, _ISSUED + user):
            early = held.get(key)
            if early is not None and (identity.issued is None or identity.issued * 1000 <= early.before):
                return True
        return False

    def prune(self, now: int) -> None:
        """Forget those that are kept no longer. ``now``: milliseconds since 1970."""
        self._held = {key: one for key, one in self._held.items() if one.until > now}


def user_of(key: str) -> str | None:
    """The user whose tokens alone the key of a revocation can mean; None if they may be anybody's."""
    return key[1:] if key[:1] in (_USER, _ISSUED) and len(key) > 1 else None


def _milliseconds(seconds: float, name: str) -> int:
    if not 0 <= seconds * 1000 <= FOREVER - LEEWAY:  # a NaN is neither
        raise ValueError(f"{name} is no time in seconds since 1970")
    return int(seconds * 1000)


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
