"""The writer thread: one connection, on which everything that writes is done in the order of the calls.

Batches that wait are appended by one statement, and so share its commit. While PostgreSQL does one, the next is sent.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import psycopg
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.python.failure import Failure

from kschat.backends.postgresql.faults import is_of_one, said, why
from kschat.backends.postgresql.jobs import (
    MAX_BYTES,
    MAX_MESSAGES,
    BatchFlight,
    BatchJob,
    Flight,
    Job,
    Numbers,
    StatementFlight,
    StatementJob,
    WorkJob,
)
from kschat.backends.postgresql.pipeline import Pipeline, Refused
from kschat.backends.postgresql.session import Session, Watch, wait
from kschat.backends.postgresql.settings import SendRate
from kschat.backends.postgresql.wire import Call
from kschat.chat.interfaces import LimitReached, StoreUnavailable
from kschat.chat.message import Message

T = TypeVar("T")

#: See ``Writer``.
OUT_OF_TURN: Final = "KS002"

#: Statements that are sent and not answered.
MAX_IN_FLIGHT: Final = 2


class Link:
    """A session, as the reactor thread sees it.

    Attributes:
        session: it.
        ended: whether it has.
        why: why.
        gone: fires when it has.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.ended = False
        self.why = ""
        self.gone: Deferred[None] = Deferred()

    def abort(self, why: str) -> None:
        """End it now: its thread is told by an error."""
        if not self.ended:
            self.session.abort(why)

    def lost(self, why: str) -> None:
        """It has ended."""
        if not self.ended:
            self.ended = True
            self.why = why
            self.gone.callback(None)


