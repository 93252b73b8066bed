"""The operations of the HTTP API: one function and one entry in the table for each.

To add one: its body and its answer in ``types``, a function here with both in its annotations, an entry in the table, a
curl in docs/api.md.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_type_hints

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kschat.api import types
from kschat.api.keys import ApiKey, ApiKeys
from kschat.api.problems import ApiError, error_of
from kschat.api.shared import SharedAnswer
from kschat.chat import outgoing
from kschat.chat.changes import NO_TEXT, changes_of
from kschat.chat.clocks import WallClock
from kschat.chat.composer import Draft
from kschat.chat.conversations import is_room
from kschat.chat.editing import DELETED, GONE, NO_MESSAGE
from kschat.chat.interfaces import Conversation, Stored
from kschat.chat.message import DELETE, EDIT, REACT, Error, Message, Refused, Update
from kschat.chat.operations import Operations
from kschat.chat.revocation import RevocationRequest
from kschat.chat.tokens import Identity, as_user
from kschat.wire import jsontext
from kschat.wire.errors import ProtocolError
from kschat.wire.jsonnumbers import MAX_REWRITTEN, as_javascript
from kschat.wire.socketio import RESERVED_EVENTS

#: Bytes that are expected of a list of conversations.
LIST_BYTES: Final = 300_000

#: Operations of a batch that are done in one turn of the reactor, and seconds after which no other one is: a hundred
#: messages took 25 ms, twenty events to 200 users each 40 ms.
MAX_PER_TURN: Final = 20
MAX_TURN_SECONDS: Final = 0.004

#: Bytes of texts that one request sends in one turn of the reactor: 100 kB to 1,000 users took 275 ms.
MAX_BYTES_PER_TURN: Final = 1_000_000


class Api:
    """What the operations use.

    Args:
        operations: of the daemon.
        keys: that count now.
        max_room: members of a room.
        max_rooms: rooms of a user.
        clock: the reactor. A request that is a lot of work pauses, so that others are served.
        wall: the time of day.

    Attributes:
        audit: writes a line of the audit log: the key, the operation, its body, and the outcome.
        counts: of all daemons; asked for at most once in the time that an answer may be old.
    """

    def __init__(
        self,
        operations: Operations,
        keys: ApiKeys,
        *,
        max_room: int,
        max_rooms: int,
        clock: IReactorTime,
        wall: WallClock,
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.operations = operations
        self.keys = keys
        self.max_room = max_room
        self.max_rooms = max_rooms
        self.audit: Callable[[ApiKey, Method, Any, str], None] = lambda key, method, body, outcome: None
        self.counts = SharedAnswer(self._counts, clock.seconds)

    async def _counts(self) -> types.Counts:
        found, complete = await self.operations.status()
        daemons = msgspec.convert(found, list[types.DaemonCounts], from_attributes=True)
        return types.Counts(daemons=daemons, complete=complete, time=self.wall())

    def next_turn(self) -> Deferred[None]:
        """Fires in the next turn of the reactor."""
        turn: Deferred[None] = Deferred()
        self.clock.callLater(0, turn.callback, None)
        return turn

    def ensure_keeps(self) -> None:
        """Raises Refused in relay mode."""
        if not self.operations.keeps:
            raise Refused(Error.NO_STORE, "This server keeps no messages.")


async def send(api: Api, key: ApiKey, body: types.Send) -> types.Sent:
    """Send a message: to a user, to a room, or to each of several."""
    sender = Identity(user=key.sender if body.sender is None else _user(body.sender, "from"), expires=None)
    if isinstance(body.to, str):
        stored = await api.operations.send(sender, Draft(recipient=_recipient(body.to), msg=body.msg, cid=body.cid))
        return types.Sent(results=[_sent(body.to, stored)])
    waiting: list[Deferred[types.SendResult]] = []
    size, sent = len(bytes(body.msg)), 0
    for to in body.to:
        if sent > MAX_BYTES_PER_TURN:
            sent = 0
            await api.next_turn()
        sent += size
        cid = None if body.cid is None else _cid_for(body.cid, to)
        try:
            answer = api.operations.send(sender, Draft(recipient=_recipient(to), msg=body.msg, cid=cid))
        except ApiError as error:
            answer = fail(error)
        waiting.append(answer.addCallbacks(lambda stored, to=to: _sent(to, stored), _not_sent, errbackArgs=(to,)))
    return types.Sent(results=[await one for one in waiting])


def _cid_for(cid: str, to: str) -> str:
    """The ``cid`` of the message to one of several: one's own for each, and the same for the same request."""
    digest = hashlib.sha256(f"{cid}\0{to}".encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest[:24]).decode()


