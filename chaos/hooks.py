"""Hooks of the daemon: a receiver that fails, and messages to users who are never there. No event may be missing."""

from __future__ import annotations

import json
import random
import secrets
from base64 import b64encode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from tests.support.launch import free_ports

#: Seconds between two messages to users who are absent, and until an answer to one.
PACE: Final = 0.05
PATIENCE: Final = 10.0

#: Seconds until all events must have come, after the last fault: one that has failed is tried again after 5, 10, 20 s.
SETTLE: Final = 120.0

#: Users who never connect.
ABSENT: Final = 10

#: What the receiver does instead of an answer in good order, of a hundred requests.
_FAULTS: Final = {"500": 4, "503": 2, "nothing": 2, "garbage": 3, "late": 10, "closed": 3}


class Receiver(Resource):
    """What is posted to.

    Args:
        reactor: the real one.
        seed: of its faults.

    Attributes:
        ids: the id of the event of each message that came, and its user.
        others: ids of which a message has more than one.
        faulty: whether it has faults.
        faults: how many it had.
    """

    isLeaf = True

    def __init__(self, reactor: Any, seed: int) -> None:
        super().__init__()
        self._reactor = reactor
        self._chance = random.Random(seed)
        self.ids: dict[tuple[str, str], str] = {}
        self.others: set[str] = set()
        self.faulty = True
        self.faults = self.repeats = 0

    def render_POST(self, request: Any) -> Any:
        """Take an event, or fail."""
        body = request.content.read()
        fault = self._fault() if self.faulty else ""
        self.faults += bool(fault)
        if fault == "closed":
            request.transport.abortConnection()
            return NOT_DONE_YET
        if fault == "nothing":
            return NOT_DONE_YET
        if fault == "garbage":
            request.transport.write(b"\x00garbage\r\n\r\n")
            request.transport.loseConnection()
            return NOT_DONE_YET
        if fault in ("500", "503"):
            request.setResponseCode(int(fault))
            return b""
        self._take(request.getHeader("webhook-id"), json.loads(body))
        if fault == "late":
            # It has it, and a daemon that is killed meanwhile sends it again.
            self._reactor.callLater(self._chance.uniform(0.1, 1.0), _answer, request)
            return NOT_DONE_YET
        request.setResponseCode(204)
        return b""

    def _fault(self) -> str:
        (found,) = self._chance.choices(["", *_FAULTS], [100 - sum(_FAULTS.values()), *_FAULTS.values()])
        return str(found)

    def _take(self, id_: str, event: Any) -> None:
        if event["type"] != "message.stored-for-absent":
            return
        key = (event["data"]["mid"], event["data"]["user"])
        self.repeats += key in self.ids
        if self.ids.setdefault(key, id_) != id_:
            self.others.add(id_)


def _answer(request: Any) -> None:
    if request.channel is not None:
        request.setResponseCode(204)
        request.finish()


class Hooks:
    """The hooks of one daemon.

    Args:
        reactor: the real one.
        seed: of the receiver's faults.
        directory: for the files of keys.

    Attributes:
        settings: of the daemon.
        stored: the mid of each message that was acknowledged, with its recipient.
        receiver: what is posted to.
    """

    def __init__(self, reactor: Any, seed: int, directory: Path) -> None:
        self._reactor = reactor
        self._port, self._api = free_ports(2)
        self._key = secrets.token_urlsafe(32)
        secret, keys = directory / "hooks.secret", directory / "keys.toml"
        for file, text in (
            (secret, f"whsec_{b64encode(secrets.token_bytes(32)).decode()}\n"),
            (keys, f'[chaos]\nkey = "{self._key}"\nscopes = ["send"]\n'),
        ):
            file.touch(mode=0o600)
            file.write_text(text)
        self.settings = {
            "hooks_url": f"http://127.0.0.1:{self._port}/",
            "hooks_secret_file": str(secret),
            "api_listen": f"tcp:{self._api}:interface=127.0.0.1",
            "api_keys": str(keys),
        }
        self.receiver = Receiver(reactor, seed)
        self.stored: set[tuple[str, str]] = set()
        self._agent = Agent(reactor, connectTimeout=PATIENCE, pool=HTTPConnectionPool(reactor, persistent=False))
        self._talking: Deferred[None] | None = None
        self._listening: Any = None
        self._on = False

    async def start(self) -> None:
        """Listen."""
        endpoint = TCP4ServerEndpoint(self._reactor, self._port, interface="127.0.0.1")
        self._listening = await endpoint.listen(Site(self.receiver))

    async def stop(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            await self._listening.stopListening()

    def begin(self) -> None:
        """Send messages to users who are absent."""
        self._on = True
        self._talking = Deferred.fromCoroutine(self._talk())

    async def settle(self, until: Callable[[Callable[[], bool], str, float], Any]) -> None:
        """Send no more, end all faults, and wait for the events. ``until``: waits for a condition."""
        self._on = False
        if self._talking is not None:
            await self._talking
        self.receiver.faulty = False
        await until(lambda: not self.missing, "events of all messages to absent users", SETTLE)

    @property
    def missing(self) -> int:
        """Messages whose event has not come."""
        return len(self.stored - self.receiver.ids.keys())

    @property
    def wrong(self) -> dict[str, int]:
        """What must be 0."""
        return {
            "messages to absent users without an event": self.missing,
            "events of one message with several ids": len(self.receiver.others),
            "messages to absent users not sent": int(not self.stored),
        }

    async def _talk(self) -> None:
        number = 0
        while self._on:
            number += 1
            user = f"absent{number % ABSENT}"
            send = {"from": "teller", "to": user, "msg": "x", "cid": f"c{number}"}
            while (mid := await self._send(json.dumps(send).encode())) is None:
                await deferLater(self._reactor, PACE)
            self.stored.add((mid, user))
            await deferLater(self._reactor, PACE)

    async def _send(self, body: bytes) -> str | None:
        """The mid; None if it has to be sent again."""
        headers = Headers({"authorization": [f"Bearer {self._key}"], "content-type": ["application/json"]})
        url = f"http://127.0.0.1:{self._api}/v1/send".encode()
        asked = self._agent.request(b"POST", url, headers, FileBodyProducer(BytesIO(body)))
        try:
            answer: Any = await asked.addTimeout(PATIENCE, self._reactor)
            text = await readBody(answer).addTimeout(PATIENCE, self._reactor)
        except Exception:  # noqa: BLE001 - the daemon is down, or was killed: in many words
            return None
        # One that is refused has a reason there.
        return json.loads(text)["results"][0].get("mid") if answer.code == 200 else None
