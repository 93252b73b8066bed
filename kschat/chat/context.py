"""``ChatContext``: the parts of a chat, built once, passed to its commands, never changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kschat.budget import MAX_BUFFERED, Budget
from kschat.chat.admission import Admission
from kschat.chat.approvals import Approvals
from kschat.chat.authentication import Authenticator, KeySource
from kschat.chat.bus import IBus
from kschat.chat.clocks import WallClock
from kschat.chat.composer import Composer
from kschat.chat.delivery import Bounds, Delivery, Submission
from kschat.chat.expiry import TokenExpiry, TokenTimes
from kschat.chat.hub import Hub
from kschat.chat.inquiries import Inquiries
from kschat.chat.interfaces import IAuthorizer, IRouter, IStore
from kschat.chat.limiter import Limiter
from kschat.chat.mids import Mids
from kschat.chat.operations import Operations
from kschat.chat.presence import Presence
from kschat.chat.push import PushService
from kschat.chat.quotas import Quotas
from kschat.chat.reads import ReadQueue
from kschat.chat.reporter import Reporter
from kschat.chat.revoker import Revoker
from kschat.chat.tokens import Verifier
from kschat.counters import Counters
from kschat.rates import AddressLimits, RateSettings
from kschat.repeated_log import RepeatedLog
from kschat.wire.cork import Cork
from kschat.wire.limits import Limits

#: No limits.
UNLIMITED_RATES: Final = RateSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatContext:
    """The parts of one daemon's chat.

    Attributes:
        clock: the reactor.
        authenticator: says whose a token is.
        expiry: ends sockets whose tokens have expired.
        store: keeps messages.
        reads: what users ask of the store, in turns.
        bus: reaches the sockets on other daemons.
        hub: has the users and sockets of this daemon.
        admission: lets sockets in, and out.
        presence: says who is online.
        revoker: refuses revoked tokens.
        composer: makes messages of what senders give.
        delivery: stores and routes messages.
        approvals: has what users want to do until the operator's back end allows it; None if that is not asked.
        submit, update: what takes the messages and the updates of users: ``approvals``, or ``delivery`` at once.
        operations: what can be asked of the chat without a socket.
        reporter: reports the status of the daemon.
        limits: on what clients send, and on one packet.
        limiter: says how much sockets and users may do.
        addresses: says what may come from one address.
        quotas: how much a user may have; ``max_room``, ``max_rooms`` and ``max_blocked`` are of these.
        push: sends pushes; None if the server sends none.
        counters: counts.
        uniform: gives a random number between two others.
        repeated: gathers lines of the log; to be flushed at the end.
    """

    log: ClassVar[Logger] = Logger()

    clock: IReactorTime
    authenticator: Authenticator
    expiry: TokenExpiry
    store: IStore
    reads: ReadQueue
    bus: IBus
    hub: Hub
    admission: Admission
    presence: Presence
    revoker: Revoker
    composer: Composer
    delivery: Delivery
    approvals: Approvals | None
    submit: Callable[[Submission], None]
    update: Callable[[Submission], None]
    operations: Operations
    reporter: Reporter
    limits: Limits
    limiter: Limiter
    addresses: AddressLimits
    quotas: Quotas
    push: PushService | None
    counters: Counters
    uniform: Callable[[float, float], float]
    repeated: RepeatedLog

    @property
    def max_room(self) -> int:
        """Members of a room."""
        return self.quotas.max_room

    @property
    def max_rooms(self) -> int:
        """Rooms of a user."""
        return self.quotas.max_rooms

    @property
    def max_blocked(self) -> int:
        """Users whom one user may block."""
        return self.quotas.max_blocked

    def use_rates(self, rates: RateSettings) -> None:
        """Other rates hold from now on, also for the sockets that are here."""
        self.addresses.use(rates)
        self.limiter.use(rates, [session.allowance for session in self.hub.sessions(None)])
        self.presence.interval = rates.presence_interval


def make_context(
    *,
    clock: IReactorTime,
    wall: WallClock,
    verifier: Verifier,
    store: IStore,
    router: IRouter,
    bus: IBus,
    cork: Cork,
    mids: Mids,
    bounds: Bounds,
    limits: Limits,
    max_room: int,
    max_rooms: int,
    counters: Counters,
    uniform: Callable[[float, float], float],
    revocation_days: float = 365.0,
    key_source: KeySource | None = None,
    token_times: TokenTimes = TokenTimes(),  # noqa: B008 - it is frozen
    rates: RateSettings = UNLIMITED_RATES,
    addresses: AddressLimits | None = None,
    max_blocked: int = 1000,
    edit_within: float = 86400.0,
    refuse_blocked: bool = False,
    restrict_presence: bool = False,
    budget: Budget | None = None,
    push: PushService | None = None,
    authorizer: IAuthorizer | None = None,
    name: str = "",
    version: str = "",
) -> ChatContext:
    """Build the parts of a chat on its backends, none of which was started.

    Args:
        clock: the reactor.
        wall: says when messages were sent, and when users were last seen.
        verifier: says whose a token is.
        store, router, bus: what keeps and carries messages.
        cork: holds writes back while a batch is written.
        mids: makes the ids of messages.
        bounds: of the pipeline.
        limits: on what clients send, and on one packet.
        max_room: members of a room.
        max_rooms: rooms of a user.
        counters: counts.
        uniform: gives a random number between two others.
        revocation_days: how long a revocation without an end of its own is kept; 0 for ever.
        key_source: is asked for newer keys than the verifier has.
        token_times: how the end of a token is announced.
        rates: what sockets, users and addresses may do; anything, unless given.
        addresses: says what may come from one address, also to the front; made of ``rates`` unless given.
        max_blocked: users whom one user may block.
        edit_within: seconds for which a sender may edit and delete a message.
        refuse_blocked: whether a blocked sender is told so.
        restrict_presence: whether a user sees only those whom its token lets it write to.
        budget: counts the bytes that the daemon holds, also for the front.
        push: sends pushes; None if the server sends none.
        authorizer: decides what users may do; anything, unless given.
        name: what operators call the daemon: its machine and its process.
        version: of kschat.
    """
    limiter = Limiter(rates, clock.seconds, counters)
    if addresses is None:
        addresses = AddressLimits(rates, clock.seconds, counters)
    reads, repeated = ReadQueue(clock), RepeatedLog(clock)
    hub = Hub(
        clock=clock,
        wall=wall,
        store=store,
        reads=reads,
        router=router,
        bus=bus,
        cork=cork,
        counters=counters,
        limiter=limiter,
    )
    presence = Presence(hub, bus, rates.presence_interval, restricted=restrict_presence)
    revoker = Revoker(hub, bus, counters, shared=not router.alone)
    composer = Composer(mids, wall, limits)
    if budget is None:
        budget = Budget(MAX_BUFFERED, counters.evicted)
    delivery = Delivery(
        clock=clock,
        store=store,
        router=router,
        hub=hub,
        bounds=bounds,
        counters=counters,
        refuse_blocked=refuse_blocked,
        budget=budget,
    )
    approvals: Approvals | None = None
    if authorizer is not None:
        approvals = Approvals(
            authorizer,
            delivery=delivery,
            composer=composer,
            hub=hub,
            budget=budget,
            counters=counters,
            revoked=revoker.refuses,
        )
    reporter = Reporter(hub=hub, counters=counters, wall=wall, name=name, version=version)
    operations = Operations(
        hub=hub,
        presence=presence,
        store=store,
        reads=reads,
        composer=composer,
        delivery=delivery,
        revoker=revoker,
        revocation_days=revocation_days,
        counters=counters,
        inquiries=Inquiries(clock, bus),
        reporter=reporter,
        approvals=approvals,
    )
    bus.attach(operations)
    return ChatContext(
        clock=clock,
        authenticator=Authenticator(
            verifier,
            check=revoker.check,
            source=key_source,
            counters=counters,
            addresses=addresses,
            repeated=repeated,
        ),
        expiry=TokenExpiry(
            clock=clock, wall=wall, times=token_times, writing=hub.writing, counters=counters, uniform=uniform
        ),
        store=store,
        reads=reads,
        bus=bus,
        hub=hub,
        admission=Admission(hub=hub, router=router, bus=bus),
        presence=presence,
        revoker=revoker,
        composer=composer,
        delivery=delivery,
        approvals=approvals,
        submit=delivery.submit if approvals is None else approvals.submit,
        update=delivery.update if approvals is None else approvals.update,
        operations=operations,
        reporter=reporter,
        limits=limits,
        limiter=limiter,
        addresses=addresses,
        quotas=Quotas(max_room=max_room, max_rooms=max_rooms, max_blocked=max_blocked, edit_within=edit_within),
        push=push,
        counters=counters,
        uniform=uniform,
        repeated=repeated,
    )
