"""What the writer thread does: batches, single statements, and work of several statements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from kschat.backends.postgresql.hooks import logged
from kschat.backends.postgresql.rows import COLUMNS, NAMED, append_parameters, message_of
from kschat.backends.postgresql.session import Session
from kschat.backends.postgresql.settings import SendRate
from kschat.backends.postgresql.wire import Call, Parameters
from kschat.chat.interfaces import MAX_READ_BACK, Stored, repeat_of
from kschat.chat.message import Error, Message
from kschat.chat.mids import number_of, renumbered

#: Messages and bytes of one call of ``append``; a single batch may have more. Another daemon that writes to the same
#: users waits for it.
MAX_MESSAGES: Final = 1000
MAX_BYTES: Final = 4_000_000

#: Outcomes of ``append``; 3 is that it is not allowed.
_KEPT, _KNOWN, _TWIN, _TOO_MANY = 0, 1, 2, 4

#: The first messages of repeats, each with its places. A large one is not read.
_SMALL: Final = f"m.size <= {MAX_READ_BACK} AND m.extra IS NULL"
FIRSTS: Final = (
    "SELECT m.conversation, "
    + COLUMNS.replace("m.msg", f"CASE WHEN {_SMALL} THEN m.msg ELSE '\\x' END").replace(
        "m.attachments", f"CASE WHEN {_SMALL} THEN m.attachments END"
    )
    + f", {_SMALL}, m.place, o.names, o.places FROM unnest($1, $2) AS t (talk, number) "
    f"JOIN messages m ON m.conversation = t.talk AND m.id = t.number {NAMED} LEFT JOIN LATERAL ("
    "SELECT array_agg(u.name ORDER BY x.n) AS names, array_agg(x.place ORDER BY x.n) AS places "
    "FROM unnest(m.members, m.places) WITH ORDINALITY AS x (id, place, n) "
    "JOIN users u ON u.id = x.id WHERE u.name IS NOT NULL) AS o ON true"
)

#: Says by when a statement is too late, in seconds since 1970 of the server's clock.
Deadline = Callable[[], float]


class Numbers:
    """The numbers of the messages of one daemon only rise. Only the writer thread uses it.

    Attributes:
        last: the greatest one that a message of this daemon was kept with.
    """

    def __init__(self) -> None:
        self.last = 0

    def saw(self, number: int) -> None:
        """A message was kept with this number."""
        self.last = max(self.last, number)


class Job:
    """Something to do, and the Deferred that gets its result.

    Attributes:
        answer: gets it on the reactor thread.
    """

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()


class BatchJob(Job):
    """Messages to append. ``single``: in a call of its own, since one with others was refused."""

    __slots__ = ("batch", "single", "size")

    def __init__(self, batch: Sequence[Message]) -> None:
        super().__init__()
        self.batch = batch
        self.size = sum(message.size for message in batch)
        self.single = False


class StatementJob(Job):
    """One statement; ``decode`` makes the result of its rows."""

    __slots__ = ("call", "decode")

    def __init__(self, call: Callable[[], Call], decode: Callable[[list[Any]], Any]) -> None:
        super().__init__()
        self.call = call
        self.decode = decode


class WorkJob(Job):
    """Several statements, by a function that gets the session."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[Session], Any]) -> None:
        super().__init__()
        self.work = work


