"""The commands of all events: one table, one entry per event.

To add an event: its payload's type in ``incoming``, a function here, an entry in the table. The payload is decoded in
``run``, once. A function answers with the arguments of the ack, now or by a Deferred; a ``Refused`` that
it raises is sent in the ack, ``{ER, WHY}``. How many Deferreds a socket may wait for is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kschat.chat import incoming, outgoing
from kschat.chat.changes import NO_TEXT, update_of
from kschat.chat.clocks import milliseconds
from kschat.chat.cluster_commands import Receipt, Typing
from kschat.chat.context import ChatContext
from kschat.chat.conversations import ROOM_MARK, is_room, room_name
from kschat.chat.delivery import Submission
from kschat.chat.editing import NO_MESSAGE, ensure_may
from kschat.chat.incoming import MAX_PAGE
from kschat.chat.interfaces import (
    PAGE_BYTES,
    BlockListFull,
    Blocks,
    Conversation,
    Page,
    RoomFull,
    Stored,
    StoreUnavailable,
    TooManyRooms,
)
from kschat.chat.limiter import RateExceeded, rounded
from kschat.chat.message import DELETE, EDIT, MAX_ID, REACT, Error, Message, Refused, Update
from kschat.chat.outgoing import Status
from kschat.chat.push import MAX_SUBSCRIPTIONS, PushRefused, PushService, PushSubscription
from kschat.chat.reads import SMALL_READ
from kschat.chat.recipients import ensure_may_write
from kschat.chat.replies import DeferredReply, RoomReply, SocketReply
from kschat.chat.session import ChatSession
from kschat.chat.tokens import Identity, TokenError, Verifier
from kschat.wire.errors import Reason
from kschat.wire.socketio import Event

P = TypeVar("P")
T = TypeVar("T")

#: Answers of the store that one socket may await.
MAX_REQUESTS: Final = 32

#: Conversations that ``Conversations`` lists.
MAX_CONVERSATIONS: Final = 500

#: Bytes that are expected of such a list, in round figures.
MAX_LIST_BYTES: Final = 1_000_000

#: Copies that a new push subscription counts as: its key is checked, which takes as long as some copies.
SUBSCRIPTION_COPIES: Final = 10

#: Copies that a search for a message through all conversations of a user counts as.
SEARCH_COPIES: Final = 100


class Answer(NamedTuple):
    """An ack: the JSON array of its arguments, and what placeholders in it refer to."""

    body: bytes
    attachments: tuple[bytes, ...] = ()


#: The ack of what was done, and has nothing more to say.
DONE: Final = Answer(b'[{"ER":0}]')


class Request(msgspec.Struct, Generic[P], frozen=True, gc=False):
    """One event of one socket.

    Attributes:
        context: the chat's parts.
        session: the socket.
        payload: what the event carries.
        event: as it came: with its ack id, and its attachments.
    """

    context: ChatContext
    session: ChatSession
    payload: P
    event: Event


def send(request: Request[incoming.Send]) -> None:
    """``Send``: a message to a user or a room. It is answered when the message is stored."""
    context, session, payload, event = request.context, request.session, request.payload, request.event
    delivery = context.delivery
    if delivery.closed:
        delivery.ensure_open()
    allowance = session.allowance
    sends_left = allowance.sends = allowance.sends - 1
    if sends_left < 0 or allowance.user.copies_over:
        context.limiter.renew_sends(allowance)
    identity = session.identity
    message = context.composer.compose(session.user, payload, event.attachments, name=identity.name)
    to = identity.to
    if to is not None:
        ensure_may_write(to, message.recipient)
    reply = SocketReply(session.socket, event.id, payload.uId, payload.rno)
    if message.recipient[:1] == ROOM_MARK:
        limiter = context.limiter
        copies = limiter.room_copies(message.recipient)
        to_room = RoomReply(reply.socket, reply.ack, reply.uid, reply.rno, limiter, allowance.user, copies)
        context.submit(Submission(message, to_room, session))
        limiter.copied(allowance.user, copies)
        return
    context.submit(Submission(message, reply, session))


def _refuse_send(session: ChatSession, event: Event, refused: Refused) -> None:
    if session.socket.accepted:
        SocketReply(session.socket, event.id, *incoming.loose_fields(event.args)).refused(refused)


def logout(request: Request[incoming.Logout]) -> Deferred[None] | None:
    """``Logout``: an ack, RESPLOGOUT, and the end of this socket; with ``{all: true}`` of all the user's anywhere."""
    context, session, event = request.context, request.session, request.event

    def logged_out(_: None) -> None:
        if event.id is not None:
            session.socket.ack(event.id, b'[{"RC":1,"ERR":0}]')
        session.socket.emit(outgoing.LOGGED_OUT)
        session.socket.disconnect()

    if request.payload.everywhere:
        # Whoever has the answer may connect again, and that socket must not be ended by what is told late.
        return context.operations.logout_everywhere(session.user, session).addCallback(logged_out)
    logged_out(None)
    return None


