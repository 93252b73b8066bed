"""What others publish on a bus's channels in Redis: a line in the log that quotes none of it, and no more."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.redis import RedisBus, Settings
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
