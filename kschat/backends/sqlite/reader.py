"""A reader thread. It has a connection of its own, so that no query waits for a commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Literal, TypeVar, TypeVarTuple, Unpack

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from kschat.backends.sqlite.database import connect, why
from kschat.backends.sqlite.memtable import MemTable
from kschat.backends.sqlite.queries import Queries
from kschat.backends.sqlite.writer import Writer
from kschat.chat.interfaces import StoreUnavailable

Ts = TypeVarTuple("Ts")
T = TypeVar("T")

#: Runs of one checkpoint. Each writes what was committed during the one before.
CHECKPOINT_RUNS: Final = 5


class Reader:
    """A reader thread.

    Args:
        reactor: its thread gets the results.
        writer: owns the database; while it has none, each query fails.
        failed: called on the reactor thread with the reason if a query fails by itself.
        name: of the thread.
        mode: of its connection; ``rw`` allows checkpoints.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        writer: Writer,
        failed: Callable[[str], None],
        name: str,
        mode: Literal["ro", "rw"] = "ro",
    ) -> None:
        self._mode = mode
        self._told = False
        self._reactor = reactor
        self._writer = writer
        self._failed = failed
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._ended = False
        self._stopping = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def refuse(self) -> None:
        """Refuse new queries."""
        self._stopping = True

    def stop(self) -> Deferred[None]:
        """Answer all queries that wait, and end the thread."""
        self.refuse()
        ended: Deferred[None] = Deferred()
        self._queue.put(lambda: self._stop(ended))
        return ended

    def let_go(self) -> None:
        """Close the connection, from another thread; return when it is closed."""
        closed = threading.Event()

        def close() -> None:
            self._close()
            closed.set()

        self._queue.put(close)
        closed.wait()

    def ask(self, question: Callable[[Queries, MemTable, Unpack[Ts]], T], *arguments: *Ts) -> Deferred[T]:
        """Call a method of ``Queries``. Fails with StoreUnavailable."""
        if self._stopping:
            return fail(StoreUnavailable("the store was stopped"))
        answer: Deferred[T] = Deferred()
        self._queue.put(lambda: self._answer(question, arguments, answer))
        return answer

    def checkpoint(self) -> None:
        """Checkpoint the write-ahead log soon. May be called on any thread, at any rate."""
        if not self._told and not self._stopping:
            self._told = True
            self._queue.put(self._checkpoint)

    # On the reader thread.

    def _checkpoint(self) -> None:
        self._told = False
        transactions = self._writer.transactions
        if transactions is None:
            return
        try:
            if self._connection is None:
                self._connection = connect(transactions.database.path, self._mode)
            # PASSIVE waits for nobody and blocks nobody. If the disk fails, the writer will see it too.
            # What was committed meanwhile is left over, and the log restarts only once nothing is: so again, which is
            # little work then.
            before = None
            for _ in range(CHECKPOINT_RUNS):
                done = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if done == before:
                    break
                before = done
        except sqlite3.Error:
            self._close()

    def _run(self) -> None:
        while not self._ended:
            self._queue.get()()

    def _answer(self, question: Callable[..., Any], arguments: tuple[Any, ...], answer: Deferred[Any]) -> None:
        result: Any
        self._writer.tried.wait()
        transactions = self._writer.transactions
        if transactions is None:
            result = Failure(StoreUnavailable(self._writer.why))
        else:
            try:
                if self._connection is None:
                    self._connection = connect(transactions.database.path, self._mode)
                result = question(Queries(self._connection), transactions.memtable, *arguments)
            except Exception as error:  # noqa: BLE001 - whoever asked must hear of it, whatever it is
                reason = why(error) if isinstance(error, sqlite3.Error) else f"an error that should not be: {error!r}"
                result = Failure(StoreUnavailable(reason))
                self._close()
                self._reactor.callFromThread(self._failed, reason)
        self._reactor.callFromThread(answer.callback, result)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _stop(self, ended: Deferred[None]) -> None:
        self._close()
        self._ended = True
        self._reactor.callFromThread(self._join, ended)

    def _join(self, ended: Deferred[None]) -> None:
        self._thread.join()
        ended.callback(None)
