"""``kschat revoke``: revokes tokens, on all daemons and in the store, whether a daemon runs or not.

With Redis it writes there, and tells all daemons. Otherwise it asks the daemon by its control socket; if none runs, it
writes to the SQLite file.
"""

from __future__ import annotations

import datetime
import http.client
import re
import socket
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import msgspec
from twisted.python import usage

from kschat.backends import redis
from kschat.backends.sqlite.backup import revoke_in
from kschat.backends.sqlite.database import SchemaVersions
from kschat.chat.interfaces import RevocationsFull, StoreUnavailable
from kschat.chat.revocation import MAX_REVOCATIONS, Revocation, RevocationRequest
from kschat.cli.definitions import DEFINITIONS
from kschat.cli.options import DefinedOptions, Options, line_of
from kschat.settings import SETTINGS, ConfigError, control_path
from kschat.settings.loading import gather
from kschat.unix_paths import reachable

#: Seconds that a daemon may take to answer.
ANSWER_TIMEOUT: Final = 15.0

#: Revokes tokens in Redis: the store's (None: nothing is kept), the bus's; returns how many daemons were told, None if
#: they could not be. Raises StoreUnavailable, RevocationsFull and AddressError.
RevokeInRedis = Callable[[redis.Settings | None, redis.Settings, Revocation, int], int | None]


class RevokeOptions(DefinedOptions):
    """``kschat revoke``."""

    definition = DEFINITIONS["revoke"]
    optParameters: ClassVar[list[list[Any]]] = definition.parameters()
    optFlags: ClassVar[list[list[Any]]] = definition.flags()


def revoke(
    options: RevokeOptions, environ: Mapping[str, str], wall: Callable[[], float], in_redis: RevokeInRedis
) -> str:
    """Do it; the line that says so, or with ``--json`` the same as JSON. Raises ``ConfigError`` and ``UsageError``."""
    now = wall()
    request = RevocationRequest(
        user=options["user"],
        jti=options["jti"],
        expires=_time(options, "expires", now),
        issued_before=_time(options, "issued-before", now),
        lift=bool(options["lift"]),
    )
    given = {name: one.value for name, one in gather(SETTINGS, options.given(), environ).items()}
    days = given["revocation_days"]
    assert isinstance(days, float)
    milliseconds = int(now * 1000)
    try:
        revocation = request.revocation(milliseconds, int(days * 86_400_000))
    except ValueError as error:
        raise usage.UsageError(f"revoke: {error}") from None
    settings = {name: str(value) for name, value in given.items()}
    done = "lifted" if request.lift else "revoked"
    try:
        where = _done(settings, request, revocation, milliseconds, in_redis)
        return line_of(options, f"{done}: {where}", done=done, where=where)
    except (StoreUnavailable, redis.AddressError) as error:
        raise ConfigError(f"revoke: {error}") from None
    except RevocationsFull:
        raise ConfigError(f"revoke: there are {MAX_REVOCATIONS:,} revocations, and no more can be kept") from None


def _done(
    settings: Mapping[str, str],
    request: RevocationRequest,
    revocation: Revocation,
    now: int,
    in_redis: RevokeInRedis,
) -> str:
    """Revoke; what was done, for a line."""
    store = settings["store"]
    bus = settings["redis_pub"] or settings["redis"]
    if store == "redis" and not settings["redis"]:
        raise ConfigError("revoke: name the Redis: --redis redis://host:6379/0")
    if store == "redis" or (store == "none" and bus):
        kept = redis.given_settings(settings, settings["redis"]) if store == "redis" else None
        told = in_redis(kept, redis.given_settings(settings, bus), revocation, now)
        if told is None:
            return "in Redis; the daemons, which could not be told, read it there"
        return f"{'in Redis, and ' if kept else ''}on {told} {'daemon' if told == 1 else 'daemons'} now"
    control = control_path(settings["control"], store)
    if control is not None and _asked(control, request):
        return f"on the daemon at {control}, and in its store {store.partition(':')[0]}"
    kind, _, path = store.partition(":")
    if kind == "sqlite" and path:
        try:
            revoke_in(path, SchemaVersions.shipped(), revocation, now)
        except StoreUnavailable as error:
            raise ConfigError(f"revoke: {error} (no daemon answers at {control})") from None
        return f"in {path}, which no daemon uses now"
    where = f"no daemon answers at {control}" if control else "name the daemon's control socket: --control PATH"
    if kind == "postgresql":
        raise ConfigError(f"revoke: a daemon writes it to the store {kind}: {where}; or use the API")
    raise ConfigError(f"revoke: the store {store} keeps nothing while no daemon runs: {where}")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connect. Raises OSError."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with reachable(self._path) as path:
            self.sock.connect(path)


def _asked(path: str, request: RevocationRequest) -> bool:
    """Whether a daemon at this control socket has done it; False if there is none. Raises ConfigError."""
    connection = _UnixConnection(path)
    try:
        connection.connect()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        raise ConfigError(f"revoke: the control socket {path} cannot be used: {error.strerror or error}") from None
    try:
        body = msgspec.json.encode(request)
        connection.request("POST", "/v1/revoke", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(f"revoke: the daemon at {path} did not answer: {error}") from None
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        try:
            reason = msgspec.json.decode(said, type=dict[str, str])["error"]
        except (msgspec.MsgspecError, KeyError, UnicodeDecodeError):
            reason = f"it answered with status {answer.status}"
        raise ConfigError(f"revoke: {reason}")
    return True


def _time(options: Options, name: str, now: float) -> float | None:
    """The time that an option names, in seconds since 1970. Raises UsageError."""
    text = options[name]
    if text is None:
        return None
    text = text.strip()
    if text == "now":
        return now
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text):
        return float(text)
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise usage.UsageError(
            f"--{name}: {text!r} is no time: write now, 2026-11-30T12:00:00Z, or seconds since 1970"
        ) from None
    if time.tzinfo is None:
        raise usage.UsageError(f"--{name}: {text!r} does not say its zone: write {text}Z, or {text}+02:00")
    return time.timestamp()
