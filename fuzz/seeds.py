"""The first inputs of fuzzing, beside the kept ones: valid data of clients, daemons and brokers."""

from __future__ import annotations

from typing import Final

import msgspec

from fuzz.targets import BETWEEN, IDS, MESSAGE
from kschat.backends.amqp import codec as amqp
from kschat.backends.amqp.neighbours import Card
from kschat.chat import cluster_commands as cluster
from kschat.chat.interfaces import Stored
from kschat.chat.message import Changes, Update
from kschat.chat.tokens import Issuer
from kschat.wire.engineio import Frame
from kschat.wire.payload import encode
from tests.chat.daemon import NOW, SECRET
from tests.mutations import Mutations

_pack: Final = msgspec.msgpack.encode
_SEND: Final = {"uId": "ann", "pId": "ben", "msg": "hi", "rno": 1, "time": 1}
_REST: Final = ("00000000", "ann", "ben", 0, 1, None, b'"x"', ())


def seeds(target: str) -> list[bytes]:
    """Inputs of one target."""
    return SEEDS.get(target, [])


def _mutated(revision: int, count: int = 40) -> list[list[bytes]]:
    mutations = Mutations(revision, "ann", "token")
    return [mutations.mutated_payloads(revision) for _ in range(count)]


def _sessions() -> list[bytes]:
    found = []
    for revision, first in ((3, b"\x00"), (4, b"\xff")):
        for text, *attachments in _mutated(revision):
            frames = [b"40/kschat,", text, *(b"\x01" + one for one in attachments), b"\x02", b"3"]
            found.append(first + BETWEEN.join(frames))
    packet = _pack({"type": 2, "nsp": "/kschat", "id": 7, "data": ["Send", {**_SEND, "msg": b"\x00"}]})
    join = _pack({"type": 0, "nsp": "/kschat", "data": {"token": "x"}})
    return [*found, b"\xff\x01" + join + BETWEEN + b"\x01" + packet]


_EVENTS: Final = [
    *(text[1:] for revision in (3, 4) for text, *_ in _mutated(revision)),
    b'0/kschat?token=x,{"token":"x"}',
    b"1/kschat,",
    b'4/kschat,"no"',
    b'51-/kschat,12["Send",{"_placeholder":true,"num":0.0}]',
    b'2["x",1e400,-0,99999999999999999999,"\\ud800"]',
]

_PLACE: Final = _pack((MESSAGE.mid, "ben", 7, False))
_BODY: Final = b'{"uId":1,"pId":"2","msg":{"a":[1e5,"\\ud83d"]},"msgTime":1.5}'
_ATTACHED: Final = msgspec.structs.replace(
    MESSAGE, msg=msgspec.Raw(b'[{"_placeholder":true,"num":0}]'), attachments=(b"\x00\xff",), cid="c"
)

_COMMANDS: Final[list[cluster.ClusterCommand]] = [
    cluster.Typing("ben"),
    cluster.Receipt("ben", True, MESSAGE.mid, 2),
    cluster.Carbon(b'["RESPCARBON",{}]', (b"x",)),
    cluster.Emit(b'["x"]'),
    cluster.BlockChange("ann", "ben", True),
    cluster.SocketsRequest("1"),
    cluster.SocketsListed("1", (cluster.SocketInfo("s", "192.0.2.7", 4, 1.5),)),
]

_ASKED: Final = [
    ("Send", _SEND),
    ("Read", {"pId": "ben", "mid": MESSAGE.mid}),
    ("Typing", {"pId": "ben"}),
    ("Presence", {"ids": ["ben", 7]}),
    ("History", {"pId": "ben", "before": MESSAGE.mid, "limit": 5}),
    ("Conversations", None),
    ("Edit", {"mid": MESSAGE.mid, "msg": {"a": 1}, "pId": "ben", "cid": "e"}),
    ("Delete", {"mid": MESSAGE.mid}),
    ("React", {"mid": MESSAGE.mid, "emoji": "\U0001f44d"}),
    ("Readers", {"pId": "#r", "mid": MESSAGE.mid}),
    ("Sync", {"offset": 0}),
    ("Join", {"room": "#r"}),
    ("Leave", {"room": "r"}),
    ("Block", {"pId": "ben"}),
    ("Unblock", {"pId": "ben"}),
    ("Blocked", None),
    ("PushKey", None),
    ("PushSubscribe", {"endpoint": "https://push.example.org/1", "keys": {"p256dh": "B" * 87, "auth": "A" * 22}}),
    ("PushUnsubscribe", {"endpoint": "https://push.example.org/1"}),
    ("Token", {"token": "x"}),
    ("Logout", {"all": True}),
]

