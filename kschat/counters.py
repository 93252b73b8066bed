"""All counters, in one place."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

#: Upper bounds of buckets. Seconds of messages and batches, from a quarter of a millisecond to ten seconds: each is a
#: quarter more than the one before, about (the series R10 of ISO 3).
SECONDS: Final = tuple(
    round(part * 10.0**power, 7)
    for power in range(-4, 2)
    for part in (1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8)
    if 0.00025 <= part * 10.0**power <= 10
)

#: Those of them that ``/metrics`` shows.
SHOWN_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

#: Seconds of turns of the reactor; messages of a batch.
TURN_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
MESSAGES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)

#: Levels of the log whose lines are counted, by Twisted's names.
COUNTED_LEVELS: Final = ("warn", "error", "critical")


class Histogram:
    """Counts values by their size, in buckets that never change. An observation costs a third of a microsecond.

    Args:
        bounds: the greatest value of each bucket, in order.
        shown: the bounds that ``/metrics`` shows; all, unless given.

    Attributes:
        bounds, shown: see above.
        counts: how many values each bucket has; one more bucket has those beyond all bounds.
        sum: of all values.
    """

    __slots__ = ("bounds", "counts", "shown", "sum")

    def __init__(self, bounds: Sequence[float], shown: Sequence[float] = ()) -> None:
        self.bounds = bounds
        self.shown = shown or bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """There were ``count`` of this value."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.sum += value * count


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
        logged: lines of the log, by level: warn, error, critical.
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
        forgotten: messages that the store in memory deleted, delivered or not, since it was full.
        full: connections, sessions and messages that were refused, by the bound that was reached.
        evicted: connections and sessions that were ended for others, by the bound that was reached.
        queued: handshakes that waited, since there were too many at once.
        handed_on: requests and WebSockets that another daemon's session was given.
        http_refused: HTTP requests that were refused before they were looked at, by status; timeout: cut as too slow.
        api_calls: calls of the HTTP API, by outcome.
        cursors_dropped: cursors and the like that were not kept, since the store was down for long.
        key_fetches: fetches of the keys at ``jwks_url``: fetched, failed.
        pushes: Web Push notifications: sent, gone (the browser has none any more), later (tried again), refused,
            delivered (not sent, since the messages were delivered meanwhile).
        ask_questions: questions that were sent to the operator's back end, by what they are about.
        ask_answers: its answers: allowed, refused, changed.
        ask_silent: questions without an answer, for which the default held, by reason.
        ask_cached: those that were answered from the cache.
        ask_seconds: until a question was answered, or given up.
        waits: writes whose copies were waited for (``redis_wait``): enough, too_few, unanswered.
        spans: spans of OpenTelemetry: ended, exported (to the collector), failed (dropped, since it did not take them).
        hook_events: events that were made for hooks, by type.
        hook_deliveries: tries to give one to a consumer, by the consumer and what came of it.
        hook_dropped: events that no consumer will get, by reason.
        batch_seconds: of the pipeline's steps, by name (``store``, ``route``), for each batch.
        batch_messages: how many messages batches have.
        message_seconds: from a message's arrival until it was ``acknowledged``, ``written`` and ``delivered``.
        turn_seconds: of the reactor's turns, without the wait.
    """

    __slots__ = (
        "api_calls",
        "ask_answers",
        "ask_cached",
        "ask_questions",
        "ask_seconds",
        "ask_silent",
        "batch_messages",
        "batch_seconds",
        "batches",
        "blocked",
        "bus_events",
        "closed",
        "commands_dropped",
        "commands_received",
        "commands_sent",
        "confirmed",
        "cursors_dropped",
        "delivered",
        "denied",
        "evicted",
        "forgotten",
        "full",
        "handed_on",
        "hook_deliveries",
        "hook_dropped",
        "hook_events",
        "http_refused",
        "ingested",
        "key_fetches",
        "limited",
        "logged",
        "message_seconds",
        "not_ingested",
        "pushes",
        "queued",
        "refused",
        "rejected",
        "repeated",
        "revoked",
        "router_events",
        "sent",
        "spans",
        "tokens",
        "turn_seconds",
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
        self.queued = 0
        self.cursors_dropped = 0
        self.forgotten = 0
        self.http_refused: Counter[str] = Counter()
        self.api_calls: Counter[str] = Counter()
        self.full: Counter[str] = Counter()
        self.evicted: Counter[str] = Counter()
        self.unrouted = 0
        self.ingested = 0
        self.not_ingested = 0
        self.batch_seconds = {step: Histogram(SECONDS, SHOWN_SECONDS) for step in ("store", "route")}
        self.batch_messages = Histogram(MESSAGES)
        self.message_seconds = {
            until: Histogram(SECONDS, SHOWN_SECONDS) for until in ("acknowledged", "written", "delivered")
        }
        self.turn_seconds = Histogram(TURN_SECONDS)
        self.commands_sent = 0
        self.commands_dropped = 0
        self.commands_received = 0
        self.router_events: Counter[str] = Counter()
        self.bus_events: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()
        self.denied: Counter[str] = Counter()
        self.limited: Counter[str] = Counter()
        self.logged: Counter[str] = Counter()
        self.updates: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.key_fetches: Counter[str] = Counter()
        self.pushes: Counter[str] = Counter()
        self.ask_questions: Counter[str] = Counter()
        self.ask_answers: Counter[str] = Counter()
        self.ask_silent: Counter[str] = Counter()
        self.ask_cached = 0
        self.ask_seconds = Histogram(SECONDS, SHOWN_SECONDS)
        self.waits: Counter[str] = Counter()
        self.spans: Counter[str] = Counter()
        self.hook_events: Counter[str] = Counter()
        self.hook_deliveries: Counter[tuple[str, str]] = Counter()
        self.hook_dropped: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.rejected: Counter[int] = Counter()
