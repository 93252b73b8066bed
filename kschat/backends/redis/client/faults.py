"""Explains why Redis cannot be used, in words an operator can act on. No text contains a password."""

from __future__ import annotations

from typing import Final

from txredisapi import ResponseError

from kschat import tls

#: By the word that Redis's error begins with.
_SAID: Final = {
    "WRONGPASS": "the user or the password is wrong",
    "NOAUTH": "it requires a password, and the URL has none",
    "LOADING": "it is loading its data",
    "READONLY": "it is a replica, which can't be written to",
    "MASTERDOWN": "it is a replica that has lost its master",
    "OOM": "its memory is full (maxmemory)",
    "BUSY": "it is busy with a script of somebody's",
    "NOREPLICAS": "it has fewer replicas than it must have (min-replicas-to-write)",
}


def said(error: ResponseError) -> str:
    """What an error that Redis answered with means."""
    text = " ".join(str(error).split())
    word = text.partition(" ")[0]
    if word in _SAID:
        return _SAID[word]
    if "without any password configured" in text:
        return "the URL has a password, and Redis has none"
    if "max number of clients" in text:
        return "it has as many clients as it may have (maxclients)"
    if word == "NOPERM":
        return f"its user may not do that: {text.removeprefix('NOPERM ')}"
    if is_forbidden(error):
        return "its user may not do all that is needed (ACL)"
    if word == "MISCONF":
        return f"it accepts no writes: {text.removeprefix('MISCONF ')}"
    return f"it said: {text}"


def is_forbidden(error: ResponseError) -> bool:
    """Whether a script did what its user may not do: of that Redis says no more."""
    return "The user executing the script" in str(error)


def why(error: BaseException | None, distrust: str = "") -> str:
    """Why it could not be reached, or why a connection ended.

    Args:
        error: what Twisted, OpenSSL or Redis say.
        distrust: what is wrong with its certificate, where that is known.
    """
    if isinstance(error, ResponseError):
        return said(error)
    if error is None:
        return "the reason is unknown"
    refused = tls.refusal(error, distrust)
    if refused:
        return refused
    return (" ".join(str(error).split()) or type(error).__name__).rstrip(".")
