"""What is wrong with a request for a session, in Engine.IO's words."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A request that is not served."""

    code: int
    message: str
    status: int = HTTPStatus.BAD_REQUEST

    @property
    def body(self) -> bytes:
        """The JSON that the client reads."""
        return msgspec.json.encode({"code": self.code, "message": self.message})


UNKNOWN_TRANSPORT: Final = Refusal(0, "Transport unknown")
UNKNOWN_SID: Final = Refusal(1, "Session ID unknown")
BAD_METHOD: Final = Refusal(2, "Bad handshake method")
BAD_REQUEST: Final = Refusal(3, "Bad request")
FORBIDDEN: Final = Refusal(4, "Forbidden", HTTPStatus.FORBIDDEN)
UNSUPPORTED_VERSION: Final = Refusal(5, "Unsupported protocol version")
#: Not one of Engine.IO's: clients try again after a while, as with any status but 200.
TOO_MANY: Final = Refusal(4, "Too many sessions", HTTPStatus.SERVICE_UNAVAILABLE)
