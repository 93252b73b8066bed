"""Tokens as the web application in front of a chat would issue them, made by PyJWT and not by our own issuer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import jwt

SECRET = "a secret of the tests that is long enough for HS256"


def token(
    user: object,
    *,
    expires_in: float | None = 3600,
    secret: str = SECRET,
    algorithm: str = "HS256",
    **claims: object,
) -> str:
    """A token for ``user`` (the claim ``data.id``), ``expires_in`` seconds from now, None for never.

    ``claims`` are added, and replace those that stand already (``data={}``, say).
    """
    payload: dict[str, Any] = {"data": {"id": user}}
    if expires_in is not None:
        payload["exp"] = int(time.time() + expires_in)
    payload.update(claims)
    return jwt.encode(payload, secret, algorithm=algorithm)


def bad_tokens(user: str) -> Mapping[str, str]:
    """Tokens of which none may be accepted from ``user``, by what is wrong with each."""
    good = token(user)
    head, body, signature = good.split(".")
    other_body = token(user + "x").split(".")[1]
    return {
        "empty": "",
        "no token at all": "x",
        "two parts": f"{head}.{body}",
        "four parts": f"{good}.{signature}",
        "parts that are no base64": "a!.b!.c!",
        "without its signature": f"{head}.{body}.",
        "the body of another token": f"{head}.{other_body}.{signature}",
        "expired": token(user, expires_in=-10),
        "expiry that is no number": token(user, exp="tomorrow"),
        "signed with another secret": token(user, secret=SECRET[::-1]),
        "alg none": token(user, secret="", algorithm="none"),
        "HS512 though HS256 is configured": token(user, secret=SECRET + SECRET, algorithm="HS512"),
        "without data": token(user, data=None),
        "without data.id": token(user, data={}),
        "data.id that is null": token(None),
        "data.id that is empty": token(""),
        "data.id that is a list": token([user]),
        "data.id that is true": token(True),
        "data.id that is too long": token("x" * 129),
    }
