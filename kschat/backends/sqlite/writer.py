"""The writer thread: takes all waiting jobs, runs them in one transaction, and answers them together.

All jobs that arrive during one commit therefore share the next.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from kschat.backends.sqlite.database import FileIdentity, why
from kschat.backends.sqlite.transactions import Transactions
from kschat.chat.interfaces import LimitReached, Stored, StoreUnavailable
from kschat.chat.message import Error

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


class Job:
    """A method to call in a transaction, and the Deferred that gets its result."""

    __slots__ = ("answer", "arguments", "work")

    def __init__(self, work: Callable[..., Any], arguments: tuple[Any, ...], answer: Deferred[Any]) -> None:
        self.work = work
        self.arguments = arguments
        self.answer = answer


class DatabaseListener(Protocol):
    """Is told about the state of the database, on the reactor thread."""

    def opened(self, which: FileIdentity, renewed: str | None) -> None:
        """The database is open; from now on it must be this file. ``renewed``: why a new epoch began, or None."""

    def lost(self, why: str) -> None:
        """The database could not be opened, or failed. ``Writer.open`` tries again."""


class Writer:
    """The writer thread.

    Args:
        reactor: its thread gets the results.
        make: opens the database; called on the writer thread.
        let_go: closes the connections of the other threads; returns when they are closed.
        checkpoint: called when another thread should checkpoint the write-ahead log.
        listener: is told of changes.

    Attributes:
        transactions: the open database, or None. Other threads may look whether it is there, and at its ``memtable``.
        why: why there is none.
        tried: set once it was tried to open it, so that whoever comes before that can wait.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        make: Callable[[], Transactions],
        let_go: Callable[[], None],
        checkpoint: Callable[[], None],
        listener: DatabaseListener,
    ) -> None:
        self._reactor = reactor
        self._make = make
        self._let_go = let_go
        self._checkpoint = checkpoint
        self._listener = listener
        self._queue: SimpleQueue[Job | Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="kschat store writer", daemon=True)
        self._ended = False
        self._stopping = False
        self.transactions: Transactions | None = None
        self.why = "it is not open yet"
        self.tried = threading.Event()

    def start(self) -> None:
        """Start the thread, and open the database."""
        self._thread.start()
        self.open()

    def open(self) -> None:
        """Open the database if it is closed."""
        self._queue.put(self._open)

    def check(self) -> None:
        """Maintain the database; call this once a second."""
        self._queue.put(self._check)

    def tidy(self, now: float) -> None:
        """Begin a round of retention. ``now`` is in seconds since 1970."""

        def begin() -> None:
            if self.transactions is not None:
                self.transactions.retention.begin(now)

        self._queue.put(begin)

    def stop(self) -> Deferred[None]:
        """Finish all jobs, close the database, and end the thread."""
        ended: Deferred[None] = Deferred()
        self._stopping = True
        self._queue.put(lambda: self._stop(ended))
        return ended

    def do(self, work: Callable[[Transactions, Unpack[Ts]], T], *arguments: *Ts) -> Deferred[T]:
        """Call a method of ``Transactions`` in a transaction; fires once it is durable. Fails with StoreUnavailable."""
        if self._stopping:
            return fail(StoreUnavailable("the store was stopped"))
        answer: Deferred[T] = Deferred()
        self._queue.put(Job(work, arguments, answer))
        return answer

    def do_in_parts(
        self, work: Callable[[Transactions, Unpack[Ts]], Generator[Any, None, T]], *arguments: *Ts
    ) -> Deferred[T]:
        """Like ``do``, for a generator that yields where its transaction should end."""
        answer: Deferred[Any] = self.do(work, *arguments)
        return answer

    def between(self, work: Callable[[Transactions], T]) -> Deferred[T]:
        """Call a method of ``Transactions`` outside of a transaction, after all earlier jobs. Fails as ``do`` does."""
        if self._stopping:
            return fail(StoreUnavailable("the store was stopped"))
        answer: Deferred[T] = Deferred()
        self._queue.put(lambda: self._do_between(work, answer))
        return answer

    # On the writer thread.

    def _run(self) -> None:
        queue = self._queue
        while not self._ended:
            if self._busy and queue.empty():
                self._look_after()
                continue
            jobs: list[Job] = []
            try:
                one = queue.get(timeout=self._rest)
            except Empty:
                continue
            while isinstance(one, Job):
                jobs.append(one)
                if queue.empty():
                    break
                one = queue.get()
            if jobs:
                self._do(jobs)
            if not isinstance(one, Job):
                one()
            self._look_after()

    def _do(self, jobs: list[Job]) -> None:
        """Do jobs in one transaction, or in several if they write very much; answer each once it is durable."""
        transactions = self.transactions
        if transactions is None:
            self._answer_all(jobs, [Failure(StoreUnavailable(self.why))] * len(jobs))
            return
        answered = 0
        results: list[Any] = []
        # The durable part of a batch that continues in another transaction.
        kept: list[Stored] = []
        try:
            transactions.begin()
            for job in jobs:
                if transactions.full:
                    self._share(transactions)
                    answered = self._answer_next(jobs, answered, results)
                    transactions.begin()
                try:
                    result = job.work(transactions, *job.arguments)
                    if isinstance(result, Generator):
                        while True:
                            part = list(next(result))
                            self._share(transactions)
                            answered, kept = self._answer_next(jobs, answered, results), part
                            transactions.begin()
                except LimitReached as full:
                    result = Failure(full)
                except StopIteration as end:
                    result = end.value
                results.append(result)
                kept = []
            transactions.commit()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing was kept, and each caller must hear of it
            self._lose(error)
            failures: list[Any] = [Failure(StoreUnavailable(self.why))] * (len(jobs) - answered)
            if kept:
                batch = jobs[answered].arguments[0]
                refused = [Stored(message, (), False, Error.NO_STORE) for message in batch[len(kept) :]]
                failures[0] = kept + refused
            self._answer_all(jobs[answered:], failures)
            return
        self._answer_next(jobs, answered, results)

    def _share(self, transactions: Transactions) -> None:
        """End a transaction between jobs, or within one."""
        transactions.commit()
        if transactions.index_due:
            transactions.index_some()

    def _answer_next(self, jobs: list[Job], answered: int, results: list[Any]) -> int:
        """Answer the jobs that have results; return how many jobs are answered in total."""
        upto = answered + len(results)
        self._answer_all(jobs[answered:upto], results[:])
        results.clear()
        return upto

    def _answer_all(self, jobs: list[Job], results: list[Any]) -> None:
        self._reactor.callFromThread(_answer, jobs, results)

    def _do_between(self, work: Callable[[Transactions], T], answer: Deferred[T]) -> None:
        result: T | Failure
        if self.transactions is None:
            result = Failure(StoreUnavailable(self.why))
        else:
            try:
                result = work(self.transactions)
            except Exception as error:  # noqa: BLE001 - as above
                self._lose(error)
                result = Failure(StoreUnavailable(self.why))
        self._reactor.callFromThread(answer.callback, result)

    def _look_after(self) -> None:
        """Do a step of background work, after the jobs are answered."""
        transactions = self.transactions
        if transactions is None:
            return
        try:
            if transactions.index_due:
                transactions.index_some()
            if transactions.retention.rest == 0:
                transactions.tidy()
                # A step changes pages all over the file. They are written while retention rests: what is left until
                # the log is full, the writer must write, and senders wait for it.
                self._checkpoint()
            if transactions.database.has_written_much():
                self._checkpoint()
        except Exception as error:  # noqa: BLE001 - as above
            self._lose(error)

    @property
    def _busy(self) -> bool:
        """Whether there is background work."""
        return self.transactions is not None and (self.transactions.index_due or self._rest == 0)

    @property
    def _rest(self) -> float | None:
        """Seconds until there is background work; None if there is none."""
        return None if self.transactions is None else self.transactions.retention.rest

    def _open(self) -> None:
        if self.transactions is None:
            try:
                self.transactions = self._make()
            except Exception as error:  # noqa: BLE001 - as above
                self._lose(error)
            else:
                self.tried.set()
                database = self.transactions.database
                self._reactor.callFromThread(self._listener.opened, database.which, database.renewed)

    def _check(self) -> None:
        if self.transactions is not None:
            try:
                self.transactions.look_after()
            except Exception as error:  # noqa: BLE001 - as above
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        known = isinstance(error, (sqlite3.Error, OSError, StoreUnavailable))
        self.why = why(error) if known else f"an error that should not be: {error!r}"
        self.tried.set()
        self._close()
        self._reactor.callFromThread(self._listener.lost, self.why)

    def _close(self) -> None:
        transactions, self.transactions = self.transactions, None
        # The other connections first: the last one to close deletes the write-ahead log by name.
        self._let_go()
        if transactions is not None:
            transactions.close()

    def _stop(self, ended: Deferred[None]) -> None:
        self._close()
        self._ended = True
        self._reactor.callFromThread(self._join, ended)

    def _join(self, ended: Deferred[None]) -> None:
        self._thread.join()
        ended.callback(None)


def _answer(jobs: list[Job], results: list[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        # A Failure makes it fail.
        job.answer.callback(result)
