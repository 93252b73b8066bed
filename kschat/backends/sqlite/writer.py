"""The writer's thread: takes jobs, does all that wait in one transaction, and answers them together.

So a commit is shared by whatever arrived while the one before it was on its way to the disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar, TypeVarTuple, Unpack

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from kschat.backends.sqlite.database import Which, why
from kschat.backends.sqlite.session import Session
from kschat.chat.interfaces import RoomFull, Stored, StoreUnavailable
from kschat.chat.message import Error

Ts = TypeVarTuple("Ts")
T = TypeVar("T")


class Job:
    """Something to do in a transaction, and whom to answer."""

    __slots__ = ("answer", "arguments", "work")

    def __init__(self, work: Callable[..., Any], arguments: tuple[Any, ...], answer: Deferred[Any]) -> None:
        self.work = work
        self.arguments = arguments
        self.answer = answer


class Keeper(Protocol):
    """Who is told, on the reactor's thread, how the database is."""

    def opened(self, which: Which, renewed: str | None) -> None:
        """It is open. From now on it must be that file. ``renewed``: why its epoch is a new one, if it is."""

    def lost(self, why: str) -> None:
        """It could not be opened, or has failed: ``Writer.open`` tries again."""


class Writer:
    """The thread that writes.

    Args:
        reactor: where answers go.
        make: opens the database; called on the thread.
        let_go: makes the other threads let go of the database, and returns when they have.
        keeper: is told of changes.

    Attributes:
        session: the open database, or None. Other threads may look whether it is there, and at its ``recent``.
        why: why there is none.
        tried: set once it was tried to open it, so that whoever comes before that can wait.
    """

    def __init__(
        self, reactor: IReactorFromThreads, make: Callable[[], Session], let_go: Callable[[], None], keeper: Keeper
    ) -> None:
        self._reactor = reactor
        self._make = make
        self._let_go = let_go
        self._keeper = keeper
        self._queue: SimpleQueue[Job | Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="kschat store writer", daemon=True)
        self._ended = False
        self._stopping = False
        self.session: Session | None = None
        self.why = "it is not open yet"
        self.tried = threading.Event()

    def start(self) -> None:
        """Begin, and open the database."""
        self._thread.start()
        self.open()

    def open(self) -> None:
        """Open the database, unless it is open."""
        self._queue.put(self._open)

    def check(self) -> None:
        """Look after the database, though nobody may want to write. To be called every second."""
        self._queue.put(self._check)

    def tidy(self, now: float) -> None:
        """Delete by and by what is kept no longer at ``now``, in seconds since 1970."""

        def begin() -> None:
            if self.session is not None:
                self.session.retention.begin(now)

        self._queue.put(begin)

    def stop(self) -> Deferred[None]:
        """Do what was asked for until now, close the database, and end."""
        ended: Deferred[None] = Deferred()
        self._stopping = True
        self._queue.put(lambda: self._stop(ended))
        return ended

    def do(self, work: Callable[[Session, Unpack[Ts]], T], *arguments: *Ts) -> Deferred[T]:
        """Do a method of ``Session`` in a transaction; answers once it is durable. Fails with StoreUnavailable."""
        if self._stopping:
            return fail(StoreUnavailable("the store was stopped"))
        answer: Deferred[T] = Deferred()
        self._queue.put(Job(work, arguments, answer))
        return answer

    def do_in_parts(
        self, work: Callable[[Session, Unpack[Ts]], Generator[Any, None, T]], *arguments: *Ts
    ) -> Deferred[T]:
        """The same of a method that may write very much, and yields where a transaction is to end."""
        answer: Deferred[Any] = self.do(work, *arguments)
        return answer

    def between(self, work: Callable[[Session], T]) -> Deferred[T]:
        """Do a method of ``Session`` that is no part of a transaction, after all that was asked for until now."""
        answer: Deferred[T] = Deferred()
        self._queue.put(lambda: self._do_between(work, answer))
        return answer

    # On the thread.

    def _run(self) -> None:
        queue = self._queue
        while not self._ended:
            if self._busy and queue.empty():
                self._look_after()
                continue
            jobs: list[Job] = []
            one = queue.get()
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
        """Do jobs in one transaction, or in several where they write very much, and answer each when it is durable."""
        session = self.session
        if session is None:
            self._answer_all(jobs, [Failure(StoreUnavailable(self.why))] * len(jobs))
            return
        answered = 0
        results: list[Any] = []
        # Of a batch that goes on in another transaction, what is durable.
        kept: list[Stored] = []
        try:
            session.begin()
            for job in jobs:
                if session.full:
                    self._share(session)
                    answered = self._answer_next(jobs, answered, results)
                    session.begin()
                try:
                    result = job.work(session, *job.arguments)
                    if isinstance(result, Generator):
                        while True:
                            part = list(next(result))
                            self._share(session)
                            answered, kept = self._answer_next(jobs, answered, results), part
                            session.begin()
                except RoomFull as full:
                    result = Failure(full)
                except StopIteration as end:
                    result = end.value
                results.append(result)
                kept = []
            session.commit()
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

    def _share(self, session: Session) -> None:
        """End a transaction amid the jobs."""
        session.commit()
        if session.index_due:
            session.index_some()

    def _answer_next(self, jobs: list[Job], answered: int, results: list[Any]) -> int:
        """Answer those jobs of which there are results; how many are answered now."""
        upto = answered + len(results)
        self._answer_all(jobs[answered:upto], results[:])
        results.clear()
        return upto

    def _answer_all(self, jobs: list[Job], results: list[Any]) -> None:
        self._reactor.callFromThread(_answer, jobs, results)

    def _do_between(self, work: Callable[[Session], T], answer: Deferred[T]) -> None:
        result: T | Failure
        if self.session is None:
            result = Failure(StoreUnavailable(self.why))
        else:
            try:
                result = work(self.session)
            except Exception as error:  # noqa: BLE001 - as above
                self._lose(error)
                result = Failure(StoreUnavailable(self.why))
        self._reactor.callFromThread(answer.callback, result)

    def _look_after(self) -> None:
        """What is done when those who wait are answered: a little at a time."""
        session = self.session
        if session is None:
            return
        try:
            if session.index_due:
                session.index_some()
            if session.retention.due:
                session.tidy()
        except Exception as error:  # noqa: BLE001 - as above
            self._lose(error)

    @property
    def _busy(self) -> bool:
        """Whether there is something to do though nobody asks."""
        return self.session is not None and (self.session.index_due or self.session.retention.due)

    def _open(self) -> None:
        if self.session is None:
            try:
                self.session = self._make()
            except Exception as error:  # noqa: BLE001 - as above
                self._lose(error)
            else:
                self.tried.set()
                database = self.session.database
                self._reactor.callFromThread(self._keeper.opened, database.which, database.renewed)

    def _check(self) -> None:
        if self.session is not None:
            try:
                self.session.look_after()
            except Exception as error:  # noqa: BLE001 - as above
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        known = isinstance(error, (sqlite3.Error, OSError, StoreUnavailable))
        self.why = why(error) if known else f"an error that should not be: {error!r}"
        self.tried.set()
        self._close()
        self._reactor.callFromThread(self._keeper.lost, self.why)

    def _close(self) -> None:
        session, self.session = self.session, None
        # The others first: the last connection to be closed removes the write-ahead log by its name.
        self._let_go()
        if session is not None:
            session.close()

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
