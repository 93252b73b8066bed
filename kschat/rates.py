"""Token buckets: what a socket, a user or an address may do in a time.

A bucket is one number, the time at which it is full again (the generic cell rate algorithm, ITU-T I.371 annex A). To
take from it moves that time forward; nothing runs while nobody takes. A bucket that is full is the same as none, so the
tables forget such buckets as others are made.

Addresses are limited here, since both the front (handshakes) and the chat (joins, tokens) ask; users and sockets in
``chat.limiter``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from kschat.counters import Counters

#: How many times the limit a subject may try for, until its connection is closed. It is counted over this many seconds,
#: and so many refusals at the least: each costs as much as what is refused.
MULTIPLE: Final = 4
MULTIPLE_SECONDS: Final = 1.0
MIN_REFUSALS: Final = 100

#: Subjects of one kind that are remembered. Beyond it the oldest that may be forgotten is, with what it had taken.
MAX_SUBJECTS: Final = 100_000

#: Seconds by which sums of times may be wrong.
ROUNDING: Final = 1e-5

#: What is taken at once where there is no limit: nobody takes so much.
UNLIMITED: Final = 2**62


class RateSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows. Averages a second; 0 means any number.

    Attributes:
        burst: seconds' worth that may be done at once.
        socket_events, socket_bytes: of one socket.
        user_events, user_bytes: of all sockets of a user.
        user_sends: ``Send`` of a user.
        user_copies: what a user's events are multiplied by: a room's inboxes, sockets that are told, ids of Presence.
        user_joins: sockets of a user that join the chat.
        address_handshakes, address_joins: sessions and joins that come from one address.
        address_failed_tokens: tokens of an address that were not valid.
        user_sockets: sockets of a user at the same time; 0 means any number.
        typing_interval: seconds between two ``Typing`` of a user to another that are passed on.
        presence_interval: seconds for which changes of presence are gathered.
    """

    burst: float = 10.0
    socket_events: float = 0.0
    socket_bytes: float = 0.0
    user_events: float = 0.0
    user_bytes: float = 0.0
    user_sends: float = 0.0
    user_copies: float = 0.0
    user_joins: float = 0.0
    address_handshakes: float = 0.0
    address_joins: float = 0.0
    address_failed_tokens: float = 0.0
    user_sockets: int = 0
    typing_interval: float = 0.0
    presence_interval: float = 0.0


class Bucket:
    """One bucket.

    Attributes:
        full_at: when it is full again.
        refused_at: the same of the bucket of what was refused.
    """

    __slots__ = ("full_at", "refused_at")

    def __init__(self) -> None:
        self.full_at = 0.0
        self.refused_at = 0.0

    def is_full(self, now: float) -> bool:
        """Whether it is the same as a new one."""
        return self.full_at <= now and self.refused_at <= now


class Rate:
    """One limit. Times are seconds of any clock that does not go back.

    Args:
        name: the limit's, for the metrics.
        per_second: on average; 0: no limit.
        burst: seconds' worth that may be taken at once; at least 1 may.
        lease: what may be taken ahead, at most, by one that asks less often then.

    Attributes:
        lease: the same; less where that is much of a burst.
    """

    __slots__ = ("_max_lease", "_refused_span", "cost", "lease", "name", "span")

    def __init__(self, name: str, per_second: float, burst: float, lease: int = 1) -> None:
        self.name = name
        self._max_lease = lease
        self.use(per_second, burst)

    def use(self, per_second: float, burst: float) -> None:
        """Another limit holds from now on. What was taken stays taken, for as long as it would have been."""
        self.cost = 1 / per_second if per_second else 0.0
        self.span = max(burst, self.cost)
        self._refused_span = max(min(burst, MULTIPLE_SECONDS), MIN_REFUSALS * self.cost / (MULTIPLE - 1))
        self.lease = max(1, min(self._max_lease, int(burst * per_second / 64))) if per_second else UNLIMITED

    def take(self, bucket: Bucket, now: float, amount: float = 1) -> float:
        """Take ``amount``, if there is so much; more than a burst is taken of a full bucket.

        Returns:
            0.0 if it was taken, else the seconds until it can be.
        """
        full_at = bucket.full_at
        if full_at > now:
            full_at += amount * self.cost
            wait = full_at - now - self.span
            if wait > ROUNDING:
                # A full bucket gives anything.
                return min(wait, bucket.full_at - now)
            bucket.full_at = full_at
        else:
            bucket.full_at = now + amount * self.cost
        return 0.0

    def give_back(self, bucket: Bucket, amount: float) -> None:
        """What was taken was not used."""
        bucket.full_at -= amount * self.cost

    def charge(self, bucket: Bucket, now: float, amount: float) -> None:
        """Take ``amount``, which has been done already."""
        bucket.full_at = max(bucket.full_at, now) + amount * self.cost

    def wait(self, bucket: Bucket, now: float) -> float:
        """Seconds until anything can be taken; 0.0 if it can."""
        wait = bucket.full_at - now - self.span
        return wait if wait > ROUNDING else 0.0

    def is_overrun(self, bucket: Bucket, now: float, amount: float = 1) -> bool:
        """``amount`` was refused. Whether so much was that the subject tries for a multiple of the limit.

        The first that is refused, however large, is not.
        """
        before = max(bucket.refused_at, now)
        bucket.refused_at = before + amount * self.cost / (MULTIPLE - 1)
        return before > now and bucket.refused_at - now > self._refused_span + ROUNDING


