"""Marked texts and tokens through the ways in which things are refused: no line of the log holds a part of one.

What is looked at is more than what twistd writes: each value of each event, as ``repr`` shows it, and failures with
the values of their exceptions.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from twisted.internet.defer import fail
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from chaos.disclosed import MARK, Disclosed
from fuzz.seeds import SEEDS
from kschat.backends.amqp import codec as amqp
from kschat.backends.redis.store import codec as redis
from kschat.chat.cluster_commands import ClusterCommandError, unpacked
from kschat.wire import jsonp, jsontext, msgpack, payload, socketio
from kschat.wire.errors import ProtocolError
from kschat.wire.limits import Limits
from tests.chat.daemon import SECRET
from tests.chat.house import House
from tests.front.daemon import V3, V4, Daemon, Peer
from tests.front.frames import BINARY, client_frame
from tests.mutations import Mutations
from tests.profile import amount

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
TEXT = f"{MARK}what nobody else may read"


class Logged(SynchronousTestCase):
    """All that is logged meanwhile."""

    def setUp(self) -> None:
        self.events: list[str] = []
        observe: Any = self._observe
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.disclosed = Disclosed(SECRET.decode())

    def _observe(self, event: dict[str, Any]) -> None:
        shown = [formatEvent(event)]
        for value in event.values():
            shown.append(repr(value))
            if isinstance(value, Failure):
                shown += [value.getTraceback(), repr(value.value), repr(vars(value.value))]
        self.events.append(" ".join(shown))

    def check(self, what: object) -> None:
        """Nothing was disclosed."""
        found = [event for event in self.events if self.disclosed.held_by(event)]
        if found:
            self.fail(f"{what!r}: {found[0]}")
        self.flushLoggedErrors()
        self.events.clear()


class RefusalTests(Logged):
    """Over the real front and the real chat."""

    def setUp(self) -> None:
        super().setUp()
        self.house = House()
        self.daemon = Daemon(house=self.house)
        self.token = self.house.token("ann")
        self.disclosed.used(self.token)

    def peer(self, revision: int = 4) -> Peer:
        """A client that has joined."""
        peer = self.daemon.websocket(V4 if revision == 4 else V3)
        auth = json.dumps({"token": self.token})
        peer.send(f"40/kschat,{auth}" if revision == 4 else f"40/kschat?token={self.token},")
        self.assertIn("40/kschat", peer.texts()[-1][:9])
        return peer

    def test_damaged_packets(self) -> None:
        for revision in (3, 4):
            mutations = Mutations(revision, "ann", self.token)
            peer = self.peer(revision)
            for _ in range(amount(1000, 150)):
                if peer.wire.lost is not None or peer.wire.disconnecting:
                    peer = self.peer(revision)
                parts = [part.replace(b"hi", TEXT.encode()) for part in mutations.mutated_payloads(revision)]
                for place, part in enumerate(parts):
                    peer.arrive(client_frame(part, BINARY) if place else client_frame(part))
                self.daemon.take_turns()
                self.house.clock.advance(1)
                self.check(parts)

    def test_text_where_none_belongs(self) -> None:
        text = TEXT.encode()
        good = {"uId": "ann", "pId": "ben", "msg": TEXT, "rno": 1, "time": 1}
        packets: list[bytes] = [
            text,
            b"4" + text,
            b"40/" + text,
            b"40/kschat," + text,
            b"42/kschat," + text,
            b'42/kschat,["' + text + b'"]',
            b'42/nowhere,["Send","' + text + b'"]',
            b'43/kschat,1["' + text + b'"]',
            b"451-/kschat," + json.dumps(["Send", {**good, "x": {"_placeholder": True, "num": TEXT}}]).encode(),
            b"b4" + text,
            text + b"\xff",
        ]
        names = ("Send", "Read", "History", "Join", "Leave", "Typing", "Presence", "Sync", "Block", "Token", "Nothing")
        values = (TEXT, [TEXT], {"pId": TEXT}, {TEXT: TEXT}, {**good, "uId": TEXT}, {**good, "rno": [TEXT] * 90})
        packets += [b"42/kschat,1" + json.dumps([name, value]).encode() for name in names for value in values]
        for revision in (3, 4):
            for packet in packets:
                peer = self.peer(revision)
                peer.arrive(client_frame(packet))
                self.daemon.take_turns()
                self.house.clock.advance(1)
                self.check(packet)
                if peer.wire.lost is None:
                    peer.wire.finish()

    def test_a_store_that_fails(self) -> None:
        for error in (ValueError("it is broken"), RuntimeError("a bug of ours")):
            self.patch(self.house.store, "append", lambda batch, error=error: fail(error))
            peer = self.peer()
            body = json.dumps(["Send", {"uId": "ann", "pId": "ben", "msg": TEXT, "rno": 1, "time": 1}])
            peer.send(f"42/kschat,1{body}")
            self.daemon.take_turns()
            self.house.clock.advance(5)
            self.check(error)

    def test_tokens_that_are_refused(self) -> None:
        head, claims, signature = self.token.split(".")
        wrong = self.house.token("ben").rpartition(".")[0] + "." + signature[::-1]
        self.disclosed.used(wrong)
        for token in (wrong, f"{head}.{claims}", f"{self.token}x", f"{claims}.{head}.{signature}", self.token * 9):
            for query, packet in (
                (V4, f"40/kschat,{json.dumps({'token': token})}"),
                (V4, f"40/kschat,{json.dumps({'token': [token]})}"),
                (V4, f"40/kschat,{json.dumps(token)}"),
                (V3, f"40/kschat?token={token},"),
                (f"{V4}&token={token}", "40/kschat,"),
                (f"{V4}&TOKEN={token}", "40/x,"),
                (f"{V4}&x={token}", "40/kschat,"),
            ):
                peer = self.daemon.websocket(query)
                peer.send(packet)
                self.daemon.take_turns()
                self.house.clock.advance(1)
                self.check((query, packet))

    def test_requests_that_are_refused(self) -> None:
        token = self.token.encode()
        upgrade = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        upgrade += b"Connection: Upgrade\r\n"
        for request in (
            b"GET /socket.io/?EIO=9&transport=polling&token=%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /socket.io/?EIO=4&transport=polling&%%74oken=%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /socket.io/?EIO=4&transport=%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /socket.io/?EIO=4&transport=polling&sid=%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET http://x/?token=%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET token=%b HTTP/1.1\r\nHost: x\r\n\r\n",
            b"%b / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\nbad header\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: %b\r\n\r\n",
            upgrade + b"Origin: %b\r\nSec-WebSocket-Version: 13\r\n\r\n",
            upgrade + b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n",
            upgrade + b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Protocol: %b\r\n\r\n",
        ):
            wire = self.daemon.connect()
            wire.arrive(request % token)
            self.daemon.take_turns()
            self.house.clock.advance(61)
            self.daemon.take_turns()
            self.check(request)

    def test_bodies_that_are_refused(self) -> None:
        for revision in (3, 4):
            for body in (TEXT, f"4{TEXT}", f"99:4{TEXT}", f'42/kschat,["{TEXT}"]', f"\x00\x09\xff{TEXT}", f"d={TEXT}"):
                session = self.daemon.request(
                    b"GET /socket.io/?EIO=%d&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n" % revision
                ).body
                sid = json.loads(session[session.index(b"{") : session.index(b"}") + 1])["sid"].encode()
                data = body.encode()
                head = b"POST /socket.io/?EIO=%d&transport=polling&sid=%b HTTP/1.1\r\nHost: x\r\n" % (revision, sid)
                self.daemon.request(head + b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
                self.check(body)


class CodecTests(Logged):
    """The errors of codecs, which reach the log."""

    def refused(self, error: Exception, data: bytes) -> None:
        self.events.append(f"{error} {error!r} {vars(error)}")
        self.check(data)

    def test_no_error_shows_what_it_is_about(self) -> None:
        random = Random(1)
        limits = Limits()
        reads: dict[str, list[Callable[[bytes], object]]] = {
            "routed": [
                lambda data: amqp.read(amqp.BATCH, None, data, str),
                lambda data: amqp.read(None, None, data, lambda: "0" * 24),
                lambda data: amqp.read(None, {amqp.PLACE: data}, b'{"uId":1,"pId":2}', lambda: "0" * 24),
            ],
            "stored": [lambda data: redis.message_of(b"1-1", data), lambda data: redis.listed_of(b"1-1", data, False)],
            "commands": [unpacked],
            "events": [
                lambda data: socketio.Decoder(limits).text(data),
                lambda data: jsontext.decode(data, 64, 10),
                lambda data: jsontext.split_array(data, 64),
            ],
            "msgpacks": [lambda data: msgpack.MsgpackDecoder(limits).binary(data)],
            "bodies": [
                lambda data: list(payload.decode(data, 3)),
                lambda data: list(payload.decode(jsonp.form(data), 4)),
            ],
        }
        errors = 0
        mutations = Mutations(5, "ann", "token")
        for target, ways in reads.items():
            for seed in SEEDS[target]:
                for _ in range(amount(60, 12)):
                    place = random.randrange(len(seed) + 1)
                    data = mutations.damaged(seed[:place] + TEXT.encode() + seed[place:])
                    for read in ways:
                        try:
                            read(data)
                        except (ProtocolError, amqp.CodecError, ClusterCommandError, redis.StoredError) as error:
                            errors += 1
                            self.refused(error, data)
        self.assertGreater(errors, 100)

    def test_values_that_are_not_as_they_must_be(self) -> None:
        pack = msgspec.msgpack.encode
        for data in (
            pack([[TEXT] * 9]),
            pack([["0" * 24, "ann", "ben", TEXT, b"1", 1, None, [], []]]),
            pack([["0" * 24, "ann", "ben", 3, TEXT.encode(), 1, None, [], []]]),
            pack([["0" * 24, TEXT, TEXT, 3, b"1", 1, None, [], []]]),
            json.dumps({"uId": [TEXT], "pId": TEXT}).encode(),
            json.dumps({"uId": TEXT, "pId": TEXT * 100}).encode(),
            json.dumps({"uId": 1, "pId": 1, "msgTime": TEXT}).encode(),
        ):
            for kind in (amqp.BATCH, None):
                self.assertRaises(amqp.CodecError, amqp.read, kind, None, data, str)
                try:
                    amqp.read(kind, None, data, str)
                except amqp.CodecError as error:
                    self.refused(error, data)
