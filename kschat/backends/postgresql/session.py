"""One connection to PostgreSQL: found among the hosts of the URL, set up, and used by one thread."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import psycopg
from psycopg.pq import ConnStatus

from kschat.backends.postgresql.address import Place
from kschat.backends.postgresql.faults import why
from kschat.backends.postgresql.schema_versions import SCHEMA, USE_LOCK, Schema, check_whole, upgrade
from kschat.chat.interfaces import StoreUnavailable

#: The oldest that has all that is used here.
OLDEST: Final = 130_000

#: Settings of each session. Plans are made once, and never go through a whole table: what a batch needs is found by
#: its index, whatever the tables' statistics said when the plan was made.
_SET: Final = (
    f"SET search_path TO {SCHEMA}; SET jit TO off; SET enable_seqscan TO off; SET enable_mergejoin TO off; "
    "SET plan_cache_mode TO force_generic_plan; SET client_min_messages TO warning; SET timezone TO 'UTC'; "
    "SET default_transaction_isolation TO 'read committed'; SET statement_timeout TO {patience}; "
    "SET idle_in_transaction_session_timeout TO {patience}; "
    # Else the locks of a daemon whose machine has gone are held for hours.
    "SET tcp_keepalives_idle TO 5; SET tcp_keepalives_interval TO 2; SET tcp_keepalives_count TO 3; "
    "SET tcp_user_timeout TO 10000"
)

#: Functions of PostgreSQL that warn when transaction numbers run out. The server logs that; no commit is in doubt.
_NUMBERING: Final = frozenset(
    {"GetNewTransactionId", "SetTransactionIdLimit", "GetNewMultiXactId", "SetMultiXactIdLimit"}
)

#: Told of a session when it begins to ask its server something, and with None when that has ended.
Watch = Callable[["Session | None"], None]


class Hello(msgspec.Struct, frozen=True):
    """What a database says of itself.

    Attributes:
        epoch, generation: of the offsets.
        server: which server and timeline it is, and which tables.
        begun: whether a generation began with this.
        clock: its clock, in seconds since 1970.
        version: of the server, as ``SHOW server_version`` says.
        warnings: what its settings may lose, each a sentence.
    """

    epoch: str
    generation: int
    server: str
    begun: bool
    clock: float
    version: str
    warnings: tuple[str, ...] = ()


def wait(readers: Sequence[int], writers: Sequence[int] = ()) -> set[int]:
    """Wait until some of these descriptors can be read from, or written to; those that can, or have ended."""
    poll = select.poll()
    for fd in readers:
        poll.register(fd, select.POLLIN | (select.POLLOUT if fd in writers else 0))
    return {fd for fd, _ in poll.poll()}


class Session:
    """A connection. Only ``abort`` may be called on another thread than that which made it.

    Args:
        place: where to.
        patience: seconds that a statement may take.
        made: called with it once it is connected, and can be aborted: until it is set up it waits for the server.

    Attributes:
        connection: for statements, each its own transaction unless one is begun.
        doubt: a warning of PostgreSQL's; after one in a commit it is unknown whether the standby has it.
        long_work: what the server does now that may take long; "" for nothing.

    Raises:
        psycopg.Error: it can't be connected, or may not write.
    """

    def __init__(self, place: Place, patience: float, made: Callable[[Session], None] | None = None) -> None:
        self.place = place
        self.doubt = ""
        self.long_work = ""
        self._lock = threading.Lock()
        self._why = ""
        self.connection: psycopg.Connection[Any] = psycopg.connect(place.conninfo, autocommit=True)
        try:
            if made is not None:
                made(self)
            if self.connection.info.server_version < OLDEST:
                raise psycopg.OperationalError(
                    f"it is of version {self.connection.info.server_version // 10_000}, and must be of "
                    f"{OLDEST // 10_000} or newer"
                )
            self.connection.add_notice_handler(self._noticed)
            self.connection.execute(_SET.format(patience=int(patience * 1000)).encode())
        except BaseException:
            self.close()
            raise

    @property
    def fd(self) -> int:
        """The socket's descriptor."""
        return self.connection.pgconn.socket

    @property
    def broken(self) -> bool:
        """Whether it has ended."""
        return self.connection.closed or self.connection.pgconn.status == ConnStatus.BAD

    @property
    def why(self) -> str:
        """Why it was aborted; "" if it was not."""
        return self._why

    def abort(self, reason: str) -> None:
        """End it from any thread: whoever waits for it is told by an error."""
        with self._lock:
            if self.connection.closed or self._why:
                return
            self._why = reason
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.fd)) as own:
                own.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self.connection.close()

    def standing(self) -> tuple[int, int]:
        """The generation and the timeline; of several servers that accept writes, the greatest is the newest."""
        row = self.connection.execute(
            "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
        ).fetchone()
        there = self.connection.execute("SELECT to_regclass('state') IS NOT NULL").fetchone()
        state = self.connection.execute("SELECT generation FROM state").fetchone() if there and there[0] else None
        return (int(state[0]) if state else 0), (int(row[0]) if row else 0)

    def greet(self, schema: Schema, *, alone: bool, begins: Callable[[str], object]) -> Hello:
        """Bring the schema up to date, and say that a daemon is here that writes.

        It writes something itself. So whatever was committed before, and can be seen, is as safe as a commit makes it.

        Args:
            schema: what it is to be.
            alone: whether no other daemon may use it.
            begins: called with what is done that may take long; ``long_work`` says the same.

        Raises:
            psycopg.Error, StoreUnavailable: it can't be used.
        """
        execute = self.connection.execute
        commit, fsync, version = execute(
            "SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('server_version')"
        ).fetchone() or ("", "", "")
        risky = commit == "off" or fsync == "off"
        if commit == "off":
            # What is said here has to be there after a crash: that later commits may not be.
            execute("SET synchronous_commit TO on")
        self.upgrade(schema, begins)
        check_whole(self.connection)
        lock = "pg_try_advisory_lock" if alone else "pg_try_advisory_lock_shared"
        (got,) = execute(f"SELECT {lock}(%s)", (USE_LOCK,)).fetchone() or (False,)
        if not got:
            raise StoreUnavailable(
                "another kschat uses it; several need RabbitMQ between them (give amqp)"
                if alone
                else "a kschat without RabbitMQ uses it: all of them need amqp"
            )
        epoch, generation, begun, clock, server = execute(
            "SELECT epoch, generation, begun, extract(epoch FROM now), server() FROM hello(%s)", (risky,)
        ).fetchone() or ("", 0, False, 0.0, "")
        if commit == "off":
            execute("RESET synchronous_commit")
        warnings = []
        if fsync == "off":
            warnings.append("fsync is off: a crash of its machine may lose all data")
        if commit == "off":
            warnings.append("synchronous_commit is off: a crash may lose what was acknowledged in the last second")
        if self.doubt:
            raise psycopg.OperationalError(self.doubt)
        return Hello(epoch, generation, server, begun, float(clock), version, tuple(warnings))

    def upgrade(self, schema: Schema, begins: Callable[[str], object]) -> None:
        """Bring the schema up to date. Raises as ``schema_versions.upgrade``."""

        def long_begins(what: str) -> None:
            self.long_work = what
            begins(what)

        try:
            upgrade(self.connection, schema, long_begins)
        finally:
            self.long_work = ""

    def _noticed(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING" and notice.source_function not in _NUMBERING:
            self.doubt = f"it warned: {(notice.message_primary or '').splitlines()[0]}"


def find(places: Sequence[Place], patience: float, watch: Watch | None = None) -> Session:
    """Connect to the newest of the servers that may be written to.

    Args:
        places: the hosts.
        patience: seconds that a statement may take.
        watch: gives up one that waits too long.

    Raises:
        StoreUnavailable: there is none; with a sentence that names each host and why.
    """
    found: list[tuple[tuple[int, int], Session]] = []
    reasons = []
    for place in places:
        try:
            session = Session(place, patience, watch)
            try:
                found.append((session.standing() if len(places) > 1 else (0, 0), session))
            except BaseException:
                session.close()
                raise
        except psycopg.Error as error:
            reasons.append(f"{place.name}: {why(error)}")
        except BaseException:
            for _, one in found:
                one.close()
            raise
        finally:
            # While the next host connects, this one is asked nothing.
            if watch is not None:
                watch(None)
    if not found:
        raise StoreUnavailable("; ".join(reasons))
    newest = max(found, key=lambda one: one[0])[1]
    for _, session in found:
        if session is not newest:
            session.close()
    return newest
