"""Frames that no client sends: random ones, and valid ones that were damaged. Pure: bytes out of a random generator.

What is damaged is each layer in turn: the WebSocket frame (RFC 6455), the Engine.IO packet, the Socket.IO packet, its
JSON, its attachments, and the request that should begin it all.
"""

from __future__ import annotations

import base64
import json
import random
import struct

TEXT, BINARY, PING = 1, 2, 9
JSON_LETTERS = b'0123456789{}[]",:\\-eE.+truefalsn \xc3\xa9\xed\xa0\x80/kschat'
HEADS = (b"4", b"42", b"42/kschat,", b"43/kschat,", b"451-/kschat,", b"40", b"2", b"b4", b"\x04")
STRANGE_NUMBERS = (b"-1", b"0", b"-0", b"1e999", b"99999999999999999999999", b"1.5", b"NaN", b"0x10", b"9" * 400, b"")
STRANGE_EVENTS = (b"", b"__proto__", b"Send\\u0000", b"send", b"RESPSEND", b"1", b"connect", b"x" * 200)
STRANGE_VALUES = (b"null", b"true", b"{}", b"[]", b"1", b'"x"', b"[" * 40 + b"]" * 40, b'{"a":' * 70 + b"1" + b"}" * 70)


def frame(payload: bytes, opcode: int = TEXT, fin: bool = True, mask: bytes = b"\0\0\0\0") -> bytes:
    """One masked WebSocket frame. With a mask of zeros, as valid as any, the payload stands in it as it is."""
    size = len(payload)
    first = (0x80 if fin else 0) | opcode
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 0x10000:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    if mask != b"\0\0\0\0":
        payload = bytes(byte ^ mask[place & 3] for place, byte in enumerate(payload))
    return head + mask + payload