def _sent(to: str, stored: Stored) -> types.SendResult:
    return types.SendResult(to=to, mid=stored.message.mid, time=stored.message.time, repeat=stored.repeat)


def _not_sent(failure: Failure, to: str) -> types.SendResult:
    error = error_of(failure)
    if error is None:
        failure.raiseException()
        raise AssertionError("raiseException returned")
    return types.SendResult(to=to, error=error.problem.type, detail=error.detail)


async def notice(api: Api, key: ApiKey, body: types.Notice) -> types.Noticed:
    """Send a text to a user, from the key's sender."""
    try:
        text = msgspec.Raw(msgspec.json.encode(body.text))
    except UnicodeEncodeError:
        raise ApiError("invalid", "The text holds half of a surrogate pair.") from None
    sender = Identity(user=key.sender, expires=None)
    draft = Draft(recipient=_user(body.user, "user"), msg=text, cid=body.cid)
    stored = await api.operations.send(sender, draft)
    return types.Noticed(mid=stored.message.mid, time=stored.message.time, repeat=stored.repeat)


async def edit(api: Api, key: ApiKey, body: types.Edit) -> types.Updated:
    """Edit a message."""
    return await _update(api, key, body, Update(EDIT, body.mid), body.msg)


async def delete(api: Api, key: ApiKey, body: types.Delete) -> types.Updated:
    """Delete the text of a message."""
    return await _update(api, key, body, Update(DELETE, body.mid))


async def react(api: Api, key: ApiKey, body: types.React) -> types.Updated:
    """React to a message."""
    return await _update(api, key, body, Update(REACT, body.mid, body.emoji))


async def _update(
    api: Api, key: ApiKey, body: types.Edit | types.Delete | types.React, update: Update, msg: msgspec.Raw = NO_TEXT
) -> types.Updated:
    api.ensure_keeps()
    user = Identity(user=_user(body.user, "user"), expires=None, moderates="*")
    peer = None if body.peer is None else _recipient(body.peer)
    try:
        stored = await api.operations.update(user, update, peer=peer, msg=msg, cid=body.cid, asker=_asker(key))
    except Refused as refused:
        if refused.why not in (NO_MESSAGE, DELETED, GONE):
            raise
        # The request is valid; what it is about is not there (any more).
        raise ApiError("no-message", refused.why) from None
    return types.Updated(mid=body.mid, time=stored.message.time, repeat=stored.repeat)


async def emit(api: Api, key: ApiKey, body: types.Emit) -> types.Emitted:
    """Emit an event of one's own to users, or to a room's members."""
    event = _event(body.event, body.args)
    if isinstance(body.to, str) and is_room(body.to):
        return types.Emitted(users=await api.operations.emit_to_room(_recipient(body.to), event))
    users = _users([body.to] if isinstance(body.to, str) else body.to)
    api.operations.emit_to_users(users, event)
    return types.Emitted(users=len(users))


async def broadcast(api: Api, key: ApiKey, body: types.Broadcast) -> types.Done:
    """Emit an event of one's own to everybody."""
    api.operations.emit_to_all(_event(body.event, body.args))
    return types.Done()


async def presence(api: Api, key: ApiKey, body: types.Presence) -> types.Presences:
    """Which of some users are online, on whatever daemon."""
    found = await api.operations.presence(_users(body.users))
    return types.Presences(
        users={user: types.UserPresence(online=online, last_seen=seen) for user, (online, seen) in found.items()}
    )


