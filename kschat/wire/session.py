"""``EngineSession``: one Engine.IO session, whatever carries it.

Source: socketio/socket.io, ``docs/engine.io-protocol/v3.md`` and ``v4-current.md``
("Handshake", "Heartbeat", "Upgrade").

It has no clock and no socket. Two transports (WebSocket, long-polling) hand it frames and write frames for it; timers
call ``alarm``; a listener receives messages. All transitions are in the tables at the end, for two independent regions:

::

    link:   ALONE --candidate--> PROBING --2probe / 3probe--> PROBED --5--> ALONE
              any --lost, close, silence, error--> CLOSED

    beat, revision 3:  QUIET --2 / 3--> QUIET    QUIET --alarm / asks for a sign of life--> ASKED
                       ASKED --2 / 3, sign of life--> QUIET    ASKED --alarm: closed
    beat, revision 4:  QUIET --alarm / 2--> ASKED --3--> QUIET    ASKED --alarm: closed
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from kschat.wire import engineio
from kschat.wire.engineio import Packet, Revision
from kschat.wire.errors import ProtocolError, Reason
from kschat.wire.roles import Listener, Timers, Transport

#: The part of the timeout after which a client of revision 3 is asked for a sign of life if its ping has not arrived.
LATE: Final = 0.25

#: Signs of life in a row that replace missing pings. The browser of a page that sleeps goes on giving them.
MAX_SIGNS_OF_LIFE: Final = 8


class Link(Enum):
    """Whether a session has one transport, or a candidate beside it."""

    ALONE = auto()
    PROBING = auto()
    PROBED = auto()
    CLOSED = auto()


class Beat(Enum):
    """Whether the answer to a ping, or a sign of life, is awaited."""

    QUIET = auto()
    ASKED = auto()


class Input(Enum):
    """What can happen to a session."""

    OPEN = engineio.OPEN
    CLOSE = engineio.CLOSE
    PING = engineio.PING
    PONG = engineio.PONG
    MESSAGE = engineio.MESSAGE
    UPGRADE = engineio.UPGRADE
    NOOP = engineio.NOOP
    #: from the candidate
    CANDIDATE = auto()
    CANDIDATE_PROBE = auto()
    CANDIDATE_UPGRADE = auto()
    CANDIDATE_OTHER = auto()
    CANDIDATE_GONE = auto()
    #: from the timers, the transport, the layer above
    ALARM = auto()
    LOST = auto()
    END = auto()
    #: from the transport: the sign of life that ``ask_for_life`` asked for
    ALIVE = auto()


_OF_PACKET: Final = {kind.value: kind for kind in list(Input)[:7]}


class HeartbeatTimes:
    """The seconds between pings, and until their answers. There is one in a daemon."""

    __slots__ = ("interval", "timeout")

    def __init__(self, interval: float, timeout: float) -> None:
        self.interval = interval
        self.timeout = timeout


class _Ended:
    """Listens to a session that has ended, which so is in no cycle with its listener before.

    ``max_payload``: as it was at the end. What still arrives is measured by it.
    """

    __slots__ = ("max_payload",)

    def __init__(self, max_payload: int) -> None:
        self.max_payload = max_payload

    def text(self, data: bytes) -> None:
        pass

    def binary(self, data: bytes) -> None:
        pass

    def confirmed(self, number: int) -> None:
        pass

    def closing(self, reason: Reason) -> None:
        pass

    def closed(self, reason: Reason, detail: str) -> None:
        pass


class EngineSession:
    """One session of Engine.IO.

    Args:
        sid: its id.
        revision: 3 or 4.
        transport: carries it at first.
        timers: call ``alarm``.
        times: of its heartbeat.
        base64: whether binary is sent as text (``b64=1``).

    ``listener`` must be set before the first frame arrives.
    """

    __slots__ = (
        "_candidate_base64",
        "_data",
        "_detail",
        "_reason",
        "_signs_of_life",
        "_timers",
        "_times",
        "base64",
        "beat",
        "candidate",
        "ending",
        "link",
        "listener",
        "revision",
        "sid",
        "slot",
        "transport",
    )

    listener: Listener

    def __init__(
        self,
        sid: str,
        revision: Revision,
        transport: Transport,
        *,
        timers: Timers,
        times: HeartbeatTimes,
        base64: bool = False,
    ) -> None:
        self.sid = sid
        self.revision = revision
        self.transport = transport
        self.candidate: Transport | None = None
        self.base64 = base64
        self.link = Link.ALONE
        self.beat = Beat.QUIET
        #: where the timer wheel keeps this session; the timer wheel's own
        self.slot: int | None = None
        self._timers = timers
        self._times = times
        self._candidate_base64 = False
        self._data: Packet | None = None
        self._reason = Reason.FORCED_CLOSE
        self._detail = ""
        #: since the last ping of a client of revision 3
        self._signs_of_life = 0
        #: whether this side is ending it; the listener may still send
        self.ending = False

    def open(self, upgrades: tuple[str, ...], max_payload: int) -> None:
        """Send the open packet, and begin the heartbeat."""
        times = self._times
        data = engineio.open_data(
            self.sid,
            upgrades=upgrades,
            ping_interval=times.interval,
            ping_timeout=times.timeout,
            max_payload=max_payload,
        )
        self._rest()
        self.transport.send(b"0" + data)

    # Input.

    def receive(self, payload: bytes, binary: bool = False) -> None:
        """A frame arrived on the session's transport. An invalid one closes the session."""
        try:
            if binary:
                self._packet(engineio.decode_binary(payload, self.revision))
            elif payload and payload[0] == engineio.MESSAGE_DIGIT and self.link is not Link.CLOSED:
                # The packet of the hot path; the table has the same transition.
                self.listener.text(payload[1:])
            else:
                self._packet(engineio.decode_text(payload, self.revision))
        except ProtocolError as error:
            self.close(error.reason, error.detail)

    def receive_candidate(self, payload: bytes, binary: bool = False) -> None:
        """A frame arrived on the candidate."""
        if binary:
            self._happens(Input.CANDIDATE_OTHER)
        elif payload == b"2probe":
            self._happens(Input.CANDIDATE_PROBE)
        elif payload == b"5":
            self._happens(Input.CANDIDATE_UPGRADE)
        else:
            self._happens(Input.CANDIDATE_OTHER)

    def offer(self, candidate: Transport, base64: bool = False) -> bool:
        """Offer a second transport to this session.

        Args:
            candidate: the transport.
            base64: whether it carries binary as text.

        Returns:
            Whether it may try. If not, the caller closes it.
        """
        if self.link is not Link.ALONE:
            return False
        self.candidate = candidate
        self._candidate_base64 = base64
        self._happens(Input.CANDIDATE)
        return True

    def candidate_gone(self) -> None:
        """The candidate has ended, or was too slow."""
        self._happens(Input.CANDIDATE_GONE)

    def lost(self, reason: Reason = Reason.TRANSPORT_CLOSE) -> None:
        """The session's transport has ended."""
        if self.link is not Link.CLOSED:
            self._reason = reason
            self._happens(Input.LOST)

    def alarm(self) -> None:
        """The time that was scheduled has come."""
        self._happens(Input.ALARM)

    def alive(self) -> None:
        """The transport has a sign of life that is not a packet: a pong of RFC 6455, another GET."""
        if self.beat is Beat.ASKED and self.revision == 3 and self._signs_of_life < MAX_SIGNS_OF_LIFE:
            self._happens(Input.ALIVE)

    def confirmed(self, number: int) -> None:
        """The transport has received the confirmation that ``ask_confirmation`` asked for."""
        if self.link is not Link.CLOSED:
            self.listener.confirmed(number)

    @property
    def max_payload(self) -> int:
        """Bytes of a packet that the peer may send now."""
        return self.listener.max_payload

    # Output.

    def send_text(self, data: bytes) -> None:
        """Send a text message, in UTF-8. Nothing is sent after the end."""
        if self.link is not Link.CLOSED:
            self.transport.send(b"4" + data)

    def send_binary(self, data: bytes) -> None:
        """Send a binary message. Nothing is sent after the end."""
        if self.link is not Link.CLOSED:
            packet = Packet(engineio.MESSAGE, data, True)
            frame = engineio.encode(packet, self.revision, self.base64)
            self.transport.send(frame.payload, frame.binary)

    def close(self, reason: Reason, detail: str = "") -> None:
        """End the session. Further calls do nothing."""
        # What the listener sends now may fill a slow reader's buffer, and so end the session a second time.
        if self.link is not Link.CLOSED and not self.ending:
            self.ending = True
            self._reason = reason
            self._detail = detail
            try:
                self.listener.closing(reason)
            finally:
                self._happens(Input.END)

    # The machine. An action sends last, or checks afterwards that the session is still open: a transport whose reader
    # is too slow closes the session from within ``send``.

    def _packet(self, packet: Packet) -> None:
        self._data = packet
        try:
            self._happens(_OF_PACKET[packet.type])
        finally:
            self._data = None  # a session holds nothing of what it was sent

    def _happens(self, what: Input) -> None:
        if self.link is Link.CLOSED:
            return
        entry = TRANSITIONS.get((self.link, what))
        if entry is not None:
            self.link, action = entry
        else:
            self.beat, action = BEATS[self.revision][self.beat, what]
        action(self)

    def _deliver(self) -> None:
        packet = self._data
        if packet is not None:
            (self.listener.binary if packet.binary else self.listener.text)(packet.data)

    def _nothing(self) -> None:
        """An input without effect."""

    def _refuse(self) -> None:
        raise ProtocolError("an Engine.IO packet that has no place here")

    def _rest(self) -> None:
        times = self._times
        wait = times.interval + times.timeout * LATE if self.revision == 3 else times.interval
        self._timers.schedule(self, wait)

    def _lives(self) -> None:
        self._signs_of_life += 1
        self._rest()

    def _answer_ping(self) -> None:
        self._signs_of_life = 0
        self._rest()
        packet = self._data
        self.transport.send(b"3" + (packet.data if packet is not None else b""))

    def _ask(self) -> None:
        self._timers.schedule(self, self._times.timeout)
        self.transport.send(b"2")

    def _ask_for_life(self) -> None:
        # The client's ping is late: browsers run the timers of a hidden page once a minute.
        self._timers.schedule(self, self._times.timeout * (1 - LATE))
        self.transport.ask_for_life()

    def _silence(self) -> None:
        self.close(Reason.PING_TIMEOUT)

    def _answer_probe(self) -> None:
        if self.candidate is not None:
            self.candidate.send(b"3probe")
            if self.link is Link.PROBED:
                # The client stops asking once its parked request is answered.
                self.transport.release()

    def _change(self) -> None:
        if self.candidate is not None:
            old, self.transport, self.candidate = self.transport, self.candidate, None
            self.base64 = self._candidate_base64
            for frame in old.take_unsent():
                if self.link is not Link.CLOSED:
                    self.transport.send(frame.payload, frame.binary)
            number = old.take_confirmation()
            if number is not None and self.link is not Link.CLOSED:
                self.transport.ask_confirmation(number)
            unread = old.take_unread()
            if unread is not None and self.link is not Link.CLOSED:
                self.transport.read_first(unread)
            old.close(Reason.TRANSPORT_CLOSE)

    def _drop_candidate(self, reason: Reason = Reason.PARSE_ERROR) -> None:
        candidate, self.candidate = self.candidate, None
        if candidate is not None:
            candidate.close(reason)

    def _leave_candidate(self) -> None:
        self._drop_candidate(Reason.CONNECT_TIMEOUT)

    def _peer_closed(self) -> None:
        self._reason = Reason.TRANSPORT_CLOSE
        self._end()

    def _end(self) -> None:
        self._timers.cancel(self)
        self._drop_candidate(self._reason)
        self.transport.close(self._reason)
        listener = self.listener
        listener.closed(self._reason, self._detail)
        self.listener = _Ended(listener.max_payload)


