"""What a row is, and what its code is given: an ``Attack``, with which it connects, floods, reads and counts."""

from __future__ import annotations

import errno
import re
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from attack.wire import Client, Refused, connect

#: Where attackers come from, unless a row comes from many addresses. The healthy pair has another address.
SOURCE: Final = "127.0.0.2"

#: The environment variable with the broker's URL, if the row has a broker.
BROKER: Final = "ATTACK_BROKER"

#: The environment variable with the port that hooks are posted to, if the row receives them.
RECEIVER: Final = "ATTACK_RECEIVER"

#: What is counted as an answer where a thread goes on behind its time: it waits for the daemon, or is stuck.
LATE: Final = "the attacker did not end in time"

#: What a daemon answers, as bytes of whatever it writes.
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d\d\d) ")
_ERROR: Final = re.compile(rb'"ER":([1-9]\d*)')
_GOODBYE: Final = re.compile(rb'"Goodbye",\{[^}]*"reason":"(\w+)"')
_CLOSE: Final = re.compile(rb"\x88[\x02-\x7d](..)([ -~]*)\Z", re.DOTALL)
_REFUSED: Final = re.compile(rb"44/\w*,")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One attack.

    Attributes:
        name: for ``make attack ROW=name``.
        kind: the kind of issue that it is of.
        what: what the attacker does, in one line.
        attack: does it, in one of ``connections`` threads, until the time is over.
        prepare: fills the store, or joins, before the baseline is measured.
        settings: of the daemon, beside those of all rows.
        backend: ``memory``, ``sqlite`` or ``redis`` (with RabbitMQ).
        connections: attacking threads.
        answers: the attacker must get an answer that begins with each of these.
        never: and none that begins with one of these.
        tls: the daemon listens by TLS.
        probe: no flood but some requests, whose answers are the result.
        clean_log: bytes that the daemon's log must not contain.
        log_has: bytes that it must contain.
        listens: the setting of another port of the daemon, which is attacked instead of the clients' port.
        descriptors: files that the daemon may open; 0 for the system's limit.
        hangups: how often in a second the operator sends SIGHUP meanwhile.
        ends: whether the operator sends SIGTERM before the attack.
        receives: whether hooks are posted to the attacker.
    """

    name: str
    kind: str
    what: str
    attack: Callable[[Attack], None]
    prepare: Callable[[Attack], None] | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    backend: str = "memory"
    connections: int = 3
    answers: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    tls: bool = False
    probe: bool = False
    clean_log: tuple[bytes, ...] = ()
    log_has: tuple[bytes, ...] = ()
    listens: str = ""
    descriptors: int = 0
    hangups: int = 0
    ends: bool = False
    receives: bool = False


class Attack:
    """One attacking thread.

    Args:
        port: the daemon's port that is attacked.
        clients_port: the one for clients.
        number: of the thread.
        answers: counts what was answered, for all threads.
        reader: reads sockets.
        tls: whether the daemon speaks TLS.
        tag: makes names of users that nobody else has.
    """

    def __init__(
        self,
        port: int,
        *,
        clients_port: int,
        number: int,
        answers: Counter[str],
        reader: Reader,
        tls: bool = False,
        tag: str = "a",
    ) -> None:
        self.port = port
        self.clients_port = clients_port
        self.number = number
        self.answers = answers
        self.reader = reader
        self.tls = tls
        self.user = f"att{tag}n{number}"
        self.until = 0.0
        #: What is kept open until the process ends.
        self.kept: list[Any] = []

    @property
    def on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.until

    def connect(self, source: str = SOURCE, receive_buffer: int = 0) -> socket.socket:
        """A TCP connection."""
        return connect(self.port, source, receive_buffer)

    def client(self, *, reads: bool = True, user: str = "", **options: Any) -> Client:
        """A WebSocket; with ``reads``, a thread reads what it is sent."""
        client = Client(self.port, source=SOURCE, user=user, tls=self.tls, **options)
        if reads:
            self.reader.add(client.socket)
        return client

    def joined(self, user: str = "", *, reads: bool = True, **options: Any) -> Client:
        """A WebSocket that has joined the chat as this thread's user, or another."""
        return self.client(reads=reads, user=user or self.user, join=True, **options)

    def many(self, count: int, user: Callable[[int], str], **options: Any) -> list[Client]:
        """``count`` joined sockets; those that were refused are counted."""
        made = []
        for number in range(count):
            try:
                made.append(self.joined(user(number), **options))
            except OSError as error:
                self.count(error)
        return made

    def count(self, error: OSError) -> None:
        """An operation failed: count how."""
        self.answers[words(error)] += 1

    def flood(self, make: Callable[[], Client | socket.socket], data: Callable[[Any], bytes]) -> None:
        """Send ``data`` again and again as fast as it goes, by another connection each time that one was closed."""
        while self.on:
            link: Client | socket.socket | None = None
            try:
                link = make()
                raw = link.socket if isinstance(link, Client) else link
                sent = memoryview(data(link))
                raw.settimeout(0.5)
                while self.on:
                    rest = sent
                    while rest and self.on:
                        try:
                            rest = rest[raw.send(rest) :]
                        except TimeoutError:
                            self.answers["not read from"] += 1
                    self.answers["rounds"] += 1
            except OSError as error:
                self.count(error)
                time.sleep(0.02)
            finally:
                if link is not None:
                    self.reader.end(link.socket if isinstance(link, Client) else link)

    def again(self, once: Callable[[], object]) -> None:
        """Do it again and again."""
        while self.on:
            try:
                once()
                self.answers["rounds"] += 1
            except OSError as error:
                self.count(error)
                time.sleep(0.01)

    def open_many(self, data: Callable[[int], bytes], addresses: int = 1, most: int = 9000) -> None:
        """Open connections as fast as it goes; each sends ``data`` and is kept."""
        number = 0
        while self.on:
            number += 1
            source = SOURCE if addresses == 1 else f"127.1.{number % addresses // 250}.{number % addresses % 250 + 1}"
            try:
                link = connect(self.port, source)
                link.sendall(data(number))
            except OSError as error:
                self.count(error)
                time.sleep(0.005)
                continue
            self.answers["connections"] += 1
            self.reader.add(link)
            self.kept.append(link)
            if len(self.kept) > most:
                self.reader.end(self.kept.pop(0))

    def wait(self) -> None:
        """Do nothing more until the time is over."""
        while self.on:
            time.sleep(0.02)


