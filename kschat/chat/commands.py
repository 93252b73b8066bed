"""What each event does: a table from its name to a function.

A command gets the chat, the session of the socket it came from, and the event. What it raises as
``Refused`` is told to the sender: by ``Send``'s two answers, or by the ack, ``{ER, WHY}``. A command
that needs the store returns a Deferred; how many of those a socket may have is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import Raw
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kschat.chat import incoming, outgoing
from kschat.chat.clocks import milliseconds
from kschat.chat.cluster_commands import Receipt, Typing
from kschat.chat.delivery import Submission, refuse
from kschat.chat.incoming import MAX_PAGE
from kschat.chat.interfaces import Conversation, InboxPage, Page, RoomFull, StoreUnavailable
from kschat.chat.message import MAX_ID, Error, Message, Refused
from kschat.chat.outgoing import Status
from kschat.chat.session import ChatSession
from kschat.wire.errors import ProtocolError
from kschat.wire.socketio import Event, renumber

if TYPE_CHECKING:
    from kschat.chat.application import Chat

#: Answers of the store that one socket may await.
MAX_REQUESTS: Final = 32

#: Conversations that ``Conversations`` lists.
MAX_CONVERSATIONS: Final = 500


def send(chat: Chat, session: ChatSession, event: Event) -> None:
    """``Send``: a message to a user or a room. It is answered when the message is stored."""
    try:
        submission = _submission(chat, session, event)
        chat.delivery.submit(submission)
    except Refused as refused:
        chat.counters.refused[refused.error] += 1
        refuse(session.socket, event.id, *incoming.loose_fields(event.args), refused)


def _submission(chat: Chat, session: ChatSession, event: Event) -> Submission:
    if chat.closing:
        raise Refused(Error.GOING_DOWN, "The server is going down; connect again.")
    payload = incoming.decode_send(event.args)
    sender = str(payload.uId)
    if sender != session.user:
        raise Refused(Error.NOT_ALLOWED, "uId is not the user of your token.")
    recipient = _id(payload.pId, "pId")
    if event.attachments:
        try:
            text, attachments = renumber(payload.msg, event.attachments, chat.limits.max_depth)
        except ProtocolError as error:
            raise Refused(Error.INVALID, f"msg is not valid: {error.detail}.") from None
        msg = Raw(text)
    else:
        msg, attachments = incoming.readable(payload.msg), ()
    time = milliseconds(chat.wall)
    message = Message(
        chat.mids.make(time), sender, recipient, payload.uId, payload.pId, msg, time, payload.cid, attachments
    )
    return Submission(message, session, event.id, incoming.readable(payload.rno))


def logout(chat: Chat, session: ChatSession, event: Event) -> Deferred[None] | None:
    """``Logout``: an ack, RESPLOGOUT, and the end of this socket; with ``{all: true}`` of all the user's anywhere."""
    if incoming.says_all(event.args):
        # Whoever has the answer may connect again, and that socket must not be ended by what is told late.
        told = chat.operations.disconnect(session.user, "logout", session)
        return told.addCallback(lambda _: _logged_out(session, event))
    _logged_out(session, event)
    return None


def _logged_out(session: ChatSession, event: Event) -> None:
    if event.id is not None:
        session.socket.ack(event.id, b'[{"RC":1,"ERR":0}]')
    session.socket.emit(outgoing.LOGGED_OUT)
    session.socket.disconnect()


def typing(chat: Chat, session: ChatSession, event: Event) -> None:
    """``Typing``: told to the peer's sockets that know more than the tutorial, and keep up. Rooms are not told."""
    peer = _id(incoming.decode(incoming.TYPING, event.args, "Typing").pId, "pId")
    if peer[0] != "#":
        chat.hub.notifier.tell((peer,), Typing(session.user))
    _answer(session, event, b'[{"ER":0}]')


def presence(chat: Chat, session: ChatSession, event: Event) -> Deferred[None]:
    """``Presence``: who of some users is online, and from then on each change."""
    users = tuple(dict.fromkeys(_id(one, "ids") for one in incoming.decode(incoming.WATCH, event.args, "Presence").ids))
    return chat.presence.watch(session, users).addCallback(
        lambda found: _answer(session, event, outgoing.presences(found))
    )


def read(chat: Chat, session: ChatSession, event: Event) -> Deferred[None]:
    """``Read``: all of a conversation up to ``mid`` is read; the peer is told."""
    payload = incoming.decode(incoming.READ, event.args, "Read")
    peer = _id(payload.pId, "pId")

    def marked(moved: bool) -> None:
        _answer(session, event, b'[{"ER":0}]')
        if moved and peer[0] != "#":
            chat.hub.notifier.receipt(peer, Receipt(session.user, False, payload.mid, Status.READ))

    return chat.store.mark_read(session.user, peer, payload.mid).addCallback(marked)


def history(chat: Chat, session: ChatSession, event: Event) -> Deferred[None]:
    """``History``: a page of a conversation, newest last."""
    payload = incoming.decode(incoming.HISTORY, event.args, "History")

    def found(page: Page) -> None:
        listed = [(None, message) for message in page.messages]
        pieces, attachments, cut = outgoing.fit(listed, chat.limits.max_payload, newest=True)
        _answer(session, event, outgoing.page(pieces, page.more or cut), attachments)

    peer = _id(payload.pId, "pId")
    return chat.operations.history(session.user, peer, payload.before, payload.limit).addCallback(found)


