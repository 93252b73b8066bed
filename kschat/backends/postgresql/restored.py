"""Marks a database as restored from a copy, where no daemon can detect that by itself: ``kschat restored``."""

from __future__ import annotations

from threading import Timer

import psycopg

from kschat.backends.postgresql.address import places
from kschat.backends.postgresql.faults import why
from kschat.backends.postgresql.schema_versions import shipped, version_of
from kschat.backends.postgresql.session import Session, find
from kschat.backends.postgresql.settings import Settings
from kschat.chat.interfaces import StoreUnavailable


def restored(settings: Settings) -> bool:
    """Begin a new generation of offsets, so that none is given twice. Daemons may run; each next message has it.

    Args:
        settings: where the database is.

    Returns:
        Whether kschat has kept anything there.

    Raises:
        ValueError: the URL can't be read.
        StoreUnavailable: it can't be reached, or refuses.
    """
    asked: list[Session] = []

    def watch(session: Session | None) -> None:
        asked[:] = [session] if session is not None else []

    def give_up() -> None:
        for one in asked:
            one.abort("it did not answer")

    hosts = places(settings.url)
    timer = Timer(2 * settings.patience * len(hosts), give_up)
    timer.daemon = True
    timer.start()
    try:
        session = find(hosts, settings.patience, watch)
        try:
            asked[:] = [session]
            return _tell(session)
        finally:
            session.close()
    finally:
        timer.cancel()


def _tell(session: Session) -> bool:
    try:
        if not version_of(session.connection, shipped().version):
            return False
        session.connection.execute("UPDATE state SET generation = next_generation(generation)")
        if session.doubt:
            raise StoreUnavailable(f"{session.place.name}: {session.doubt}")
        return True
    except psycopg.Error as error:
        raise StoreUnavailable(f"{session.place.name}: {session.why or why(error)}") from None
