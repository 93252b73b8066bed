"""HTTP long-polling as the transport of an ``EngineSession``.

Source: socketio/socket.io, ``docs/engine.io-protocol`` ("HTTP long-polling", "Polling"); where they are silent, the
reference server.

A session has one outbox: frames wait in it for a GET, which fetches as many as fit into one body. If it is empty, the
GET is parked. The next GET confirms that the peer has read an answer.

::

    GET    outbox empty: parked, until something is sent, the session ends, or another transport is probed (noop)
           another is parked, or this one was answered before (the same ``t``): the session ends
    POST   its packets go to the session in turns, then ``ok``; what a turn brings about waits until it is over
           what it brings about fills the outbox: ``ok``, and the rest is read when GETs have taken enough; a POST
           that comes meanwhile is read after it
           another is not answered: the session ends
    end    a parked GET takes the outbox and a close packet; without one, last words of ours wait a while for a GET
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final
from weakref import ReferenceType, ref

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from kschat.front.channel import TOO_LARGE, BoundedRequest, Channel
from kschat.front.context import TransportContext
from kschat.front.engine_request import EngineRequest
from kschat.front.handshake import BAD_REQUEST
from kschat.front.pool import Place
from kschat.front.registry import has_joined
from kschat.front.responses import answer, answer_poll
from kschat.front.turns import ARRIVAL_SECONDS, LARGE, LOOK_BYTES, PACKETS, READ_ON_BELOW
from kschat.wire import jsonp
from kschat.wire import payload as bodies
from kschat.wire.connection import Handshake
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.outbox import Outbox
from kschat.wire.session import EngineSession, Link

#: Bytes waiting for a GET from which volatile events are dropped: the size at which Twisted pauses producers.
CONGESTED: Final = 65_536

#: While the application is busy, a body waits, so that its consequences do not arrive all at once: seconds until the
#: next look, and looks until it is read anyway (5 s).
BUSY_PAUSE: Final = 0.01
BUSY_LOOKS: Final = 500

#: Seconds within which a new client must send its second request: npm's clients do so at once.
SECOND_REQUEST_TIMEOUT: Final = 15

#: Seconds that the last words of a session wait for a GET.
LAST_WORDS_TIMEOUT: Final = 5

#: Reasons of ours after which the client still gets what was sent before, and the close packet.
_ORDERLY: Final = frozenset(
    {Reason.FORCED_CLOSE, Reason.CONNECT_TIMEOUT, Reason.SHUTTING_DOWN, Reason.SERVER_ERROR, Reason.SERVER_DISCONNECT}
)

#: Reasons that the content of a POST brought about.
_FAULTS: Final = frozenset({Reason.PARSE_ERROR, Reason.TOO_LARGE, Reason.SERVER_ERROR})

_CLOSE: Final = Frame(b"1")
_NOOP: Final = Frame(b"6")


class Polling:
    """One session over HTTP requests.

    Args:
        context: what all transports share.
        revision: of Engine.IO.
        text_only: send binary as text.

    Attributes:
        session: whose transport this is, from its beginning to its end. (Behind that they would be in a cycle.)
        slot: its slot in the timer wheel, while a second request or one for last words is awaited.
        ended: why it has ended, or None.
    """

    __slots__ = (
        "_address",
        "_answered",
        "_begun",
        "_bodies",
        "_body_size",
        "_buffered",
        "_context",
        "_get",
        "_held",
        "_holding",
        "_looks",
        "_outbox",
        "_paused",
        "_place",
        "_post",
        "_read_on_below",
        "_revision",
        "_sid",
        "_stamp",
        "_waits",
        "_was_parked",
        "ended",
        "session",
        "slot",
    )

    log = Logger()

    #: See ``wire.roles.Transport``: a GET confirms what the one before it took.
    asks_by_ping = False

    def __init__(self, context: TransportContext, revision: Revision, text_only: bool) -> None:
        self.session: EngineSession | None = None
        self.slot: int | None = None
        self.ended: Reason | None = None
        self._context = context
        self._revision: Revision = revision
        self._outbox = Outbox(revision, context.max_payload, text_only)
        self._get: tuple[Request, EngineRequest] | None = None
        # The unanswered POST.
        self._post: Request | None = None
        # Bodies not yet read to their end: at most one, and one behind it whose POST is unanswered.
        self._bodies: list[tuple[Request, Iterator[Frame]]] = []
        # Bytes of those that came since there was none.
        self._body_size = 0
        # Bytes of bodies and of the outbox, as the budget knows them.
        self._buffered = 0
        self._address = ""
        self._sid = ""
        # Whether they wait for GETs.
        self._paused = False
        # Whether they are in the rotation.
        self._waits = False
        # Whether the first of them, which is large, has waited already until others were dealt with.
        self._was_parked = False
        # Whether the first of them was begun.
        self._begun = False
        # How often the first of them found the engine busy.
        self._looks = 0
        self._read_on_below = context.max_unsent * READ_ON_BELOW
        # Frames wait until the request that causes them is read.
        self._holding = False
        # Whether this transport is in the cork's list.
        self._held = False
        # Of the last answered GET: its stamp, and the connection that it came by. A session lives on for a while when
        # its client is gone, and must not keep the connection, which needs more memory than the session.
        self._stamp: bytes | None = None
        self._answered: ReferenceType[Channel]
        self._place: Place

    # Requests.

    def begin(self, request: Request, query: EngineRequest, handshake: Handshake) -> None:
        """Begin the session by its first request, which is answered with the session's first packets."""
        sessions, polls = self._context.sessions, self._context.polls
        self._address = handshake.client
        self._place = polls.enter(self, handshake.client)
        _channel_of(request).carries = self
        self._holding = True
        self._park(request, query)
        session = sessions.begin(self, self._revision, handshake=handshake, upgrades=("websocket",))
        self._sid = session.sid
        if self.ended is None:
            self.session = session
        self._holding = False
        self.flush()
        if self.ended is None:
            # A client that opens sessions and abandons them holds each for this long, not for a heartbeat.
            self._context.timers.schedule(self, SECOND_REQUEST_TIMEOUT)

    def get(self, request: Request, query: EngineRequest) -> None:
        """A GET: take what waits, or what comes next."""
        session = self.session
        assert session is not None
        self._came_back(request)
        session.alive()
        if self._get is not None or self._comes_again(query):
            session.close(Reason.TRANSPORT_ERROR, "overlapping GETs")
            self._refuse(request)
            return
        self._park(request, query)
        self._confirm_read(session)
        self.flush()
        if not request.finished:
            if session.link is Link.PROBED:
                self.release()
            else:
                _channel_of(request).park()

    def _came_back(self, request: Request) -> None:
        _channel_of(request).carries = self
        self._context.polls.returned(self._place)
        self._context.timers.cancel(self)

    @property
    def proved(self) -> bool:
        """See ``pool.Holder``."""
        return has_joined(self.session)

    def give_way(self) -> None:
        """See ``pool.Holder``."""
        if self.session is not None:
            self.session.close(Reason.CONNECT_TIMEOUT, "gave way to other sessions")

    def _hold(self) -> None:
        """Tell the budget what is held."""
        size = self._outbox.unsent + (self._body_size if self._bodies else 0)
        if size != self._buffered:
            self._buffered = size
            self._context.budget.set(self, size)

    @property
    def held_for(self) -> str:
        """See ``budget.BufferHolder``."""
        return self._address

    def measure(self) -> int:
        """See ``budget.BufferHolder``."""
        return self._buffered

    def end_largest(self) -> None:
        """See ``budget.BufferHolder``."""
        if self.session is not None and self.ended is None:
            self.session.close(Reason.SLOW_READER, f"{self._buffered} bytes are held, more than for anybody else")
        else:
            self.alarm()

    def _comes_again(self, query: EngineRequest) -> bool:
        """Whether a GET was answered before: a browser or a proxy sends it once more if its connection broke.

        Nobody knows what became of that answer, and this one must not confirm that it was read. (The stamps of some
        clients repeat by chance; their connections do not break then.)
        """
        if query.stamp is None or query.stamp != self._stamp:
            return False
        answered = self._answered()
        return answered is None or answered.lost

    def head_arrived(self, request: Request) -> None:
        """The head of a POST has arrived; its body is on its way."""
        self._came_back(request)
        length = request.getHeader(b"content-length") or b""
        most = self._context.max_payload if self.session is None else self._max_body(self.session)
        # The channel refuses what is too large for anybody.
        if self.session is not None and length.isdigit() and most < int(length) <= self._context.max_payload:
            self.session.close(Reason.TOO_LARGE, "a large body of a client that has not joined")
            if isinstance(request, BoundedRequest):
                request.refuse(TOO_LARGE)
        elif self._post is None:
            self._post = request
            request.notifyFinish().addBoth(self._post_ended, request)
        elif self.session is not None:
            self.session.close(Reason.TRANSPORT_ERROR, "overlapping POSTs")

    def _max_body(self, session: EngineSession) -> int:
        """Bytes of a body: a client that has not joined may send a packet for each namespace."""
        context = self._context
        return context.max_payload if session.max_payload > context.max_payload_unjoined else context.max_body_unjoined

    def post(self, request: Request, query: EngineRequest) -> None:
        """A POST has arrived: read its packets."""
        assert self.session is not None
        assert request.content is not None
        if self._post is not request:
            self.head_arrived(request)  # nobody told of its head
        if self._post is not request:
            self._refuse(request)
            return
        body = request.content.read()
        if len(body) > self._max_body(self.session):
            self.session.close(Reason.TOO_LARGE, "a large body of a client that has not joined")
            body = b""
        self._body_size = len(body) if not self._bodies else self._body_size + len(body)
        self._bodies.append((request, _frames(body, self._revision, query.script is not None)))
        if len(self._bodies) == 1:
            turns = self._context.turns
            if len(body) > turns.large:
                self._enter()
            else:
                self._read(turns.packets, 0.0)

    def read_on(self, until: float) -> None:
        """It is this session's turn. See ``turns.Reader``."""
        self._waits = False
        self._read(PACKETS, until)

    def _enter(self) -> None:
        if not self._waits:
            self._waits = True
            self._context.turns.enter(self)

    def _read(self, packets: int, until: float) -> None:
        """Read packets of the first body, and let the others wait for another turn.

        Args:
            packets: how many may be read.
            until: when to stop; 0 for ``ARRIVAL_SECONDS`` from the first look at the clock.
        """
        session = self.session
        if self._has_ended():
            self._answer_posts()
            return
        if session is None or not self._bodies:
            return
        turns = self._context.turns
        if self._body_size > LARGE and not (self._begun or self._was_parked) and turns.is_full():
            self._waits = self._was_parked = True
            turns.park(self)
            return
        self._was_parked = False
        if self._begun and self._looks < BUSY_LOOKS and self._context.busy():
            self._looks += 1
            self._context.clock.callLater(BUSY_PAUSE, self._enter)
            return
        request, frames = self._bodies[0]
        enough = self._read_on_below if self._begun else max(self._read_on_below, self._outbox.unsent)
        self._begun = True
        self._holding = True
        seconds = turns.seconds
        try:
            for frame in frames:
                session.receive(frame.payload, frame.binary)
                packets -= 1
                if not packets or self._has_ended() or self._outbox.unsent > enough:
                    break
                if not packets & 7 or len(frame.payload) > LOOK_BYTES:
                    now = seconds()
                    until = until or now + ARRIVAL_SECONDS
                    if now >= until:
                        break
            else:
                self._bodies.pop(0)
                self._looks = 0
                self._begun = False
                self._answer_post(request)
        except ProtocolError as error:
            session.close(error.reason, error.detail)
        except Exception:  # noqa: BLE001 - and is logged with its traceback
            # A bug of ours ends this session and no other.
            self.log.failure("a packet could not be handled")
            session.close(Reason.SERVER_ERROR)
        self._holding = False
        if self._has_ended():
            self._answer_posts()
        self.flush()
        self._hold()
        if self._bodies:
            self._paused = self._begun and self._outbox.unsent > self._read_on_below
            if self._paused:
                # A client that sends no GET before its POST is answered would wait forever.
                self._answer_post(self._bodies[0][0])
            else:
                self._enter()

    def _has_ended(self) -> bool:
        return self.ended is not None

    def _answer_posts(self) -> None:
        """The session has ended: answer its POSTs, and read no more."""
        while self._bodies:
            self._answer_post(self._bodies.pop(0)[0])
        self._hold()

    def _answer_post(self, request: Request) -> None:
        if self._post is not request:
            return  # it was answered, or its connection was lost
        self._post = None
        if self.ended in _FAULTS:
            self._refuse(request)
        else:
            # text/html, or browsers offer the answer to a form in a frame for download.
            answer(request, b"ok", b"text/html")

    def say_last_words(self, request: Request, query: EngineRequest) -> None:
        """Answer a GET that came after the end."""
        self._park(request, query)
        self._answer(self._take())
        self._hold()
        if self._outbox:
            self._let_linger()

    def _let_linger(self) -> None:
        if self._sid:
            self._context.sessions.let_linger(self._sid, self, LAST_WORDS_TIMEOUT)

    def alarm(self) -> None:
        """The client did not come back, for the session or for its last words."""
        if self.session is not None:
            self.session.close(Reason.CONNECT_TIMEOUT, "no second request")
        if self._context.sessions.take_lingering(self._sid) is self or self.ended is not None:
            self._outbox.take_frames()
            self._hold()

    def _park(self, request: Request, query: EngineRequest) -> None:
        self._get = (request, query)
        request.notifyFinish().addErrback(self._get_lost, request)

    def _get_lost(self, failure: Failure, request: Request) -> None:
        if self._get is not None and self._get[0] is request:
            self._get = None
            self._lost()

    def _post_ended(self, result: Failure | None, request: Request) -> None:
        if self._post is request:
            self._post = None
            if result is not None:
                self._lost()

    def _lost(self) -> None:
        if self.session is not None and self.ended is None:
            self.session.lost()

    def _refuse(self, request: Request) -> None:
        self._context.refusals.refused(BAD_REQUEST, request)
        answer(request, BAD_REQUEST.body, b"application/json", status=BAD_REQUEST.status)

    def _confirm_read(self, session: EngineSession) -> None:
        """A GET confirms that the answers before it were read."""
        self._outbox.asked_for_more()
        self._holding = True
        # The listener may ask for the next confirmation at once.
        while (number := self._outbox.confirmed()) is not None:
            try:
                session.confirmed(number)
            except Exception:  # noqa: BLE001 - see ``_receive``
                self.log.failure("a confirmation could not be handled")
                session.close(Reason.SERVER_ERROR)
        self._holding = False

    # Answers.

    def flush(self) -> None:
        """Answer a parked GET with what waits."""
        self._held = False
        if self._get is not None and self._outbox and not self._holding:
            session = self.session
            # Last words and the close packet go into one answer: there may be no other GET.
            if session is None or not session.ending:
                self._answer(self._take())

    def _take(self) -> Frame:
        """As many frames as fit into one body."""
        return self._outbox.take(self._get is not None and self._get[1].script is not None)

    def _answer(self, body: Frame) -> None:
        if self._get is not None:
            (request, query), self._get = self._get, None
            self._stamp = query.stamp
            self._answered = ref(_channel_of(request))
            answer_poll(request, query, body)
            self._hold()
            if self._paused and self._outbox.unsent <= self._read_on_below:
                self._paused = False
                self._enter()

    def _answer_one(self, frame: Frame) -> None:
        self._answer(self._outbox.alone(frame))

    # The session's transport.

    def send(self, payload: bytes, binary: bool = False) -> None:
        if self.ended is not None:
            return
        self._outbox.put(payload, binary)
        if not self._context.cork.held:
            self.flush()
        elif not self._held:
            self._held = True
            self._context.cork.dirty.append(self)
        unsent = self._outbox.unsent
        if unsent > self._context.max_unsent and self.session is not None:
            self.session.close(Reason.SLOW_READER, f"{unsent} bytes unsent")
        elif unsent:
            self._hold()

    def close(self, reason: Reason) -> None:
        self.ended = reason
        self._context.polls.leave(self._place)
        if self._paused:
            self._paused = False
            self._enter()
        elif self._waits and self._was_parked:
            self._answer_posts()  # its turn may be seconds away
        self._context.timers.cancel(self)
        # At the daemon's end a client between two GETs is told, too: an error would make it slower to come back.
        if reason in _ORDERLY and (self._get is not None or self._outbox or reason is Reason.SHUTTING_DOWN):
            self._outbox.put(_CLOSE.payload)
            if self._get is not None:
                self._answer(self._take())
            if self._outbox:
                self._let_linger()
        else:
            self._outbox.take_frames()
            # A client that ends, or that changes its transport, gets nothing by its request.
            self._answer_one(_NOOP if reason is Reason.TRANSPORT_CLOSE else _CLOSE)
        self._hold()
        self.session = None

    def release(self) -> None:
        self.flush()
        if not self._holding:
            self._answer_one(_NOOP)

    def ask_confirmation(self, number: int) -> None:
        """The GET after the one that takes these frames confirms that they were read."""
        if self.ended is None and self._outbox.await_confirmation(number):
            self.release()

    def ask_for_life(self) -> None:
        """A client that has its answer sends the next GET at once, without a timer."""
        self.release()

    @property
    def congested(self) -> bool:
        return self._outbox.unsent > CONGESTED

    def take_unsent(self) -> Iterable[Frame]:
        return self._outbox.take_frames()

    def take_unread(self) -> Iterator[Frame] | None:
        return chain.from_iterable([frames for _, frames in self._bodies]) if self._bodies else None

    def read_first(self, frames: Iterator[Frame]) -> None:
        """Never called: no session changes from another transport to this one."""

    def take_confirmation(self) -> int | None:
        return self._outbox.awaited


def _frames(body: bytes, revision: Revision, form: bool) -> Iterator[Frame]:
    """The frames of a POST's body, which is not looked at before the first is asked for. Raises ProtocolError."""
    yield from bodies.decode(jsonp.form(body) if form else body, revision)


def _channel_of(request: Request) -> Channel:
    channel = request.channel
    assert isinstance(channel, Channel)
    return channel