async def sockets(api: Api, key: ApiKey, body: types.OfUser) -> types.Sockets:
    """The sockets of a user, on all daemons."""
    found, complete = await api.operations.sockets(_user(body.user, "user"))
    listed = [types.Socket(id=one.id, address=one.address, revision=one.revision, since=one.since) for one in found]
    return types.Sockets(sockets=listed, complete=complete)


async def disconnect(api: Api, key: ApiKey, body: types.OfUser) -> types.Done:
    """Disconnect all sockets of a user. With a valid token the user may connect again."""
    await api.operations.disconnect(_user(body.user, "user"), "disconnected")
    return types.Done()


async def revoke(api: Api, key: ApiKey, body: types.RevokeUser) -> types.Done:
    """Revoke the tokens of a user, or lift that."""
    return await _revoke(
        api, RevocationRequest(user=_user(body.user, "user"), issued_before=body.issued_before, lift=body.lift)
    )


async def revoke_token(api: Api, key: ApiKey, body: types.RevokeToken) -> types.Done:
    """Revoke the token of an id, or lift that."""
    return await _revoke(api, RevocationRequest(jti=body.jti, expires=body.expires, lift=body.lift))


async def revoke_issued(api: Api, key: ApiKey, body: types.RevokeIssued) -> types.Done:
    """Revoke all tokens that were issued early, or lift that."""
    return await _revoke(api, RevocationRequest(issued_before=body.issued_before, lift=body.lift))


async def _revoke(api: Api, request: RevocationRequest) -> types.Done:
    try:
        await api.operations.revoke(request)
    except ValueError as error:
        raise ApiError("not-allowed", f"{error}.") from None
    return types.Done()


async def members(api: Api, key: ApiKey, body: types.Room) -> types.Members:
    """The members of a room, in pages."""
    api.ensure_keeps()
    found = sorted(await api.operations.members(_recipient(body.room)))
    after = body.after
    rest = found if after is None else [user for user in found if user > after]
    page = rest[: int(body.limit)]
    return types.Members(members=page, total=len(found), next=page[-1] if len(rest) > len(page) else None)


async def add_members(api: Api, key: ApiKey, body: types.Change) -> types.Changed:
    """Make users members of a room, whatever their tokens allow."""
    api.ensure_keeps()
    room, users = _recipient(body.room), _users(body.users)
    most = max(api.max_room, key.max_room)
    join = api.operations.join
    return types.Changed(changed=[user for user in users if await join(room, user, most, most_rooms=api.max_rooms)])


async def remove_members(api: Api, key: ApiKey, body: types.Change) -> types.Changed:
    """Remove members from a room."""
    api.ensure_keeps()
    room, users = _recipient(body.room), _users(body.users)
    return types.Changed(changed=[user for user in users if await api.operations.leave(room, user)])


async def history(api: Api, key: ApiKey, body: types.History) -> types.Messages:
    """A page of a conversation."""
    api.ensure_keeps()
    user, peer = _user(body.user, "user"), _recipient(body.peer)
    page = await api.operations.history(user, peer, before=body.before, limit=int(body.limit), asker=_asker(key))
    messages = [_message(message) for message in page.messages]
    return types.Messages(messages=messages, next=messages[0].mid if page.more and messages else None)


async def conversations(api: Api, key: ApiKey, body: types.Conversations) -> types.ConversationList:
    """The conversations of a user, in pages."""
    api.ensure_keeps()
    user, limit = _user(body.user, "user"), int(body.limit)
    # One more than asked for tells whether there are more.
    found = await api.operations.conversations(
        user, limit + 1, before=body.before, expected=LIST_BYTES, asker=_asker(key)
    )
    page = found[:limit]
    return types.ConversationList(
        conversations=[
            types.Conversation(peer=one.peer, unread=one.unread, last=_message(one.last), cut=one.cut) for one in page
        ],
        next=page[-1].last.mid if len(found) > limit else None,
    )


async def rooms(api: Api, key: ApiKey, body: types.OfUser) -> types.Rooms:
    """The rooms of a user."""
    api.ensure_keeps()
    return types.Rooms(rooms=sorted(await api.operations.rooms(_user(body.user, "user"))))


