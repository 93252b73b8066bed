"""How answers to HTTP requests are read, without a connection."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.http_answers import MAX_CHUNKS, MAX_HEAD, AnswerReader, HttpAnswer, HttpFault

MOST = 1000

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(data: bytes, step: int = 0, closed: bool = False) -> AnswerReader:
    """Read all of it, so many bytes at once; 0 for all. Raises HttpFault."""
    reader = AnswerReader(MOST)
    for start in range(0, len(data), step or len(data)):
        reader.feed(data[start : start + (step or len(data))])
        if reader.answer is not None:
            break
    if closed:
        reader.end()
    return reader


class AnswerTests(SynchronousTestCase):
    def test_an_answer_is_the_same_however_its_bytes_come(self) -> None:
        chunks = CHUNKED + b"3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\n"
        for data, body, reusable in (
            (OK + b"Content-Length: 3\r\n\r\nabc", b"abc", True),
            (OK + b"Content-Length: 003\r\n\r\nabc", b"abc", True),
            (OK + b"Content-Length: 0\r\n\r\n", b"", True),
            (OK + b"Connection: Keep-Alive, Close\r\nContent-Length: 3\r\n\r\nabc", b"abc", False),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", False),
            (b"HTTP/1.1 204 None\r\n\r\n", b"", True),
            (b"HTTP/1.1 304\r\n\r\n", b"", True),
            (b"HTTP/1.1 204 None\r\nContent-Length: 9\r\n\r\n", b"", False),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + chunks, b"abc0123456789", True),
            (OK.replace(b"\r", b"") + b"Content-Length: 3\n\nabc", b"abc", True),
            (CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n") + b"0\r\n\r\n", b"", False),
        ):
            for step in (0, 1, 2, 7):
                reader = read(data, step)
                assert reader.answer is not None, (data, step)
                self.assertEqual((body, reusable), (reader.answer.body, reader.reusable), (data, step))

    def test_names_are_in_lower_case_and_values_are_stripped_and_unfolded(self) -> None:
        data = OK + b"X-A: 1 \r\nx-a:\t2\r\nX-Fold: a\r\n  b\r\n\tc\r\nContent-Length: 0\r\n\r\n"
        expected = HttpAnswer(200, {b"x-a": [b"1", b"2"], b"x-fold": [b"a b c"], b"content-length": [b"0"]}, b"")
        for step in (0, 1):
            self.assertEqual(expected, read(data, step).answer)

    def test_one_without_a_length_ends_with_the_connection_and_no_other_does(self) -> None:
        for step in (0, 1):
            reader = read(OK + b"\r\nabc", step)
            self.assertIsNone(reader.answer)
            reader.end()
            assert reader.answer is not None
            self.assertEqual((b"abc", False), (reader.answer.body, reader.reusable))
        for data in (
            b"",
            b"HTT",
            OK,
            OK + b"Content-Length: 3\r\n\r\nab",
            CHUNKED + b"3\r\nabc\r\n",
            CHUNKED + b"0\r\n",
        ):
            fault = self.assertRaises(HttpFault, read, data or b"HTTP/1.1 100 x\r\n\r\n", 0, True)
            self.assertEqual("broken", fault.kind)

    def test_what_follows_belongs_to_no_request(self) -> None:
        for data in (OK + b"Content-Length: 3\r\n\r\nabc" + OK, CHUNKED + b"0\r\n\r\n" + OK):
            reader = read(data)
            assert reader.answer is not None
            self.assertFalse(reader.reusable)
            self.assertNotIn(b"HTTP", reader.answer.body)

    def test_what_is_no_answer_is_broken(self) -> None:
        for data in (
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.2 200 OK\r\n\r\n",
            b"HTTP/1.1 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1 099 OK\r\n\r\n",
            b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
            b"HTTP/1.1  200 OK\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\n\r\n",
            OK + b"no colon\r\n\r\n",
            OK + b": no name\r\n\r\n",
            OK + b"X A: b\r\n\r\n",
            OK + b"X-A : b\r\n\r\n",
            OK + b" folded: first\r\n\r\n",
            OK + b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
            OK + b"Content-Length: +3\r\n\r\n",
            OK + b"Content-Length: -3\r\n\r\n",
            OK + b"Content-Length: 3, 3\r\n\r\n",
            OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
            OK + b"Content-Length: \r\n\r\n",
            OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            CHUNKED + b"\r\n",
            CHUNKED + b"0x3\r\nabc\r\n",
            CHUNKED + b"-3\r\nabc\r\n",
            CHUNKED + b"3\r\nabcd\r\n",
        ):
            for step in (0, 1):
                fault = self.assertRaises(HttpFault, read, data, step)
                self.assertEqual("broken", fault.kind, data)

    def test_what_is_too_large_is_refused_as_soon_as_that_is_known(self) -> None:
        for data in (
            OK + b"Content-Length: 1001\r\n\r\n",
            OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
            CHUNKED + b"3e9\r\n",
            CHUNKED + b"f" * 5000 + b"\r\n",
            CHUNKED + (b"1f4\r\n" + b"x" * 500 + b"\r\n") * 2 + b"1\r\n",
            OK + b"\r\n" + b"x" * (MOST + 1),
            OK + b"X-A: " + b"y" * MAX_HEAD,
            b"HTTP/1.1 100 Continue\r\n\r\n" * 2000,
            CHUNKED + b"1" + b";extension" * 5000,
            CHUNKED + b"0\r\n" + b"X-A: trailer\r\n" * 5000,
        ):
            for step in (0, 100):
                fault = self.assertRaises(HttpFault, read, data, step)
                self.assertEqual("too_large", fault.kind, data[:80])

    def test_there_are_so_many_chunks_and_no_more(self) -> None:
        chunks = b"1\r\nx\r\n" * (MAX_CHUNKS - 1)
        for more, kind in ((b"", ""), (b"1\r\nx\r\n", "too_large")):
            reader = AnswerReader(MAX_CHUNKS)
            try:
                reader.feed(CHUNKED + chunks + more + b"0\r\n\r\n")
            except HttpFault as fault:
                self.assertEqual(kind, fault.kind)
            else:
                assert reader.answer is not None
                self.assertEqual((MAX_CHUNKS - 1, ""), (len(reader.answer.body), kind))

    def test_a_body_of_exactly_the_bound_is_read(self) -> None:
        body = b"x" * MOST
        for data in (OK + b"Content-Length: 1000\r\n\r\n" + body, CHUNKED + b"3e8\r\n" + body + b"\r\n0\r\n\r\n"):
            answer = read(data).answer
            assert answer is not None
            self.assertEqual(body, answer.body)
