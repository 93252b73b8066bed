"""All counters, in one place."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

#: Seconds up to which a batch counts into each place of ``Counters.latency``; what is slower counts into the last one.
#: From a quarter of a millisecond to some ten seconds, each a quarter more than the one before.
LATENCY_BOUNDS: Final = tuple(round(0.00025 * 1.25**step, 7) for step in range(48))


class Counters:
    """Counts since the daemon's start. One a daemon; read by whoever shows them.

    Attributes:
        sent: messages that were acknowledged.
        repeated: those of them whose ``cid`` was known.
        updates: edits, deletions and reactions that were stored, by kind.
        delivered: messages written to a socket.
        confirmed: messages that a client has confirmed.
        batches: batches that went through the pipeline.
        refused: failed sends, by ER code.
        denied: sockets that were not let in, by reason.
        limited: what was refused, or not passed on, since a limit of a rate was exceeded, by limit.
        blocked: messages that were not kept, because their recipients block their senders.
        revoked: sockets that were disconnected because their tokens were revoked.
        tokens: what happened to the tokens of live sockets: expiring (told), renewed, refused, expired (ended).
        closed: sessions that ended, by reason.
        rejected: HTTP requests for a session that were refused, by Engine.IO's code.
        router_events: what happened to the router: up, down, cancelled.
        bus_events: what happened to the bus: up, down.
        commands_sent: commands for other daemons (receipts, typing and the like), one a user.
        commands_dropped: those of them that were not sent: too many at once, or no Redis.
        commands_received: commands of other daemons.
        unrouted: messages that were stored, and not routed at once.
        ingested: messages of servers that keep none (the tutorial's) which were taken into the store here.
        not_ingested: those that were lost, since too many waited for the store.
        turned_away: connections closed, and requests refused, because there were too many.
        full: connections, sessions and messages that were refused, by the bound that was reached.
        evicted: connections and sessions that were ended for others, by the bound that was reached.
        handed_on: requests and WebSockets that another daemon's session was given.
        key_fetches: fetches of the keys at ``jwks_url``: fetched, failed.
        waits: writes whose copies were waited for (``redis_wait``): enough, too_few, unanswered.
        latency: of each of these steps, how many batches took how long: by the places of ``LATENCY_BOUNDS``.
        steps: of the pipeline, by name (``store``, ``route``): how many batches were through, and their seconds in all.
    """

    __slots__ = (
        "batches",
        "blocked",
        "bus_events",
        "closed",
        "commands_dropped",
        "commands_received",
        "commands_sent",
        "confirmed",
        "delivered",
        "denied",
        "evicted",
        "full",
        "handed_on",
        "ingested",
        "key_fetches",
        "latency",
        "limited",
        "not_ingested",
        "refused",
        "rejected",
        "repeated",
        "revoked",
        "router_events",
        "sent",
        "steps",
        "tokens",
        "turned_away",
        "unrouted",
        "updates",
        "waits",
    )

    def __init__(self) -> None:
        self.sent = 0
        self.repeated = 0
        self.revoked = 0
        self.blocked = 0
        self.delivered = 0
        self.confirmed = 0
        self.batches = 0
        self.turned_away = 0
        self.handed_on = 0
        self.full: Counter[str] = Counter()
        self.evicted: Counter[str] = Counter()
        self.unrouted = 0
        self.ingested = 0
        self.not_ingested = 0
        self.latency: dict[str, list[int]] = {}
        self.steps: dict[str, tuple[int, float]] = {}
        self.commands_sent = 0
        self.commands_dropped = 0
        self.commands_received = 0
        self.router_events: Counter[str] = Counter()
        self.bus_events: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()
        self.denied: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.updates: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.key_fetches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.rejected: Counter[int] = Counter()

    def took(self, step: str, seconds: float) -> None:
        """A batch is through a step of the pipeline."""
        count, total = self.steps.get(step, (0, 0.0))
        self.steps[step] = (count + 1, total + seconds)
        if not count:
            self.latency[step] = [0] * (len(LATENCY_BOUNDS) + 1)
        self.latency[step][bisect_left(LATENCY_BOUNDS, seconds)] += 1