SEEDS: Final[dict[str, list[bytes]]] = {
    "session": _sessions(),
    "packets": [b"4x", b"b4AQID", b"bAQID", b"\x04\x01", b"2probe", b"5", b"6", b'0{"sid":"x"}'],
    "bodies": [
        encode([Frame(b"4hello"), Frame(b"4\xe2\x82\xac"), Frame(b"\x04\x01\x02", True)], 3, 1000)[0].payload,
        encode([Frame(b"4hello"), Frame(b"4\xe2\x82\xac")], 3, 1000)[0].payload,
        encode([Frame(b"4hello"), Frame(b"\x01\x02", True)], 4, 1000)[0].payload,
        b"6%3A4hello%5C%5Cn%FF",
    ],
    "events": _EVENTS,
    "texts": [*(one[1:] for one in _EVENTS), b'"\\ud800\\udc00\\\\ud800"', b"[[1.0,2e1],{}]"],
    "msgpacks": [
        _pack({"type": 2, "nsp": "/kschat", "id": 7, "data": ["Send", _SEND]}),
        _pack({"type": 2, "nsp": "/kschat", "data": ["Send", {**_SEND, "msg": b"\x00\xff"}]}),
        _pack({"type": 3, "nsp": "/", "id": 2**33, "data": [1.5, None, True, -1, msgspec.msgpack.Ext(0, b"\0" * 8)]}),
        _pack({"type": 0, "nsp": "/kschat", "data": {"token": "x"}}),
        _pack({"type": 1, "nsp": "/kschat"}),
    ],
    "commands": [
        b"\x93" + cluster.packed(cluster.Typing("ann")) + cluster.packed(cluster.Receipt("ben", True, MESSAGE.mid, 2))
        + cluster.packed(cluster.Carbon(b"[]", (b"x",))),
        b"\x91" + cluster.packed(cluster.Emit(b'["x"]')),
    ],
    "stored": [
        _pack(_REST),
        _pack(_REST[:5]),
        _pack((*_REST[:3], '[1,"x","Ann"]', *_REST[4:])),
        _pack(["ben", 1, "cem", "2"]),
        _pack((*_REST, Changes())),
        _pack((*_REST, Update("edit", MESSAGE.mid))) + BETWEEN + _pack(_REST),
        _pack((*_REST, Update("react", MESSAGE.mid, "+"))) + BETWEEN,
    ],
    "routed": [
        amqp.packed([Stored(MESSAGE, (("ben", 7),)), Stored(_ATTACHED, (("#room", 1),))]),
        _BODY,
        _PLACE + BETWEEN + _BODY,
        amqp.as_tutorial(_ATTACHED),
    ],
    "cards": [msgspec.json.encode(Card("2", "tutorial", False))],
    "requests": [
        b"/socket.io/?EIO=4&transport=polling&sid=x&j=0&t=abc&b64=1",
        b"http://example.org:80/?token=eyJhbGciOi.J9",
        b"https://a.example.net:8443",
        b"203.0.113.5, [2001:db8::1]:80,10.0.0.1",
        IDS.new().encode(),
        IDS.proofs.make(method=b"GET", uri=b"/", client=b"127.0.0.1 1", body=b""),
        b"\x81\xfe\x00\x80abcd",
    ],
    "tokens": [
        Issuer(SECRET, lambda: NOW).issue("ann", 60, "*").encode(),
        Issuer(SECRET, lambda: NOW).issue("ben", 60, ("one",), to=("ann", "team-*", "*x*y"), name="Ben").encode(),
        b'{"data":{"id":42.0,"to":["a*b*c",7],"rooms":["r"],"name":"Ann"},"exp":1e11,"iat":1,"jti":5,"aud":["x"]}',
        b'{"alg":"HS256","kid":"k","typ":"JWT"}' + BETWEEN + b'{"data":{"id":"ann"},"exp":17000000001.5}',
        b'{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"k","alg":"HS256"},{"kty":"OKP","crv":"Ed25519","x":"AAAA"}]}',
        b'{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","use":"sig"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}',
    ],
    "chat": [
        *(BETWEEN.join([text, *(b"\x01" + one for one in rest)]) for text, *rest in _mutated(4, 20)),
        *(msgspec.json.encode([name, body]) for name, body in _ASKED),
        b'["Send",{"uId":"ann","pId":"ben","msg":{"a":[1e5,"\\ud83d"]},"rno":[1],"cid":"c"}]'
        + BETWEEN + b'["Read",{"pId":"ben","mid":"000001836a0b0c0d00000000"}]' + BETWEEN + b'43/kschat,0[{"x":1}]',
        *(
            BETWEEN.join(msgspec.json.encode([name, body]) for name, body in (("Send", _SEND), one))
            for one in _ASKED if MESSAGE.mid in str(one)
        ),
        b'451-/kschat,7["Send",{"uId":"ann","pId":"#r","msg":{"_placeholder":true,"num":0}}]' + BETWEEN + b"\x01\xff",
    ],
    "published": [
        *(
            channel + BETWEEN + b"12345678\x91" + cluster.packed(one)
            for channel in (b"\x00", b"\x01", b"\x02ben") for one in _COMMANDS
        ),
        b"\x03ben" + BETWEEN + b"1",
        b"\x03ben" + BETWEEN + b"01700000000000",
        b"\x04" + BETWEEN + b"abcdef7",
    ],
    "replies": [
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n+PONG\r\n",
        b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$3\r\nabc\r\n",
        b"-ERR max number of clients reached\r\n",
        b"*4\r\n:1\r\n$-1\r\n*2\r\n$0\r\n\r\n-WRONGTYPE x\r\n*-1\r\n",
        b"%1\r\n+a\r\n#t\r\n>2\r\n,1.5\r\n_\r\n",
    ],
    "inflated": [b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff"],
    "sockets": [
        *(BETWEEN.join([text, *(b"\x01" + one for one in rest)]) for text, *rest in _mutated(4, 20)),
        *(Mutations(seed, "ann", "x").mutated_frame(4) for seed in range(20)),
    ],
}  # fmt: skip
