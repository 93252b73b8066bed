"""A thread that reads: answers questions in turn, on a connection of its own, so that none waits for a commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar, TypeVarTuple, Unpack

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from kschat.backends.sqlite.database import connect, why
from kschat.backends.sqlite.queries import Queries
from kschat.backends.sqlite.recent import Recent
from kschat.backends.sqlite.writer import Writer
from kschat.chat.interfaces import StoreUnavailable

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


class Reader:
    """A thread that reads.

    Args:
        reactor: where answers go.
        writer: has the database; while it has not, every question fails.
        failed: called on the reactor's thread with the reason when a question fails by itself.
        name: of the thread.
    """

    def __init__(self, reactor: IReactorFromThreads, writer: Writer, failed: Callable[[str], None], name: str) -> None:
        self._reactor = reactor
        self._writer = writer
        self._failed = failed
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._connection: sqlite3.Connection | None = None
        self._ended = False
        self._stopping = False

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def refuse(self) -> None:
        """Take no questions any more."""
        self._stopping = True

    def stop(self) -> Deferred[None]:
        """Answer what was asked until now, and end."""
        self.refuse()
        ended: Deferred[None] = Deferred()
        self._queue.put(lambda: self._stop(ended))
        return ended

    def let_go(self) -> None:
        """Close the connection; returns when it is closed. Called on another thread."""
        closed = threading.Event()

        def close() -> None:
            self._close()
            closed.set()

        self._queue.put(close)
        closed.wait()

    def ask(self, question: Callable[[Queries, Recent, Unpack[Ts]], T], *arguments: *Ts) -> Deferred[T]:
        """Ask by a method of ``Queries``. Fails with StoreUnavailable."""
        if self._stopping:
            return fail(StoreUnavailable("the store was stopped"))
        answer: Deferred[T] = Deferred()
        self._queue.put(lambda: self._answer(question, arguments, answer))
        return answer

    # On the thread.

    def _run(self) -> None:
        while not self._ended:
            self._queue.get()()

    def _answer(self, question: Callable[..., Any], arguments: tuple[Any, ...], answer: Deferred[Any]) -> None:
        result: Any
        self._writer.tried.wait()
        session = self._writer.session
        if session is None:
            result = Failure(StoreUnavailable(self._writer.why))
        else:
            try:
                if self._connection is None:
                    self._connection = connect(session.database.path, "ro")
                result = question(Queries(self._connection), session.recent, *arguments)
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