Action = Callable[[EngineSession], None]
_S = EngineSession

#: Transitions of the link: (state, input) -> (next state, action).
TRANSITIONS: Final[dict[tuple[Link, Input], tuple[Link, Action]]] = {
    # There is one transport.
    (Link.ALONE, Input.MESSAGE): (Link.ALONE, _S._deliver),
    (Link.ALONE, Input.NOOP): (Link.ALONE, _S._nothing),
    (Link.ALONE, Input.OPEN): (Link.ALONE, _S._refuse),
    (Link.ALONE, Input.UPGRADE): (Link.ALONE, _S._refuse),
    (Link.ALONE, Input.CANDIDATE): (Link.PROBING, _S._nothing),
    (Link.ALONE, Input.CANDIDATE_PROBE): (Link.ALONE, _S._nothing),
    (Link.ALONE, Input.CANDIDATE_UPGRADE): (Link.ALONE, _S._nothing),
    (Link.ALONE, Input.CANDIDATE_OTHER): (Link.ALONE, _S._nothing),
    (Link.ALONE, Input.CANDIDATE_GONE): (Link.ALONE, _S._nothing),
    (Link.ALONE, Input.CLOSE): (Link.CLOSED, _S._peer_closed),
    (Link.ALONE, Input.LOST): (Link.CLOSED, _S._end),
    (Link.ALONE, Input.END): (Link.CLOSED, _S._end),
    # There is a candidate that has not probed yet.
    (Link.PROBING, Input.MESSAGE): (Link.PROBING, _S._deliver),
    (Link.PROBING, Input.NOOP): (Link.PROBING, _S._nothing),
    (Link.PROBING, Input.OPEN): (Link.PROBING, _S._refuse),
    (Link.PROBING, Input.UPGRADE): (Link.PROBING, _S._refuse),
    (Link.PROBING, Input.CANDIDATE): (Link.PROBING, _S._nothing),
    (Link.PROBING, Input.CANDIDATE_PROBE): (Link.PROBED, _S._answer_probe),
    (Link.PROBING, Input.CANDIDATE_UPGRADE): (Link.ALONE, _S._drop_candidate),
    (Link.PROBING, Input.CANDIDATE_OTHER): (Link.ALONE, _S._drop_candidate),
    (Link.PROBING, Input.CANDIDATE_GONE): (Link.ALONE, _S._leave_candidate),
    (Link.PROBING, Input.CLOSE): (Link.CLOSED, _S._peer_closed),
    (Link.PROBING, Input.LOST): (Link.CLOSED, _S._end),
    (Link.PROBING, Input.END): (Link.CLOSED, _S._end),
    # The candidate works both ways; the peer decides when to change.
    (Link.PROBED, Input.MESSAGE): (Link.PROBED, _S._deliver),
    (Link.PROBED, Input.NOOP): (Link.PROBED, _S._nothing),
    (Link.PROBED, Input.OPEN): (Link.PROBED, _S._refuse),
    (Link.PROBED, Input.UPGRADE): (Link.PROBED, _S._refuse),
    (Link.PROBED, Input.CANDIDATE): (Link.PROBED, _S._nothing),
    (Link.PROBED, Input.CANDIDATE_PROBE): (Link.ALONE, _S._drop_candidate),
    (Link.PROBED, Input.CANDIDATE_UPGRADE): (Link.ALONE, _S._change),
    (Link.PROBED, Input.CANDIDATE_OTHER): (Link.ALONE, _S._drop_candidate),
    (Link.PROBED, Input.CANDIDATE_GONE): (Link.ALONE, _S._leave_candidate),
    (Link.PROBED, Input.CLOSE): (Link.CLOSED, _S._peer_closed),
    (Link.PROBED, Input.LOST): (Link.CLOSED, _S._end),
    (Link.PROBED, Input.END): (Link.CLOSED, _S._end),
}

