"""A client of a sequence: it proves what it is written, by its mode, and counts what it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.chat.peers import Daemon
from tests.differential.oracle import Device, Told


class Player:
    """One client, and the socket that it has.

    Attributes:
        device: what the oracle knows of it; None until it was let in.
        watched_since: how often it had been told of a presence before its last Presence was answered.
    """

    def __init__(self, daemon: Daemon, user: str, options: list[str], mode: str, auth: Mapping[str, Any]) -> None:
        self.user = user
        self.options = frozenset(options)
        self.mode = mode
        self.device: Device | None = None
        self.client = daemon.client(user, rooms="*")
        self._acked = 0
        self.watched_since = 0
        self.client.join(**dict.fromkeys(options, True), **auth)

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
