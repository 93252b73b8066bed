"""Whether a secret is one that somebody might guess. A short rule, which finds what people type, and no more."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

#: What is typed where a secret is asked for, on keyboards and in examples. Longer ones first.
_WORDS: Final = (
    "correcthorsebatterystaple",
    "abcdefghijklmnopqrstuvwxyz",
    "changethis",
    "changeit",
    "changeme",
    "replaceme",
    "password",
    "passphrase",
    "passwort",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "letmein",
    "welcome",
    "default",
    "example",
    "insert",
    "kschat",
    "secret",
    "shared",
    "sample",
    "string",
    "qwerty",
    "please",
    "socket",
    "server",
    "signing",
    "admin",
    "token",
    "super",
    "short",
    "hello",
    "world",
    "value",
    "dummy",
    "never",
    "chat",
    "demo",
    "test",
    "this",
    "that",
    "long",
    "very",
    "your",
    "some",
    "here",
    "pass",
    "jwt",
    "key",
    "bit",
    "not",
    "too",
    "use",
    "for",
    "the",
    "my",
    "is",
    "io",
    "hs",
    "an",
    "of",
    "a",
)

#: Different bytes that a secret has, at least: random ones of 32 hex digits have 13 or so, of 32 decimal ones 9 or 10.
_DIFFERENT: Final = 8

#: Letters and digits that are left of a secret without the words above, at least.
_LEFT: Final = 8


def weakness(secret: bytes) -> str:
    """Why a secret of enough bytes is easily guessed, as the end of a sentence; "" where nothing is found."""
    if len(set(secret)) < _DIFFERENT:
        return f"it has only {len(set(secret))} different characters"
    if any(secret[step:] == secret[:-step] for step in range(1, len(secret) // 2 + 1)):
        return "it repeats itself"
    steps = [second - first for first, second in pairwise(secret)]
    if max(steps.count(step) for step in (-1, 0, 1)) * 3 > len(steps) * 2:
        return "its characters follow each other in a row"
    if not secret.isascii():
        return ""
    text = secret.decode("ascii").lower()
    text = text.translate(str.maketrans("013457@$!", "oieastasi"))
    letters = re.sub(r"[^\w]|_", "", text)
    for word in _WORDS:
        letters = letters.replace(word, "")
    return "it is made of words that are tried first" if len(letters) < _LEFT else ""
