"""A client of a sequence: it proves what it is written, by its mode, and counts what it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import jwt

from tests.chat.daemon import SECRET
from tests.chat.peers import Client, Daemon
from tests.differential.oracle import Device, Token, Told


class Player:
    """One client, and the socket that it has.

    Args:
        daemon: where it connects.
        token: by which, at first.
        options: what it asks for.
        mode: how it proves what it is written.
        auth: what else it says.

    Attributes:
        first_token: by which it connected.
        device: what the oracle knows of it; None until it was let in.
        watched_since: how often it had been told of a presence before its last Presence was answered.
    """

    def __init__(self, daemon: Daemon, token: Token, options: list[str], mode: str, auth: Mapping[str, Any]) -> None:
        self.first_token = token
        self.user = token.user
        self.options = frozenset(options)
        self.mode = mode
        self.device: Device | None = None
        self.client = Client(daemon.chat, token.user, written(token), 4, {})
        self._acked = 0
        self.watched_since = 0
        self.client.join(**dict.fromkeys(options, True), **auth)

    @property
    def token(self) -> Token:
        """The one that holds."""
        return self.first_token if self.device is None else self.device.token

    @property
    def answered(self) -> bool:
        """Whether its CONNECT was answered."""
        self.client.read()
        return self.client.sid is not None or self.client.refused is not None

    @property
    def alive(self) -> bool:
        """Whether the daemon still has it."""
        return self.client.alive

    def prove(self) -> bool:
        """Prove what was written; whether there was anything to prove."""
        client = self.client
        if self.mode == "none" or not client.alive:
            return False
        proved = self.mode != "acks" and client.pong()
        if self.mode != "pong":
            received = client.read()
            for one in received[self._acked :]:
                if one.name == "RESPRECEIVER" and one.id is not None and client.alive:
                    client.ack(one.id)
                    proved = True
                    if self.device is not None:
                        self.device.acks = True
            self._acked = len(received)
        return proved

    def told(self) -> Counter[Told]:
        """What it was told beside messages and presence."""
        counted: Counter[Told] = Counter()
        for one in self.client.read():
            if one.name == "RESPSTATUS":
                counted[("RESPSTATUS", f"{one.args[0]['STATUS']} {one.args[0]['mid']}")] += 1
            elif one.name == "RESPCARBON":
                counted[("RESPCARBON", one.args[0]["MSG"][0]["mid"])] += 1
            elif one.name == "RESPTYPING":
                counted[("RESPTYPING", one.args[0]["uId"])] += 1
        return counted

    def presence_before(self, answer: object) -> int:
        """How often it had been told of a presence before this answer."""
        before = 0
        for one in self.client.read():
            if not one.name and one.args and one.args[0] is answer:
                break
            before += one.name == "RESPPRESENCE"
        return before

    def presence(self) -> list[tuple[str, bool, int | None]]:
        """What it was told of others' presence, in order."""
        return [(one["id"], one["online"], one["lastSeen"]) for one in self.client.events("RESPPRESENCE")]


def written(token: Token) -> str:
    """A token as a client shows it. Whom it may write to is written in each way in turn."""
    data: dict[str, Any] = {"id": token.user, "rooms": "*"}
    if token.to is not None:
        ways = (str, int, lambda user: f"*{user[1:]}")
        data["to"] = [ways[number % 3](user) for number, user in enumerate(sorted(token.to))]
    return jwt.encode({"data": data, "jti": token.id, "iat": token.issued}, SECRET, "HS256")