class Writer:
    """The thread, with one session after the other.

    Each batch has a turn. One that was sent before its turn, since the batch before it was refused, is refused too
    (KS002), and so is every statement. They are sent again, in their order, after what became of that batch.

    Args:
        reactor: its thread gets the results.
        deadline: says by when a batch is too late, on the server's clock.
        rate: of a sender.
        hooks: whether what is kept is logged for hooks.

    Attributes:
        since: the clock's time when what is done now was begun; None if nothing is.
        why: why there is no session.
    """

    def __init__(self, reactor: Any, deadline: Callable[[], float], rate: SendRate, *, hooks: bool) -> None:
        self._reactor: IReactorFromThreads = reactor
        self._clock: IReactorTime = reactor
        self._deadline = deadline
        self._rate = rate
        self._hooks = hooks
        #: See ``Numbers``; for functions that are called on the thread.
        self.numbers = Numbers()
        self._queue: SimpleQueue[Callable[[], None] | Job] = SimpleQueue()
        self._awake, self._waker = socket.socketpair()
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="kschat store writer", daemon=True)
        self._ended = False
        self._stopping = False
        # On the thread alone.
        self._link: Link | None = None
        self._pipeline: Pipeline | None = None
        self._todo: deque[Callable[[], None] | Job] = deque()
        self._flights: deque[Flight] = deque()
        # Of each statement that was sent: which of the flights it is of.
        self._sent: deque[Flight] = deque()
        # The turn of the last batch that was sent, and of the last that was kept.
        self._turn = self._kept_turn = 0
        # Whether a batch was refused, after which others are on their way; and what is to be sent again.
        self._halted = False
        self._again: list[Flight] = []
        # The session that is being set up: another thread may abort it.
        self._made_last: Session | None = None
        self.since: float | None = None
        self.why = "PostgreSQL is not connected yet"

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> Deferred[None]:
        """End the thread, after all else."""
        self._stopping = True
        ended: Deferred[None] = Deferred()

        def stop() -> None:
            self._lose("this daemon is shutting down")
            self._ended = True
            self._reactor.callFromThread(self._join, ended)

        self._put(stop)
        return ended

    def append(self, batch: Sequence[Message]) -> Deferred[Any]:
        """Append a batch."""
        return self._ask(BatchJob(batch))

    def statement(self, call: Callable[[], Call], decode: Callable[[list[Any]], T]) -> Deferred[T]:
        """Do one statement; ``decode`` makes the result of its rows, and may raise LimitReached."""
        return self._ask(StatementJob(call, decode))

    def work(self, work: Callable[[Session], T]) -> Deferred[T]:
        """Do several statements. ``work`` is called on the thread, and may raise LimitReached or StoreUnavailable."""
        return self._ask(WorkJob(work))

    def open(self, connect: Callable[[Watch], Session]) -> Deferred[Link]:
        """Connect, on the thread. ``connect`` is called with what is to be told of each session that it makes; fails as
        it does."""
        opened: Deferred[Link] = Deferred()

        def do() -> None:
            try:
                link = Link(connect(self._watch))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                self._reactor.callFromThread(_answer, opened, Failure(error))
                return
            finally:
                self.since = self._made_last = None
            if self._stopping:
                link.session.close()
            self._reactor.callFromThread(self._opened, opened, link)

        self._put(do)
        return opened

    def use(self, link: Link, prepare: Callable[[Session], T]) -> Deferred[T]:
        """Prepare a session, on the thread; from then on it is the one that is used."""
        prepared: Deferred[T] = Deferred()

        def do() -> None:
            self.since = self._clock.seconds()
            try:
                result = prepare(link.session)
            except Exception as error:  # noqa: BLE001 - as above
                self._reactor.callFromThread(_answer, prepared, Failure(error))
                return
            finally:
                self.since = None
            self._link = link
            self._turn = self._kept_turn = 0
            self._pipeline = Pipeline(link.session, self._awake.fileno())
            self._reactor.callFromThread(_answer, prepared, result)

        self._put(do)
        return prepared

    def close(self, link: Link, reason: str) -> None:
        """End a session, after all that was asked for before."""

        def do() -> None:
            if self._link is link:
                self._lose(reason)
            else:
                link.session.close()
                self._reactor.callFromThread(link.lost, reason)

        self._put(do)

    def look_after(self, now: float, patience: float) -> None:
        """Give up a session that takes too long. ``now``: of the reactor's clock."""
        since, link, made = self.since, self._link, self._made_last
        if since is not None and now - since > patience:
            session = made or (link.session if link is not None else None)
            if session is not None:
                session.abort(f"it answered nothing for {patience:g} seconds")

    def _ask(self, job: Job) -> Deferred[Any]:
        if self._stopping:
            return fail(StoreUnavailable("the store was stopped"))
        self._put(job)
        return job.answer

    def _put(self, one: Callable[[], None] | Job) -> None:
        self._queue.put(one)
        with suppress(BlockingIOError):
            self._waker.send(b".")

    def _opened(self, opened: Deferred[Link], link: Link) -> None:
        if opened.called:
            # Nobody waits for it any more.
            if not self._stopping:
                self.close(link, "nobody needs it")
        else:
            opened.callback(link)

    def _join(self, ended: Deferred[None]) -> None:
        self._thread.join()
        self._awake.close()
        self._waker.close()
        ended.callback(None)

    # On the thread.

    def _watch(self, session: Session | None) -> None:
        self._made_last, self.since = session, None if session is None else self._clock.seconds()

    def _run(self) -> None:
        while not self._ended:
            self._take()
            try:
                self._step()
            except psycopg.Error as error:
                self._lose(self._reason(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, who waits must hear of it
                self._lose(f"an error that should not be: {error!r}")

    def _take(self) -> None:
        with suppress(BlockingIOError):
            self._awake.recv(65536)
        with suppress(Empty):
            while True:
                self._todo.append(self._queue.get_nowait())

    def _step(self) -> None:
        while self._todo and self._begin():
            pass
        if self._sent:
            self._receive()
        elif not self._todo and not self._ended:
            self._wait()

    def _begin(self) -> bool:
        """Begin what is next. Whether there may be more to begin now."""
        one = self._todo[0]
        if not isinstance(one, Job):
            if self._sent:
                return False
            self._todo.popleft()
            one()
            return not self._ended
        link, pipeline = self._link, self._pipeline
        if link is None or pipeline is None:
            self._todo.popleft()
            self._answer([one], [Failure(StoreUnavailable(self.why))])
            return True
        if isinstance(one, WorkJob):
            if self._sent:
                return False
            self._todo.popleft()
            self._work(one, link.session, pipeline)
            return True
        if self._halted or len(self._sent) >= MAX_IN_FLIGHT:
            return False
        flight: Flight
        if isinstance(one, BatchJob):
            flight = BatchFlight(
                self._batches(),
                self._deadline,
                self.numbers,
                rate=self._rate,
                after=self._turn,
                hooks=self._hooks,
            )
            self._turn = flight.turn
        else:
            assert isinstance(one, StatementJob)
            self._todo.popleft()
            flight = StatementFlight(one, self._turn)
        self._flights.append(flight)
        self._send(pipeline, flight, flight.call())
        return True

    def _batches(self) -> list[BatchJob]:
        """The batches that are next, as many as go into one call."""
        found: list[BatchJob] = []
        messages = size = 0
        while self._todo:
            one = self._todo[0]
            if not isinstance(one, BatchJob):
                break
            messages, size = messages + len(one.batch), size + one.size
            if found and (one.single or messages > MAX_MESSAGES or size > MAX_BYTES):
                break
            found.append(one)
            self._todo.popleft()
            if one.single:
                break
        return found

    def _send(self, pipeline: Pipeline, flight: Flight, call: Call) -> None:
        if self.since is None:
            self.since = self._clock.seconds()
        self._sent.append(flight)
        pipeline.send(call)

    def _receive(self) -> None:
        pipeline = self._pipeline
        assert pipeline is not None
        answer = pipeline.receive()
        if answer is None:
            return
        flight = self._sent.popleft()
        self.since = self._clock.seconds() if self._sent else None
        if isinstance(answer, Refused):
            self._refused(flight, answer)
            self._resume()
            return
        if isinstance(flight, BatchFlight):
            self._kept_turn = max(self._kept_turn, flight.turn)
        try:
            call = flight.heard(answer)
        except LimitReached as full:
            flight.results = [Failure(full)]
            call = None
        if call is not None:
            self._send(pipeline, flight, call)
        self._answer_flights()
        self._resume()

    def _answer_flights(self) -> None:
        """Answer those that have their results, in order."""
        while self._flights and self._flights[0].results is not None:
            flight = self._flights.popleft()
            self._answer(flight.jobs, flight.results or ())

    def _resume(self) -> None:
        """Once all is answered that was sent behind a batch that was refused: send again what is to be sent again."""
        if self._halted and not self._sent:
            self._todo.extendleft(reversed([job for flight in self._again for job in flight.jobs]))
            self._again.clear()
            self._turn = self._kept_turn
            self._halted = False

    def _refused(self, flight: Flight, error: Refused) -> None:
        if self._halted and error.sqlstate == OUT_OF_TURN:
            self._flights.remove(flight)
            self._again.append(flight)
            return
        if not is_of_one(error.sqlstate):
            # Also what came too late (KS001): perhaps its clock was set, and the next session asks for the time again.
            raise psycopg.OperationalError(str(error))
        jobs = flight.jobs
        unkept = isinstance(flight, BatchFlight) and not flight.appended
        self._halted = self._halted or unkept
        if unkept and len(jobs) > 1 and error.sqlstate[:2] in ("22", "23"):
            # What is wrong with one of them is no reason to refuse the others.
            self._flights.remove(flight)
            self._again.append(flight)
            for job in jobs:
                if isinstance(job, BatchJob):
                    job.single = True
            return
        flight.results = [Failure(StoreUnavailable(f"PostgreSQL refused: {error}"))] * len(jobs)
        self._answer_flights()

    def _work(self, job: WorkJob, session: Session, pipeline: Pipeline) -> None:
        pipeline.leave()
        self.since = self._clock.seconds()
        try:
            result = job.work(session)
            if session.doubt:
                raise psycopg.OperationalError(session.doubt)
        except (LimitReached, StoreUnavailable) as refusal:
            result = Failure(refusal)
        except psycopg.Error as error:
            reason = self._reason(error)
            result = Failure(StoreUnavailable(reason))
            if session.broken or session.doubt or not is_of_one(error.sqlstate or ""):
                self._answer([job], [result])
                raise
        except BaseException as error:
            self._answer([job], [Failure(StoreUnavailable(f"an error that should not be: {error!r}"))])
            raise
        finally:
            self.since = None
        self._answer([job], [result])

    def _wait(self) -> None:
        """Wait for something to do, or the end of the connection."""
        readers = [self._awake.fileno()]
        if self._link is not None:
            readers.append(self._link.session.fd)
        ready = wait(readers)
        if self._link is not None and self._link.session.fd in ready:
            pgconn = self._link.session.connection.pgconn
            pgconn.consume_input()
            if self._link.session.broken:
                raise psycopg.OperationalError(pgconn.get_error_message())

    def _reason(self, error: psycopg.Error) -> str:
        link = self._link
        if link is not None and link.session.why:
            return link.session.why
        if error.sqlstate is not None:
            return said(error.sqlstate, str(error))
        return why(error)

    def _lose(self, reason: str) -> None:
        link, self._link, self._pipeline = self._link, None, None
        self.why, self.since = reason, None
        failure = Failure(StoreUnavailable(reason))
        flights, self._flights = self._flights, deque()
        self._sent.clear()
        again, self._again, self._halted = self._again, [], False
        for flight in (*flights, *again):
            self._answer(flight.jobs, flight.results or [failure] * len(flight.jobs))
        if link is not None:
            with suppress(psycopg.Error):
                link.session.close()
            self._reactor.callFromThread(link.lost, reason)

    def _answer(self, jobs: Sequence[Job], results: Sequence[Any]) -> None:
        self._reactor.callFromThread(_answer_all, jobs, results)


def _answer_all(jobs: Sequence[Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        # A Failure makes it fail.
        job.answer.callback(result)


def _answer(answer: Deferred[Any], result: Any) -> None:
    if not answer.called:
        answer.callback(result)