def sync(chat: Chat, session: ChatSession, event: Event) -> Deferred[None]:
    """``Sync``: the user's inbox after an offset, in pages."""
    payload = incoming.decode(incoming.SYNC, event.args, "Sync")

    def found(inbox: InboxPage) -> None:
        entries = inbox.entries
        if payload.offset > inbox.last:
            chat.store.is_outdated(payload.offset)
        listed = [(entry.offset, entry.message) for entry in entries]
        pieces, attachments, cut = outgoing.fit(listed, chat.limits.max_payload, newest=False)
        # The store may cut a page by bytes as well.
        more = cut or (bool(entries) and entries[-1].offset < inbox.last)
        _answer(session, event, outgoing.page(pieces, more), attachments)

    return chat.store.read(session.user, payload.offset, MAX_PAGE).addCallback(found)


def conversations(chat: Chat, session: ChatSession, event: Event) -> Deferred[None]:
    """``Conversations``: with whom the user wrote, the newest first."""

    def found(listed: list[Conversation]) -> None:
        # A list shows what a message says in one line: binary is left to History.
        _answer(session, event, outgoing.conversations(listed, chat.limits.max_payload))

    return chat.store.conversations(session.user, MAX_CONVERSATIONS).addCallback(found)


def join(chat: Chat, session: ChatSession, event: Event) -> Deferred[None]:
    """``Join``: be a member of a room that the token allows."""
    room = _room(event, "Join")
    rooms = session.identity.rooms
    if rooms != "*" and room not in rooms and room[1:] not in rooms:
        raise Refused(Error.NOT_ALLOWED, "Your token does not allow this room.")

    def full(failure: Failure) -> None:
        failure.trap(RoomFull)
        raise Refused(Error.TOO_MANY, "The room is full.")

    return chat.store.join(room, session.user, chat.max_room).addCallbacks(
        lambda _: _answer(session, event, b'[{"ER":0}]'), full
    )


def leave(chat: Chat, session: ChatSession, event: Event) -> Deferred[None]:
    """``Leave``: be a member no more."""
    room = _room(event, "Leave")
    return chat.store.leave(room, session.user).addCallback(lambda _: _answer(session, event, b'[{"ER":0}]'))


Command = Callable[["Chat", ChatSession, Event], Deferred[None] | None]

#: An event whose name is not here is passed over, as with the tutorial's server.
COMMANDS: Final[dict[str, Command]] = {
    "Send": send,
    "Logout": logout,
    "Typing": typing,
    "Presence": presence,
    "Read": read,
    "History": history,
    "Sync": sync,
    "Conversations": conversations,
    "Join": join,
    "Leave": leave,
}

#: The tutorial's own. Who sends another knows more, and is told more.
_TUTORIALS: Final = frozenset({"Send", "Logout"})

#: These ask for what a store keeps.
_OF_STORE: Final = frozenset({"Read", "History", "Sync", "Conversations", "Join", "Leave"})

#: These never wait for the store, and so may come however many answers of it are awaited.
_UNASKING: Final = frozenset({"Send", "Logout", "Typing"})


def run(chat: Chat, session: ChatSession, event: Event) -> None:
    """Do what ``event`` asks for, and answer it also where that is refused."""
    command = COMMANDS.get(event.name)
    if command is None:
        return
    if event.name not in _TUTORIALS:
        session.more = True
    try:
        if event.name in _OF_STORE and not chat.store.keeps:
            raise Refused(Error.NO_STORE, "This server keeps no messages.")
        if session.requests >= MAX_REQUESTS and event.name not in _UNASKING:
            raise Refused(Error.BUSY, "Too many of your requests are unanswered; try again.")
        answer = command(chat, session, event)
    except Refused as refused:
        _refuse(chat, session, event, refused)
        return
    if answer is not None:
        session.requests += 1
        answer.addErrback(_unanswered, chat, session, event)
        answer.addBoth(_done, session)


def _done(_: object, session: ChatSession) -> None:
    session.requests -= 1


def _unanswered(failure: Failure, chat: Chat, session: ChatSession, event: Event) -> None:
    refused = failure.value
    if not isinstance(refused, Refused):
        if failure.check(StoreUnavailable) is None:
            chat.log.failure("{name} failed", failure, name=event.name)
        refused = Refused(Error.NO_STORE, "The store is not available; try again.")
    _refuse(chat, session, event, refused)


def _refuse(chat: Chat, session: ChatSession, event: Event, refused: Refused) -> None:
    chat.counters.refused[refused.error] += 1
    _answer(session, event, outgoing.ack_error(refused.error, refused.why))


def _answer(session: ChatSession, event: Event, body: bytes, attachments: tuple[bytes, ...] = ()) -> None:
    if event.id is not None and session.socket.accepted:
        session.socket.ack(event.id, body, attachments)


def _id(value: int | str, field: str) -> str:
    text = str(value)
    if len(text) > MAX_ID:
        raise Refused(Error.INVALID, f"{field} is longer than {MAX_ID} characters.")
    return text


def _room(event: Event, name: str) -> str:
    room = _id(incoming.decode(incoming.ROOM, event.args, name).room, "room")
    room = room if room[0] == "#" else "#" + room
    if len(room) == 1 or len(room) > MAX_ID:
        raise Refused(Error.INVALID, f"room is not 1 to {MAX_ID - 1} characters long.")
    return room
