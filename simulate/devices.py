"""What the users of a world do with their clients: they connect, write until it is acknowledged, read, come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import msgspec
from twisted.internet.interfaces import IDelayedCall

from simulate import network
from simulate.clock import VirtualClock
from simulate.daemons import SimulatedDaemon, token
from simulate.ledger import Draft, Ledger, ModelStore
from simulate.network import Connection
from simulate.speech import NAMESPACE, EngineClient, Means, read_packet

#: Seconds that a device waits for an ack before it writes a message again.
ACK_WAIT: Final = 15.0

#: Seconds until a device tries to connect again, and until it writes a refused message again: between these two.
RETRY: Final = (0.2, 2.0)

#: Seconds that a client waits until it is let in.
JOIN_WAIT: Final = 20.0


class DeviceKind(msgspec.Struct, frozen=True):
    """How one device speaks.

    Attributes:
        user: whose it is.
        revision, means: of Engine.IO.
        acks: whether it acks what it receives; else its pongs do.
        receipts, recover, batch: options of its socket.
        watches: users whose presence it follows.
        slow: whether its line is.
        pieces: whether bytes come in pieces.
    """

    user: str
    revision: int = 4
    means: Means = "websocket"
    acks: bool = False
    receipts: bool = False
    recover: bool = False
    batch: bool = False
    watches: tuple[str, ...] = ()
    slow: bool = False
    pieces: bool = False


class Device:
    """One device of a user.

    Args:
        name: for what is noted.
        kind: how it speaks.
        clock: the world's.
        ledger: the world's.
        store: the world's; only its cursors are looked at.
        daemons: which it connects to, by chance.
        random: its own chances.
        wired: is told each connection.

    Attributes:
        wanted: whether it is to be connected.
        joined: whether it was let in.
    """

    def __init__(
        self,
        name: str,
        kind: DeviceKind,
        *,
        clock: VirtualClock,
        ledger: Ledger,
        store: ModelStore,
        daemons: Sequence[SimulatedDaemon],
        random: Random,
        wired: Callable[[Device, Connection], None],
    ) -> None:
        self.name = name
        self.kind = kind
        self._clock = clock
        self._ledger = ledger
        self._store = store
        self._daemons = daemons
        self._random = random
        self._wired = wired
        self.wanted = False
        self.joined = False
        self._client: EngineClient | None = None
        self._daemon: SimulatedDaemon | None = None
        self._retry: IDelayedCall | None = None
        self._joining: IDelayedCall | None = None
        self.connections: list[Connection] = []
        self._lives = 0
        self._places = 0
        # What is not acknowledged, in the order in which it was written; and by the number of the ack that is awaited.
        self._drafts: dict[Draft, None] = {}
        self._acks: dict[int, Draft | str | Callable[[dict[str, Any]], None]] = {}
        self._next_ack = 0
        self._timers: dict[Draft, IDelayedCall] = {}
        # Of this connection: the last offset that came, and where the inbox stood for the store when it was asked for.
        self._last: int | None = None
        self._began = 0
        self._claimed: int | None = None
        self._shown: tuple[str, int] | None = None
        self._pid: str | None = None
        self._offset: int | None = None
        # Of all connections: what came, and the greatest offset of it.
        self._seen: dict[str, None] = {}
        self._greatest = 0
        self.presence: dict[str, bool | None] = {}
        self._last_from: dict[str, str] = {}

    # What it is told to do.

    def connect(self) -> None:
        """Be connected from now on."""
        self.wanted = True
        if self._client is None and self._retry is None:
            self._begin()

    def leave(self) -> None:
        """Disconnect in order, and stay away."""
        self.wanted = False
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        client = self._client
        if client is not None:
            if self.joined:
                client.send(f"1{NAMESPACE}," if self.kind.revision == 4 else f"1{NAMESPACE}")
            client.close()
            self._over()

    def write(self, to: str, filler: int) -> None:
        """Send a message, until it is acknowledged."""
        draft = self._ledger.draft(self.kind.user, to, filler)
        self._drafts[draft] = None
        if self.joined:
            self._send(draft)

    def mark_read(self, peer: str) -> None:
        """Mark what came from ``peer`` as read."""
        mid = self._last_from.get(peer)
        if mid is not None and self.joined:
            self._ledger.read(self.kind.user, peer, mid)
            self._emit("Read", {"pId": peer, "mid": mid}, "")

    def sync(self, after: int) -> None:
        """Ask for the inbox."""
        if self.joined:
            user = self.kind.user
            least = len(self._ledger.inbox(user).stored)

            def answered(body: dict[str, Any]) -> None:
                self._ledger.synced(self.name, user, after=after, least=least, body=body)

            self._emit("Sync", {"offset": after}, answered)

    def ask_history(self, peer: str) -> None:
        """Ask for the newest messages of a conversation."""
        if self.joined:
            user = self.kind.user
            least = len(self._ledger.conversation(user, peer))

            def answered(body: dict[str, Any]) -> None:
                self._ledger.told_history(self.name, user, peer=peer, least=least, body=body)

            self._emit("History", {"pId": peer, "limit": 100}, answered)

    @property
    def waits(self) -> int:
        """Messages that are not acknowledged."""
        return len(self._drafts)

    # ``speech.Speaker``.

    def on_open(self) -> None:
        """See ``Speaker``."""
        if self.kind.revision == 4:
            self._join()

    def on_text(self, text: str) -> None:
        """See ``Speaker``."""
        packet = read_packet(text)
        if packet.kind == 0 and packet.namespace == "/" and self.kind.revision == 3:
            self._join()
        if packet.namespace != NAMESPACE:
            return
        if packet.kind == 0:
            self._let_in(packet.data or {})
        elif packet.kind == 2:
            self._event(packet.id, packet.data)
        elif packet.kind == 3 and packet.id is not None:
            self._answered(packet.id, packet.data[0])
        elif packet.kind == 4:
            self._ledger.fail(self.name, "was refused:", packet.data)
        elif packet.kind == 1 and self._client is not None:
            self._client.close()
            self.on_end()

    def on_end(self) -> None:
        """See ``Speaker``."""
        self._ledger.note("lost", self.name)
        for draft in self._timers:
            self._ledger.operation("info", self.name, "send", message=draft.number, to=draft.to)
        self._over()
        if self.wanted:
            self._retry = self._clock.callLater(self._random.uniform(*RETRY), self._again)

    # Connecting.

    def _again(self) -> None:
        self._retry = None
        self._begin()

    def _begin(self) -> None:
        self._lives += 1
        self._daemon = self._random.choice(self._daemons)
        self._ledger.note("connect", self.name, self._daemon.name)
        self._ledger.counts["connections"] += 1
        kind = self.kind
        self._joining = self._clock.callLater(JOIN_WAIT, self._not_let_in)
        self._client = EngineClient(self._clock, self._dial, self, revision=kind.revision, means=kind.means)

    def _dial(self, caller: Any) -> Connection:
        daemon = self._daemon
        assert daemon is not None
        connection = Connection(
            self._clock,
            self._random,
            caller=caller,
            delays=network.SLOW if self.kind.slow else network.DELAYS,
            pieces=self.kind.pieces,
        )
        self.connections = [one for one in self.connections if not one.is_over]
        self.connections.append(connection)
        self._wired(self, connection)
        if daemon.lives:
            daemon.connections = [one for one in daemon.connections if not one.is_over]
            daemon.connections.append(connection)
            connection.open(daemon, daemon.enter, daemon.clock, "192.0.2.7")
        else:
            connection.killed()
        return connection

    def _join(self) -> None:
        kind, client = self.kind, self._client
        assert client is not None
        self._began = self._store.cursor(kind.user)
        self._shown = None
        options = {
            name: 1
            for name, wanted in (("receipts", kind.receipts), ("recover", kind.recover), ("batch", kind.batch))
            if wanted
        }
        if kind.revision == 3:
            query = "&".join([f"token={token(kind.user)}", *(f"{name}=1" for name in options)])
            client.send(f"0{NAMESPACE}?{query}")
            return
        auth: dict[str, Any] = {"token": token(kind.user), **options}
        if kind.recover and self._pid is not None and self._offset is not None:
            self._shown = self._pid, self._offset
            auth |= {"pid": self._pid, "offset": str(self._offset)}
        client.send(f"0{NAMESPACE},{json.dumps(auth)}")

    def _let_in(self, data: dict[str, Any]) -> None:
        self._stop_joining()
        self._ledger.note("joined", self.name)
        self.joined = True
        self._last = None
        pid = data.get("pid")
        self._claimed = None
        if pid is not None and self._shown is not None and pid == self._shown[0]:
            self._claimed = self._shown[1]
            self._ledger.counts["recoveries"] += 1
        if pid is not None:
            self._pid = pid
        self.presence = {}
        self._watch(self._lives)
        for draft in list(self._drafts):
            self._send(draft)

    def _watch(self, life: int) -> None:
        if self.kind.watches and self.joined and life == self._lives:
            self._emit("Presence", {"ids": list(self.kind.watches)}, "presence")

    def _not_let_in(self) -> None:
        self._joining = None
        client = self._client
        if client is not None:
            client.close()
            self.on_end()

    def _stop_joining(self) -> None:
        if self._joining is not None:
            self._joining.cancel()
            self._joining = None

    def _over(self) -> None:
        self._stop_joining()
        self._client = None
        self.joined = False
        self._acks.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    # Writing.

    def _emit(self, name: str, body: object, what: Draft | str | Callable[[dict[str, Any]], None]) -> None:
        client = self._client
        if client is not None:
            number = self._next_ack
            self._next_ack += 1
            self._acks[number] = what
            client.send(f"2{NAMESPACE},{number}{json.dumps([name, body])}")

    def _send(self, draft: Draft) -> None:
        """Write a message once more."""
        if not self.joined or draft not in self._drafts:
            return
        timer = self._timers.pop(draft, None)
        if timer is not None and timer.active():
            timer.cancel()
        self._timers[draft] = self._clock.callLater(ACK_WAIT, self._send, draft)
        self._places += 1
        self._ledger.sent(draft, self.name, hash_of(self.name, self._lives), self._places)
        body = {
            "uId": draft.sender,
            "pId": draft.to,
            "msg": draft.text,
            "rno": draft.number,
            "time": 0,
            "cid": draft.cid,
        }
        self._emit("Send", body, draft)

    def _answered(self, number: int, body: Any) -> None:
        what = self._acks.pop(number, None)
        if what is None:
            self._ledger.fail(self.name, "got an ack twice, or one that it has not asked for")
        if isinstance(what, Draft):
            self._sent(what, body)
        elif callable(what):
            if "MSG" in body:
                what(body)
            elif body["ER"] not in (3, 8):
                self._ledger.fail(self.name, "asked, and was refused with ER", body["ER"])
        elif what == "presence" and "ER" in body:
            self._clock.callLater(1.0, self._watch, self._lives)
        elif what == "presence":
            self._ledger.note("presence", self.name, *(f"{user}:{state['online']}" for user, state in body.items()))
            for user, state in body.items():
                if user not in self.presence:
                    self.presence[user] = state["online"]

    def _sent(self, draft: Draft, body: dict[str, Any]) -> None:
        if "mid" in body:
            self._ledger.acked(draft, self.name, body["mid"], body.get("repeat", False))
            self._drafts.pop(draft, None)
            timer = self._timers.pop(draft, None)
            if timer is not None:
                timer.cancel()
            return
        error = body["ER"]
        self._ledger.refused(draft, self.name, error)
        if error not in (3, 7, 8):
            self._ledger.fail(self.name, "was refused message", draft.number, "with ER", error)
        timer = self._timers.pop(draft, None)
        if timer is not None:
            timer.cancel()
        if draft in self._drafts:
            self._timers[draft] = self._clock.callLater(self._random.uniform(*RETRY), self._send, draft)

    # Reading.

    def _event(self, number: int | None, data: list[Any]) -> None:
        name, body = data[0], data[1]
        if name == "RESPRECEIVER":
            self._received(number, body, data[2] if len(data) > 2 else None)
        elif name == "RESPSTATUS":
            self._ledger.status(self.name, self.kind.user, body)
        elif name == "RESPPRESENCE":
            self.presence[body["id"]] = body["online"]
            self._ledger.note("presence", self.name, body["id"], body["online"])
        elif name == "RESPSEND":
            self._ledger.counts["respsend"] += 1

    def _received(self, number: int | None, body: dict[str, Any], noted: str | None) -> None:
        if "MSG" not in body:
            return  # the broker took the queue away
        fail, user = self._ledger.fail, self.kind.user
        for item in body["MSG"]:
            before = self._ledger.inbox(user).upto
            offset = self._ledger.received(self.name, user, item)
            if self._last is not None:
                if offset != self._last + 1:
                    fail(self.name, "got offset", offset, "after", self._last)
            elif self._claimed is not None:
                if offset != self._claimed + 1:
                    fail(self.name, "was recovered at", self._claimed, "and got offset", offset)
            elif offset > before + 1:
                fail(self.name, "begins at offset", offset, "and its user has read up to", before)
            elif offset <= self._began:
                fail(self.name, "begins at offset", offset, "and the store's cursor was at", self._began)
            self._last = offset
            mid = item["mid"]
            if mid not in self._seen:
                if offset < self._greatest:
                    fail(self.name, "sees offset", offset, "for the first time, after", self._greatest)
                self._seen[mid] = None
            else:
                self._ledger.counts["again"] += 1
            self._greatest = max(self._greatest, offset)
            if not str(item["pId"]).startswith("#"):
                self._last_from[str(item["uId"])] = mid
        if noted is not None:
            self._offset = int(noted)
            if self._offset != self._last:
                fail(self.name, "is shown offset", noted, "with", self._last)
        if number is not None and self.kind.acks and self._client is not None:
            self._client.send(f"3{NAMESPACE},{number}[]")


def hash_of(name: str, life: int) -> int:
    """A number of one connection of one device."""
    return int(name.strip("d")) * 100_000 + life
