"""Statements in flight on one connection, each a transaction of its own, by libpq's pipeline mode.

A statement is done once PostgreSQL has said that its transaction is committed, which comes after its rows.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any, Final

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import DiagnosticField, ExecStatus

from kschat.backends.postgresql.faults import said
from kschat.backends.postgresql.session import Session, wait
from kschat.backends.postgresql.wire import Call

#: Rows of an answer.
Rows = list[Any]

_BINARY: Final = 1


class Refused(Exception):
    """PostgreSQL did not do one statement.

    Attributes:
        sqlstate: why.
    """

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(said(sqlstate, text))
        self.sqlstate = sqlstate


class Pipeline:
    """The pipeline of one session, on its thread.

    Args:
        session: nobody else uses it between ``enter`` and ``leave``.
        wake: a descriptor that can be read from when there is something new to send.
    """

    def __init__(self, session: Session, wake: int) -> None:
        self._session = session
        self._pgconn = session.connection.pgconn
        self._wake = wake
        # By statement: the name that it was prepared by; and those of which PostgreSQL has confirmed that.
        self._prepared: dict[bytes, bytes] = {}
        self._confirmed: set[bytes] = set()
        self._names = count()
        self._sent: deque[Call] = deque()
        # What has come of the first of those.
        self._rows: Rows = []
        self._error: Refused | None = None
        self._entered = False

    def __len__(self) -> int:
        return len(self._sent)

    def send(self, call: Call) -> None:
        """Send a statement. Raises psycopg.Error: the connection has ended."""
        pgconn = self._pgconn
        if not self._entered:
            pgconn.enter_pipeline_mode()
            self._entered = True
        name = self._prepared.get(call.sql)
        if name is None:
            name = self._prepared[call.sql] = b"kschat%d" % next(self._names)
            pgconn.send_prepare(name, call.sql, call.types)
        pgconn.send_query_prepared(name, call.parameters, [_BINARY] * len(call.parameters), _BINARY)
        pgconn.pipeline_sync()
        self._sent.append(call)

    def receive(self) -> Rows | Refused | None:
        """Wait for the answer to the first statement that has none, or until somebody wakes this.

        Returns:
            Its rows, or why it was not done; None if there may be something new to send.

        Raises:
            psycopg.Error: the connection has ended, or it is unknown whether a commit is safe.
        """
        pgconn = self._pgconn
        while True:
            unsent = pgconn.flush()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
                    return self._done()
                if self._session.broken:
                    raise psycopg.OperationalError("the connection was closed")
                if result is not None:
                    self._take(result)
            ready = wait((pgconn.socket, self._wake), (pgconn.socket,) if unsent else ())
            if pgconn.socket in ready:
                pgconn.consume_input()
            elif self._wake in ready:
                return None

    def leave(self) -> None:
        """End the mode, so that the session can be used otherwise. All was answered."""
        if self._entered:
            self._pgconn.exit_pipeline_mode()
            self._entered = False

    def _take(self, result: Any) -> None:
        if result.status == ExecStatus.TUPLES_OK:
            reader = Transformer(self._session.connection)
            reader.set_pgresult(result)
            self._rows = reader.load_rows(0, result.ntuples, tuple)
        elif result.status == ExecStatus.COMMAND_OK:
            self._confirmed.add(self._sent[0].sql)
        elif result.status == ExecStatus.FATAL_ERROR:
            state = result.error_field(DiagnosticField.SQLSTATE)
            text = result.error_field(DiagnosticField.MESSAGE_PRIMARY)
            if self._error is None:
                self._error = Refused((state or b"XX000").decode(), (text or b"").decode("utf-8", "replace"))

    def _done(self) -> Rows | Refused:
        call = self._sent.popleft()
        rows, error = self._rows, self._error
        self._rows, self._error = [], None
        if self._session.doubt:
            raise psycopg.OperationalError(self._session.doubt)
        if error is not None:
            if call.sql not in self._confirmed:
                self._prepared.pop(call.sql, None)
            return error
        return rows
