"""The threads that read, each with a connection of its own, so that no query waits for a commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import psycopg
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.python.failure import Failure

from kschat.backends.postgresql.address import Place
from kschat.backends.postgresql.faults import why
from kschat.backends.postgresql.session import Session
from kschat.chat.interfaces import StoreUnavailable

T = TypeVar("T")

#: Questions that may wait for their answers.
MAX_UNANSWERED: Final = 10_000


class Target:
    """Which server is read: the one that is written to.

    Attributes:
        place: its host.
        server: what it says of itself (see ``Hello``).
    """

    def __init__(self, place: Place, server: str) -> None:
        self.place = place
        self.server = server


class ReaderPool:
    """Some threads with one queue.

    Args:
        reactor: its thread gets the results.
        patience: seconds that a statement may take.
        count: of threads.
        name: of the threads.
        failed: called on the reactor thread with the reason if a question fails.
    """

    def __init__(self, reactor: Any, patience: float, count: int, name: str, failed: Callable[[str], None]) -> None:
        self._reactor: IReactorFromThreads = reactor
        self._queue: SimpleQueue[Callable[[_Reader], None]] = SimpleQueue()
        self._target: Target | None = None
        self._why = ""
        self._unanswered = 0
        self._failed = failed
        self._readers = [_Reader(reactor, self._queue, patience, f"{name} {number}") for number in range(1, count + 1)]
        self._running = False

    def start(self) -> None:
        """Start the threads."""
        self._running = True
        for reader in self._readers:
            reader.start()

    def stop(self) -> Deferred[None]:
        """Answer all that was asked, and end the threads."""
        if not self._running:
            return succeed(None)
        self._running = False
        return gatherResults([reader.stop() for reader in self._readers]).addCallback(lambda _: None)

    def use(self, target: Target) -> None:
        """Read there from now on."""
        self._target = target

    def lose(self, why: str) -> None:
        """There is nothing to read from. Whoever waits is told soon."""
        self._target, self._why = None, why
        for reader in self._readers:
            reader.abort(why)

    def look_after(self, now: float, patience: float) -> None:
        """Give up connections that take too long. ``now``: of the reactor's clock."""
        for reader in self._readers:
            if reader.since is not None and now - reader.since > patience:
                reader.abort(f"it answered nothing for {patience:g} seconds")

    def ask(self, question: Callable[[psycopg.Connection[Any]], T]) -> Deferred[T]:
        """Call a function with a connection, on one of the threads. Fails with StoreUnavailable."""
        target = self._target
        if not self._running:
            return fail(StoreUnavailable("the store is not running"))
        if target is None:
            return fail(StoreUnavailable(self._why))
        if self._unanswered >= MAX_UNANSWERED:
            return fail(StoreUnavailable("too much waits for PostgreSQL's answers"))
        self._unanswered += 1
        answer: Deferred[T] = Deferred()
        self._queue.put(lambda reader: self._answer(reader, target, question, answer))
        return answer

    def _answer(
        self,
        reader: _Reader,
        target: Target,
        question: Callable[[psycopg.Connection[Any]], T],
        answer: Deferred[T],
    ) -> None:
        """On one of the threads."""
        result: Any
        try:
            if self._target is not target:
                raise StoreUnavailable(self._why or "PostgreSQL was lost")
            result = reader.ask(target, question)
        except StoreUnavailable as error:
            result = Failure(error)
        except Exception as error:  # noqa: BLE001 - whoever asked must hear of it, whatever it is
            result = Failure(
                StoreUnavailable(
                    why(error) if isinstance(error, psycopg.Error) else f"an error that should not be: {error!r}"
                )
            )
        self._reactor.callFromThread(self._answered, answer, result)

    def _answered(self, answer: Deferred[T], result: Any) -> None:
        self._unanswered -= 1
        if isinstance(result, Failure) and self._target is not None:
            self._failed(result.getErrorMessage())
        answer.callback(result)


class _Reader:
    """One thread. ``since``: the clock's time when what it does was begun; None if it does nothing."""

    def __init__(self, reactor: Any, queue: SimpleQueue[Callable[[_Reader], None]], patience: float, name: str) -> None:
        self._reactor: IReactorFromThreads = reactor
        self._clock: IReactorTime = reactor
        self._queue = queue
        self._patience = patience
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._session: Session | None = None
        self._target: Target | None = None
        self._ended = False
        self._stopped: Deferred[None] = Deferred()
        self.since: float | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Deferred[None]:
        # Whichever thread takes it ends; there is one for each.
        self._queue.put(lambda reader: reader._end())
        return self._stopped

    def abort(self, why: str) -> None:
        session = self._session
        if session is not None:
            session.abort(why)

    def ask(self, target: Target, question: Callable[[psycopg.Connection[Any]], T]) -> T:
        """On the thread. Raises psycopg.Error, StoreUnavailable."""
        self.since = self._clock.seconds()
        try:
            fresh = self._session is None or self._target is not target or self._session.broken
            try:
                return question(self._connection(target))
            except psycopg.OperationalError:
                # One that was idle may have ended since: another one is tried.
                if fresh or self._session is None or not self._session.broken or self._session.why:
                    raise
                return question(self._connection(target))
        finally:
            self.since = None

    def _connection(self, target: Target) -> psycopg.Connection[Any]:
        if self._session is not None and self._target is target and not self._session.broken:
            return self._session.connection
        self._close()
        session = Session(target.place, self._patience, self._made)
        row = session.connection.execute("SELECT server()").fetchone()
        if row is None or row[0] != target.server:
            self._close()
            raise StoreUnavailable("another server is the primary now")
        self._target = target
        return session.connection

    def _made(self, session: Session) -> None:
        # Already now, so that it can be aborted if the server does not answer what sets it up.
        self._session, self._target = session, None

    def _run(self) -> None:
        while not self._ended:
            self._queue.get()(self)

    def _end(self) -> None:
        self._close()
        self._ended = True
        self._reactor.callFromThread(self._join)

    def _join(self) -> None:
        self._thread.join()
        self._stopped.callback(None)

    def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(psycopg.Error):
                session.close()