def typing(request: Request[incoming.PeerOnly]) -> Answer:
    """``Typing``: told to the peer's sockets that know more than the tutorial, and keep up. Rooms are not told."""
    context, session = request.context, request.session
    peer = _id(request.payload.pId, "pId")
    if session.identity.to is not None:
        ensure_may_write(session.identity.to, peer)
    user = session.allowance.user
    if not is_room(peer) and context.limiter.may_type(user, peer):
        context.limiter.copied(user, len(context.hub.sessions(peer)))
        if context.approvals is None:
            _tell_typing(request, peer)
        else:
            context.approvals.if_may_write(session.user, peer, partial(_tell_typing, request, peer))
    return DONE


def _tell_typing(request: Request[incoming.PeerOnly], peer: str) -> None:
    asked = request.context.presence.blocks.between(request.session.user, (peer,))
    asked.addCallback(_type, request, peer).addErrback(_not_told, request.context, "Typing")


def _type(blocks: Blocks, request: Request[incoming.PeerOnly], peer: str) -> None:
    # Neither of two who do not want to hear of each other is told when the other one types.
    if not blocks.blocked and not blocks.blockers:
        request.context.hub.notifier.notify((peer,), Typing(request.session.user))


def _not_told(failure: Failure, context: ChatContext, name: str) -> None:
    if failure.check(StoreUnavailable) is None:
        context.log.failure("what {name} tells others could not be told", failure, name=name)


def block(request: Request[incoming.Block]) -> Deferred[Answer]:
    """``Block``: keep no message of a user, and show it nothing of this one."""

    def full(failure: Failure) -> Answer:
        failure.trap(BlockListFull)
        raise Refused(Error.TOO_MANY, f"You block {request.context.max_blocked} users already.")

    return _change_block(request, blocked=True).addErrback(full)


def unblock(request: Request[incoming.Block]) -> Deferred[Answer]:
    """``Unblock``: take that back."""
    return _change_block(request, blocked=False)


def _change_block(request: Request[incoming.Block], *, blocked: bool) -> Deferred[Answer]:
    context, user = request.context, request.session.user
    peer = _id(request.payload.pId, "pId")
    if is_room(peer):
        raise Refused(Error.INVALID, "A room cannot be blocked; leave it.")
    if peer == user:
        raise Refused(Error.INVALID, "You cannot block yourself.")
    lists = context.presence.blocks
    changed = _ask(request, lambda: lists.change(user, peer, blocked=blocked, most=context.max_blocked), SMALL_READ)
    return changed.addCallback(lambda _: DONE)


def blocked(request: Request[incoming.Nothing]) -> Deferred[Answer]:
    """``Blocked``: whom the user blocks."""
    context, user = request.context, request.session.user
    asked = _ask(request, lambda: context.store.blocked(user), MAX_LIST_BYTES)
    return asked.addCallback(lambda users: Answer(outgoing.blocked(sorted(users))))


