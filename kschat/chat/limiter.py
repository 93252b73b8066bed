"""``Limiter``: how much sockets and users may do; the token buckets of ``kschat.rates`` behind cheap counters.

Each socket takes some events and bytes ahead from its own bucket and from its user's (``Rate.lease``), and counts them
down: for most events, that is two subtractions. Limits of a user hold for one daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import ceil
from typing import Final, TypeVar

from kschat.chat.message import Error, Refused
from kschat.counters import Counters
from kschat.rates import UNLIMITED, Bucket, Rate, RateSettings, Subjects

T = TypeVar("T")

#: Events that a socket takes ahead; bytes.
EVENT_LEASE: Final = 128
BYTE_LEASE: Final = 131_072

#: Seconds' worth of copies that may be made at once, at the most: some are written in one turn of the reactor.
COPIES_BURST: Final = 1.0

#: Rooms whose sizes are remembered; and the size of one that is not known yet, for a first message and for more.
MAX_ROOMS: Final = 10_000
UNKNOWN_ROOM: Final = 100
ASSUMED_ROOM: Final = 300

#: Users to whom one user types within an interval.
MAX_TYPED: Final = 100

#: What is added to a refusal, by limit. Each is one plain sentence for the client.
_SENTENCES: Final = {
    "socket_events": "This connection sends too many events; slow down.",
    "socket_bytes": "This connection sends too many bytes; slow down.",
    "user_events": "Your connections send too many events; slow down.",
    "user_bytes": "Your connections send too many bytes; slow down.",
    "user_sends": "You send too many messages; slow down.",
    "user_copies": "Your messages and requests reach too many others; slow down.",
}


class RateExceeded(Refused):
    """A limit was exceeded.

    Attributes:
        limit: its name.
        overrun: whether the connection is to be closed, since a multiple of the limit was tried for.
    """

    def __init__(self, limit: str, wait: float, overrun: bool) -> None:
        super().__init__(Error.TOO_MANY, _SENTENCES[limit], rounded(wait))
        self.limit = limit
        self.overrun = overrun


class UserBuckets:
    """What one user has taken, on all its sockets here.

    Attributes:
        held: its sockets.
        copies_over: whether more copies were made than may be; then the limiter is asked before any more.
        typed: when the user last typed to whom.
    """

    __slots__ = ("bytes", "copies", "copies_over", "events", "held", "joins", "sends", "typed")

    def __init__(self) -> None:
        self.events = Bucket()
        self.bytes = Bucket()
        self.sends = Bucket()
        self.copies = Bucket()
        self.joins = Bucket()
        self.held = 0
        self.copies_over = False
        self.typed: dict[str, float] | None = None

    def may_be_forgotten(self, now: float) -> bool:
        """See ``rates.Subject``."""
        return not self.held and all(
            bucket.is_full(now) for bucket in (self.events, self.bytes, self.sends, self.copies, self.joins)
        )


class Allowance:
    """What one socket may do before the buckets are asked.

    Attributes:
        events, bytes, sends: so many more.
        user: the user's buckets.
        joined: whether the user's buckets are held for it.
        retry_in: seconds until a new connection is welcome, of a socket that is closed for its rate.
    """

    __slots__ = ("bytes", "events", "joined", "retry_in", "sends", "socket_bytes", "socket_events", "user")

    def __init__(self, user: UserBuckets, joined: bool = True) -> None:
        self.joined = joined
        self.events = 0
        self.bytes = 0
        self.sends = 0
        self.user = user
        self.retry_in = 0.0
        self.socket_events: Bucket | None = None
        self.socket_bytes: Bucket | None = None


class Limiter:
    """The limits of all users and sockets of one daemon.

    Args:
        settings: how much.
        seconds: the clock.
        counters: counts what was refused.
    """

    def __init__(self, settings: RateSettings, seconds: Callable[[], float], counters: Counters) -> None:
        self._seconds = seconds
        self._counters = counters
        self._users: Subjects[UserBuckets] = Subjects(UserBuckets)
        burst = settings.burst
        self._socket_events = Rate("socket_events", settings.socket_events, burst, EVENT_LEASE)
        self._user_events = Rate("user_events", settings.user_events, burst, EVENT_LEASE)
        self._socket_bytes = Rate("socket_bytes", settings.socket_bytes, burst, BYTE_LEASE)
        self._user_bytes = Rate("user_bytes", settings.user_bytes, burst, BYTE_LEASE)
        self._sends = Rate("user_sends", settings.user_sends, burst, EVENT_LEASE)
        self._copies = Rate("user_copies", settings.user_copies, min(burst, COPIES_BURST))
        # The sizes of rooms that have stored a message; the rooms of messages that are not stored yet, or were refused.
        self._rooms: dict[str, int] = {}
        self._assumed: dict[str, None] = {}
        self._joins = Rate("user_joins", settings.user_joins, burst)
        self._typing_interval = settings.typing_interval
        self.max_sockets = settings.user_sockets

    def use(self, settings: RateSettings, allowances: Iterable[Allowance]) -> None:
        """Other limits hold from now on. ``allowances``: of the sockets that are here."""
        burst = settings.burst
        self._socket_events.use(settings.socket_events, burst)
        self._user_events.use(settings.user_events, burst)
        self._socket_bytes.use(settings.socket_bytes, burst)
        self._user_bytes.use(settings.user_bytes, burst)
        self._sends.use(settings.user_sends, burst)
        self._copies.use(settings.user_copies, min(burst, COPIES_BURST))
        self._joins.use(settings.user_joins, burst)
        self._typing_interval = settings.typing_interval
        self.max_sockets = settings.user_sockets
        for allowance in allowances:
            # What was taken ahead where there was no limit would last for ever.
            allowance.events = min(allowance.events, 0)
            allowance.bytes = min(allowance.bytes, 0)
            allowance.sends = min(allowance.sends, 0)

    def join(self, user: str) -> tuple[Allowance, float]:
        """A socket of ``user`` asks to join. What it may do; and the seconds until it may join, 0.0 if now.

        If it may, ``leave`` is to be called at its end.
        """
        now = self._seconds()
        buckets = self._users.get(user, now)
        wait = self._joins.take(buckets.joins, now)
        if wait:
            self._counters.limited[self._joins.name] += 1
        else:
            buckets.held += 1
        return Allowance(buckets, not wait), wait

    def leave(self, allowance: Allowance) -> None:
        """A socket has ended. What it took ahead is lost to its user. Further calls do nothing."""
        if allowance.joined:
            allowance.joined = False
            allowance.user.held -= 1

    def renew(self, allowance: Allowance, size: int) -> RateExceeded | None:
        """An event of ``size`` bytes was counted, and was more than had been taken ahead: take more.

        Returns:
            The refusal of the event, which then is not counted; None if it may be done.
        """
        now = self._seconds()
        user = allowance.user
        if allowance.socket_events is None or allowance.socket_bytes is None:
            allowance.socket_events, allowance.socket_bytes = Bucket(), Bucket()
        if allowance.events < 0:
            of_socket = (self._socket_events, allowance.socket_events)
            taken = self._take(of_socket, (self._user_events, user.events), now=now, least=1)
            if isinstance(taken, RateExceeded):
                allowance.events += 1
                allowance.bytes += size
                return self._refused(taken, allowance, now)
            allowance.events += taken
        if allowance.bytes < 0:
            of_socket = (self._socket_bytes, allowance.socket_bytes)
            taken = self._take(of_socket, (self._user_bytes, user.bytes), now=now, least=-allowance.bytes)
            if isinstance(taken, RateExceeded):
                allowance.events += 1
                allowance.bytes += size
                return self._refused(taken, allowance, now)
            allowance.bytes += taken
        return None

    def renew_sends(self, allowance: Allowance) -> None:
        """A ``Send`` was counted that may be too many, or its user made too many copies.

        Raises:
            RateExceeded: the ``Send`` is refused, and not counted.
        """
        now = self._seconds()
        user = allowance.user
        try:
            self._check_copies(user, now)
            if allowance.sends < 0:
                lease = self._sends.lease
                wait = self._sends.take(user.sends, now, lease)
                if wait and lease > 1:
                    lease, wait = 1, self._sends.take(user.sends, now, 1)
                if wait:
                    raise RateExceeded("user_sends", wait, self._sends.is_overrun(user.sends, now))
                allowance.sends += lease
        except RateExceeded as refused:
            allowance.sends += 1
            self._refused(refused, allowance, now)
            raise

    def check_copies(self, allowance: Allowance) -> None:
        """Raises RateExceeded where a user's events have made too many copies."""
        if allowance.user.copies_over:
            now = self._seconds()
            try:
                self._check_copies(allowance.user, now)
            except RateExceeded as refused:
                self._refused(refused, allowance, now)
                raise

    def _check_copies(self, user: UserBuckets, now: float) -> None:
        if user.copies_over:
            wait = self._copies.wait(user.copies, now)
            if wait:
                raise RateExceeded("user_copies", wait, self._copies.is_overrun(user.copies, now))
            user.copies_over = False

    def may_copy(self, user: UserBuckets) -> bool:
        """Whether what may be lost is multiplied for a user; it is counted where it is not."""
        if user.copies_over and self._copies.wait(user.copies, self._seconds()):
            self._counters.limited[self._copies.name] += 1
            return False
        return True

    def copied(self, user: UserBuckets, count: int) -> None:
        """An event of a user was multiplied: it was written to so many inboxes or sockets, or asked for so many.

        A negative number is given back.
        """
        copies = self._copies
        if copies.cost and count:
            now = self._seconds()
            copies.charge(user.copies, now, count)
            user.copies_over = copies.wait(user.copies, now) > 0.0

    def copied_by(self, user: str, count: int) -> None:
        """The same of a user by its id, where it has been here lately."""
        buckets = self._users.find(user)
        if buckets is not None:
            self.copied(buckets, count)

    def room_copies(self, room: str) -> int:
        """Inboxes that a message to ``room`` goes to, as the last one did.

        If its size is not known, ``UNKNOWN_ROOM`` for the first message, and ``ASSUMED_ROOM`` for further ones until
        one is stored: fifty messages to a room of 1,000 in one turn of the reactor took 27 ms.
        """
        found = self._rooms.get(room)
        if found is not None:
            return found
        if room in self._assumed:
            return ASSUMED_ROOM
        # Not among the sizes that are known: anybody may name a room.
        _remember(self._assumed, room, None)
        return UNKNOWN_ROOM

    def learn_room(self, room: str, members: int) -> None:
        """A message to ``room`` went to this number of inboxes."""
        self._assumed.pop(room, None)
        _remember(self._rooms, room, members)

    def may_type(self, user: UserBuckets, peer: str) -> bool:
        """Whether it is passed on that the user types to ``peer``; it is counted where it is not."""
        now, interval = self._seconds(), self._typing_interval
        typed = user.typed
        if interval:
            if typed is None:
                typed = user.typed = {}
            last = typed.get(peer)
            if last is None and len(typed) >= MAX_TYPED:
                typed = user.typed = {other: time for other, time in typed.items() if now - time < interval}
            if len(typed) >= MAX_TYPED if last is None else now - last < interval:
                self._counters.limited["typing"] += 1
                return False
            typed[peer] = now
        return self.may_copy(user)

    def _take(
        self, of_socket: tuple[Rate, Bucket], of_user: tuple[Rate, Bucket], *, now: float, least: int
    ) -> int | RateExceeded:
        """Take as much as may be taken ahead, or else ``least``, from both."""
        rate, bucket = of_socket
        user_rate, user_bucket = of_user
        if not rate.cost and not user_rate.cost:
            return UNLIMITED
        for amount in (max(least, min(rate.lease, user_rate.lease)), least):
            wait = rate.take(bucket, now, amount)
            if wait:
                refused = RateExceeded(rate.name, wait, False)
                continue
            wait = user_rate.take(user_bucket, now, amount)
            if not wait:
                return amount
            rate.give_back(bucket, amount)
            refused = RateExceeded(user_rate.name, wait, False)
        if refused.limit == rate.name:
            refused.overrun = rate.is_overrun(bucket, now, least)
        else:
            refused.overrun = user_rate.is_overrun(user_bucket, now, least)
        return refused

    def _refused(self, refused: RateExceeded, allowance: Allowance, now: float) -> RateExceeded:
        self._counters.limited[refused.limit] += 1
        if refused.overrun:
            user = allowance.user
            buckets = (user.events, user.bytes, user.sends, user.copies, allowance.socket_events)
            allowance.retry_in = max(bucket.full_at - now for bucket in buckets if bucket is not None)
        return refused


def _remember(known: dict[str, T], room: str, value: T) -> None:
    """Keep what is known of the ``MAX_ROOMS`` newest rooms."""
    known.pop(room, None)
    known[room] = value
    if len(known) > MAX_ROOMS:
        del known[next(iter(known))]


def rounded(wait: float) -> float:
    """Seconds, in milliseconds, never less than is to be waited."""
    return ceil(wait * 1000) / 1000
