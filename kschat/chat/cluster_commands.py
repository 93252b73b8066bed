"""The commands that daemons send each other about sockets, in msgpack. Pure.

A command is for the sockets of one user, or for all sockets; ``notifier`` selects them. An unknown command (from a
newer daemon) is ignored.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from kschat.chat.message import Message
from kschat.chat.revocation import Revocation


class Typing(msgspec.Struct, frozen=True, array_like=True, tag="t", gc=False):
    """``user`` types something to whom this is told."""

    user: str


class Receipt(msgspec.Struct, frozen=True, array_like=True, tag="r", gc=False):
    """What became of a message, for its sender.

    Attributes:
        peer: to whom it was.
        number: whether its sender wrote that as a number.
        mid: which; of ``READ``, the last one.
        status: a ``outgoing.Status``.
    """

    peer: str
    number: bool
    mid: str
    status: int

    @classmethod
    def of(cls, message: Message, status: int) -> Receipt:
        """What became of ``message``."""
        return cls(str(message.pId), type(message.pId) is int, message.mid, status)


class _Written(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event that sockets are written: the JSON array of its name and arguments, and what placeholders refer to."""

    body: bytes
    attachments: tuple[bytes, ...] = ()

    @property
    def size(self) -> int:
        """The bytes that each socket is written."""
        return len(self.body) + sum(map(len, self.attachments))


class Carbon(_Written, frozen=True, array_like=True, tag="c", gc=False):
    """What one of the user's sockets has sent or read, as RESPCARBON or RESPREAD."""


class Emit(_Written, frozen=True, array_like=True, tag="e", gc=False):
    """An event for every socket."""


class EmitToMany(msgspec.Struct, frozen=True, array_like=True, tag="m", gc=False):
    """The same for the sockets of many users: published once to all daemons instead of once for each user."""

    users: tuple[str, ...]
    body: bytes
    attachments: tuple[bytes, ...] = ()


class Disconnect(msgspec.Struct, frozen=True, array_like=True, tag="d", gc=False):
    """Every socket is ended, for a reason that Goodbye names."""

    reason: str


class Erased(msgspec.Struct, frozen=True, array_like=True, tag="x", gc=False):
    """The user is erased: every socket is ended, and what is buffered of the user is not written."""


class Replaced(msgspec.Struct, frozen=True, array_like=True, tag="p", gc=False):
    """A client has come back and shown this ``pid``: the socket that it had before is dead, if it knows it or not.

    Attributes:
        pid: as shown.
        socket: the id of the socket that showed it. All daemons hear such claims in one order; the last one stays.
    """

    pid: str
    socket: str


class CursorRequest(msgspec.Struct, frozen=True, array_like=True, tag="q", gc=False):
    """A socket of the user connects elsewhere: write the user's cursor to the store, then answer.

    Attributes:
        id: returned by the answer.
    """

    id: str


class CursorWritten(msgspec.Struct, frozen=True, array_like=True, tag="w", gc=False):
    """The answer to a ``CursorRequest``: the store has all that this daemon knew of the user's cursor."""

    id: str


class BlockChange(msgspec.Struct, frozen=True, array_like=True, tag="b", gc=False):
    """``user`` blocks ``peer`` from now on, or (not ``blocked``) does so no more. Told to both."""

    user: str
    peer: str
    blocked: bool


class InboxGrew(msgspec.Struct, frozen=True, array_like=True, tag="g", gc=False):
    """There is something new in the inbox of the user that no router carries: an update. The store has it."""


class Revoked(msgspec.Struct, frozen=True, array_like=True, tag="v", gc=False):
    """Tokens are revoked, or are so no more. See ``Revocation``."""

    key: str
    before: int
    until: int
    lifted: bool

    @classmethod
    def of(cls, revocation: Revocation) -> Revoked:
        """The command that tells of a revocation."""
        return cls(revocation.key, revocation.before, revocation.until, revocation.lifted)

    @property
    def revocation(self) -> Revocation:
        """What it tells of."""
        return Revocation(self.key, self.before, self.until, self.lifted)


