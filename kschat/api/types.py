"""What the HTTP API takes and returns. The OpenAPI document is made from these."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw

#: Users of one request.
MAX_USERS: Final = 1000

#: Messages of one page, and conversations.
MAX_LISTED: Final = 100

#: Seconds that an answer may be old which is shared.
MAX_AGE: Final = 60

#: Characters of a notice.
MAX_NOTICE: Final = 2000

#: Operations of one batch.
MAX_BATCH: Final = 100

User = Annotated[str, Meta(min_length=1, max_length=128, pattern="^[^#]", description="A user's id.")]
RoomName = Annotated[str, Meta(min_length=2, max_length=128, pattern="^#", description="A room, with its #.")]
Recipient = Annotated[str, Meta(min_length=1, max_length=128, description="A user's id, or a room with its #.")]
#: A whole number, also where it is written as 5.0: JSON Schema makes no difference.
Limit = Annotated[float, Meta(ge=1, le=MAX_LISTED, multiple_of=1)]


class _Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer."""


class Send(_Request, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A message to a user, to a room, or to each of several.

    ``from``: on whose behalf; the key's ``sender``, unless given. A sender has to be a member of a room to write there.
    ``cid``: the sender's own id of the message; the same request with it again stores nothing twice.
    """

    to: Recipient | Annotated[list[Recipient], Meta(min_length=1, max_length=MAX_USERS)]
    msg: Raw
    sender: User | None = None
    cid: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class SendResult(_Answer, frozen=True, kw_only=True, omit_defaults=True):
    """What became of the message to one recipient: its id and time, or the reason (``error``) and a sentence."""

    to: str
    mid: str | None = None
    time: int | None = None
    repeat: bool = False
    error: str | None = None
    detail: str | None = None


class Sent(_Answer, frozen=True, kw_only=True):
    """What became of each, in the order of ``to``."""

    results: list[SendResult]


class Notice(_Request, frozen=True, kw_only=True):
    """A text to a user, from the key's ``sender``.

    ``cid``: the sender's own id of the message; the same request with it again stores nothing twice.
    """

    user: User
    text: Annotated[str, Meta(min_length=1, max_length=MAX_NOTICE)]
    cid: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class Noticed(_Answer, frozen=True, kw_only=True, omit_defaults=True):
    """The message's id and time. ``repeat``: the ``cid`` is known."""

    mid: str
    time: int
    repeat: bool = False


MessageId = Annotated[str, Meta(min_length=24, max_length=24, pattern="^[0-9a-f]*$", description="A message's id.")]


class _Update(_Request, frozen=True, kw_only=True):
    """A change of a message.

    ``user``: who makes it. ``peer``: the conversation, as ``user`` sees it; without it all of the user's are looked
    through. ``cid``: the user's own id of the change; the same request with it again changes nothing twice.
    """

    user: User
    mid: MessageId
    peer: Recipient | None = None
    cid: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class Edit(_Update, frozen=True, kw_only=True):
    """Another text of a message. ``user``: its sender. However old it is."""

    msg: Raw


class Delete(_Update, frozen=True, kw_only=True):
    """The text of a message is deleted. ``user``: its sender, or, in a room, any member. However old it is."""


class React(_Update, frozen=True, kw_only=True):
    """A reaction to a message. ``emoji``: "" takes it back."""

    emoji: Annotated[str, Meta(max_length=32)]


class Updated(_Answer, frozen=True, kw_only=True, omit_defaults=True):
    """When it was changed, in milliseconds since 1970. ``repeat``: it was so already, or the ``cid`` is known."""

    mid: str
    time: int
    repeat: bool = False


class Emit(_Request, frozen=True, kw_only=True):
    """An event to every socket of some users, or of a room's members. It is not stored."""

    to: Recipient | Annotated[list[User], Meta(min_length=1, max_length=MAX_USERS)]
    event: Annotated[str, Meta(min_length=1, max_length=128)]
    args: list[Raw] = []


class Broadcast(_Request, frozen=True, kw_only=True):
    """An event to every socket there is. It is not stored."""

    event: Annotated[str, Meta(min_length=1, max_length=128)]
    args: list[Raw] = []


class Emitted(_Answer, frozen=True, kw_only=True):
    """To how many users it went, whether they have sockets or not."""

    users: int


class Done(_Answer, frozen=True, kw_only=True):
    """It is done."""


class Presence(_Request, frozen=True, kw_only=True):
    """Which of some users are online."""

    users: Annotated[list[User], Meta(min_length=1, max_length=MAX_USERS)]


class UserPresence(_Answer, frozen=True, kw_only=True, rename="camel"):
    """``online``: null where that cannot be known now. ``lastSeen``: in milliseconds since 1970."""

    online: bool | None
    last_seen: int | None


class Presences(_Answer, frozen=True, kw_only=True):
    """Of each user."""

    users: dict[str, UserPresence]


class OfUser(_Request, frozen=True, kw_only=True):
    """A user."""

    user: User


class Socket(_Answer, frozen=True, kw_only=True):
    """One socket. ``revision``: of Engine.IO. ``since``: in seconds since 1970, 0 if unknown."""

    id: str
    address: str
    revision: int
    since: float


class Sockets(_Answer, frozen=True, kw_only=True):
    """The user's sockets on all daemons. ``complete``: whether each daemon that has the user answered in time."""

    sockets: list[Socket]
    complete: bool


#: A time in seconds since 1970.
Seconds = Annotated[float, Meta(ge=0, le=8_000_000_000_000)]


class RevokeUser(_Request, frozen=True, kw_only=True):
    """All tokens of a user; with ``issued_before``, those alone that were issued up to then. ``lift`` takes it back."""

    user: User
    issued_before: Seconds | None = None
    lift: bool = False


class RevokeToken(_Request, frozen=True, kw_only=True):
    """The token with the id ``jti``. ``expires``: its ``exp``, so that the revocation is forgotten then."""

    jti: Annotated[str, Meta(min_length=1, max_length=256)]
    expires: Seconds | None = None
    lift: bool = False


class RevokeIssued(_Request, frozen=True, kw_only=True):
    """All tokens, of all users, that were issued up to a time."""

    issued_before: Seconds
    lift: bool = False


class Room(_Request, frozen=True, kw_only=True):
    """A page of a room's members, by their ids. ``after``: ``next`` of the page before."""

    room: RoomName
    after: User | None = None
    limit: Annotated[float, Meta(ge=1, le=MAX_USERS, multiple_of=1)] = MAX_USERS


class Members(_Answer, frozen=True, kw_only=True):
    """Members, and how many there are in all. ``next``: null on the last page."""

    members: list[str]
    total: int
    next: str | None


class Change(_Request, frozen=True, kw_only=True):
    """Users to add to a room, or to remove. A room is created with its first member."""

    room: RoomName
    users: Annotated[list[User], Meta(min_length=1, max_length=MAX_LISTED)]


class Changed(_Answer, frozen=True, kw_only=True):
    """Those of the users for whom it made a difference."""

    changed: list[str]


class History(_Request, frozen=True, kw_only=True):
    """A page of a conversation as a user sees it, newest last. ``before``: ``next`` of the page before."""

    user: User
    peer: Recipient
    before: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    limit: Limit = MAX_LISTED


class Message(_Answer, frozen=True, kw_only=True, rename={"sender": "from"}):
    """A message. Attachments are in Base64; placeholders in ``msg`` refer to them.

    ``edited``, ``deleted``: when, if it was; the ``msg`` of a deleted one is null. ``reactions``: users, by reaction.
    """

    mid: str
    sender: str
    to: str
    msg: Raw
    time: int
    attachments: list[bytes]
    edited: int | None = None
    deleted: int | None = None
    reactions: dict[str, list[str]] = {}


class Messages(_Answer, frozen=True, kw_only=True):
    """``next``: what ``before`` is for the page of older ones; null if there are none."""

    messages: list[Message]
    next: str | None


class Conversations(_Request, frozen=True, kw_only=True):
    """A page of a user's conversations, the newest first. ``before``: ``next`` of the page before."""

    user: User
    before: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    limit: Limit = MAX_LISTED


class Conversation(_Answer, frozen=True, kw_only=True):
    """A conversation. ``last``: its newest message; ``cut``: whether ``msg`` in it is shortened."""

    peer: str
    unread: int
    last: Message
    cut: bool


class ConversationList(_Answer, frozen=True, kw_only=True):
    """The newest first. ``next``: null on the last page."""

    conversations: list[Conversation]
    next: str | None


class Rooms(_Answer, frozen=True, kw_only=True):
    """The rooms that a user is a member of, by their names."""

    rooms: list[str]


class Online(_Request, frozen=True, kw_only=True):
    """A page of the users who are online, by their ids. ``after``: ``next`` of the page before."""

    after: User | None = None
    limit: Annotated[float, Meta(ge=1, le=MAX_USERS, multiple_of=1)] = MAX_USERS


class OnlineUsers(_Answer, frozen=True, kw_only=True):
    """``complete``: whether all daemons answered in time. ``next``: null on the last page."""

    users: list[str]
    complete: bool
    next: str | None


class CountsRequest(_Request, frozen=True, kw_only=True):
    """``max_age``: the answer may be this many seconds old, and is then shared by all who ask; 0: a new one."""

    max_age: Annotated[float, Meta(ge=0, le=MAX_AGE)] = 0


class Histogram(_Answer, frozen=True, kw_only=True):
    """How many took how long: ``counts[n]`` took up to ``bounds[n]`` seconds; the last one of ``counts``, longer."""

    bounds: list[float]
    counts: list[int]


class DaemonCounts(_Answer, frozen=True, kw_only=True):
    """One daemon. All is counted since its start; take the difference of two answers for what happened between them.

    ``name``: of its machine, and the process id. ``since``: when it was started, in seconds since 1970. ``users``:
    those with a socket there. ``counts``: messages acknowledged (``sent``), those of them that were repeats
    (``repeated``), written to sockets (``delivered``), confirmed by clients (``confirmed``), and so on. ``refused``:
    requests of clients that were answered with an error, by error. ``services``: whether each that it uses can be
    used. ``latency``: from a message's arrival until it was ``acknowledged``, ``written`` and ``delivered``; and of its
    batch in each step of the pipeline (``store``, ``route``). ``queues``: what waits there now, by the name of its
    metric. ``refusals``: what else was refused, by kind: sockets (``denied``), what exceeded a rate (``limited``) or
    another bound (``full``), and HTTP requests for a session (``rejected``, by Engine.IO's code); each by reason.
    ``lags``: seconds that each service takes to answer, or has not answered.
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
    latency: dict[str, Histogram]
    queues: dict[str, int]
    refusals: dict[str, dict[str, int]]
    lags: dict[str, float] = {}


class Counts(_Answer, frozen=True, kw_only=True):
    """The daemon that was asked comes first. ``complete``: whether all daemons answered in time.

    ``time``: when they had answered, in seconds since 1970.
    """

    daemons: list[DaemonCounts]
    complete: bool
    time: float


class ErasedUser(_Answer, frozen=True, kw_only=True):
    """How many messages were deleted."""

    messages: int


Mid = Annotated[str, Meta(max_length=64)]


class ExportCursor(_Request, frozen=True, kw_only=True):
    """Where an export is. First all conversations are walked from the newest on, then those that were written to since.

    ``began``: the newest ``mid`` when it began. ``again``: whether those are walked that were written to since.
    ``listed``: the newest ``mid`` of the conversation that is walked. ``peer``: with whom it is. ``before``: the
    ``mid`` before which the next page ends. Each is "" where there is none yet.
    """

    began: Mid = ""
    again: bool = False
    listed: Mid = ""
    peer: Annotated[str, Meta(max_length=128)] = ""
    before: Mid = ""


class Export(_Request, frozen=True, kw_only=True):
    """A page of all that is kept of a user. ``cursor``: ``next`` of the page before."""

    user: User
    cursor: ExportCursor | None = None
    limit: Limit = MAX_LISTED


class About(_Answer, frozen=True, kw_only=True, rename="camel"):
    """What is kept of a user beside messages. ``lastSeen``: in milliseconds since 1970, or null.

    ``push``: the endpoints of push subscriptions, without their keys.
    """

    user: str
    last_seen: int | None
    rooms: list[str]
    blocked: list[str]
    push: list[str]


class Exported(_Answer, frozen=True, kw_only=True):
    """``about``: on the first page, else null. ``messages``: of one conversation, with ``peer``, newest last.

    ``next``: null on the last page. A conversation that is written to meanwhile may come twice.
    """

    about: About | None
    peer: str | None
    messages: list[Message]
    next: ExportCursor | None


class BatchRequest(_Request, frozen=True, kw_only=True):
    """One operation of a batch. ``operation``: the end of its path, such as ``rooms/add``. ``body``: its body."""

    operation: Annotated[str, Meta(min_length=1, max_length=64)]
    body: Raw


class Batch(_Request, frozen=True, kw_only=True):
    """Operations that are done one after another. One that is refused does not end the others."""

    requests: Annotated[list[BatchRequest], Meta(min_length=1, max_length=MAX_BATCH)]


class BatchResult(_Answer, frozen=True, kw_only=True):
    """The status of one, and its answer, which is a problem unless the status is 200."""

    status: int
    body: Raw


class BatchAnswer(_Answer, frozen=True, kw_only=True):
    """The result of each, in order."""

    results: list[BatchResult]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457. ``type`` is stable."""

    type: str
    title: str
    status: int
    detail: str
