"""What each event does: a table from its name to a function.

A command gets the chat, the socket it came from and the event. It answers for itself. What it
raises as ``Refused`` is told to the sender by ``Send``'s two answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import Raw

from kschat.chat import messages
from kschat.chat.delivery import Submission, refuse
from kschat.chat.messages import MAX_ID, Error, Message, Refused
from kschat.wire.connection import Socket
from kschat.wire.errors import ProtocolError
from kschat.wire.socketio import Event, renumber

if TYPE_CHECKING:
    from kschat.chat.application import Chat


def send(chat: Chat, socket: Socket, event: Event) -> None:
    """``Send``: a message to one user. It is answered when the message is stored."""
    try:
        submission = _submission(chat, socket, event)
        chat.delivery.submit(submission)
    except Refused as refused:
        chat.counters.refused[refused.error] += 1
        refuse(socket, event.id, *messages.loose_fields(event.args), refused)


def _submission(chat: Chat, socket: Socket, event: Event) -> Submission:
    if chat.closing:
        raise Refused(Error.GOING_DOWN, "The server is going down; connect again.")
    payload = messages.decode_send(event.args)
    sender = str(payload.uId)
    if sender != socket.record.user:
        raise Refused(Error.NOT_ALLOWED, "uId is not the user of your token.")
    recipient = str(payload.pId)
    if len(recipient) > MAX_ID:
        raise Refused(Error.INVALID, f"pId is longer than {MAX_ID} characters.")
    if recipient[0] == "#":
        raise Refused(Error.NOT_ALLOWED, "You are not a member of that room.")
    if event.attachments:
        try:
            text, attachments = renumber(payload.msg, event.attachments, chat.limits.max_depth)
        except ProtocolError as error:
            raise Refused(Error.INVALID, f"msg is not valid: {error.detail}.") from None
        msg = Raw(text)
    else:
        # A copy: what was decoded keeps the whole frame alive.
        msg, attachments = payload.msg.copy(), ()
    time = int(chat.clock.seconds() * 1000)
    message = Message(
        chat.mids.make(time),
        sender,
        recipient,
        payload.uId,
        payload.pId,
        msg,
        time,
        payload.cid,
        attachments,
    )
    return Submission(message, socket, event.id, payload.rno.copy())


def logout(chat: Chat, socket: Socket, event: Event) -> None:
    """``Logout``: an ack, RESPLOGOUT, and the end of this socket."""
    if event.id is not None:
        socket.ack(event.id, b'[{"RC":1,"ERR":0}]')
    socket.emit(messages.LOGGED_OUT)
    socket.disconnect()


Command = Callable[["Chat", Socket, Event], None]

#: An event whose name is not here is passed over, as with the tutorial's server.
COMMANDS: Final[dict[str, Command]] = {
    "Send": send,
    "Logout": logout,
}
