"""What others publish on a bus's channels in Redis: a line in the log that quotes none of it, and no more."""

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.redis import RedisBus, Settings
from kschat.backends.redis.client.connection import Subscriber
from kschat.counters import Counters

TEXT = b"what nobody else may read"


class Listener:
    """Is told nothing here."""

    def on_presence(self, user: str, online: bool, seen: int | None) -> None:
        raise AssertionError(f"{user} is online: {online}")

    def on_commands(self, user: str | None, commands: object) -> None:
        raise AssertionError(f"{user} is told {commands}")


class BusTests(SynchronousTestCase):
    def test_what_can_not_be_read_is_one_line_that_holds_nothing_of_it(self) -> None:
        settings = Settings(url="redis://127.0.0.1:1")
        bus = RedisBus(settings, settings, Clock(), Counters())
        bus.attach(Listener())  # type: ignore[arg-type]
        events: list[Any] = []
        noted: Any = events.append
        globalLogPublisher.addObserver(noted)
        self.addCleanup(globalLogPublisher.removeObserver, noted)
        for channel, body in (
            (bus._presence + b"ann", b"0inf"),
            (bus._presence + b"ann\xff", b"1"),
            (bus._user + b"ann\xff" + TEXT, TEXT),
            (bus._user + b"ann", b"\xff" * 100 + TEXT),
        ):
            bus._arrived(channel, body)
        lines = [event for event in events if "Redis" in str(event.get("log_format"))]
        self.assertEqual({event["log_level"].name for event in lines}, {"warn"})
        self.assertEqual(len(lines), 4)
        self.assertNotIn(TEXT.decode(), repr(lines))


class _Wire(StringTransport):
    """A transport that knows TCP's options."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It is no socket."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """It is no socket."""


class SubscriberTests(SynchronousTestCase):
    """What listens to a server that is no Redis, or one that is broken, ends its connection and says why."""

    def ended(self, data: bytes) -> str:
        """Why a connection on which this came is ended; "" if it is not."""
        heard: list[tuple[bytes, bytes]] = []
        subscriber = Subscriber(Clock(), lambda channel, body: heard.append((channel, body)))
        subscriber.makeConnection(_Wire())
        subscriber.dataReceived(data)
        self.assertEqual(heard, [(b"a", b"b")] if data == WHOLE else [])
        return subscriber.why

    def test_what_is_published_arrives(self) -> None:
        self.assertEqual(self.ended(WHOLE), "")

    def test_what_is_not_a_channel_and_bytes_ends_the_connection(self) -> None:
        for data in (
            b"*1\r\n$7\r\nmessage\r\n",
            b"*2\r\n$7\r\nmessage\r\n$1\r\na\r\n",
            b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n",
            b"*3\r\n$7\r\nmessage\r\n*0\r\n$1\r\na\r\n",
            b"*4\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
        ):
            self.assertIn("does not speak as Redis does", self.ended(data), data)

    def test_what_hiredis_can_not_make_a_value_of_ends_the_connection(self) -> None:
        for data in (b"x", b"%1\r\n*0\r\n+a\r\n"):
            self.assertIn("does not speak as Redis does", self.ended(data), data)

    def test_an_empty_list_is_a_reply_without_a_request(self) -> None:
        self.assertIn("reply without a request", self.ended(b"*0\r\n"))


WHOLE = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n"
