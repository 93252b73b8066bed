"""Receivers of webhooks, for tests: real servers on this machine, and what they verify."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from kschat.chat.clocks import WallClock
from kschat.hooks.events import TYPES
from kschat.hooks.http import HookClient
from kschat.hooks.signing import Signer
from kschat.hooks.webhook import MAX_ANSWER, TIMEOUT, Webhook
from kschat.repeated_log import RepeatedLog
from tests.support.waiting import real_reactor

SECRET = b"0123456789abcdef01234567"
OTHER = b"another secret of 32 bytes......"


def made_webhook(
    url: str, *secrets: bytes, wall: WallClock = time.time, timeout: float = TIMEOUT, ca: str = ""
) -> tuple[Webhook, Signer]:
    """A consumer that sends to a URL, and what signs its requests."""
    signer = Signer(secrets)
    client = HookClient(
        url,
        signer=signer,
        reactor=real_reactor(),
        wall=wall,
        timeout=timeout,
        connections=Webhook.max_in_flight,
        max_body=MAX_ANSWER,
        ca=ca,
    )
    repeated = RepeatedLog(Clock())
    return Webhook(client, url, types=frozenset(TYPES), wall=wall, repeated=repeated), signer


def as_text(secret: bytes) -> str:
    """A secret as it stands in the file."""
    return "whsec_" + base64.b64encode(secret).decode()


def verified(secret: bytes, headers: dict[str, str], body: bytes) -> Any:
    """What a receiver takes: it verifies as the specification says, with nothing of the project's code.

    Raises:
        AssertionError: no signature is right.
    """
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    signatures = [part.split(",", 1) for part in headers["webhook-signature"].split(" ")]
    assert any(version == "v1" and hmac.compare_digest(one, expected) for version, one in signatures), headers
    return json.loads(body)


class Inbox(Resource):
    """Keeps what is posted to it.

    Attributes:
        posts: the headers (in lower case) and the body of each request.
        answer: is called with each request, and answers it; None: it is answered by 204.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[Any], Any] | None = None

    def render_POST(self, request: Any) -> Any:
        headers = {
            name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        self.posts.append((headers, request.content.read()))
        if self.answer is None:
            request.setResponseCode(204)
            return b""
        return self.answer(request)

    @property
    def ids(self) -> list[str]:
        """The id of each event that came, as often as it came."""
        return [headers["webhook-id"] for headers, _ in self.posts]

    @property
    def events(self) -> list[Any]:
        """Each, verified."""
        return [verified(SECRET, headers, body) for headers, body in self.posts]


def status(code: int, **headers: str) -> Callable[[Any], bytes]:
    """Answers by a status."""

    def answer(request: Any) -> bytes:
        request.setResponseCode(code)
        for name, value in headers.items():
            request.setHeader(name.replace("_", "-").encode(), value.encode())
        return b"x"

    return answer


def never(_: Any) -> Any:
    """Does not answer."""
    return NOT_DONE_YET
