"""The other ports of a daemon (HTTP API, operators, other daemons), and the broker."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import msgspec
import pika

from attack.rows.http import POLL, pipelined, request
from attack.rows.packets import nested
from attack.rows.pools import opened
from attack.scenario import BROKER, SOURCE, Attack, Row
from attack.wire import PATH, Client, send
from tests.support.tokens import SECRET

#: The API key of the daemon.
KEY = "Authorization: Bearer " + "k" * 40


def post(path: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    """A request of the API."""
    size = len(body) if length is None else length
    return request(path, f"Content-Length: {size}", *headers, method="POST") + body


def _row(
    name: str, what: str, attack: Callable[[Attack], None], *answers: str, listens: str, connections: int = 3
) -> Row:
    return Row(
        name=name,
        kind="other ports",
        what=what,
        attack=attack,
        answers=answers,
        listens=listens,
        connections=connections,
    )


def _api(name: str, what: str, attack: Callable[[Attack], None], *answers: str, connections: int = 3) -> Row:
    return _row(f"api-{name}", what, attack, *answers, listens="api_listen", connections=connections)


BAD = "Authorization: Bearer " + "x" * 40
LARGE = b'{"from":"a","to":"b","msg":%b}' % nested()


#: Users who have a socket each.
MANY = [f"many{number}" for number in range(200)]


def emits(data: bytes) -> Callable[[Attack], None]:
    """Requests of the API behind each other, while many users are connected."""
    flood = pipelined(data)

    def attack(attack: Attack) -> None:
        for user in MANY:
            client = Client(attack.clients_port, source=SOURCE, user=user, join=True)
            attack.reader.add(client.socket)
            attack.kept.append(client)
        flood(attack)

    return attack


def emitted(size: int) -> dict[str, object]:
    """An event to all of them."""
    return {"to": MANY, "event": "x", "args": ["x" * size]}


def replayed(attack: Attack) -> None:
    """A daemon's request with another body, and the same request twice, as an eavesdropper would send them."""
    # The only row that imports kschat: it needs a proof that only a daemon can make.
    from kschat.front.peers import CLIENT, PROOF
    from kschat.front.session_ids import PeerAddress, SessionIds

    proofs = SessionIds(SECRET.encode(), PeerAddress("127.0.0.1", 9)).proofs
    path = f"{POLL}&sid=x"
    client = b"127.0.0.1 1"
    proof = proofs.make(method=b"POST", uri=path.encode(), client=client, body=b"40")
    headers = (f"{PROOF.decode()}: {proof.decode()}", f"{CLIENT.decode()}: {client.decode()}", "Connection: close")
    for what, body in (("another body", b"41"), ("the same again", b"40")):
        with attack.connect() as link:
            link.sendall(post(path, body, *headers))
            answer = link.recv(65536)
        attack.answers[f"{what}: {answer[9:12].decode('latin-1')}"] += 1


def _forged(msg: bytes, offset: int, *, places: int = 1) -> bytes:
    one = ["ffffffffffffffffffffffff", "mallory", "victim", "", msg, 1, None, [], [["victim", offset]] * places]
    return msgspec.msgpack.encode([one])


def forged(attack: Attack) -> None:
    """Batches as another daemon would publish them, with messages that are not in the store."""
    publisher = pika.BlockingConnection(pika.URLParameters(os.environ[BROKER]))
    channel = publisher.channel()
    properties = pika.BasicProperties(content_type="application/x-kschat-1")
    victim = Client(attack.port, source="127.0.0.5", user="victim", join=True)
    writer = Client(attack.port, source="127.0.0.5", user="writer", join=True)
    number = 0
    try:
        while attack.on:
            for body in (
                _forged(b'"forged"', 2**62),
                _forged(b'"forged"', 10**6 + number),
                _forged(b"no JSON [", 1),
                _forged(nested(), 3),
                _forged(b'"x"', 5, places=5000),
                b"\xdd\xff\xff\xff\xff" + b"\xc0" * 100,
            ):
                channel.basic_publish("kschat.direct_logs", "ks_victim", body, properties)
            number += 1
            mark = f"real{number:06d}".encode()
            writer.socket.sendall(send("writer", "victim", mark.decode(), ack=number))
            while True:
                payload = victim.next()[1]
                if b"forged" in payload:
                    attack.answers["a forged message arrived"] += 1
                if mark in payload:
                    break
            attack.answers["the victim gets messages"] += 1
    finally:
        publisher.close()


ROWS = (
    _api("keys", "requests with a bad key", pipelined(post("/v1/send", b"", BAD) * 500), "401"),
    _api("bodies", "bodies of 1 MB with a bad key", pipelined(post("/v1/send", LARGE, BAD)), "401"),
    _api("paths", "operations that are not there", pipelined(request("/v1/" + "x" * 50) * 500), "404"),
    _api("document", "the document", pipelined(request("/openapi.json") * 300), "200"),
    _api("connections", "connections that say nothing", opened(b""), "connections", connections=1),
    _api("half", "half-sent bodies", opened(post("/v1/send", b"x" * 1000, BAD, length=900_000)), "401", connections=1),
    _api("depth", "1 MB of nested arrays, with a key", pipelined(post("/v1/send", LARGE, KEY)), "400"),
    _api(
        "batch",
        "batches of 100 operations, with a key",
        pipelined(
            post(
                "/v1/batch",
                json.dumps(
                    {
                        "requests": [
                            {"operation": "send", "body": {"from": "a", "to": f"b{n}", "msg": "x"}} for n in range(100)
                        ]
                    }
                ).encode(),
                KEY,
            )
        ),
        "200",
    ),
    _api(
        "emit",
        "an event of 900 kB to a user, with a key",
        pipelined(post("/v1/emit", json.dumps({"to": "nobody", "event": "x", "args": ["x" * 900_000]}).encode(), KEY)),
        "200",
    ),
    _api(
        "emit-many",
        "an event of 900 kB to 200 users, with a key",
        emits(post("/v1/emit", json.dumps(emitted(900_000)).encode(), KEY)),
        "200",
        "503",
        connections=1,
    ),
    _api(
        "emit-batch",
        "batches of 100 events to 200 users, with a key",
        emits(
            post(
                "/v1/batch",
                json.dumps({"requests": [{"operation": "emit", "body": emitted(100)} for _ in range(100)]}).encode(),
                KEY,
            )
        ),
        "200",
        connections=1,
    ),
    _row(
        "ops-metrics",
        "pipelined /metrics at the operators' port",
        pipelined(request("/metrics") * 1000),
        "200",
        listens="ops_listen",
    ),
    _row(
        "peers-forged",
        "requests without a proof at the peers' port",
        pipelined(request(PATH + "?EIO=4&transport=polling", "X-Kschat-Peer: " + "0" * 100) * 500),
        "403",
        listens="peer_listen",
    ),
    _row(
        "peers-bodies",
        "bodies of 900 kB without a proof",
        pipelined(post(f"{POLL}&sid=x", b"x" * 900_000)),
        "403",
        listens="peer_listen",
    ),
    Row(
        name="peers-replayed",
        kind="smaller ones",
        what="a peer's request with another body, and again",
        attack=replayed,
        probe=True,
        connections=1,
        listens="peer_listen",
        answers=("another body: 403", "the same again: 403"),
    ),
    Row(
        name="forged-batches",
        kind="smaller ones",
        what="batches with high offsets at the broker",
        attack=forged,
        backend="redis",
        connections=1,
        answers=("the victim gets messages",),
        never=("a forged message arrived",),
    ),
)