def presence(request: Request[incoming.Watch]) -> Deferred[Answer]:
    """``Presence``: who of some users is online, and from then on each change."""
    context, session = request.context, request.session
    users = tuple(dict.fromkeys(_id(one, "ids") for one in request.payload.ids))
    context.limiter.check_copies(session.allowance)
    context.limiter.copied(session.allowance.user, len(users))
    watched = _ask(request, lambda: context.presence.watch(session, users), SMALL_READ)
    return watched.addCallback(lambda found: Answer(outgoing.presences(found)))


def read(request: Request[incoming.Read]) -> Deferred[Answer]:
    """``Read``: all of a conversation up to ``mid`` is read.

    The user's other devices are told, and the peer, unless the user blocks it.
    """
    context, session, mid = request.context, request.session, request.payload.mid
    user, peer = session.user, _id(request.payload.pId, "pId")

    def marked(moved: bool) -> Answer:
        if moved:
            context.hub.notifier.read_carbon(peer, mid, session)
            if not is_room(peer):
                asked = context.presence.blocks.between(user, (peer,))
                asked.addCallback(tell).addErrback(_not_told, context, "Read")
        return DONE

    def tell(blocks: Blocks) -> None:
        # A peer that the user blocks would see that the user is here.
        if not blocks.blocked:
            context.hub.notifier.receipt(peer, Receipt(user, False, mid, Status.READ))

    return _ask(request, lambda: context.store.mark_read(user, peer, mid), SMALL_READ).addCallback(marked)


def edit(request: Request[incoming.Edit]) -> Deferred[Answer]:
    """``Edit``: another text of a message that the user has sent."""
    payload = request.payload
    return _update(request, payload, Update(EDIT, payload.mid), msg=payload.msg, attachments=request.event.attachments)


def delete(request: Request[incoming.Delete]) -> Deferred[Answer]:
    """``Delete``: the text of a message is gone, of the user's own or in a room that the user moderates."""
    return _update(request, request.payload, Update(DELETE, request.payload.mid))


def react(request: Request[incoming.React]) -> Deferred[Answer]:
    """``React``: the user's reaction to a message."""
    return _update(request, request.payload, Update(REACT, request.payload.mid, request.payload.emoji))


def _update(
    request: Request[Any],
    payload: incoming.Edit | incoming.Delete | incoming.React,
    update: Update,
    *,
    msg: Raw = NO_TEXT,
    attachments: Sequence[bytes] = (),
) -> Deferred[Answer]:
    """Look the message up, and change it if the user may. It counts as a message that is sent."""
    context, session = request.context, request.session
    context.delivery.ensure_open()
    allowance = session.allowance
    sends_left = allowance.sends = allowance.sends - 1
    if sends_left < 0 or allowance.user.copies_over:
        context.limiter.renew_sends(allowance)
    peer = None if payload.pId is None else _id(payload.pId, "pId")
    if peer is None:
        context.limiter.copied(allowance.user, SEARCH_COPIES)

    def found(target: Message | None) -> Deferred[Answer]:
        identity = session.identity
        now = milliseconds(context.hub.wall)
        target = ensure_may(update.kind, target, identity, within=context.quotas.edit_within, now=now)
        message = context.composer.compose_update(
            session.user, target, update, msg=msg, attachments=attachments, cid=payload.cid, name=identity.name
        )
        return _submit_update(request, message)

    return _ask(request, lambda: context.store.find(session.user, update.target, peer)).addCallback(found)


def _submit_update(request: Request[Any], message: Message) -> Deferred[Answer]:
    context, session = request.context, request.session
    limiter, user, room = context.limiter, session.allowance.user, message.recipient
    reply = DeferredReply()
    context.update(Submission(message, reply, session))
    copies = limiter.room_copies(room) if is_room(room) else 0
    limiter.copied(user, copies)

    def stored(stored: Stored) -> Answer:
        if copies:
            if stored.places:
                limiter.learn_room(room, len(stored.places) - 1)
            limiter.copied(user, len(stored.places) - copies)
        return Answer(outgoing.changed(update_of(message).target, stored.message.time, stored.repeat))

    def refused(failure: Failure) -> Answer:
        # It was counted where it was refused.
        failure.trap(Refused)
        limiter.copied(user, -copies)
        assert isinstance(failure.value, Refused)
        return Answer(outgoing.ack_error(failure.value))

    return reply.answer.addCallbacks(stored, refused)


