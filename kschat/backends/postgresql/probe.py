"""Checks whether a daemon that starts now could use the database: connects and inspects, and changes nothing."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThreadPool

from kschat.backends.postgresql.address import places
from kschat.backends.postgresql.faults import why
from kschat.backends.postgresql.schema_versions import SCHEMA, check_whole, shipped, version_of
from kschat.backends.postgresql.session import Session, Watch, find
from kschat.backends.postgresql.settings import Settings
from kschat.chat.interfaces import StoreUnavailable

_GIVEN_UP: Final = "it was given up"


async def probe(settings: Settings, reactor: Any) -> str:
    """Connect, log in, and look.

    Args:
        settings: which database.
        reactor: the real one; a thread of its pool connects.

    Returns:
        Where it is and what it is, for a line that says that all is well.

    Raises:
        StoreUnavailable: a daemon could not use it; the text is one sentence, with host and port.
        ValueError: the URL can't be read.
    """
    made: list[Session] = []
    given_up = False

    def watch(session: Session | None) -> None:
        if session is not None:
            made.append(session)
            if given_up:
                session.abort(_GIVEN_UP)

    try:
        return str(await deferToThreadPool(reactor, reactor.getThreadPool(), _look, settings, watch))
    except CancelledError:
        # Else the thread would wait for its server, and the process for its thread.
        given_up = True
        for session in made:
            session.abort(_GIVEN_UP)
        raise


def _look(settings: Settings, watch: Watch) -> str:
    session = find(places(settings.url), settings.patience, watch)
    try:
        version = version_of(session.connection, shipped().version)
        if not version:
            _may_create(session.connection)
        if version == shipped().version:
            check_whole(session.connection)
        state = f"schema {version}" if version else "is made at the first start"
        server = session.connection.info.parameter_status("server_version") or "?"
        return f"{session.place.name}, PostgreSQL {server.split()[0]}, {state}"
    except (psycopg.Error, StoreUnavailable) as error:
        raise StoreUnavailable(
            f"{session.place.name}: {why(error) if isinstance(error, psycopg.Error) else error}"
        ) from None
    finally:
        session.close()


def _may_create(connection: psycopg.Connection[Any]) -> None:
    """Raises StoreUnavailable: it may not make the tables."""
    row = connection.execute(
        "SELECT CASE WHEN to_regnamespace(%s) IS NULL THEN has_database_privilege(current_database(), 'CREATE') "
        "ELSE has_schema_privilege(%s, 'CREATE') END",
        (SCHEMA, SCHEMA),
    ).fetchone()
    if not (row and row[0]):
        raise StoreUnavailable(f"its user may not make the schema {SCHEMA}: GRANT CREATE ON DATABASE")