async def online(api: Api, key: ApiKey, body: types.Online) -> types.OnlineUsers:
    """Who is online, on whatever daemon, in pages."""
    users, more, complete = await api.operations.online(body.after or "", int(body.limit))
    return types.OnlineUsers(users=users, complete=complete, next=users[-1] if more else None)


async def counts(api: Api, key: ApiKey, body: types.CountsRequest) -> types.Counts:
    """What each daemon counts: sockets, users, messages, queues, refusals, services, latency."""
    return await api.counts.within(body.max_age)


async def erase(api: Api, key: ApiKey, body: types.OfUser) -> types.ErasedUser:
    """Erase a user: disconnect the sockets, and delete what is kept."""
    api.ensure_keeps()
    return types.ErasedUser(messages=await api.operations.erase(_user(body.user, "user")))


async def export(api: Api, key: ApiKey, body: types.Export) -> types.Exported:
    """Export all that is kept of a user, in pages."""
    api.ensure_keeps()
    user, about = _user(body.user, "user"), None
    operations, asker = api.operations, _asker(key)

    async def newest(before: str) -> Conversation | None:
        found = await operations.conversations(user, 1, before=before or None, expected=LIST_BYTES, asker=asker)
        return found[0] if found else None

    if body.cursor is None:
        about = types.About(
            user=user,
            last_seen=await operations.last_seen(user),
            rooms=sorted(await operations.rooms(user)),
            blocked=sorted(await operations.blocked(user)),
            push=[one.endpoint for one in await operations.subscriptions(user)],
        )
        first = await newest("")
        at = types.ExportCursor(began="" if first is None else first.last.mid)
    else:
        at = body.cursor
    if not at.peer:
        one = await newest(at.listed)
        if not at.again and one is None:
            at = types.ExportCursor(began=at.began, again=True)
            one = await newest("")
        if one is None or (at.again and one.last.mid <= at.began):
            return types.Exported(about=about, peer=None, messages=[], next=None)
        at = msgspec.structs.replace(at, listed=one.last.mid, peer=one.peer, before="")
    peer = _recipient(at.peer)
    page = await operations.history(user, peer, before=at.before or None, limit=int(body.limit), asker=asker)
    older = page.messages[0].mid if page.more and page.messages else ""
    return types.Exported(
        about=about,
        peer=peer,
        messages=[_message(message) for message in page.messages],
        next=msgspec.structs.replace(at, peer=peer if older else "", before=older),
    )


async def batch(api: Api, key: ApiKey, body: types.Batch) -> types.BatchAnswer:
    """Do several operations, one after another. The key needs the scope of each."""
    results: list[types.BatchResult] = []
    seconds = api.clock.seconds
    began = seconds()
    for number, request in enumerate(body.requests):
        if number and (not number % MAX_PER_TURN or seconds() - began > MAX_TURN_SECONDS):
            await api.next_turn()
            began = seconds()
        try:
            answer, status = msgspec.json.encode(await _do(api, key, request)), 200
        except Exception:
            error = error_of(Failure())
            if error is None:
                raise
            answer, status = msgspec.json.encode(error.problem), error.problem.status
        results.append(types.BatchResult(status=status, body=msgspec.Raw(answer)))
    return types.BatchAnswer(results=results)


async def _do(api: Api, key: ApiKey, request: types.BatchRequest) -> Any:
    """One operation of a batch, with its line in the audit log."""
    method = METHODS.get(request.operation)
    if method is None or method.do is batch:
        raise ApiError("not-found", "There is no such operation for a batch: /openapi.json lists all.")
    body, outcome = None, "internal"
    try:
        if not key.may(method.scope):
            raise ApiError("not-allowed", f"The key lacks the scope {method.scope}.")
        try:
            body = method.decode(bytes(request.body))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ApiError("invalid", f"{error}.") from None
        answer = await method.do(api, key, body)
        outcome = "done"
        return answer
    except Exception:
        known = error_of(Failure())
        outcome = "internal" if known is None else known.name
        raise
    finally:
        api.audit(key, method, body, outcome)