class Flight:
    """What was sent for some jobs, until it is answered.

    Attributes:
        jobs: the jobs, in order.
        results: one a job, once all is known.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = jobs
        self.results: list[Any] | None = None

    def call(self) -> Call:
        """The statement to send first."""
        raise NotImplementedError

    def heard(self, rows: list[Any]) -> Call | None:
        """The rows of the last statement; returns another one to send."""
        raise NotImplementedError


class StatementFlight(Flight):
    """A single statement. ``after``: the turn of the batch before it."""

    def __init__(self, job: StatementJob, after: int) -> None:
        super().__init__([job])
        self._job = job
        self._after = after

    def call(self) -> Call:
        return self._job.call().after(self._after)

    def heard(self, rows: list[Any]) -> Call | None:
        self.results = [self._job.decode(rows)]
        return None


class BatchFlight(Flight):
    """Batches in one call of ``append``.

    Args:
        jobs: the batches.
        deadline: says when it is too late.
        numbers: of the daemon's messages.
        rate: of a sender.
        after: the turn of the call before.
        hooks: whether what is kept is logged for hooks.

    Attributes:
        turn: of this call.
    """

    def __init__(
        self,
        jobs: Sequence[BatchJob],
        deadline: Deadline,
        numbers: Numbers,
        *,
        rate: SendRate,
        after: int,
        hooks: bool,
    ) -> None:
        super().__init__(jobs)
        self._rate = rate
        self._after = after
        self._hooks = hooks
        self.turn = after + 1
        self._batches = [job.batch for job in jobs]
        self._messages = [message for batch in self._batches for message in batch]
        self._numbers = numbers
        self._deadline = deadline
        self._stored: list[Stored | None] = []
        # Of repeats: the place in the batch, and the first message's conversation and number.
        self._wanted: list[tuple[int, int, int]] = []
        self._twins: list[tuple[int, int]] = []

    def call(self) -> Call:
        arguments = append_parameters(
            self._messages,
            deadline=self._deadline(),
            turns=(self.turn, self._after),
            rate=self._rate,
            beyond=self._numbers.last,
        )
        call = arguments.call("append")
        return logged(call) if self._hooks else call

    def heard(self, rows: list[Any]) -> Call | None:
        if self._stored:
            self._found(rows)
            return None
        stored: list[Stored | None] = [None] * len(self._messages)
        for n, outcome, number, first, place, names, places in rows:
            message = self._messages[n - 1]
            if outcome == _KEPT:
                if number != number_of(message.mid):
                    message = renumbered(message, number)
                self._numbers.saw(number)
                if place is not None:
                    stored[n - 1] = Stored(message, ((message.recipient, place),))
                else:
                    stored[n - 1] = Stored(message, _pairs(names, places))
            elif outcome == _KNOWN:
                self._wanted.append((n - 1, first, number))
            elif outcome == _TWIN:
                self._twins.append((n - 1, first - 1))
            elif outcome == _TOO_MANY:
                stored[n - 1] = Stored(message, (), False, Error.TOO_MANY, place / 1_000_000)
            else:
                stored[n - 1] = Stored(message, (), False, Error.NOT_ALLOWED)
        self._stored = stored
        if self._wanted:
            arguments = Parameters().bigints([talk for _, talk, _ in self._wanted])
            arguments.bigints([number for _, _, number in self._wanted])
            return Call(FIRSTS.encode(), arguments.values, arguments.types)
        self._finish()
        return None

    @property
    def appended(self) -> bool:
        """Whether the batches are in the tables; what may follow are first messages of repeats."""
        return bool(self._stored)

    def _found(self, rows: list[Any]) -> None:
        found = {(row[0], row[1]): row for row in rows}
        for at, talk, number in self._wanted:
            message = self._messages[at]
            row = found.get((talk, number))
            if row is None:
                # It was deleted in this very moment. Whoever sends it again sends a new one.
                self._stored[at] = Stored(message, (), False, Error.NO_STORE)
                continue
            whole, place, names, places = row[-4:]
            first = message_of(row[1:-4])
            if place is not None:
                kept_at: tuple[tuple[str, int], ...] = ((first.recipient, place),)
            else:
                kept_at = tuple(
                    [(name.decode(), offset) for name, offset in zip(names or (), places or (), strict=True)]
                )
            self._stored[at] = repeat_of(Stored(first, kept_at, whole=bool(whole)), message)
        self._finish()

    def _finish(self) -> None:
        for at, first in self._twins:
            one = self._stored[first]
            assert one is not None
            self._stored[at] = repeat_of(one, self._messages[at])
        results: list[Any] = []
        begin = 0
        for batch in self._batches:
            results.append(self._stored[begin : begin + len(batch)])
            begin += len(batch)
        self.results = results


def _pairs(names: Sequence[bytes] | None, places: Sequence[int] | None) -> tuple[tuple[str, int], ...]:
    return tuple([(name.decode(), place) for name, place in zip(names or (), places or (), strict=True)])