class SocketInfo(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One socket of a user, for operators.

    Attributes:
        id: of the socket.
        address: of its client, as the log names it.
        revision: of Engine.IO, 3 or 4.
        since: when its session began, in seconds since 1970; 0 if unknown.
    """

    id: str
    address: str
    revision: int
    since: float


class SocketsRequest(msgspec.Struct, frozen=True, array_like=True, tag="s", gc=False):
    """An operator asks for the sockets of the user.

    Attributes:
        id: returned by the answer.
    """

    id: str


class SocketsListed(msgspec.Struct, frozen=True, array_like=True, tag="l", gc=False):
    """The answer to a ``SocketsRequest``, to all daemons."""

    id: str
    sockets: tuple[SocketInfo, ...]


class Buckets(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A histogram: ``counts[n]`` took up to ``bounds[n]`` seconds; the last one of ``counts``, longer."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]


class DaemonStatus(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The status of one daemon, for operators.

    Attributes:
        name: the machine's name and the process id.
        version: of kschat.
        since: when it was started, in seconds since 1970.
        connections: TCP connections.
        sockets: sockets in the chat.
        users: users who have one.
        counts: what was counted since the start, by its name in ``Counters``.
        refused: requests that were answered with an error, by its name.
        services: whether each service that the daemon uses can be used, by its name.
        latency: how long messages and batches took, by the name of the step.
        queues: what waits there now, by the name of its metric.
        refusals: what else was refused, by its name in ``Counters`` and its reason.
        lags: by how many seconds each service is behind, by its name.
    """

    name: str
    version: str
    since: float
    connections: int
    sockets: int
    users: int
    counts: dict[str, int]
    refused: dict[str, int]
    services: dict[str, bool]
    latency: dict[str, Buckets]
    queues: dict[str, int] = {}
    refusals: dict[str, dict[str, int]] = {}
    lags: dict[str, float] = {}


class StatusRequest(msgspec.Struct, frozen=True, array_like=True, tag="y", gc=False):
    """An operator asks for the status of all daemons.

    Attributes:
        id: returned by the answers.
    """

    id: str


class StatusTold(msgspec.Struct, frozen=True, array_like=True, tag="z", gc=False):
    """The answer of one daemon to a ``StatusRequest``, to all daemons."""

    id: str
    status: DaemonStatus


class OnlineRequest(msgspec.Struct, frozen=True, array_like=True, tag="o", gc=False):
    """An operator asks for the first ``limit`` users of each daemon, by their ids, that come after one.

    Attributes:
        id: returned by the answers.
        after: "" for the first.
        limit: how many of each daemon.
    """

    id: str
    after: str
    limit: int


class OnlineListed(msgspec.Struct, frozen=True, array_like=True, tag="n", gc=False):
    """The answer of one daemon to an ``OnlineRequest``, to all daemons."""

    id: str
    users: tuple[str, ...]


ClusterCommand: TypeAlias = (
    StatusRequest
    | StatusTold
    | OnlineRequest
    | OnlineListed
    | SocketsRequest
    | SocketsListed
    | Typing
    | Receipt
    | Carbon
    | Emit
    | EmitToMany
    | Disconnect
    | Erased
    | Replaced
    | CursorRequest
    | CursorWritten
    | Revoked
    | BlockChange
    | InboxGrew
)

_pack: Final = msgspec.msgpack.Encoder().encode
_commands: Final = msgspec.msgpack.Decoder(list[ClusterCommand]).decode
_raws: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_command: Final = msgspec.msgpack.Decoder(ClusterCommand).decode


class ClusterCommandError(ValueError):
    """Bytes that are no commands; the text is for the log and shows nothing of them."""


def packed(command: ClusterCommand) -> bytes:
    """One command as bytes, of which several stand in an array."""
    return _pack(command)


def unpacked(data: bytes) -> list[ClusterCommand]:
    """The commands in an array. Raises ClusterCommandError."""
    try:
        return _commands(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return [command for raw in _raws(data) if (command := _known(raw)) is not None]
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ClusterCommandError(f"commands that can't be read: {error}") from None


def _known(raw: msgspec.Raw) -> ClusterCommand | None:
    try:
        command: ClusterCommand = _command(raw)
    except (msgspec.MsgspecError, ValueError):
        return None
    return command
