"""HTTP long-polling as the transport of an ``EngineSession``.

Source: socketio/socket.io, ``docs/engine.io-protocol`` ("HTTP long-polling", "Polling"); where they are silent, the
reference server.

A session has one outbox, and it is here: frames wait in it for a GET, which takes what fits into one
body. A GET that finds it empty is parked. That a peer has read an answer is proved by its next GET.

::

    GET    outbox empty: parked, until something is sent, the session ends, or another transport is probed (noop)
           another is parked, or this one was answered before (the same ``t``): the session ends
    POST   its packets go to the session, then ``ok``; what they bring about waits until all of them are read
           another is not done: the session ends
    end    a parked GET takes the outbox and a close packet; without one, last words of ours wait a while for a GET
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from kschat.front.asking import Asked, answer, answer_poll
from kschat.front.channel import Channel
from kschat.front.refusals import BAD_REQUEST
from kschat.wire import jsonp
from kschat.wire import payload as bodies
from kschat.wire.engineio import Frame, Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.session import EngineSession, Link

if TYPE_CHECKING:
    from kschat.front.engine import Engine

#: Bytes that wait for a GET from which on what may be left out is: Twisted pauses at as many.
CONGESTED: Final = 65_536

#: What a frame in the outbox costs beside its bytes, so that many small ones are bounded as well.
FRAME_COST: Final = 64

#: Seconds that the last words of a session wait for a GET.
LAST_WORDS_TIMEOUT: Final = 5

#: Ends of ours, after which the peer is still told what was sent before, and the end.
_ORDERLY: Final = frozenset(
    {
        Reason.FORCED_CLOSE,
        Reason.CONNECT_TIMEOUT,
        Reason.SHUTTING_DOWN,
        Reason.SERVER_ERROR,
        Reason.SERVER_DISCONNECT,
    }
)

#: Ends that a POST brought about by what stood in it.
_FAULTS: Final = frozenset({Reason.PARSE_ERROR, Reason.TOO_LARGE, Reason.SERVER_ERROR})

_CLOSE: Final = Frame(b"1")
_NOOP: Final = Frame(b"6")


class Polling:
    """One session's way over HTTP requests.

    Args:
        engine: the sessions.
        revision: the session's.
        text_only: binary is sent as text.

    Attributes:
        session: whose transport this is; set when it begins.
        slot: where the alarm clock keeps it, while last words wait.
        ended: why it has ended, or None.
    """

    __slots__ = (
        "_engine",
        "_get",
        "_held",
        "_holding",
        "_outbox",
        "_post",
        "_proof",
        "_read",
        "_revision",
        "_sent",
        "_stamp",
        "_text_only",
        "_unsent",
        "_written",
        "ended",
        "session",
        "slot",
    )

    log = Logger()

    def __init__(self, engine: Engine, revision: Revision, text_only: bool) -> None:
        self.session: EngineSession | None = None
        self.slot: int | None = None
        self.ended: Reason | None = None
        self._engine = engine
        self._revision: Revision = revision
        self._text_only = text_only
        self._outbox: deque[Frame] = deque()
        self._unsent = 0
        self._get: tuple[Request, Asked] | None = None
        self._post: Request | None = None
        # What is sent waits until the request that brings it about is read.
        self._holding = False
        # Whether the cork knows this one.
        self._held = False
        # Frames that were ever sent; of them, those in answers; of them, those that were read.
        self._sent = self._written = self._read = 0
        self._proof: tuple[int, int] | None = None
        self._stamp: bytes | None = None

    # Requests.

    def begin(self, request: Request, asked: Asked) -> None:
        """The request that begins the session; ``begun`` follows when it stands."""
        self._holding = True
        self._park(request, asked)

    def begun(self) -> None:
        """The session stands: its first packets are the answer."""
        self._holding = False
        self.flush()

    def get(self, request: Request, asked: Asked) -> None:
        """The peer wants what there is, or what comes."""
        session = self.session
        assert session is not None
        if self._get is not None or (asked.stamp is not None and asked.stamp == self._stamp):
            # The second is a request that a browser or a proxy sent again since its connection broke. Nobody
            # knows what became of the answer, and this one must not prove that it was read.
            session.close(Reason.TRANSPORT_ERROR, "overlapping GETs")
            self._refuse(request)
            return
        self._park(request, asked)
        self._prove_read(session)
        self.flush()
        if not request.finished:
            if session.link is Link.PROBED:
                self.release()
            else:
                channel = request.channel
                assert isinstance(channel, Channel)
                channel.park()

    def arriving(self, request: Request) -> None:
        """The head of a POST is there; its body is on its way."""
        if self._post is None:
            self._post = request
            done = request.notifyFinish()
            done.addCallback(self._post_done, request).addErrback(self._post_lost, request)
        elif self.session is not None:
            self.session.close(Reason.TRANSPORT_ERROR, "overlapping POSTs")

    def post(self, request: Request, asked: Asked) -> None:
        """The peer has sent packets."""
        session = self.session
        assert session is not None
        assert request.content is not None
        body = request.content.read()
        self._holding = True
        try:
            for frame in bodies.decode(body if asked.script is None else jsonp.form(body), self._revision):
                session.receive(frame.payload, frame.binary)
                if self.ended is not None:
                    break
        except ProtocolError as error:
            session.close(error.reason, error.detail)
        except Exception:  # noqa: BLE001 - and is logged with its traceback
            # A bug of ours costs this session, and no other.
            self.log.failure("a packet could not be handled")
            session.close(Reason.SERVER_ERROR)
        self._post = None
        self._holding = False
        if self.ended in _FAULTS:
            self._refuse(request)
        else:
            # text/html, or browsers offer what comes into a frame for download.
            answer(request, b"ok", b"text/html")
        self.flush()

    def say_last_words(self, request: Request, asked: Asked) -> None:
        """A GET came after the end."""
        self._park(request, asked)
        self._answer(self._take())
        if self._outbox:
            self._engine.let_linger(self, LAST_WORDS_TIMEOUT)

    def alarm(self) -> None:
        """The last words have waited long enough."""
        if self.session is not None:
            self._engine.take_lingering(self.session.sid)

    def _park(self, request: Request, asked: Asked) -> None:
        self._get = (request, asked)
        request.notifyFinish().addErrback(self._get_lost, request)

    def _get_lost(self, failure: Failure, request: Request) -> None:
        if self._get is not None and self._get[0] is request:
            self._get = None
            self._lost()

    def _post_done(self, _: None, request: Request) -> None:
        if self._post is request:
            self._post = None

    def _post_lost(self, failure: Failure, request: Request) -> None:
        if self._post is request:
            self._post = None
            self._lost()

    def _lost(self) -> None:
        if self.session is not None and self.ended is None:
            self.session.lost()

    def _refuse(self, request: Request) -> None:
        self._engine.rejected(BAD_REQUEST, request)
        answer(request, BAD_REQUEST.body, b"application/json", BAD_REQUEST.status)

    def _prove_read(self, session: EngineSession) -> None:
        """All that stood in answers before this GET was read."""
        self._read = self._written
        self._holding = True
        # Who is told may ask for the next one at once.
        while self._proof is not None and self._proof[1] <= self._read:
            number, self._proof = self._proof[0], None
            try:
                session.proved(number)
            except Exception:  # noqa: BLE001 - see ``post``
                self.log.failure("a proof could not be handled")
                session.close(Reason.SERVER_ERROR)
        self._holding = False

    # Answers.

    def flush(self) -> None:
        """Let a GET that waits take what there is."""
        self._held = False
        if self._get is not None and self._outbox and not self._holding:
            session = self.session
            # Last words and the end come in one answer: perhaps there is no other.
            if session is None or not session.ending:
                self._answer(self._take())

    def _take(self) -> Frame:
        """As much of the outbox as fits into one body."""
        body, count = bodies.encode(self._outbox, self._revision, self._engine.max_payload, self._wants_text())
        for _ in range(count):
            self._unsent -= FRAME_COST + len(self._outbox.popleft().payload)
        self._written += count
        return body

    def _wants_text(self) -> bool:
        return self._text_only or (self._get is not None and self._get[1].script is not None)

    def _answer(self, body: Frame) -> None:
        if self._get is not None:
            (request, asked), self._get = self._get, None
            self._stamp = asked.stamp
            answer_poll(request, asked, body)

    def _answer_one(self, frame: Frame) -> None:
        self._answer(bodies.encode((frame,), self._revision, self._engine.max_payload)[0])

    # The session's transport.

    def send(self, payload: bytes, binary: bool = False) -> None:
        """See ``wire.roles.Transport``."""
        if self.ended is not None:
            return
        self._outbox.append(Frame(payload, binary))
        self._sent += 1
        self._unsent += FRAME_COST + len(payload)
        if not self._engine.cork.held:
            self.flush()
        elif not self._held:
            self._held = True
            self._engine.cork.dirty.append(self)
        if self._unsent > self._engine.max_unsent and self.session is not None:
            self.session.close(Reason.SLOW_READER, f"{self._unsent} bytes unsent")

    def close(self, reason: Reason) -> None:
        """See ``wire.roles.Transport``."""
        self.ended = reason
        self._engine.polls -= 1
        if reason in _ORDERLY and (self._get is not None or self._outbox):
            self._outbox.append(_CLOSE)
            if self._get is not None:
                self._answer(self._take())
            if self._outbox:
                self._engine.let_linger(self, LAST_WORDS_TIMEOUT)
        else:
            self._outbox.clear()
            # To a peer that ends, or goes on with another transport, its request was of no use.
            self._answer_one(_NOOP if reason is Reason.TRANSPORT_CLOSE else _CLOSE)

    def release(self) -> None:
        """See ``wire.roles.Transport``."""
        self.flush()
        if not self._holding:
            self._answer_one(_NOOP)

    def prove(self, number: int) -> None:
        """See ``wire.roles.Transport``. The next GET proves that what stood in the answer to this one was read."""
        if self.ended is None:
            self._proof = (number, self._sent)
            if self._sent == self._read:
                self.release()

    @property
    def congested(self) -> bool:
        """See ``wire.roles.Transport``."""
        return self._unsent > CONGESTED

    def take_unsent(self) -> Iterable[Frame]:
        """See ``wire.roles.Transport``."""
        frames, self._outbox = self._outbox, deque()
        return frames

    def take_proof(self) -> int | None:
        """See ``wire.roles.Transport``."""
        return None if self._proof is None else self._proof[0]
