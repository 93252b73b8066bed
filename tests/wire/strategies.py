"""What the property tests draw from: JSON as browsers write it, packets, and bytes that are no packets.

``PROPERTY`` goes above ``given``. The examples are the same in every run; to look further, and elsewhere each
time: ``KSCHAT_TESTS_EXAMPLES=20000 python -m twisted.trial tests.wire``.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from msgspec import Raw

from kschat.wire import engineio
from kschat.wire.engineio import Frame
from kschat.wire.jsonnumbers import as_javascript
from kschat.wire.socketio import RESERVED_EVENTS, Ack, Connect, ConnectError, Disconnect, Event, Packet, encode

_EXAMPLES: Final = os.environ.get("KSCHAT_TESTS_EXAMPLES")

PROPERTY: Final = settings(
    # No wall time decides a test; and what is found is reported with its example, so no directory of finds is kept.
    database=None,
    derandomize=_EXAMPLES is None,
    max_examples=int(_EXAMPLES or 80),
    # A machine that is busy with other things makes no test wrong.
    suppress_health_check=[HealthCheck.too_slow],
)

# JSON.

_HALVES: Final = st.integers(0xD800, 0xDFFF).map(chr)

#: Characters of JavaScript's strings: any, halves of surrogate pairs often, and what JSON and packets are made of.
characters: Final = st.one_of(st.characters(), _HALVES, st.sampled_from('\\"/[]{},:0123456789?- \x00\x1e\u2028'))

texts: Final = st.text(characters, max_size=12)

#: Texts without halves of pairs: what Python can write as UTF-8.
whole_texts: Final = st.text(st.characters(codec="utf-8"), max_size=12)

numbers: Final = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, -0.0, 1e22, 1e-7, 2**53 - 1, 2**63, 2**64, 1.7976931348623157e308, 5e-324]),
)


def _nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


#: Any JSON value.
values: Final = _nested(st.none() | st.booleans() | numbers | texts)

#: JSON values with binary in them, as clients emit them.
binary_values: Final = _nested(st.none() | numbers | texts | st.binary(max_size=20) | st.binary(max_size=20))


def stringify(value: Any) -> bytes:
    """``value`` as JavaScript's ``JSON.stringify`` writes it, large numbers apart.

    That is UTF-8 without spaces, halves of pairs as escapes.
    """
    text = _written(value)
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text).encode()


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_written(key)}:{_written(element)}" for key, element in value.items()) + "}"
    if isinstance(value, float):
        return re.sub(r"e([-+])0", r"e\1", repr(value))  # Python writes 1e-07
    return json.dumps(value, ensure_ascii=False)


def mended(value: Any) -> Any:
    """``value`` with U+FFFD for each half of a surrogate pair."""
    if isinstance(value, str):
        # A high half before a low one is a pair that was written in two pieces.
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [mended(element) for element in value]
    if isinstance(value, dict):
        return {mended(key): mended(element) for key, element in value.items()}
    return value


def as_read(value: Any) -> Any:
    """``value`` with its numbers as JavaScript reads them."""
    if isinstance(value, dict):
        return {key: as_read(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_read(inner) for inner in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.loads(as_javascript(json.dumps(value).encode()))
    return value


def depth(value: Any) -> int:
    """How many arrays and objects stand in each other."""
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, list):
        return 0
    return 1 + max(map(depth, value), default=0)


def without_binary(value: Any, attachments: list[bytes]) -> Any:
    """``value`` with a placeholder for each binary in it, which goes to ``attachments``, as npm's parsers do it."""
    if isinstance(value, bytes):
        attachments.append(value)
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, list):
        return [without_binary(element, attachments) for element in value]
    if isinstance(value, dict):
        return {key: without_binary(element, attachments) for key, element in value.items()}
    return value


def with_binary(value: Any, attachments: tuple[bytes, ...]) -> Any:
    """``value`` with its placeholders replaced, as npm's parsers do it."""
    if isinstance(value, list):
        return [with_binary(element, attachments) for element in value]
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]
        return {key: with_binary(element, attachments) for key, element in value.items()}
    return value


# Socket.IO.

_space_letters: Final = st.characters(codec="utf-8", exclude_characters=",?")

namespaces: Final = st.sampled_from(["/", "/kschat", "/0", "/[", "/é漢😀"]) | st.text(_space_letters, max_size=10).map(
    "/{}".format
)
queries: Final = st.sampled_from(["", "token=a.b.c&ksId=42", "a=?&b"]) | st.text(
    st.characters(codec="utf-8", exclude_characters=","), max_size=10
)
ids: Final = st.sampled_from([0, 1, 10, 2**53 - 1]) | st.integers(0, 2**53 - 1)
names: Final = st.sampled_from(["Send", "message"]) | whole_texts.filter(lambda name: name not in RESERVED_EVENTS)
objects: Final = st.dictionaries(texts, values, max_size=3).map(stringify)