def _asker(key: ApiKey) -> str:
    """Whose turn the reads of a key take: not a user's, since no user's id begins with #."""
    return f"#api {key.name}"


def _message(message: Message) -> types.Message:
    changes = changes_of(message)
    return types.Message(
        mid=message.mid,
        sender=message.sender,
        to=message.recipient,
        msg=message.msg,
        time=message.time,
        attachments=list(message.attachments),
        edited=changes.edited,
        deleted=changes.deleted,
        reactions=outgoing.reactions(changes),
    )


def _event(name: str, args: Sequence[msgspec.Raw]) -> bytes:
    if name in RESERVED_EVENTS:
        raise ApiError("not-allowed", "Socket.IO uses this event's name itself.")
    try:
        for one in args:
            jsontext.check_values(bytes(one))
            as_javascript(bytes(one), MAX_REWRITTEN)
        return outgoing.event(name, *args)
    except (ProtocolError, UnicodeEncodeError, RecursionError):
        raise ApiError("invalid", "The event's name or arguments cannot be sent.") from None


def _user(text: str, what: str) -> str:
    user = as_user(text)
    if user is None:
        raise ApiError("invalid", f"{what} is no user's id.")
    return user


def _users(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_user(text, "one of the users") for text in texts))


def _recipient(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ApiError("invalid", "An id holds half of a surrogate pair.") from None
    if text == "#":
        raise ApiError("invalid", "A room's name is more than its #.")
    return text


@dataclass(frozen=True, slots=True)
class Method:
    """An operation.

    Attributes:
        name: the end of its path.
        scope: what a key needs; "" for nothing beyond a valid key.
        do: does it.
        target: the fields of the body that the audit log shows: whom it is about.
        polled: whether programs repeat it all the time: then the audit log has it once in a while, for each key.
        body, answer: the types, from the annotations of ``do``.
        decode: reads the body.
    """

    name: str
    scope: str
    do: Callable[[Api, ApiKey, Any], Coroutine[Any, Any, Any]]
    target: tuple[str, ...] = field(kw_only=True)
    polled: bool = field(default=False, kw_only=True)
    body: type[Any] = field(init=False)
    answer: type[Any] = field(init=False)
    decode: Callable[[bytes], Any] = field(init=False)

    def __post_init__(self) -> None:
        hints = get_type_hints(self.do)
        for name, value in (
            ("body", hints["body"]),
            ("answer", hints["return"]),
            ("decode", msgspec.json.Decoder(hints["body"]).decode),
        ):
            object.__setattr__(self, name, value)


_TABLE: Final = (
    Method("send", "send", send, target=("sender", "to")),
    Method("notice", "admin", notice, target=("user",)),
    Method("messages/edit", "send", edit, target=("user", "mid")),
    Method("messages/delete", "send", delete, target=("user", "mid")),
    Method("messages/react", "send", react, target=("user", "mid")),
    Method("emit", "emit", emit, target=("to", "event")),
    Method("broadcast", "emit", broadcast, target=("event",)),
    Method("presence", "presence", presence, target=("users",)),
    Method("sockets", "presence", sockets, target=("user",)),
    Method("disconnect", "disconnect", disconnect, target=("user",)),
    Method("revoke", "disconnect", revoke, target=("user",)),
    Method("revoke/token", "disconnect", revoke_token, target=("jti",)),
    Method("revoke/issued", "disconnect", revoke_issued, target=()),
    Method("rooms/members", "rooms", members, target=("room",)),
    Method("rooms/add", "rooms", add_members, target=("room", "users")),
    Method("rooms/remove", "rooms", remove_members, target=("room", "users")),
    Method("history", "read", history, target=("user", "peer")),
    Method("conversations", "read", conversations, target=("user",)),
    Method("rooms/of", "rooms", rooms, target=("user",)),
    Method("online", "presence", online, target=()),
    Method("counts", "counts", counts, target=(), polled=True),
    Method("export", "read", export, target=("user",)),
    Method("erase", "erase", erase, target=("user",)),
    Method("batch", "", batch, target=()),
)

#: By the end of the path.
METHODS: Final[Mapping[str, Method]] = {method.name: method for method in _TABLE}
