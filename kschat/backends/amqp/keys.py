"""Routing keys and queue bindings for each exchange type.

Two users' ids must never share a key by accident: in a topic exchange ``.``, ``*`` and ``#`` are special, and a key is
limited to 255 bytes. An id that does not fit is replaced by its hash. The receiver therefore checks the recipients of
each message as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from kschat.backends.amqp.settings import Settings

#: Bytes that AMQP gives a routing key.
MAX_KEY = 255

#: The header that holds the keys in a headers exchange, each as a name of its own.
_HEADER = "ks:"


class Keys:
    """The keys of one exchange."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.prefix
        self._type = settings.exchange_type
        # A header's name may be as long as a routing key.
        self._most = MAX_KEY - len(_HEADER) if self._type == "headers" else MAX_KEY

    def of(self, user: str) -> str:
        """The routing key of a user."""
        key = self._prefix + user
        odd = self._type == "topic" and any(sign in user for sign in ".*#")
        try:
            if not odd and len(key.encode()) <= self._most:
                return key
        except UnicodeEncodeError:
            pass  # half of a surrogate pair
        return f"{self._prefix}sha256-{hashlib.sha256(user.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def binding(self, user: str) -> tuple[str, Mapping[str, Any]]:
        """The routing key and the arguments of the binding of a user."""
        key = self.of(user)
        if self._type == "headers":
            return key, {"x-match": "any", _HEADER + key: True}
        # A fanout exchange heeds no key, and gives each queue all: one binding is as good as many.
        return ("" if self._type == "fanout" else key), {}

    def headers(self, keys: Sequence[str]) -> Mapping[str, Any]:
        """The headers that let one message go by all of these keys; its routing key is the first."""
        if self._type == "headers":
            return {_HEADER + key: True for key in keys}
        return {"CC": list(keys[1:])} if len(keys) > 1 and self._type != "fanout" else {}