def readers(request: Request[incoming.Readers]) -> Deferred[Answer]:
    """``Readers``: which members of a room have read a message there."""
    context, user, mid = request.context, request.session.user, request.payload.mid
    room = _id(request.payload.pId, "pId")
    if not is_room(room):
        raise Refused(Error.INVALID, "pId is not a room: Readers is about rooms.")

    def found(users: list[str] | None) -> Answer:
        if users is None:
            raise Refused(Error.INVALID, NO_MESSAGE)
        return Answer(outgoing.readers(mid, sorted(users)))

    return _ask(request, lambda: context.store.readers(room, user, mid), MAX_LIST_BYTES).addCallback(found)


def history(request: Request[incoming.History]) -> Deferred[Answer]:
    """``History``: a page of a conversation, newest last.

    A socket that asked for receipts, and may have missed some, is told first how far the peer has got and read it.
    """
    context, session, payload = request.context, request.session, request.payload
    user, peer = session.user, _id(payload.pId, "pId")

    def found(page: Page) -> Answer | Deferred[Answer]:
        if not session.options.receipts or not (page.delivered or page.read):
            return answer(page)
        blocks = context.presence.blocks.between(user, (peer,))
        # The page was read: it is answered, without the receipts, if the store fails only now.
        return blocks.addCallbacks(reached, unknown, callbackArgs=(page,), errbackArgs=(page,))

    def unknown(failure: Failure, page: Page) -> Answer:
        failure.trap(StoreUnavailable)
        return answer(page)

    def reached(blocks: Blocks, page: Page) -> Answer:
        socket = session.socket
        if page.delivered and socket.accepted:
            socket.emit(outgoing.status(peer, page.delivered, Status.DELIVERED))
        # A user whom the peer blocks would see that the peer is here.
        if page.read and not blocks.blockers and socket.accepted:
            socket.emit(outgoing.status(peer, page.read, Status.READ))
        return answer(page)

    def answer(page: Page) -> Answer:
        listed = [(None, message) for message in page.messages]
        pieces, attachments, cut = outgoing.fit(listed, context.limits.max_payload, newest=True)
        return Answer(outgoing.page(pieces, page.more or cut), attachments)

    before, limit = payload.before, payload.limit
    return _ask(request, lambda: context.store.history(user, peer, before=before, limit=limit)).addCallback(found)


def sync(request: Request[incoming.Sync]) -> Deferred[Answer]:
    """``Sync``: the user's inbox after an offset, in pages."""
    return Deferred.fromCoroutine(_sync(request))


async def _sync(request: Request[incoming.Sync]) -> Answer:
    context, session, offset = request.context, request.session, request.payload.offset
    more = True
    while more:
        # (A store in memory answers at once: a call in place of the loop would be nested as deep as there are pages.)
        inbox = await _ask(request, partial(context.store.read, session.user, offset, MAX_PAGE))
        entries = inbox.entries
        if offset > inbox.last:
            context.store.is_outdated(offset)
        listed = [(entry.offset, entry.message) for entry in entries if session.shows(entry.message)]
        # The store may cut a page by bytes as well.
        more = bool(entries) and entries[-1].offset < inbox.last
        if listed:
            pieces, attachments, cut = outgoing.fit(listed, context.limits.max_payload, newest=False)
            return Answer(outgoing.page(pieces, cut or more), attachments)
        if more:
            # A client goes on behind the last offset that it was shown.
            offset = entries[-1].offset
    return Answer(outgoing.page((), False))


