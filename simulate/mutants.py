"""Planted bugs, each of which the simulation must find: what is not found is a hole in it.

Each takes the place of one function of kschat, as somebody might have written it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from twisted.internet.defer import succeed

from kschat.chat import delivery as delivery_module
from kschat.chat.admission import Admission
from kschat.chat.catchup import CatchUp
from kschat.chat.cursors import Cursors
from kschat.chat.delivery import Delivery
from kschat.chat.hub import Hub
from kschat.chat.interfaces import Stored
from kschat.chat.presence import Presence
from kschat.chat.session import ChatSession
from kschat.chat.stream import TRANSITIONS, DeliveryStream, StreamInput, StreamState, StreamTimer
from kschat.chat.write_behind import WriteBehindBuffer
from kschat.front.polling import Polling


class Patch:
    """Takes the places of functions, and gives them back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], object]] = []

    def put(self, owner: Any, name: str, made: Callable[[Any], Any]) -> None:
        """Put what ``made`` makes of the original in its place."""
        original = owner.__dict__[name]
        setattr(owner, name, made(original))
        self._undo.append(lambda: setattr(owner, name, original))

    def entry(self, table: dict[Any, Any], key: Any, made: Any) -> None:
        """Put another entry into a table."""
        original = table[key]
        table[key] = made
        self._undo.append(lambda: table.__setitem__(key, original))

    @property
    def changes(self) -> int:
        """How many places were taken."""
        return len(self._undo)

    def undo(self) -> None:
        """Give all back."""
        while self._undo:
            self._undo.pop()()


def _no_look_now_and_then(patch: Patch) -> None:
    """No daemon looks at the ends of its inboxes every half a minute, which hides such bugs."""

    def made(original: Any) -> Any:
        def look(self: Any) -> None:
            self._timer = None
            self.look_now_and_then()

        return look

    patch.put(CatchUp, "_look", made)


def _pong_of_the_wrong_write(patch: Patch) -> None:
    """A pong moves the cursor to what is written by now, not to what was written before its ping."""
    patch.put(
        DeliveryStream, "on_confirmed", lambda original: lambda self, offset: original(self, max(offset, self.at))
    )


def _news_beyond_a_gap(patch: Patch) -> None:
    """A message that arrives early is written at once."""

    def made(original: Any) -> Any:
        def take(self: Any, offset: int, message: Any, piece: bytes) -> None:
            if offset > self.at + 1 and not self.in_flight.full:
                self._write(offset, message, piece)
            else:
                original(self, offset, message, piece)

        return take

    wrong = made(DeliveryStream._take_message)
    patch.entry(TRANSITIONS, (StreamState.LIVE, StreamInput.MESSAGE), (StreamState.LIVE, wrong))


def _news_of_a_repeat(patch: Patch) -> None:
    """A repeat is acknowledged, and nobody is told, though the first try may have ended after the store."""
    patch.put(delivery_module, "_again", lambda original: lambda stored, fresh: [])
    _no_look_now_and_then(patch)


def _acknowledged_too_soon(patch: Patch) -> None:
    """A batch is answered when it is handed to the store."""

    def made(original: Any) -> Any:
        def begin(self: Any, submissions: Sequence[Any], size: int, *, since: float, large: bool = False) -> None:
            for one in submissions:
                one.reply.stored(Stored(one.message, ()))
            original(self, submissions, size, since=since, large=large)

        return begin

    patch.put(Delivery, "_begin", made)
    patch.put(Delivery, "_answer", lambda original: lambda self, batch, stored: None)
    patch.put(Delivery, "_not_stored", lambda original: lambda self, failure, submissions: None)


def _cursor_of_memory(patch: Patch) -> None:
    """A socket begins at the cursor that this daemon has in memory."""

    def made(original: Any) -> Any:
        def begin(self: Any, session: Any, state: Any, claim: int | None = None) -> None:
            inbox = self._hub.inbox(session.user)
            if state is not None and claim is None and inbox is not None and not session.closed:
                inbox.cursor = max(inbox.cursor, state.cursor)
                session.stream.on_opened(min(inbox.cursor, state.last), state.last)
            else:
                original(self, session, state, claim)

        return begin

    patch.put(Admission, "begin", made)
    patch.put(Cursors, "settled", lambda original: lambda self, user: succeed(None))


def _no_look_after_an_outage(patch: Patch) -> None:
    """When the router is up again nobody looks at what it did not bring."""
    patch.put(Hub, "on_router_event", lambda original: lambda self, event, socket=None: None)
    _no_look_now_and_then(patch)