def words(error: OSError) -> str:
    """An error in words that can be counted."""
    if isinstance(error, Refused):
        return str(error)
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


class Reader(threading.Thread):
    """Reads all sockets that it is given, and counts what they are answered.

    Args:
        answers: what is counted.
    """

    def __init__(self, answers: Counter[str]) -> None:
        super().__init__(daemon=True)
        self._answers = answers
        self._selector = selectors.DefaultSelector()
        self._tails: dict[socket.socket, bytes] = {}
        self._lock = threading.Lock()

    def add(self, link: socket.socket) -> None:
        """Read this one from here on."""
        with self._lock:
            self._tails[link] = b""
            self._selector.register(link, selectors.EVENT_READ)

    def end(self, link: socket.socket) -> None:
        """Close this one, whether it is read or not."""
        with self._lock:
            if link in self._tails:
                self._ended(link, "")
        link.close()

    def finish(self) -> None:
        """Count the close frames of those that are open still."""
        with self._lock:
            for link in list(self._tails):
                self._ended(link, "")

    def _ended(self, link: socket.socket, text: str) -> None:
        """Count how this one ended: by its close frame, or by ``text``."""
        found = _CLOSE.search(self._tails.pop(link))
        self._selector.unregister(link)
        code = 0 if found is None else int.from_bytes(found[1], "big")
        if found is not None and 1000 <= code < 5000:  # otherwise these bytes are not a close frame
            text = f"closed {code} {found[2].decode('latin-1')}".rstrip()
        if text:
            self._answers[text] += 1

    def run(self) -> None:
        """See ``Thread``."""
        while True:
            for key, _ in self._selector.select(0.05):
                link: socket.socket = key.fileobj  # type: ignore[assignment]
                with self._lock:
                    if link not in self._tails:
                        continue
                    try:
                        link.settimeout(0.5)
                        data = link.recv(1 << 18)
                    except TimeoutError:
                        continue
                    except (OSError, ValueError):
                        data = b""
                    self._read(link, data)

    def _read(self, link: socket.socket, data: bytes) -> None:
        if not data:
            self._ended(link, "closed")
            return
        self._tails[link] = (self._tails[link] + data)[-200:] if len(data) < 200 else data[-200:]
        for pattern, text in ((_STATUS, ""), (_ERROR, "ER "), (_GOODBYE, "Goodbye ")):
            for match in pattern.findall(data):
                self._answers[text + match.decode()] += 1
        refused = len(_REFUSED.findall(data))
        if refused:
            self._answers["join refused"] += refused
        if data[:1] == b"\x89" and len(data) < 16:
            # The daemon's ping: who answers none would be closed for its silence.
            size = data[1] & 0x7F
            try:
                link.send(bytes((0x8A, 0x80 | size)) + b"\0\0\0\0" + data[2 : 2 + size])
            except OSError:
                return