def conversations(request: Request[incoming.Nothing]) -> Deferred[Answer]:
    """``Conversations``: with whom the user wrote, the newest first."""
    context, user = request.context, request.session.user

    def found(listed: list[Conversation]) -> Answer:
        return Answer(outgoing.conversations(listed, context.limits.max_payload))

    asked = _ask(request, lambda: context.store.conversations(user, MAX_CONVERSATIONS), MAX_LIST_BYTES)
    return asked.addCallback(found)


def join(request: Request[incoming.Room]) -> Deferred[Answer]:
    """``Join``: be a member of a room that the token allows, and the operator's back end if that is asked."""
    context, session = request.context, request.session
    room = _room(request.payload)
    rooms = session.identity.rooms
    if rooms != "*" and room not in rooms and room[1:] not in rooms:
        raise Refused(Error.NOT_ALLOWED, "Your token does not allow this room.")
    if context.approvals is None:
        return _enter(request, room)
    return context.approvals.join(session, room).addCallback(lambda _: _enter(request, room))


def _enter(request: Request[incoming.Room], room: str) -> Deferred[Answer]:
    context = request.context

    def full(failure: Failure) -> Answer:
        if failure.trap(RoomFull, TooManyRooms) is RoomFull:
            raise Refused(Error.TOO_MANY, "The room is full.")
        raise Refused(Error.TOO_MANY, f"You are in {context.max_rooms} rooms, and may be in no more.")

    user, most, most_rooms = request.session.user, context.max_room, context.max_rooms
    joined = _ask(request, lambda: context.store.join(room, user, most, most_rooms=most_rooms), SMALL_READ)
    return joined.addCallbacks(lambda _: DONE, full)


def leave(request: Request[incoming.Room]) -> Deferred[Answer]:
    """``Leave``: be a member no more."""
    context, user, room = request.context, request.session.user, _room(request.payload)
    return _ask(request, lambda: context.store.leave(room, user), SMALL_READ).addCallback(lambda _: DONE)


def push_key(request: Request[incoming.Nothing]) -> Answer:
    """``PushKey``: the key that browsers subscribe with."""
    return Answer(outgoing.push_key(_push(request).public_key))


def push_subscribe(request: Request[incoming.PushSubscribe]) -> Deferred[Answer]:
    """``PushSubscribe``: send pushes to a browser when messages wait for the user."""
    context, session, payload = request.context, request.session, request.payload
    service, user = _push(request), session.user
    context.limiter.check_copies(session.allowance)
    context.limiter.copied(session.allowance.user, SUBSCRIPTION_COPIES)
    try:
        subscription = PushSubscription.of(payload.endpoint, payload.keys.p256dh, payload.keys.auth)
        service.check(subscription.endpoint)
    except PushRefused as refused:
        raise Refused(Error.INVALID, str(refused)) from None
    kept = _ask(request, lambda: context.store.subscribe(user, subscription, MAX_SUBSCRIPTIONS), SMALL_READ)
    return kept.addCallback(lambda _: DONE)


def push_unsubscribe(request: Request[incoming.PushUnsubscribe]) -> Deferred[Answer]:
    """``PushUnsubscribe``: send no more pushes to a browser. It is no fault if there were none."""
    context, user, endpoint = request.context, request.session.user, request.payload.endpoint
    forgotten = _ask(request, lambda: context.store.unsubscribe(user, endpoint), SMALL_READ)
    return forgotten.addCallback(lambda _: DONE)


def _push(request: Request[Any]) -> PushService:
    service = request.context.push
    if service is None:
        raise Refused(Error.NOT_ALLOWED, "This server sends no pushes.")
    return service


def _ask(request: Request[Any], begin: Callable[[], Deferred[T]], expected: int = PAGE_BYTES) -> Deferred[T]:
    """Ask the store when it is the user's turn. ``expected``: bytes of the answer."""
    session = request.session
    return request.context.reads.ask(session.user, begin, expected=expected, reader=session)