#: Transitions of the heartbeat, by revision: the client pings in 3, the server in 4.
BEATS: Final[dict[Revision, dict[tuple[Beat, Input], tuple[Beat, Action]]]] = {
    3: {
        (Beat.QUIET, Input.PING): (Beat.QUIET, _S._answer_ping),
        (Beat.QUIET, Input.PONG): (Beat.QUIET, _S._refuse),
        (Beat.QUIET, Input.ALARM): (Beat.ASKED, _S._ask_for_life),
        (Beat.ASKED, Input.PING): (Beat.QUIET, _S._answer_ping),
        (Beat.ASKED, Input.PONG): (Beat.ASKED, _S._refuse),
        (Beat.ASKED, Input.ALIVE): (Beat.QUIET, _S._lives),
        (Beat.ASKED, Input.ALARM): (Beat.ASKED, _S._silence),
    },
    4: {
        (Beat.QUIET, Input.PING): (Beat.QUIET, _S._refuse),
        (Beat.QUIET, Input.PONG): (Beat.QUIET, _S._rest),
        (Beat.QUIET, Input.ALARM): (Beat.ASKED, _S._ask),
        (Beat.ASKED, Input.PING): (Beat.ASKED, _S._refuse),
        (Beat.ASKED, Input.PONG): (Beat.QUIET, _S._rest),
        (Beat.ASKED, Input.ALARM): (Beat.ASKED, _S._silence),
    },
}