class Subject(Protocol):
    """Has buckets."""

    def may_be_forgotten(self, now: float) -> bool:
        """Whether it is the same as a new one, and nobody holds it."""

    @property
    def held(self) -> int:
        """By how many it is held."""


S = TypeVar("S", bound=Subject)


class Subjects(Generic[S]):
    """The subjects of one kind, of which those that are like new ones are forgotten by and by.

    Args:
        make: makes a new one.
        most: how many are remembered, but for those that are held.
    """

    def __init__(self, make: Callable[[], S], most: int = MAX_SUBJECTS) -> None:
        self._make = make
        self._most = most
        self._subjects: dict[str, S] = {}

    def __len__(self) -> int:
        return len(self._subjects)

    def get(self, name: str, now: float) -> S:
        """The subject of this name."""
        found = self._subjects.get(name)
        if found is None:
            self._forget_some(now)
            found = self._subjects[name] = self._make()
        return found

    def find(self, name: str) -> S | None:
        """The subject of this name; None where it is like a new one, perhaps."""
        return self._subjects.get(name)

    def _forget_some(self, now: float) -> None:
        # Two are looked at for each that is added, in turn: the table never holds many that are like new ones.
        subjects = self._subjects
        for _ in range(min(2, len(subjects))):
            name = next(iter(subjects))
            subject = subjects.pop(name)
            full = len(subjects) >= self._most and not subject.held
            if not full and not subject.may_be_forgotten(now):
                subjects[name] = subject


class AddressBuckets:
    """What has come from one address."""

    __slots__ = ("failed_tokens", "handshakes", "joins")

    held = 0

    def __init__(self) -> None:
        self.handshakes = Bucket()
        self.joins = Bucket()
        self.failed_tokens = Bucket()

    def may_be_forgotten(self, now: float) -> bool:
        """See ``Subject``."""
        return self.handshakes.is_full(now) and self.joins.is_full(now) and self.failed_tokens.is_full(now)


class AddressLimits:
    """What may come from one address (``Handshake.client``; of "" anything may). One a daemon.

    Args:
        settings: how much.
        seconds: the clock.
        counters: counts what was refused.
        most: addresses that are remembered.
    """

    def __init__(
        self, settings: RateSettings, seconds: Callable[[], float], counters: Counters, most: int = MAX_SUBJECTS
    ) -> None:
        self._seconds = seconds
        self._counters = counters
        self._addresses = Subjects(AddressBuckets, most)
        burst = settings.burst
        self._handshakes = Rate("address_handshakes", settings.address_handshakes, burst)
        self._joins = Rate("address_joins", settings.address_joins, burst)
        self._failed_tokens = Rate("address_failed_tokens", settings.address_failed_tokens, burst)

    def use(self, settings: RateSettings) -> None:
        """Other limits hold from now on."""
        burst = settings.burst
        self._handshakes.use(settings.address_handshakes, burst)
        self._joins.use(settings.address_joins, burst)
        self._failed_tokens.use(settings.address_failed_tokens, burst)

    def handshake(self, client: str) -> float:
        """A request begins a session. Seconds until it may; 0.0 if now."""
        if not self._handshakes.cost or not client:
            return 0.0
        now = self._seconds()
        return self._counted(self._handshakes, self._handshakes.take(self._of(client, now).handshakes, now))

    def join(self, client: str) -> float:
        """A client asks to join the chat. Seconds until its token may be looked at; 0.0 if now."""
        wait = self.token(client)
        if wait:
            return wait
        if not self._joins.cost or not client:
            return 0.0
        now = self._seconds()
        return self._counted(self._joins, self._joins.take(self._of(client, now).joins, now))

    def token(self, client: str) -> float:
        """A client shows a token. Seconds until it may be looked at; 0.0 if now."""
        if not self._failed_tokens.cost or not client:
            return 0.0
        now = self._seconds()
        return self._counted(self._failed_tokens, self._failed_tokens.wait(self._of(client, now).failed_tokens, now))

    def failed_token(self, client: str) -> None:
        """A token was not valid."""
        if self._failed_tokens.cost and client:
            now = self._seconds()
            bucket = self._of(client, now).failed_tokens
            # One that is over its limit is asked for no token any more; so the bucket is never far in debt.
            self._failed_tokens.charge(bucket, now, 1)

    def _of(self, client: str, now: float) -> AddressBuckets:
        return self._addresses.get(client, now)

    def _counted(self, rate: Rate, wait: float) -> float:
        if wait:
            self._counters.limited[rate.name] += 1
        return wait