def token(request: Request[incoming.Token]) -> Answer | Deferred[Answer]:
    """``Token``: a token of the same user in the place of the one that the socket has. One that is refused changes
    nothing."""
    context, session, text = request.context, request.session, request.payload.token

    def of_same_user(verifier: Verifier) -> Identity:
        identity = verifier.verify(text)
        if identity.user != session.user:
            raise TokenError("other_user")
        return identity

    def renewed(identity: Identity) -> Answer:
        context.counters.tokens["renewed"] += 1
        session.renew(identity)
        context.expiry.watch(session)
        return DONE

    def refused(error: TokenError) -> Refused:
        context.authenticator.not_renewed(session.socket.connection, error)
        whose = "is of another user" if error.reason == "other_user" else "is not valid"
        return Refused(Error.NOT_ALLOWED, f"The token {whose}; the one before still holds.")

    def later_refused(failure: Failure) -> Answer:
        error = failure.value
        if not isinstance(error, TokenError):
            failure.raiseException()
        raise refused(error)

    wait = context.addresses.token(session.socket.connection.handshake.client)
    if wait:
        raise Refused(Error.TOO_MANY, "Too many tokens from your address were not valid; try again.", rounded(wait))
    try:
        identity = context.authenticator.identify(of_same_user)
    except TokenError as error:
        raise refused(error) from None
    if isinstance(identity, Deferred):
        return identity.addCallbacks(renewed, later_refused)
    return renewed(identity)


