"""Frames of the load, read back as RFC 6455 lays them out."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.frames import FIRST, PING, TEXT, Template, client_frame


def unmask(frame: bytes) -> tuple[int, bytes]:
    """Return the first byte and the payload of one whole client frame (RFC 6455, section 5.2)."""
    size, at = frame[1] & 0x7F, 2
    if size == 126:
        size, at = int.from_bytes(frame[2:4], "big"), 4
    elif size == 127:
        size, at = int.from_bytes(frame[2:10], "big"), 10
    payload = frame[at + 4 :]
    assert frame[1] & 0x80, "a client masks"
    assert len(payload) == size, (len(payload), size)
    return frame[0], bytes(byte ^ frame[at + n % 4] for n, byte in enumerate(payload))


class ClientFrameTests(SynchronousTestCase):
    def test_each_form_of_the_length_is_read_back(self) -> None:
        for size in (0, 1, 125, 126, 65535, 65536):
            with self.subTest(size=size):
                self.assertEqual(unmask(client_frame(PING, b"x" * size, 0x5A)), (0x89, b"x" * size))

    @given(st.binary(max_size=300), st.integers(0, 255))
    def test_any_payload_under_any_key_is_read_back(self, payload: bytes, key: int) -> None:
        self.assertEqual(unmask(client_frame(TEXT, payload, key)), (0x81, payload))


class TemplateTests(SynchronousTestCase):
    def test_the_number_stands_in_each_of_its_places(self) -> None:
        frame = Template(b'42%["x",%]', 7).fill(FIRST + 12)
        self.assertEqual(unmask(frame), (0x81, b'421000012["x",1000012]'))

    def test_a_long_template_has_the_long_form_of_the_length(self) -> None:
        frame = Template(b"%" + b"a" * 300, 200).fill(FIRST)
        self.assertEqual(unmask(frame), (0x81, b"1000000" + b"a" * 300))
