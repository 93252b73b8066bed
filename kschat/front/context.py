"""``TransportContext``: what a session's transport needs from its daemon."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.interfaces import IReactorTime

from kschat.budget import Budget
from kschat.front.channel import ConnectionCount
from kschat.front.pool import Pool
from kschat.front.refusals import RefusalLog
from kschat.front.registry import SessionRegistry
from kschat.front.timers import TimerWheel
from kschat.front.turns import Turns
from kschat.wire.cork import Cork


class TransportContext(msgspec.Struct, frozen=True, kw_only=True):
    """Shared by all transports of one daemon. Times in seconds, sizes in bytes.

    Attributes:
        sessions: begins and finds sessions.
        timers: for deadlines of transports.
        turns: for what a client sent at once and is read in several turns.
        cork: says whether writes are held back.
        clock: the reactor, for what goes on in the next turn.
        connections: the count of TCP connections, which a transport keeps once it has taken one over.
        refusals: counts and logs requests that are refused.
        polls: the places of sessions that poll.
        budget: counts the bytes that the daemon holds.
        max_payload: of one packet or one HTTP body.
        max_payload_unjoined, max_body_unjoined: of one packet, and of one HTTP body, of a client that has not joined.
        max_unsent: what may wait for a slow reader.
        upgrade_timeout: for a session to change to WebSocket.
        deflate_from: WebSocket messages of fewer bytes are not compressed.
        busy: whether what the application was given waits; long bodies are then read more slowly.
    """

    sessions: SessionRegistry
    timers: TimerWheel
    turns: Turns
    cork: Cork
    clock: IReactorTime
    connections: ConnectionCount
    refusals: RefusalLog
    polls: Pool
    budget: Budget
    max_payload: int
    max_payload_unjoined: int
    max_body_unjoined: int
    max_unsent: int
    upgrade_timeout: float
    deflate_from: int
    busy: Callable[[], bool]