connects: Final = st.builds(Connect, namespaces, st.just(b"") | objects, queries)
disconnects: Final = st.builds(Disconnect, namespaces)
connect_errors: Final = st.builds(ConnectError, namespaces, st.just(b"") | objects | texts.map(stringify))


@st.composite
def events(draw: st.DrawFn, arguments: st.SearchStrategy[Any] = values | binary_values) -> Event:
    """Events, binary or not, with an ack id or none."""
    args, attachments = _arguments(draw(st.lists(arguments, max_size=4)))
    return Event(draw(names), args, draw(namespaces), draw(st.none() | ids), attachments)


@st.composite
def acks(draw: st.DrawFn, arguments: st.SearchStrategy[Any] = values | binary_values) -> Ack:
    """Acks, binary or not."""
    args, attachments = _arguments(draw(st.lists(arguments, max_size=4)))
    return Ack(draw(ids), args, draw(namespaces), attachments)


def _arguments(given: list[Any]) -> tuple[tuple[Raw, ...], tuple[bytes, ...]]:
    attachments: list[bytes] = []
    args = tuple(Raw(stringify(without_binary(value, attachments))) for value in given)
    return args, tuple(attachments)


packets: Final[st.SearchStrategy[Packet]] = st.one_of(connects, disconnects, events(), acks(), connect_errors)

# Engine.IO.

revisions: Final[st.SearchStrategy[engineio.Revision]] = st.sampled_from((3, 4))


@st.composite
def engine_packets(draw: st.DrawFn) -> engineio.Packet:
    """Engine.IO packets of every type."""
    kind = draw(st.integers(engineio.OPEN, engineio.NOOP))
    if kind == engineio.MESSAGE and draw(st.booleans()):
        return engineio.Packet(kind, draw(st.binary(max_size=40)), True)
    return engineio.Packet(kind, draw(whole_texts).encode())


def frames_of(packet: Packet, revision: engineio.Revision, base64: bool = False) -> list[Frame]:
    """``packet`` as a client puts it into WebSocket frames."""
    text, attachments = encode(packet)
    wrapped = [engineio.Packet(engineio.MESSAGE, text)]
    wrapped += [engineio.Packet(engineio.MESSAGE, one, True) for one in attachments]
    return [engineio.encode(one, revision, base64) for one in wrapped]


# Bytes that are no packets, most of them.

#: What packets are made of, in any order: far more of it gets past a decoder's first look than of random bytes.
_PIECES: Final = (
    *b"0 1 2 3 4 5 6 7 9 40 41 42 43 44 45 46 451- 461-0 50- 51- 52- 999999- - , / /kschat /kschat, ? ?token=x".split(),
    *b'[ ] { } " \\ : ["x"] ["x" {"_placeholder":true,"num":0} {"_placeholder":true,"num":1}'.split(),
    *b'{"_placeholder":true} "num" "_placeholder" true null 1e400 9007199254740993 \\ud800 \\udc00 \\u'.split(),
    *b"b b4 AQID = == probe 2probe 5".split(),
    *(b" ", b"\n", b"\x00", b"\x04", b"\x1e", b"\xff", b"\xed\xa0\x80", "\U0001f600".encode()),
    *(b"[" * 70, b'{"":' * 70, b"]" * 70),
)

soup: Final = st.lists(st.sampled_from(_PIECES), max_size=12).map(b"".join)
any_bytes: Final = st.binary(max_size=60) | soup


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Valid bytes with one to four faults: a piece cut out, put in, doubled, or changed."""
    data = draw(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 8)))
        middle = draw(st.sampled_from([b"", data[start:stop] * 2]) | st.binary(min_size=1, max_size=3) | soup)
        data = data[:start] + middle + data[stop:]
    return data


@st.composite
def conversations(draw: st.DrawFn, revision: engineio.Revision) -> list[Frame]:
    """Frames of a client that joins, and then sends what is right, what is nearly right, and what is wrong."""
    right = packets.flatmap(lambda packet: st.just(frames_of(packet, revision)))
    control = st.sampled_from([b"2", b"3", b"6", b"2probe", b"1", b"5", b"0{}", b"", b"4"]).map(
        lambda text: [Frame(text)]
    )
    wrong = st.builds(lambda payload, binary: [Frame(payload, binary)], any_bytes, st.booleans())
    frames = draw(st.sampled_from([[], [Frame(b"40")], [Frame(b"40/kschat,"), Frame(b"40")]]))
    for part in draw(st.lists(right | control | wrong, max_size=6)):
        frames = frames + [draw(_spoilt(frame)) if draw(st.integers(0, 3)) == 0 else frame for frame in part]
    return frames


def _spoilt(frame: Frame) -> st.SearchStrategy[Frame]:
    return st.builds(Frame, mutated(st.just(frame.payload)), st.just(frame.binary) | st.just(not frame.binary))