def _untold_forgotten(patch: Patch) -> None:
    """What could not be published is read by this daemon, and the others are not told."""

    def made(original: Any) -> Any:
        def not_routed(self: Any, batch: Sequence[Stored]) -> None:
            self.resync([user for one in batch for user, _ in one.places])

        return not_routed

    patch.put(CatchUp, "not_routed", made)
    _no_look_now_and_then(patch)


def _cursor_not_written_again(patch: Patch) -> None:
    """A cursor that the store could not take is not offered again."""

    def made(original: Any) -> Any:
        def not_noted(self: Any, failure: Any, dirty: set[str]) -> None:
            self._telling -= 1

        return not_noted

    patch.put(WriteBehindBuffer, "_not_noted", made)


def _bound_after_the_look(patch: Patch) -> None:
    """A socket looks where its inbox stands before it is bound: what comes between is not told."""

    def made(original: Any) -> Any:
        def join(self: Any, session: Any) -> Any:
            user = session.user
            self._hub.add(session)
            looked = self._look(user)

            def bind(state: Any) -> Any:
                bound = self._router.bind(user, session.socket.id).addErrback(lambda _: None)
                self._listen(user)
                return bound.addCallback(lambda _: state)

            return looked.addCallback(bind)

        return join

    patch.put(Admission, "join", made)
    _no_look_now_and_then(patch)


def _gap_not_read(patch: Patch) -> None:
    """A gap is left to the router to fill."""
    patch.entry(
        TRANSITIONS,
        (StreamState.LIVE, StreamInput.GAP_TIMEOUT),
        (StreamState.LIVE, lambda self: self._start(StreamTimer.GAP)),
    )
    _no_look_now_and_then(patch)


def _recovered_one_too_far(patch: Patch) -> None:
    """A socket that is recovered begins behind the message after the one that its client shows."""

    def made(original: Any) -> Any:
        def begin(self: Any, session: Any, state: Any, claim: int | None = None) -> None:
            if claim is not None and state is not None and claim < state.last:
                claim += 1
            original(self, session, state, claim)

        return begin

    patch.put(Admission, "begin", made)


def _presence_not_asked_again(patch: Patch) -> None:
    """When the bus is up again nobody asks who came and went."""
    patch.put(Presence, "resync", lambda original: lambda self: None)


def _receipt_at_the_write(patch: Patch) -> None:
    """A sender is told that its message is delivered when it is written."""

    def made(original: Any) -> Any:
        def write(self: Any, offset: int, message: Any, piece: bytes) -> Any:
            if self._context is not None:
                self._context.tell_senders(self.user, [message])
            return original(self, offset, message, piece)

        return write

    patch.put(ChatSession, "write", made)


def _poll_confirms_itself(patch: Patch) -> None:
    """An answer to a GET counts as read when it is sent."""

    def made(original: Any) -> Any:
        def answer(self: Any, body: Any) -> None:
            original(self, body)
            if self.session is not None and not self._holding:
                self._confirm_read(self.session)

        return answer

    patch.put(Polling, "_answer", made)


def _upgrade_forgets(patch: Patch) -> None:
    """What waits for a GET is not written to the WebSocket that takes its place."""

    def made(original: Any) -> Any:
        def take(self: Any) -> Any:
            list(original(self))
            return ()

        return take

    patch.put(Polling, "take_unsent", made)


def _end_confirms(patch: Patch) -> None:
    """When a socket ends, all that was written to it counts as read."""

    def made(original: Any) -> Any:
        def leave(self: Any) -> None:
            if self._context is not None and self.stream.in_flight.size:
                self.stream.on_confirmed(self.stream.at)
            original(self)

        return leave

    patch.put(ChatSession, "leave", made)


#: Each by its name.
MUTANTS: Final[dict[str, Callable[[Patch], None]]] = {
    "pong-of-the-wrong-write": _pong_of_the_wrong_write,
    "news-beyond-a-gap": _news_beyond_a_gap,
    "news-of-a-repeat": _news_of_a_repeat,
    "acknowledged-too-soon": _acknowledged_too_soon,
    "cursor-of-memory": _cursor_of_memory,
    "no-look-after-an-outage": _no_look_after_an_outage,
    "untold-forgotten": _untold_forgotten,
    "cursor-not-written-again": _cursor_not_written_again,
    "bound-after-the-look": _bound_after_the_look,
    "gap-not-read": _gap_not_read,
    "recovered-one-too-far": _recovered_one_too_far,
    "presence-not-asked-again": _presence_not_asked_again,
    "receipt-at-the-write": _receipt_at_the_write,
    "poll-confirms-itself": _poll_confirms_itself,
    "upgrade-forgets": _upgrade_forgets,
    "end-confirms": _end_confirms,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Within, kschat has the bug of this name."""
    patch = Patch()
    try:
        MUTANTS[name](patch)
        yield
    finally:
        patch.undo()
