"""A client of the load against hand-written bytes of a server."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bench.clients import ChatClient, Clock, Manner
from bench.frames import FIRST
from tests.bench.test_frames import unmask

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
OPEN = b'0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
JOINED = b'40/kschat,{"sid":"t"}'


def server_frame(payload: bytes, first: int = 0x81) -> bytes:
    """Return a frame as a server sends it."""
    size = bytes((len(payload),)) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes((first,)) + size + payload


def ack(number: int, response: str = "Send Emit is success.") -> bytes:
    """Return the ack of a Send."""
    return server_frame(b'43/kschat,%d[{"RESPONSE":"%b","uId":"a"}]' % (number, response.encode()))


def respsend(number: int) -> bytes:
    """Return RESPSEND as the tutorial sends it."""
    return server_frame(b'42/kschat,3["RESPSEND",{"RC":1,"ER":0,"SID":"a","RID":"b","MSG":"~~%d hi"}]' % number)


def arrival(*numbers: int, ack_id: bytes = b"5") -> bytes:
    """Return a RESPRECEIVER with these messages."""
    messages = ",".join(f'{{"uId":"b","msg":"~~{number} hi","rStatus":1}}' for number in numbers)
    return server_frame(b'42/kschat,%b["RESPRECEIVER",{"RC":1,"ER":0,"MSG":[%b]}]' % (ack_id, messages.encode()))


def client(joined: bool = True, **manner: object) -> ChatClient:
    """Return a client, joined unless told otherwise."""
    made = ChatClient("a", "b", "TOKEN", Manner(**manner), Clock(), key=9, time=1)  # type: ignore[arg-type]
    if joined:
        made.received(SWITCHING + server_frame(OPEN) + server_frame(JOINED), 0.0)
    return made


class GreetingTests(SynchronousTestCase):
    def test_the_token_and_the_revision_stand_in_the_query(self) -> None:
        line = client(revision=3).opening("127.0.0.1:1").partition(b"\r\n")[0]
        self.assertEqual(line, b"GET /socket.io/?EIO=3&transport=websocket&token=TOKEN&ksId=a HTTP/1.1")

    def test_it_joins_the_namespace_whatever_the_pieces(self) -> None:
        new = client(joined=False)
        out = b"".join(new.received(bytes((byte,)), 0.0) for byte in SWITCHING + server_frame(OPEN))
        self.assertEqual(unmask(out), (0x81, b"40/kschat,"))
        self.assertFalse(new.joined)
        new.received(server_frame(JOINED), 0.0)
        self.assertTrue(new.joined)

    def test_revision_3_is_greeted_for_the_default_namespace_too(self) -> None:
        new = client(joined=False, revision=3)
        new.received(SWITCHING + server_frame(OPEN) + server_frame(b"40"), 0.0)
        self.assertEqual((new.joined, new.fault), (False, ""))
        new.received(server_frame(b"40/kschat"), 0.0)
        self.assertTrue(new.joined)

    def test_a_refusal_is_a_fault(self) -> None:
        refused = client(joined=False)
        refused.received(b"HTTP/1.1 403 Forbidden\r\n\r\n", 0.0)
        self.assertIn("403", refused.fault)
        refused = client(joined=False)
        refused.received(SWITCHING + server_frame(OPEN) + server_frame(b'44/kschat,{"message":"no"}'), 0.0)
        self.assertIn('44/kschat,{"message":"no"}', refused.fault)


class HeartbeatTests(SynchronousTestCase):
    def test_pings_of_both_levels_are_answered(self) -> None:
        joined = client()
        self.assertEqual(unmask(joined.received(server_frame(b"2"), 0.0)), (0x81, b"3"))
        self.assertEqual(unmask(joined.received(server_frame(b"mark", first=0x89), 0.0)), (0x8A, b"mark"))

    def test_revision_3_pings_by_itself_when_it_is_time(self) -> None:
        joined = client(revision=3)
        self.assertEqual(joined.tick(24.9), b"")
        self.assertEqual(unmask(joined.tick(25.0)), (0x81, b"2"))
        self.assertEqual(joined.tick(49.9), b"")

    def test_revision_4_does_not_ping(self) -> None:
        self.assertEqual(client().tick(1000.0), b"")

    def test_a_close_frame_is_a_fault(self) -> None:
        joined = client()
        joined.received(server_frame(b"\x03\xe9bye", first=0x88), 0.0)
        self.assertIn("bye", joined.fault)


class ChatTests(SynchronousTestCase):
    def test_what_it_sends_is_a_send_with_an_ack_id(self) -> None:
        first, payload = unmask(client(texts=(24,)).send(1))
        message = b'"msg":"~~1000000 the quick brow","rno":1000000,"time":1}]'
        self.assertEqual((first, payload), (0x81, b'42/kschat,1000000["Send",{"uId":"a","pId":"b",' + message))

    def test_an_ack_makes_room_in_the_window(self) -> None:
        joined = client(window=2)
        joined.send(2)
        self.assertEqual(joined.room(), 0)
        joined.received(ack(FIRST), 0.0)
        self.assertEqual(joined.room(), 1)

    def test_until_delivered_an_ack_alone_makes_no_room(self) -> None:
        joined = client(window=1, until_delivered=True)
        joined.send(1)
        joined.received(ack(FIRST), 0.0)
        self.assertEqual(joined.room(), 0)
        joined.received(arrival(FIRST), 0.0)  # it is its own peer here
        self.assertEqual(joined.room(), 1)

    def test_messages_are_counted_however_the_bytes_are_cut(self) -> None:
        stream = b"".join(ack(FIRST + n) + respsend(FIRST + n) + arrival(FIRST + n) for n in range(5))
        for step in (1, 7, 50, len(stream)):
            with self.subTest(step=step):
                joined = client()
                for at in range(0, len(stream), step):
                    joined.received(stream[at : at + step], 0.0)
                counts = (joined.acks.count(), joined.respsends, joined.arrivals.count(), joined.others)
                self.assertEqual(counts, (5, 5, 5, 0))

    def test_a_failed_send_is_refused_and_not_lost(self) -> None:
        joined = client()
        joined.send(1)
        joined.received(ack(FIRST, "Send Emit is failed."), 0.0)
        self.assertEqual((joined.refused, joined.lost()), ({FIRST}, 0))

    def test_an_acknowledged_message_that_never_came_is_lost(self) -> None:
        joined = client()
        joined.send(1)
        joined.received(ack(FIRST), 0.0)
        self.assertEqual(joined.lost(), 1)

    def test_a_batch_in_one_frame_is_counted_whole(self) -> None:
        joined = client(batch=True)
        joined.received(arrival(FIRST, FIRST + 1, FIRST + 2), 0.0)
        self.assertEqual(joined.arrivals.count(), 3)

    def test_respreceiver_is_answered_where_told_so(self) -> None:
        self.assertEqual(client().received(arrival(FIRST), 0.0), b"")
        self.assertEqual(unmask(client(answers=True).received(arrival(FIRST), 0.0)), (0x81, b"43/kschat,5[]"))
        self.assertEqual(client(answers=True).received(arrival(FIRST, ack_id=b""), 0.0), b"")

    def test_a_latency_counts_from_the_moment_the_message_was_due(self) -> None:
        joined = client()
        joined.clock.begin = 10.0
        joined.due = [9.0, 11.0]
        joined.received(arrival(FIRST), 20.0)
        joined.received(arrival(FIRST + 1), 20.0)
        joined.received(arrival(FIRST + 1), 30.0)
        self.assertEqual(joined.clock.latencies, [9.0], "not of the warm-up, nor of a repeat")

    @given(st.binary(max_size=100))
    def test_an_unknown_frame_does_not_pass_unseen(self, noise: bytes) -> None:
        joined = client()
        joined.received(server_frame(b'42/kschat,["Goodbye",{"reason":"x"}]') + server_frame(noise, first=0x82), 0.0)
        self.assertEqual(joined.others, 1)
        self.assertTrue(joined.fault)
