"""A Lua script, which Redis is sent once and then asked for by its hash."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha1
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kschat.backends.redis.connection import ResponseError

#: Sends a command, as ``Link.do`` or a connection's ``execute_command``.
Do: TypeAlias = Callable[..., Deferred[Any]]


class Script:
    """One script of one key: the prefix of all names.

    Args:
        text: in Lua.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._hash = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, do: Do, prefix: bytes, *arguments: str | bytes | int) -> Deferred[Any]:
        """Run it; its answer. Fails as ``do`` does."""
        return do("EVALSHA", self._hash, 1, prefix, *arguments).addErrback(self._unknown, do, prefix, arguments)

    def _unknown(self, failure: Failure, do: Do, prefix: bytes, arguments: tuple[str | bytes | int, ...]) -> Any:
        # Redis forgets its scripts when it restarts.
        if failure.check(ResponseError) is None or not str(failure.value).startswith("NOSCRIPT"):
            return failure
        return do("EVAL", self._text, 1, prefix, *arguments)