def _refuse(session: ChatSession, event: Event, refused: Refused) -> None:
    _answer(session, event, Answer(outgoing.ack_error(refused)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[P]):
    """An event that clients may emit.

    Attributes:
        name: of the event.
        payload: the type of what it carries.
        do: does it. Returns the answer; None where it answers by itself.
        needs_store: whether it asks for what a store keeps, and so is refused where none does.
        waits: whether it is answered later, and so is refused where too much is unanswered.
        tutorial: whether it is the tutorial's. A client that emits another knows more, and is told more.
        refuse: tells the sender of a refusal.
        decode: makes the payload of the event's arguments.
    """

    name: str
    payload: type[P]
    do: Callable[[Request[P]], Answer | Deferred[Answer] | Deferred[None] | None]
    needs_store: bool = True
    waits: bool = True
    tutorial: bool = False
    refuse: Callable[[ChatSession, Event, Refused], None] = _refuse
    decode: Callable[[tuple[Raw, ...]], P] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decode", incoming.decoder_of(self.payload, self.name))


_TABLE: Final[tuple[Command[Any], ...]] = (
    Command(
        name="Send",
        payload=incoming.Send,
        do=send,
        needs_store=False,
        waits=False,
        tutorial=True,
        refuse=_refuse_send,
    ),
    Command(name="Logout", payload=incoming.Logout, do=logout, needs_store=False, waits=False, tutorial=True),
    Command(name="Typing", payload=incoming.PeerOnly, do=typing, needs_store=False, waits=False),
    Command(name="Presence", payload=incoming.Watch, do=presence, needs_store=False),
    Command(name="Read", payload=incoming.Read, do=read),
    Command(name="History", payload=incoming.History, do=history),
    Command(name="Sync", payload=incoming.Sync, do=sync),
    Command(name="Edit", payload=incoming.Edit, do=edit),
    Command(name="Delete", payload=incoming.Delete, do=delete),
    Command(name="React", payload=incoming.React, do=react),
    Command(name="Readers", payload=incoming.Readers, do=readers),
    Command(name="Conversations", payload=incoming.Nothing, do=conversations),
    Command(name="Block", payload=incoming.Block, do=block),
    Command(name="Unblock", payload=incoming.Block, do=unblock),
    Command(name="Blocked", payload=incoming.Nothing, do=blocked),
    Command(name="Join", payload=incoming.Room, do=join),
    Command(name="Leave", payload=incoming.Room, do=leave),
    Command(name="PushKey", payload=incoming.Nothing, do=push_key, waits=False),
    Command(name="PushSubscribe", payload=incoming.PushSubscribe, do=push_subscribe),
    Command(name="PushUnsubscribe", payload=incoming.PushUnsubscribe, do=push_unsubscribe),
    Command(name="Token", payload=incoming.Token, do=token, needs_store=False),
)

#: By the event's name. An event that is not here is passed over, as with the tutorial's server.
COMMANDS: Final[Mapping[str, Command[Any]]] = {command.name: command for command in _TABLE}


def run(context: ChatContext, session: ChatSession, event: Event) -> None:
    """Do what ``event`` asks for, and answer it also where that is refused."""
    command = COMMANDS.get(event.name)
    # What is passed over is counted as well.
    args, allowance = event.args, session.allowance
    size = len(args[0]) if len(args) == 1 and not event.attachments else _size(event)
    events_left = allowance.events = allowance.events - 1
    bytes_left = allowance.bytes = allowance.bytes - size
    if events_left < 0 or bytes_left < 0:
        exceeded = context.limiter.renew(allowance, size)
        if exceeded is not None:
            _refuse_rate(context, session, event, exceeded=exceeded)
            return
    if command is None:
        return
    if not command.tutorial:
        session.more = True
    try:
        if command.needs_store and not context.store.keeps:
            raise Refused(Error.NO_STORE, "This server keeps no messages.")
        if command.waits and session.requests >= MAX_REQUESTS:
            raise Refused(Error.BUSY, "Too many of your requests are unanswered; try again.")
        request = Request(context, session, command.decode(event.args), event)
        answer = command.do(request)
    except RateExceeded as exceeded:
        _refuse_rate(context, session, event, exceeded=exceeded)
        return
    except Refused as refused:
        context.counters.refused[refused.error] += 1
        command.refuse(session, event, refused)
        return
    if answer is None:
        return
    if isinstance(answer, Deferred):
        _wait(command, request, answer)
    else:
        _answer(session, event, answer)


def _size(event: Event) -> int:
    """Bytes of an event: its arguments, as JSON, and its attachments."""
    return sum(map(len, event.args)) + sum(map(len, event.attachments))


def _refuse_rate(context: ChatContext, session: ChatSession, event: Event, *, exceeded: RateExceeded) -> None:
    """An event is refused for its rate; where a multiple of the limit is tried for, the connection ends."""
    command = COMMANDS.get(event.name)
    if command is not None:
        context.counters.refused[exceeded.error] += 1
        command.refuse(session, event, exceeded)
    if exceeded.overrun:
        session.socket.connection.session.close(Reason.RATE, f"a multiple of {exceeded.limit}")


def _wait(command: Command[Any], request: Request[Any], answer: Deferred[Any]) -> None:
    """Answer when the answer is there."""
    context, session, event = request.context, request.session, request.event
    session.requests += 1

    def answered(found: Answer | None) -> None:
        if found is not None:
            _answer(session, event, found)

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return  # the socket is gone
        refused = failure.value
        if not isinstance(refused, Refused):
            if failure.check(StoreUnavailable) is None:
                context.log.failure("{name} failed", failure, name=command.name)
            refused = Refused(Error.NO_STORE, "The store is not available; try again.")
        context.counters.refused[refused.error] += 1
        command.refuse(session, event, refused)

    def done(_: object) -> None:
        session.requests -= 1

    answer.addCallback(answered).addErrback(failed).addBoth(done)


def _answer(session: ChatSession, event: Event, answer: Answer) -> None:
    if event.id is not None and session.socket.accepted:
        session.socket.ack(event.id, answer.body, answer.attachments)


def _id(value: int | str, field: str) -> str:
    text = str(value)
    if len(text) > MAX_ID:
        raise Refused(Error.INVALID, f"{field} is longer than {MAX_ID} characters.")
    return text


def _room(payload: incoming.Room) -> str:
    room = _id(payload.room, "room")
    room = room_name(room)
    if len(room) == 1 or len(room) > MAX_ID:
        raise Refused(Error.INVALID, f"room is not 1 to {MAX_ID - 1} characters long.")
    return room
