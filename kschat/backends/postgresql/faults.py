"""Explains why PostgreSQL cannot be used, in words an operator can act on. No text contains a password."""

from __future__ import annotations

from typing import Final

import psycopg

#: By SQLSTATE, or the first two characters of it.
_SAID: Final = {
    "25006": "it accepts no writes: it is a standby, or its transactions are read-only",
    "28P01": "the user or the password is wrong",
    "28000": "it rejects the user (pg_hba.conf)",
    "3D000": "there is no such database",
    "42501": "its user lacks a privilege",
    "53100": "its disk is full",
    "53200": "its memory is full",
    "53300": "it has no free connection (max_connections)",
    "57014": "it took too long",
    "57P01": "it is shutting down",
    "57P02": "it has crashed, and starts again",
    "57P03": "it is starting, or shutting down",
    "55P03": "another transaction holds a lock for too long",
    "40001": "something was erased meanwhile",
    "KS002": "it lost the state of its session: a pooler before PostgreSQL must keep sessions",
    "KS001": "it was too late when PostgreSQL got to it, and nothing was done",
}

#: What a statement ended with because of that statement alone: a value, or somebody else who did the same.
_OF_ONE: Final = ("22", "23", "40", "55", "21")


def said(sqlstate: str, text: str) -> str:
    """What an error that PostgreSQL answered with means."""
    if sqlstate in _SAID:
        return _SAID[sqlstate]
    first = (text.strip() or "an error without a text").splitlines()[0]
    return f"it said: {first.removeprefix('ERROR:').removeprefix('FATAL:').strip()}"


def is_of_one(sqlstate: str) -> bool:
    """Whether another statement on the same connection may succeed all the same."""
    return sqlstate[:2] in _OF_ONE or sqlstate == "57014"


def why(error: BaseException) -> str:
    """Why it could not be reached, or why a connection ended."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return said(error.sqlstate, str(error))
    text = " ".join(str(error).split()) or type(error).__name__
    # libpq begins with where it tried, which the log line says already; some reasons stand behind several of these.
    for mark in (" failed: ", "connection to server was lost: "):
        _, found, rest = text.rpartition(mark)
        if found:
            text = rest
    for code, word in (("28P01", "password authentication failed"), ("3D000", "does not exist")):
        if word in text and "FATAL" in text:
            return _SAID[code]
    if "is not read-only" in text or "is not in hot standby" in text:
        return "it accepts writes, and the URL asks for one that does not (target_session_attrs)"
    if "read-only" in text or "hot standby" in text:
        return _SAID["25006"]
    return text.removeprefix("FATAL:").strip().rstrip(".")