class Mutations:
    """Makes frames, the same ones for the same seed.

    Args:
        seed: of the random generator.
        user: whom the token is of.
        token: a good one, so that what comes after the handshake is tried as well.
    """

    def __init__(self, seed: int, user: str, token: str) -> None:
        self.random = random.Random(seed)
        self.user = user
        self.token = token

    def request(self, revision: int) -> bytes:
        """The HTTP request that begins a WebSocket."""
        key = base64.b64encode(self.random.randbytes(16)).decode()
        return (
            f"GET /socket.io/?EIO={revision}&transport=websocket&token={self.token}&ksId={self.user} HTTP/1.1\r\n"
            f"Host: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def mutated_request(self, revision: int) -> bytes:
        """That request, damaged. It always ends like one, lest the daemon rightly waits for the rest."""
        return self.damaged(self.request(revision)).rstrip() + b"\r\n\r\n"

    def join(self) -> bytes:
        """The frame that joins /kschat; the token stands in the query."""
        return frame(b"40/kschat,")

    def random_payload(self) -> bytes:
        """Random bytes; some begin like packets, some are of the letters of JSON."""
        pick = self.random
        size = pick.choice((0, 1, 2, 5, 20, 100, 130, 300)) if pick.random() < 0.999 else 70_000
        kind = pick.random()
        if kind < 0.4:
            return pick.randbytes(size)
        letters = bytes(pick.choices(JSON_LETTERS, k=size))
        return letters if kind < 0.7 else pick.choice(HEADS) + letters

    def random_frame(self) -> bytes:
        """A frame of random bytes, and sometimes of a random kind."""
        pick = self.random
        payload = self.random_payload()
        opcode = pick.choice((TEXT, TEXT, TEXT, BINARY)) if pick.random() < 0.9 else pick.randrange(16)
        return frame(payload, opcode, pick.random() < 0.95, pick.randbytes(4) if pick.random() < 0.1 else b"\0\0\0\0")

    def mutated_payloads(self, revision: int) -> list[bytes]:
        """A packet's text and its attachments; either is damaged, or, one time in five, neither."""
        pick = self.random
        text, attachments = self._packet(revision)
        layer = pick.random()
        if layer < 0.65:
            text = self.mildly_damaged(text) if pick.random() < 0.75 else self.damaged(text)
        elif layer < 0.8:
            self._damage_attachments(attachments)
        return [text, *attachments]

    def mutated_frame(self, revision: int) -> bytes:
        """Such a packet in its frames, of which one in ten is damaged as well."""
        pick = self.random
        text, *attachments = self.mutated_payloads(revision)
        frames = [frame(text)] + [frame(attachment, BINARY) for attachment in attachments]
        if pick.random() < 0.1:
            place = pick.randrange(len(frames))
            frames[place] = self._damage_frame(frames[place], text)
        return b"".join(frames)

    def mildly_damaged(self, text: bytes) -> bytes:
        """A change of its JSON after which the packet often still is one, so that deeper layers get to see it."""
        pick = self.random
        kind = pick.randrange(5)
        json_begins = text.find(b"[") + 1
        if kind == 0:  # another number
            places = [place for place in range(json_begins, len(text)) if 0x30 <= text[place] <= 0x39] or [0]
            place = pick.choice(places)
            return text[:place] + pick.choice(STRANGE_NUMBERS) + text[place + 1 :]
        if kind == 1:  # another letter
            places = [place for place in range(json_begins, len(text)) if 0x61 <= text[place] <= 0x7A] or [0]
            place = pick.choice(places)
            letter = pick.choice((b"z", "é".encode(), "😀".encode(), b"\\ud800", b"\\u0000", b"\\", b"\xff", b"\x1e"))
            return text[:place] + letter + text[place + 1 :]
        if kind == 2:
            return text.replace(b"Send", pick.choice(STRANGE_EVENTS), 1)
        if kind == 3:  # another value
            return text.replace(b'"hi"', pick.choice(STRANGE_VALUES), 1)
        for name in (b"uId", b"pId", b"msg", b"rno", b"time"):  # another field's name
            if pick.random() < 0.2:
                text = text.replace(name, pick.choice((b"uId", b"pId", b"msg", b"cid", b"constructor", b"")), 1)
        return text

    def damaged(self, data: bytes) -> bytes:
        """Bytes flipped, cut out, doubled, put in or cut off, once or several times."""
        for _ in range(self.random.choice((1, 1, 1, 2, 5))):
            data = self._damaged_once(data) if data else self.random.randbytes(3)
        return data

    def _damaged_once(self, data: bytes) -> bytes:
        pick = self.random
        start = pick.randrange(len(data))
        end = min(len(data), start + pick.choice((1, 1, 2, 8, 40)))
        kind = pick.randrange(5)
        if kind == 0:
            return data[:start] + bytes((data[start] ^ (1 << pick.randrange(8)),)) + data[start + 1 :]
        if kind == 1:
            return data[:start] + data[end:]
        if kind == 2:
            return data[:end] + data[start:end] * pick.randrange(1, 4) + data[end:]
        if kind == 3:
            return data[:start] + pick.randbytes(pick.randrange(1, 6)) + data[start:]
        return data[:start]

    def _packet(self, revision: int) -> tuple[bytes, list[bytes]]:
        """A packet as a client of that revision sends it, and its attachments as their frames' payloads."""
        pick = self.random
        number = pick.choice((b"", b"0", b"7", b"123456"))
        send = {"uId": self.user, "pId": f"p{pick.randrange(100)}", "msg": "hi", "rno": 1, "time": 1}
        placeholder = {"_placeholder": True, "num": 0}
        text: bytes
        attachments: list[bytes] = []
        kind = pick.randrange(15)
        if kind < 8:
            text = b"42/kschat," + number + json.dumps(["Send", send]).encode()
        elif kind < 10:
            count = pick.choice((1, 1, 2, 3))
            files = [{**placeholder, "num": num} for num in range(count)]
            text = b"45%d-/kschat,%b" % (count, number)
            text += json.dumps(["Send", {**send, "msg": {"name": "hi", "files": files}}]).encode()
            attachments = [self._binary(revision, pick.randbytes(pick.choice((0, 1, 50)))) for _ in range(count)]
        elif kind == 10:
            text = b"43/kschat," + number + b'[{"a":"hi"}]'
        elif kind == 11:
            text = b"461-/kschat," + (number or b"1") + json.dumps([placeholder]).encode()
            attachments = [self._binary(revision, b"\x00\x01")]
        elif kind == 12:
            text = pick.choice(
                (b"40/kschat,", b"40", b"41/kschat,", b"41", b"40/x,", b'44/kschat,"hi"', b'40/kschat,{"token":""}')
            )
        elif kind == 13:
            text = pick.choice((b"2", b"3", b"2probe", b"3probe", b"5", b"6", b"1", b"0{}", b"2hi"))
        else:
            text = b"42/kschat," + number + pick.choice((b'["Logout"]', b'["Nothing",1,2]', b'["Typing",{"pId":1}]'))
        return text, attachments

    def _binary(self, revision: int, data: bytes) -> bytes:
        return b"\x04" + data if revision == 3 else data

    def _damage_attachments(self, attachments: list[bytes]) -> None:
        """One too many, one too few, another content, another order."""
        pick = self.random
        kind = pick.randrange(4)
        if kind == 0 or not attachments:
            attachments.append(pick.randbytes(pick.randrange(4)))
        elif kind == 1:
            attachments.pop()
        elif kind == 2:
            place = pick.randrange(len(attachments))
            attachments[place] = self.damaged(attachments[place])
        else:
            attachments.reverse()

    def _damage_frame(self, whole: bytes, text: bytes) -> bytes:
        """What RFC 6455 forbids, or allows and nobody does."""
        pick = self.random
        kind = pick.randrange(9)
        if kind == 0:  # reserved bits, other opcodes
            return bytes((whole[0] ^ (1 << pick.randrange(8)),)) + whole[1:]
        if kind == 1:  # not masked
            return bytes((whole[0], whole[1] & 0x7F)) + whole[2:6] + whole[6:]
        if kind == 2:  # announces more than anyone may send
            size = pick.choice((0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 1 << 40, 2_000_000))
            return struct.pack("!BBQ", whole[0], 0xFF, size) + whole[2:]
        if kind == 3:  # in pieces, with a ping between them
            cut = pick.randrange(len(text) + 1)
            return frame(text[:cut], TEXT, False) + frame(b"x", PING) + frame(text[cut:], 0)
        if kind == 4:  # pieces that never end, or begin
            return frame(text, pick.choice((0, TEXT)), False) + frame(text, pick.choice((0, TEXT)), False)
        if kind == 5:  # a control frame that is too long, or in pieces
            return frame(b"x" * pick.choice((10, 126, 200)), pick.choice((8, 9, 10)), pick.random() < 0.5)
        if kind == 6:  # a close frame with a code that is none
            return frame(pick.randbytes(pick.randrange(5)), 8)
        if kind == 7:  # text that is no UTF-8
            return frame(text[:-1] + pick.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")))
        return self.damaged(whole)
