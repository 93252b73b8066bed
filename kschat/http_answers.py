"""``AnswerReader``: reads the answer to one HTTP request (RFC 9112), bounded. Pure.

It is strict where two readers could see two different answers, and lenient where nothing depends on it: lines may end
by LF alone, and a folded line belongs to the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

#: Bytes of the head of an answer.
MAX_HEAD: Final = 32_768

#: Digits of a length, beyond which an answer is too large in any case.
MAX_DIGITS: Final = 16

#: Chunks of an answer: each is some work, also if it has a byte.
MAX_CHUNKS: Final = 2000

#: Why there is no answer: the label of a metric.
Kind: TypeAlias = Literal["timeout", "unreachable", "tls", "too_large", "broken"]

#: Names of headers in lower case, with their values.
Headers: TypeAlias = Mapping[bytes, Sequence[bytes]]

_DIGITS: Final = frozenset(b"0123456789")
_HEX_DIGITS: Final = frozenset(b"0123456789abcdefABCDEF")

#: Characters of a header's name (RFC 9110, section 5.6.2).
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class HttpFault(Exception):
    """There is no answer; the text says why, in words.

    Attributes:
        kind: why, as one of a few words.
    """

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind: Kind = kind


class HttpAnswer(msgspec.Struct, frozen=True):
    """An answer, whatever its status. ``headers``: names are in lower case."""

    status: int
    headers: Headers
    body: bytes


class AnswerReader:
    """Reads one answer.

    Args:
        most: bytes of its body. All of it may have ``MAX_HEAD`` more: head, trailer, lengths of chunks, and the answers
            1xx before it.

    Attributes:
        answer: what was read; None until it is complete.
        began: whether anything came.
        reusable: whether another request may follow on the connection, once the answer is complete.
    """

    def __init__(self, most: int) -> None:
        self.answer: HttpAnswer | None = None
        self.began = False
        self.reusable = False
        self._most = most
        self._left = MAX_HEAD + most
        # What has come; how much of it was read; up to where no end of a head was found.
        self._buffer = b""
        self._at = self._searched = 0
        self._status = 0
        self._headers: dict[bytes, list[bytes]] = {}
        self._in_head = True
        # Of the body: bytes that are left, of it or of a chunk; None until the end of the connection.
        self._rest: int | None = None
        self._chunked = False
        self._chunk: Literal["length", "data", "end", "trailer"] = "length"
        self._parts: list[bytes] = []
        self._size = self._chunks = 0

    def feed(self, data: bytes) -> None:
        """Bytes came. Raises HttpFault: the answer is not to be had, and the connection of no use."""
        self.began = True
        self._left -= len(data)
        self._buffer = self._buffer + data if self._buffer else data
        while self.answer is None and self._step():
            pass
        if self._at:
            self._buffer, self._searched, self._at = self._buffer[self._at :], max(self._searched - self._at, 0), 0
        if self._left < 0 and self.answer is None:
            raise HttpFault("too_large", "the answer is larger than it may be")
        if self.answer is not None and self._buffer:
            # It belongs to no request.
            self.reusable = False

    def end(self) -> None:
        """The connection was closed in good order. Raises HttpFault, unless that is the end of the answer."""
        if not self._in_head and not self._chunked and self._rest is None:
            self._complete()
        if self.answer is None:
            where = "in the middle of the answer" if self.began else "without an answer"
            raise HttpFault("broken", f"the connection was closed {where}")

    def _step(self) -> bool:
        """Read what is there; whether there may be more to read."""
        if self._in_head:
            return self._read_head()
        if self._chunked:
            return self._read_chunk()
        return self._read_body()

    def _read_head(self) -> bool:
        buffer, start = self._buffer, self._at
        begin = buffer[start : start + 7]
        if not b"HTTP/1.".startswith(begin):
            raise HttpFault("broken", "the answer is not HTTP/1.1")
        end = _end_of_head(buffer, max(self._searched, start))
        if end is None:
            self._searched = max(len(buffer) - 3, start)
            if len(buffer) - start > MAX_HEAD:
                raise HttpFault("too_large", "the answer is larger than it may be")
            return False
        lines = buffer[start:end].split(b"\n")
        self._at = self._searched = end
        version = self._read_status(lines[0].rstrip(b"\r"))
        headers = _headers_of(lines[1:])
        if 100 <= self._status < 200:
            if self._status == 101:
                raise HttpFault("broken", "the answer is in another protocol")
            return end < len(buffer)
        self._headers = headers
        self._in_head = False
        options = b",".join(headers.get(b"connection", ())).lower()
        self.reusable = version == b"1" and not any(one.strip() == b"close" for one in options.split(b","))
        self._begin_body()
        return True

    def _read_status(self, line: bytes) -> bytes:
        """Read the first line; the digit after ``HTTP/1.``."""
        # (A server may leave out the phrase, and the space before it.)
        if not (line[:7] == b"HTTP/1." and line[7:8] in (b"0", b"1") and line[8:9] == b" "):
            raise HttpFault("broken", "the answer is not HTTP/1.1")
        code = line[9:12]
        if not (len(code) == 3 and _DIGITS.issuperset(code) and code[:1] != b"0" and line[12:13] in (b"", b" ")):
            raise HttpFault("broken", "the answer has no status")
        self._status = int(code)
        return line[7:8]

    def _begin_body(self) -> None:
        headers = self._headers
        if b"content-encoding" in headers:
            raise HttpFault("broken", "the answer is compressed, which it was not asked to be")
        lengths, codings = headers.get(b"content-length"), headers.get(b"transfer-encoding")
        if self._status in (204, 304):
            self._rest = 0
            self.reusable = self.reusable and codings is None and lengths in (None, [b"0"])
        elif codings is not None:
            if len(codings) != 1 or codings[0].lower() != b"chunked":
                raise HttpFault("broken", "the answer has a transfer coding that is not known")
            self._chunked = True
            # One that has both may be an attack on a reader in between (RFC 9112, section 6.3).
            self.reusable = self.reusable and lengths is None
        elif lengths is not None:
            if len(lengths) != 1 or not lengths[0] or not _DIGITS.issuperset(lengths[0]):
                raise HttpFault("broken", "the answer has no valid length")
            # (Python refuses to read a number of thousands of digits.)
            self._rest = int(lengths[0].lstrip(b"0")[: MAX_DIGITS + 1] or b"0")
            if self._rest > self._most:
                raise self._too_large()
        else:
            self.reusable = False

    def _read_body(self) -> bool:
        if self._take(self._rest):
            self._complete()
        return False

    def _read_chunk(self) -> bool:
        if self._chunk == "data":
            if not self._take(self._rest):
                return False
            self._chunk = "end"
        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            return False  # all that comes is bounded
        line = self._buffer[self._at : end].rstrip(b"\r")
        self._at = end + 1
        if self._chunk == "length":
            self._begin_chunk(line)
        elif self._chunk == "end":
            if line:
                raise HttpFault("broken", "the answer has a chunk of another length than it says")
            self._chunk = "length"
        elif not line:
            self._complete()
        return self.answer is None

    def _begin_chunk(self, line: bytes) -> None:
        digits = line.partition(b";")[0].strip(b" \t")
        if not digits or not _HEX_DIGITS.issuperset(digits):
            raise HttpFault("broken", "the answer has a chunk without a length")
        digits = digits.lstrip(b"0")
        length = int(digits[: MAX_DIGITS + 1] or b"0", 16)
        if self._size + length > self._most:
            raise self._too_large()
        self._chunks += 1
        if self._chunks > MAX_CHUNKS:
            raise HttpFault("too_large", f"the answer has more than {MAX_CHUNKS} chunks")
        self._rest = length
        self._chunk = "data" if length else "trailer"

    def _take(self, length: int | None) -> bool:
        """Take what has come of a body, or of a chunk, of which ``length`` is left; whether all of it has."""
        data = self._buffer[self._at :] if length is None else self._buffer[self._at : self._at + length]
        self._at += len(data)
        self._size += len(data)
        if self._size > self._most:
            raise self._too_large()
        if data:
            self._parts.append(data)
        if length is None:
            return False
        self._rest = length - len(data)
        return self._rest == 0

    def _too_large(self) -> HttpFault:
        return HttpFault("too_large", f"the answer is larger than {self._most} bytes")

    def _complete(self) -> None:
        self.answer = HttpAnswer(self._status, self._headers, b"".join(self._parts))


def _end_of_head(buffer: bytes, start: int) -> int | None:
    """Where the empty line ends."""
    with_cr, bare = buffer.find(b"\n\r\n", start), buffer.find(b"\n\n", start)
    if with_cr < 0 and bare < 0:
        return None
    return bare + 2 if with_cr < 0 or 0 <= bare < with_cr else with_cr + 3


def _headers_of(lines: Sequence[bytes]) -> dict[bytes, list[bytes]]:
    """The headers in the lines of a head; the last two are empty. Raises HttpFault."""
    headers: dict[bytes, list[bytes]] = {}
    values: list[bytes] | None = None
    for line in lines:
        text = line.rstrip(b"\r")
        if not text:
            continue
        if text[:1] in (b" ", b"\t"):
            if values is None:
                raise HttpFault("broken", "the answer has a header without a name")
            values[-1] = (values[-1] + b" " + text.strip(b" \t")).strip(b" ")
            continue
        name, colon, value = text.partition(b":")
        if not (colon and name and _TOKEN.issuperset(name)):
            raise HttpFault("broken", "the answer has a header without a name")
        values = headers.setdefault(name.lower(), [])
        values.append(value.strip(b" \t"))
    return headers
