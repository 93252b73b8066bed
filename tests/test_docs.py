"""The numbers that the pages give are those of the code, and no two pages contradict each other."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from kschat import daemon, http_answers, http_client, launch, processes, rates, repeated_log
from kschat.api import http as api_http
from kschat.api import keys as api_keys
from kschat.api import types as api_types
from kschat.backends import jwks
from kschat.backends import rounds as store_rounds
from kschat.backends.amqp import Settings as AmqpSettings
from kschat.backends.amqp import address, publish_plan, publisher, queues
from kschat.backends.amqp import connection as amqp_connection
from kschat.backends.amqp import router as amqp_router
from kschat.backends.postgresql import address as postgresql_address
from kschat.backends.postgresql import erasure as postgresql_erasure
from kschat.backends.postgresql import jobs as postgresql_jobs
from kschat.backends.postgresql import readers as postgresql_readers
from kschat.backends.postgresql import writer as postgresql_writer
from kschat.backends.postgresql.settings import PATIENCE
from kschat.backends.redis.bus import outbox, presence_registry
from kschat.backends.redis.bus.heartbeat import Heartbeat
from kschat.backends.redis.client import redis_client
from kschat.backends.redis.client.connection import Connection
from kschat.backends.redis.client.settings import Settings as RedisSettings
from kschat.backends.redis.store import erasure as redis_erasure
from kschat.backends.redis.store import listing, retention, rounds, write_queue
from kschat.backends.redis.store import store as redis_store
from kschat.backends.sqlite import erasure as sqlite_erasure
from kschat.backends.sqlite import queries as sqlite_queries
from kschat.backends.sqlite import retention as sqlite_retention
from kschat.backends.sqlite import transactions as sqlite_transactions
from kschat.chat import (
    approvals,
    blocks,
    changes,
    commands,
    confirmations,
    copies,
    delivery,
    expiry,
    hub,
    incoming,
    inflight,
    inquiries,
    interfaces,
    limiter,
    lines,
    names,
    notifier,
    operations,
    outgoing,
    push,
    reads,
    recipients,
    revocation,
    stream,
    tokens,
    write_behind,
)
from kschat.chat import outbox as hooks_outbox
from kschat.chat.keys import MAX_KEYS
from kschat.chat.message import MAX_ID
from kschat.cli.definitions import DEFINITIONS
from kschat.front import (
    backlog,
    compat_twisted,
    deflate,
    descriptors,
    handshake_queue,
    peer_proof,
    peers,
    polling,
    registry,
    service,
    static,
    tls_endpoint,
    turns,
    websocket,
)
from kschat.front.channel import MAX_ARGUMENTS, MAX_SEGMENTS, ChannelBounds
from kschat.hooks import asking, breaker, deriver, dispatcher, push_client, vapid, webhook, webpush
from kschat.hooks import events as hook_events
from kschat.hooks import push as hooks_push
from kschat.outage_log import OutageLog
from kschat.settings import Config
from kschat.tracing import otel
from kschat.wire import jsonp, jsontext
from kschat.wire import session as wire_session
from kschat.wire.jsonnumbers import MAX_REWRITTEN
from kschat.wire.limits import Limits
from kschat.wire.msgpack import MAX_VALUES
from kschat.wire.outbox import FRAME_COST

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

CONFIG = Config()
CHANNEL = ChannelBounds()
LIMITS = Limits()


def many(number: float) -> str:
    """As pages write a number: ``10,000``."""
    return f"{number:,.10g}"


def seconds(number: float) -> str:
    """``30 s``, ``50 ms``."""
    return f"{number * 1000:g} ms" if number < 1 else f"{number:g} s"


def size(number: int) -> str:
    """``8 MB``, ``60 kB``, ``1 kB`` of 1024 bytes too."""
    if number % 2**20 == 0:
        return f"{number // 2**20} MiB"
    return f"{number // 10**6} MB" if number >= 10**6 else f"{number // 1000} kB"


def rate(number: float) -> str:
    """``500 a second``."""
    return f"{many(number)} a second"


def longest(struct: Any, field: str) -> int:
    """The longest text that a field takes, by its declaration."""
    hint = get_type_hints(struct, include_extras=True)[field]
    for part in (hint, *get_args(hint)):
        for meta in getattr(part, "__metadata__", ()):
            return int(meta.max_length)
    raise AssertionError(f"{field} has no bound")


#: What a script of Redis's store cuts its answers at.
_PAGE_BYTES = (ROOT / "kschat/backends/redis/scripts/includes/pageBytes.lua").read_text("utf-8")
PAGE_BYTES = int(re.findall(r"^local PAGE_BYTES = (\d+)$", _PAGE_BYTES, re.MULTILINE)[0])

#: The first cell of each row of the table -> what its second one holds of numbers, in that order.
BOUNDS: Mapping[str, tuple[str, ...]] = {
    "one packet": (many(CONFIG.max_payload),),
    "one packet of a client that has not joined the chat": (many(CONFIG.max_payload_unjoined),),
    "fragments of one WebSocket message": (many(websocket.MAX_FRAGMENTS), f"{websocket.FRAGMENT_BYTES} bytes"),
    "a compressed packet, with `deflate`": (f"{many(deflate.ALWAYS_INFLATED)} bytes", f"{deflate.MAX_RATIO} times"),
    "attachments of a packet": (many(CONFIG.max_attachments),),
    "values of one packet; of one with attachments. An array or an object counts as 4": (
        many(jsontext.MAX_VALUES),
        many(jsontext.MAX_BINARY_VALUES),
    ),
    "escaped halves of surrogate pairs of one packet, if one of them is alone": (many(jsontext.MAX_HALVES),),
    "numbers of one message that are rewritten as in JavaScript": (many(MAX_REWRITTEN),),
    "values of a msgpack packet with binary, with bytes from 0xc4 to 0xd8, or with 4,000 bytes that may begin an array "
    "or a map": (many(MAX_VALUES),),
    "depth of JSON": (many(CONFIG.max_depth),),
    "namespaces of a connection; an event's name": (many(CONFIG.max_namespaces), many(CONFIG.max_event_name)),
    "a namespace with its query": (f"{many(LIMITS.max_namespace)} bytes",),
    "refused namespaces of one connection": (many(LIMITS.max_refused),),
    "joins of one connection": (many(CONFIG.max_joins),),
    "HTTP request line and headers": (many(CONFIG.max_header),),
    "arguments of a query; segments of a path": (many(MAX_ARGUMENTS), many(MAX_SEGMENTS)),
    "headers Host of a request": (),
    "time to the end of the handshake": (seconds(CONFIG.handshake_timeout),),
    "an HTTP body; the time for it": (seconds(CHANNEL.body_timeout),),
    "an HTTP body that no resource reads": (),
    "an HTTP answer, and the wait for the next request": (seconds(CHANNEL.answer_timeout),),
    "polling sessions; those of one address": (many(CONFIG.max_polls), many(CONFIG.max_polls_per_address)),
    "time until the second request of a polling session": (seconds(polling.SECOND_REQUEST_TIMEOUT),),
    "connections that are accepted, and events of connections, in one turn of the reactor": (
        str(compat_twisted.MAX_ACCEPTS),
        str(compat_twisted.MAX_EVENTS),
        seconds(compat_twisted.EVENT_SECONDS),
    ),
    "files that are cached, plain and compressed, for each of two directories": (
        size(static.GZIP_KEPT),
        size(static.GZIP_FILES.start),
        size(static.GZIP_FILES.stop),
    ),
    "packets of one connection that are read in one turn of the reactor": (
        many(turns.PACKETS),
        seconds(turns.ARRIVAL_SECONDS),
        many(turns.FEW_PACKETS),
    ),
    "time of one turn for all connections whose packets wait": (
        seconds(turns.TURN_SECONDS),
        seconds(turns.LONG_TURN),
        seconds(turns.MAX_REST),
    ),
    "bytes that are read from one connection with TLS at once": (many(tls_endpoint.READ_BYTES),),
    "packets that are read only in such turns": (many(turns.LARGE), many(turns.LESS_LARGE)),
    "HTTP requests of one connection that are answered in one turn": ("1",),
    "escaped bytes of one form, for clients that poll with JSONP": (many(jsonp.MAX_ESCAPES),),
    "answers that wait for a client, or for a GET, while more is read from it": (),
    "pongs for a client that does not read": ("64 kB",),
    "time for the upgrade to WebSocket": (seconds(CONFIG.upgrade_timeout),),
    "last packets for a GET of a closed session": (many(registry.MAX_LINGERING), seconds(polling.LAST_WORDS_TIMEOUT)),
    "requests forwarded to other daemons; the wait for such a daemon; silence": (
        many(CONFIG.max_forwards),
        seconds(peers.CONNECT_TIMEOUT),
    ),
    "proofs of forwarded requests that a daemon remembers": (
        f"{many(peer_proof.MAX_SENDERS)} daemons",
        many(peer_proof.WINDOW),
    ),
    "connections that wait to be accepted": (many(backlog.ENOUGH),),
    "connections, of any kind; those of one address": (
        many(CONFIG.max_connections),
        many(CONFIG.max_connections_per_address),
    ),
    "file descriptors": (str(descriptors.RESERVED),),
    "lines of the log about refused requests, rejected sockets and closed connections": (
        f"{repeated_log.LINES} of a kind",
        seconds(repeated_log.PERIOD),
    ),
    "`/metrics`": (),
    "time to join the chat": (seconds(CONFIG.connect_timeout),),
    "silence": (
        f"{CONFIG.ping_interval:g} + {CONFIG.ping_timeout:g} s",
        "1.x or 2.x",
        seconds(CONFIG.ping_interval + wire_session.LATE * CONFIG.ping_timeout),
    ),
    f"bytes that wait for a slow reader, or for a GET ({FRAME_COST} more for each packet)": (many(CONFIG.max_unsent),),
    "bytes that wait in the daemon in all: for slow readers, for GETs, in bodies and in messages that have not arrived "
    "whole, in messages that wait for the store": (size(CONFIG.max_buffered),),
    "messages in flight, per socket": (many(inflight.MAX_IN_FLIGHT), size(inflight.MAX_IN_FLIGHT_BYTES)),
    "messages of a socket that arrived before earlier ones": (many(stream.MAX_EARLY), seconds(stream.GAP_WAIT)),
    "messages of a batch; batches in flight; bytes of a batch's messages, if it has several": (
        many(CONFIG.max_batch),
        many(CONFIG.max_in_flight),
        size(delivery.MAX_BATCH_BYTES),
    ),
    "the wait of a batch for others; its messages, from which on it does not wait": (
        seconds(CONFIG.linger),
        many(delivery.ENOUGH),
    ),
    "the wait until a WebSocket is asked to confirm what was written to it; messages, and bytes of them, that wait for "
    "that": (
        seconds(confirmations.MAX_GATHER_SECONDS),
        many(confirmations.MAX_GATHERED),
        size(confirmations.MAX_GATHERED_BYTES),
    ),
    "bytes of a large message; of a batch of those, if it has several": (
        many(delivery.LARGE),
        many(delivery.MAX_LARGE_BYTES),
    ),
    "the rest after a batch of large messages": (seconds(delivery.MAX_LARGE_REST),),
    "bytes of large messages that wait for the store; the time for which others wait then": (
        size(delivery.MAX_LARGE_WAITING),
        seconds(turns.MAX_PARKED_SECONDS),
    ),
    "publishes that RabbitMQ has not confirmed": (
        many(publisher.MAX_UNCONFIRMED),
        size(publisher.MAX_UNCONFIRMED_BYTES),
    ),
    "bytes of a publish that RabbitMQ returns if no queue is bound, though nobody has to know that": (
        many(amqp_router.LARGE),
    ),
    "bindings requested from RabbitMQ at once": (many(amqp_connection.AT_ONCE),),
    "recipients of one publish": (many(publish_plan.MAX_KEYS), size(publish_plan.MAX_KEYS_BYTES)),
    "messages that RabbitMQ prefetches": (many(queues.PREFETCH),),
    "messages that wait for a batch": (many(CONFIG.max_waiting),),
    "unanswered requests of a socket, other than `Send`": (many(commands.MAX_REQUESTS),),
    "requests to the store of one user, and pages of its backlogs, on a daemon": (),
    "requests of a user that wait, other than `Send` and pages of backlogs": (many(reads.MAX_WAITING),),
    "bytes of answers that a daemon expects from the store at once": (
        size(reads.MAX_READ_BYTES),
        size(interfaces.PAGE_BYTES),
        size(commands.MAX_LIST_BYTES),
        size(reads.SMALL_READ),
    ),
    "`Presence` ids of a socket": (many(incoming.MAX_WATCHED),),
    "events of a socket, and of a user": (
        rate(CONFIG.rate_socket_events),
        rate(CONFIG.rate_user_events),
        seconds(CONFIG.rate_burst),
    ),
    "bytes of events of a socket, and of a user": (rate(CONFIG.rate_socket_bytes), rate(CONFIG.rate_user_bytes)),
    "`Send` of a user": (rate(CONFIG.rate_user_sends),),
    "`Send` of a user to all daemons together, with the stores `redis` and `postgresql`": (),
    f"copies that a user's events cause: inboxes of a room's members, sockets of a user beyond {hub.FREE_COPIES}, "
    f"sockets that are told of typing, receipts and carbons, ids of `Presence`, {commands.SEARCH_COPIES} for a "
    "search for a message whose conversation is not given": (
        rate(CONFIG.rate_user_copies),
        seconds(limiter.COPIES_BURST),
    ),
    "rooms whose sizes are remembered; of others, as many copies are counted beforehand, and for further messages "
    "before the first is stored": (
        many(limiter.MAX_ROOMS),
        many(limiter.UNKNOWN_ROOM),
        many(limiter.ASSUMED_ROOM),
    ),
    "messages, and changes of presence, written to sockets in one turn of the reactor": (
        many(copies.MAX_WRITES),
        many(copies.COPY_BYTES),
    ),
    "events that wait for another turn, since they are large or many (messages, carbons, emitted ones); their bytes; "
    "the copies to be written": (
        many(copies.MAX_LATE),
        size(copies.MAX_LATE_BYTES),
        many(copies.MAX_LATE_COPIES),
    ),
    "batches that wait for that, from other daemons too": (many(hub.MAX_UNDELIVERED),),
    "sockets of a user": (many(CONFIG.max_user_sockets),),
    "joins of a user": (rate(CONFIG.rate_user_joins),),
    "joins of an address (an IPv6 address: its /64)": (rate(CONFIG.rate_address_joins),),
    "failed tokens of an address": (rate(CONFIG.rate_address_failed_tokens),),
    "sessions that begin on a daemon; handshakes that wait for their turn; time for them in one turn of the reactor": (
        rate(CONFIG.rate_handshakes),
        f"{handshake_queue.BURST_SECONDS:g} s",
        many(CONFIG.max_handshakes_waiting),
        seconds(handshake_queue.MAX_WAIT_SECONDS),
        seconds(handshake_queue.MAX_LOOK_SECONDS),
    ),
    "sessions that an address begins": (rate(CONFIG.rate_address_handshakes),),
    "users, and addresses, whose rates are remembered": (many(rates.MAX_SUBJECTS),),
    "`Typing` of a user": (seconds(CONFIG.typing_interval), many(limiter.MAX_TYPED)),
    "changes of presence": (seconds(CONFIG.presence_interval),),
    "a page of `History` or `Sync`": (
        f"{many(incoming.MAX_PAGE)} messages",
        f"{many(outgoing.MAX_ATTACHMENTS_SENT)} attachments",
    ),
    "bytes of messages that a store reads for a page, or for a backlog": (many(interfaces.PAGE_BYTES),),
    "`Conversations`; an unread count": (many(commands.MAX_CONVERSATIONS), many(interfaces.MAX_UNREAD)),
    "bytes of a message in `Conversations`": (many(lines.MAX_LINE),),
    "members of a room; rooms of a user": (many(CONFIG.max_room), many(CONFIG.max_rooms)),
    "characters of a reaction; reactions to a message; the age up to which its sender may edit and delete a message": (
        many(changes.MAX_EMOJI),
        many(changes.MAX_REACTIONS),
    ),
    "edits, deletions and reactions that are being stored": (many(delivery.MAX_UPDATES),),
    "conversations in which Redis looks for a message whose conversation is not given; tries of a change while other "
    "daemons change the same message": (many(redis_store.MAX_CANDIDATES), many(redis_store.MAX_TRIES)),
    "one step of writing changed messages over in Redis": (
        many(rounds.STEP_ENTRIES),
        size(rounds.STEP_BYTES),
        f"{rounds.STEP_MILLISECONDS} ms",
        f"{store_rounds.REST:g} times",
    ),
    "the `cid` of an update, in Redis": (),
    "bytes of a first message that a store reads for a repeat of it": (many(interfaces.MAX_READ_BACK),),
    "bytes of JSON with placeholders in a page that has several messages with binary": (many(outgoing.MAX_RENUMBERED),),
    "writes, and bytes of messages, of one script that appends a batch in Redis": (
        many(write_queue.MAX_SCRIPT_WRITES),
        size(write_queue.MAX_SCRIPT_BYTES),
    ),
    "bytes of messages in the answer of one Redis script": (size(PAGE_BYTES),),
    "one step of retention in Redis": (
        f"{many(rounds.STEP_ENTRIES)} entries",
        size(rounds.STEP_BYTES),
        f"{rounds.STEP_MILLISECONDS} ms",
        f"{store_rounds.REST:g} times",
    ),
    "wait of retention while Redis writes a snapshot or a new append-only file": (
        f"{retention.MAX_SAVING / 60:g} minutes",
    ),
    "users of one script that writes cursors, or reads the ends of inboxes; of one that publishes presence": (
        many(redis_store.MAX_SCRIPT_USERS),
        many(presence_registry.MAX_CALL_USERS),
    ),
    "conversations of a user that one script of Redis examines; that one lists": (
        many(listing.SLICE),
        many(redis_store.MAX_LOOKUPS),
    ),
    "inbox entries that one transaction of the SQLite store writes for messages to rooms": (
        many(sqlite_transactions.TRANSACTION_PLACES),
    ),
    "data that the SQLite store keeps in memory until it indexes inboxes, conversations and `cid` in the file; also "
    "the work at a restart after SIGKILL": (
        f"{many(sqlite_transactions.INDEX_MESSAGES)} messages",
        size(sqlite_transactions.INDEX_BYTES),
        f"{many(sqlite_transactions.INDEX_PLACES)} places",
    ),
    "deletions of retention in one transaction of the SQLite store": (
        seconds(sqlite_retention.STEP_SECONDS),
        f"{many(sqlite_retention.STEP_ROWS)} rows",
        f"{many(sqlite_retention.PIECE_ROWS)} rows",
    ),
    "the wait for Redis's replicas, with `redis_wait`": (seconds(CONFIG.redis_wait_timeout),),
    "time for TCP to RabbitMQ; to one of several hosts; the wait for a step of its handshake; of one of several": (
        seconds(address.CONNECT_TIMEOUT),
        seconds(address.CONNECT_TIMEOUT_OF_SEVERAL),
        seconds(2 * AmqpSettings(url="").patience),
        seconds(AmqpSettings(url="").patience),
    ),
    "commands that Redis has not answered": (many(redis_client.MAX_UNANSWERED),),
    "messages, and bytes of them, of one statement in PostgreSQL; a single batch may have more": (
        many(postgresql_jobs.MAX_MESSAGES),
        size(postgresql_jobs.MAX_BYTES),
        f"{postgresql_writer.MAX_IN_FLIGHT} in flight",
    ),
    "questions that PostgreSQL has not answered, for each of two pools of 2 connections": (
        many(postgresql_readers.MAX_UNANSWERED),
    ),
    "the wait for an answer of PostgreSQL; for a connection to one of its hosts": (
        seconds(PATIENCE),
        seconds(postgresql_address.CONNECT_SECONDS),
    ),
    "one step of retention, or of erasing a user, in PostgreSQL; the rest after one of retention": (
        f"{many(postgresql_erasure.STEP_MESSAGES)} messages",
        f"{many(postgresql_erasure.STEP_ROWS)} rows",
        f"{store_rounds.REST:g} times",
    ),
    "a user's id; `cid`; `rno`": (
        f"{MAX_ID} and {longest(incoming.Send, 'cid')} characters",
        f"{incoming.MAX_RNO} bytes",
    ),
    "a token": (f"{many(tokens.MAX_TOKEN)} characters", f"{tokens.MAX_TRIED} keys"),
    "the claim `data.name`": (f"{names.MAX_NAME} characters",),
    "ids in the claim `data.to`; patterns with `*` among them; one of them": (
        many(recipients.MAX_TO),
        many(recipients.MAX_PATTERNS),
        f"{MAX_ID} characters",
    ),
    "users whom a user blocks": (many(CONFIG.max_blocked),),
    "push subscriptions of a user; the URL of one; copies that a new one counts as": (
        many(push.MAX_SUBSCRIPTIONS),
        f"{many(push.MAX_ENDPOINT)} characters",
        many(commands.SUBSCRIPTION_COPIES),
    ),
    "users who are pushed to at once; time of a push; bytes of a push, and of the answer": (
        many(hooks_push.MAX_IN_FLIGHT),
        seconds(push_client.TIMEOUT),
        seconds(push_client.CONNECT_TIMEOUT),
        many(push_client.MAX_TRIED),
        many(webpush.RECORD_BYTES),
        many(push_client.MAX_ANSWER),
    ),
    "push services whose signatures are kept; connections that are kept for each": (
        many(vapid.MAX_KEPT),
        many(push_client.CONNECTIONS),
    ),
    "users of whom a daemon remembers, for one user, who blocks whom": (many(blocks.MAX_KNOWN),),
    "requests of the HTTP API that are unanswered; users of one; operations of a batch; keys; the wait for the sockets "
    "of other daemons": (
        many(api_http.MAX_REQUESTS),
        many(api_types.MAX_USERS),
        many(api_types.MAX_BATCH),
        many(api_keys.MAX_API_KEYS),
        seconds(inquiries.INQUIRY_WAIT),
    ),
    "users of a daemon that are listed for a page of `online`; conversations of a page of the API, messages; the wait "
    "for what all daemons answer": (
        many(operations.MAX_ONLINE - 1),
        many(api_types.MAX_LISTED),
        seconds(inquiries.INQUIRY_WAIT),
    ),
    "a notice; the time in which the audit log has one line for `counts`, for each key; the age of an answer that "
    "`counts` may share": (
        f"{many(api_types.MAX_NOTICE)} characters",
        seconds(api_http.POLLED_EVERY),
        seconds(api_types.MAX_AGE),
    ),
    "one step of erasing a user: in SQLite; messages that are looked through for it; keys of Redis that are looked "
    "through at once": (
        f"{many(sqlite_erasure.STEP_ROWS)} rows",
        many(sqlite_queries.LOOK_THROUGH),
        many(redis_erasure.SCAN_COUNT),
    ),
    "revocations of tokens; a `jti` that can be revoked": (
        many(revocation.MAX_REVOCATIONS),
        many(revocation.MAX_TOKEN_ID),
    ),
    "questions to your back end on their way; that wait; of these, of one user; the time of one; bytes of an answer": (
        many(CONFIG.ask_concurrent),
        many(CONFIG.ask_waiting),
        many(asking.MAX_WAITING_USER),
        seconds(CONFIG.ask_timeout),
        many(asking.MAX_ANSWER),
    ),
    "questions without an answer until a back end is left alone; for how long, at first and at most": (
        f"{breaker.FAILURES} in a row",
        seconds(breaker.PAUSE),
        seconds(breaker.MAX_PAUSE),
    ),
    "messages of a user that wait to be allowed; of all users; their bytes": (
        many(approvals.MAX_HELD_USER),
        {0.25: "a quarter"}[approvals.USER_PART],
        many(approvals.MAX_HELD),
        {0.125: "an eighth"}[approvals.HELD_PART],
    ),
    "answers to `write` that are remembered; for how long": (many(asking.MAX_CACHED), seconds(CONFIG.ask_cache)),
    "the head of an answer of another server; the time for which an unused connection to it is kept": (
        f"{many(http_answers.MAX_HEAD)} bytes",
        seconds(http_client.KEEP),
    ),
    "keys at `jwks_url`: their JSON, their number; a fetch; the pause between two; sockets that wait for one": (
        f"{many(jwks.MAX_JWKS)} bytes",
        f"{MAX_KEYS} keys",
        seconds(jwks.FETCH_TIMEOUT),
        seconds(jwks.PAUSE),
        many(jwks.MAX_WAITING),
    ),
    "sockets that one turn of the reactor ends, or warns, because of their tokens; the wait for the next look at the "
    "wall clock": (many(expiry.TURN), seconds(expiry.LOOK_EVERY)),
    "commands for other daemons that wait to be sent; users of an event that are told one by one": (
        many(outbox.MAX_COMMANDS),
        size(outbox.MAX_BYTES),
        many(notifier.FEW_USERS),
    ),
    "departures that are remembered while Redis is down": (many(presence_registry.MAX_LEFT),),
    "batches in the log for hooks, in Redis and PostgreSQL; joins, and users who came or went, that wait for a look": (
        many(hooks_outbox.MAX_LOG),
        many(hooks_outbox.MAX_JOINS),
    ),
    "events that wait for a receiver; the time for which one is tried again": (many(CONFIG.hooks_max_events),),
    "events that are posted at once; the wait for an answer; bytes of it; the longest `Retry-After`": (
        many(webhook.MAX_IN_FLIGHT),
        seconds(webhook.TIMEOUT),
        size(webhook.MAX_ANSWER),
    ),
    "messages of a user that one event counts; senders, or rooms, that it names": (
        many(deriver.MAX_COUNTED),
        many(hook_events.MAX_NAMED),
    ),
    "events of one commit for hooks; events whose outcome the store does not know yet": (
        many(deriver.MAX_EVENTS),
        many(dispatcher.MAX_UNSETTLED),
    ),
    "cursors and the like that wait to be written while the store is down": (many(write_behind.MAX_WRITE_BEHIND),),
    "the memory store": (many(CONFIG.store_messages), size(CONFIG.store_bytes)),
    "processes of `kschat run`; the wait before one that ended is started again; the time without a report of one; "
    "the time until one that SIGUSR2 restarts serves": (
        many(launch.MAX_PROCESSES),
        f"{seconds(processes.FIRST_DELAY)}, up to {seconds(processes.MAX_DELAY)}",
        seconds(processes.WATCHDOG),
        seconds(processes.START_PATIENCE),
    ),
    "spans that wait to be sent, with `otel_endpoint`; of one request; the time for one, with all tries": (
        f"{many(otel.MAX_WAITING)}; {otel.MAX_SENT}; {seconds(otel.SEND_TIMEOUT)}",
    ),
    "shutdown of the daemon": (
        f"{seconds(daemon.DRAIN_TIMEOUT)} for what was accepted",
        f"{seconds(service.CLOSE_TIMEOUT)} for connections",
        f"{seconds(daemon.DRAIN_TIMEOUT)} for cursors",
        f"{seconds(daemon.DRAIN_TIMEOUT)} for the store",
        f"{seconds(daemon.TRACING_TIMEOUT)} for spans",
    ),
}

#: Seconds until a silent Redis is noticed, at most: where a command waits, and where none does.
ASKED = RedisSettings(url="").patience + redis_client.CHECK_INTERVAL
SILENT = ASKED + 2 * redis_client.CHECK_INTERVAL

#: Seconds until who was on a daemon that was killed is known to be offline, at most.
OFF = math.ceil(Heartbeat().dead + Heartbeat().beat)


class Transport(StringTransport):
    """One that pretends to be of TCP."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing to set."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing to set."""


def page(name: str) -> str:
    """A page's text, its lines joined."""
    return " ".join((DOCS / name).read_text("utf-8").split())


#: A bound beyond which something is refused, ended or lost; beyond the others it only waits, or comes in parts.
LOSES = re.compile(
    r"refus|closed|(?<!`)\bcut\b|disconnected|dropped|deleted|ER \d|\b[45]\d\d\b|`busy`|Authentication|the same$|holds"
)

#: The metrics that count what bounds refuse and lose: the first whose pattern the row has.
COUNTED = (
    (r"^the memory store", "kschat_messages_forgotten_total"),
    (r"^cursors and the like", "kschat_cursors_dropped_total"),
    (r"^spans that wait", "kschat_spans_total"),
    (r"^commands for other daemons", "kschat_cluster_commands_dropped_total"),
    (r"^events that wait for another turn", "kschat_full_total"),
    (r"hooks|receiver", "kschat_hook_dropped_total"),
    (r"^questions (to your|without)", "kschat_ask_silent_total"),
    (r"^events that are posted", "kschat_hook_deliveries_total"),
    (r"another server", "kschat_key_fetches_total"),
    (r"HTTP API|^revocations|^a notice", "kschat_api_calls_total"),
    (r"pushe[sd]|^push", "kschat_pushes_total"),
    (r"keys at `jwks_url`|Authentication error", "kschat_sockets_denied_total"),
    (r"`rate_|typing_interval", "kschat_limited_total"),
    (r"sockets of a user", "kschat_limited_total"),
    (r"503|429|closed unanswered", "kschat_connections_turned_away_total"),
    (r"HTTP|^arguments|^headers|^time to the end of the handshake", "kschat_http_refused_total"),
    (r"^proofs", "kschat_http_refused_total"),
    (r"ER \d", "kschat_refusals_total"),
    (r"closed", "kschat_sessions_closed_total"),
    (r"^requests forwarded", "kschat_connections_turned_away_total"),
)

#: Of the parent of several daemons, which has no metrics.
UNCOUNTED = ("processes of `kschat run`",)


class TestBounds(SynchronousTestCase):
    """The table "What is bounded" of docs/architecture.md."""

    def rows(self) -> list[list[str]]:
        text = (DOCS / "architecture.md").read_text("utf-8")
        section = text.partition("## What is bounded")[2].partition("\n## ")[0]
        lines = [line for line in section.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]

    def test_each_number_is_the_code_s(self) -> None:
        for name, bound, *_ in self.rows():
            rest = bound
            for said in BOUNDS.get(name, ()):
                before, found, after = rest.partition(said)
                self.assertTrue(found, f"{name}: the code says {said}, the page says {bound}")
                self.assertFalse(re.search(r"\d", before), f"{name}: nothing in the code says {before}")
                rest = after
            self.assertFalse(re.search(r"\d", rest), f"{name}: nothing in the code says {rest}")

    def test_each_row_has_its_numbers_here(self) -> None:
        self.assertEqual([row[0] for row in self.rows()], list(BOUNDS))

    def test_what_is_refused_or_lost_is_counted(self) -> None:
        metrics = page("metrics.md")
        for name, bound, beyond in self.rows():
            if not LOSES.search(beyond) or name.startswith(UNCOUNTED):
                continue
            row = f"{name} | {bound} | {beyond}"
            found = next((metric for pattern, metric in COUNTED if re.search(pattern, row)), None)
            assert found is not None, f"{name}: no metric tells that this bound was reached"
            self.assertIn(f"`{found}`", metrics)

    def test_a_setting_that_is_named_is_there(self) -> None:
        for row in self.rows():
            for name in re.findall(
                r"`((?:ask|hooks|max|rate|typing|presence|ping|store|token|connect|handshake|upgrade)_\w+)`",
                " ".join(row),
            ):
                self.assertTrue(hasattr(CONFIG, name), name)


class TestOneNumberOnAllPages(SynchronousTestCase):
    """What several pages say is one thing."""

    def assert_says(self, name: str, *fragments: str) -> None:
        for fragment in fragments:
            self.assertIn(fragment, page(name), f"docs/{name}")

    def test_how_many_requests_may_be_unanswered(self) -> None:
        self.assert_says("clients.md", f"{commands.MAX_REQUESTS} of your requests are unanswered")
        self.assert_says("clients.md", f"{MAX_REWRITTEN:,} such numbers is refused with ER 1")

    def test_when_a_silent_redis_is_noticed(self) -> None:
        both = f"after {ASKED:g} s if a command is pending, otherwise after {SILENT:g}"
        self.assert_says("storage.md", both)
        self.assert_says("architecture.md", both, f"senders get ER 3 within {ASKED:g} seconds")
        doc = " ".join((inspect.getdoc(redis_client.RedisClient) or "").split())
        self.assertIn(f"({ASKED:g} seconds)", doc)
        self.assertIn(f"({SILENT:g} seconds)", doc)

    def silence(self, heard: float, asks: bool) -> float:
        """Seconds until a link gives its connection up, which last came to know something ``heard`` before a look."""
        clock = Clock()
        connection = Connection(clock)
        connection.makeConnection(Transport())
        found = redis_client.RedisClient(RedisSettings(url="redis://localhost"), clock, OutageLog(Logger()))
        found._client.connection = connection
        found._look.start()
        clock.advance(redis_client.CHECK_INTERVAL - heard)
        connection.heard = began = clock.seconds()
        if asks:
            connection.execute_command("PING").addErrback(lambda _: None)
        while not connection.why:
            clock.advance(0.0625)
        found._look.stop()
        connection.connectionLost()
        return clock.seconds() - began

    def test_a_silent_redis_is_noticed_then(self) -> None:
        heard = [step / 16 for step in range(1, 17)]
        self.assertLessEqual(max(self.silence(one, True) for one in heard), ASKED)
        self.assertLessEqual(max(self.silence(one, False) for one in heard), SILENT)
        self.assertGreater(max(self.silence(one, False) for one in heard), SILENT - redis_client.CHECK_INTERVAL)

    def test_when_a_killed_daemon_s_users_are_offline(self) -> None:
        self.assert_says("architecture.md", f"{OFF:g} s after the SIGKILL of a daemon at the latest")
        self.assert_says("clients.md", f"after a daemon is killed, within {OFF:g}")

    def test_when_there_is_no_broker(self) -> None:
        """ER 2 is relay mode's: a page that says it never occurs contradicts the table of codes."""
        self.assertNotIn("does not occur; there is none", page("clients.md"))
        self.assert_says("clients.md", "| 2 | there is no broker (relay mode) |")

    def test_each_file_that_a_page_names_is_there(self) -> None:
        """A path between backquotes is one of the tree, or of ``kschat/``, or of ``kschat/backends/``."""
        named = re.compile(r"`((?:\w[\w.-]*/)+[\w.-]*\.(?:py|lua|md|conf|cfg|service|js|html))`")
        places = (ROOT, ROOT / "kschat", ROOT / "kschat" / "backends")
        for path in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]:
            for name in named.findall(path.read_text("utf-8")):
                self.assertTrue(any((place / name).exists() for place in places), f"{path.name}: {name}")

    def test_no_page_replaces_a_package_that_it_installed(self) -> None:
        """Two versions of one npm package need two names: what came before must go on working.

        package.json in the root is under version control, so nothing may be saved there; and what was not saved, npm
        removes when it installs something else.
        """
        for path in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "examples" / "README.md"]:
            installed = re.findall(r"(?m)^npm install (.*?)(?: +#.*)?$", path.read_text("utf-8"))
            before: set[str] = set()
            for one in installed:
                self.assertRegex(one, r"^--prefix (\. --no-save|[a-z]+) ", f"{path.name}: npm may put it elsewhere")
                packages = {name for name in one.split() if name[0] not in "-."}
                self.assertLessEqual(before, packages, path.name)
                self.assertEqual(len(packages), len({re.sub(r"(?<=\w)@.*", "", name) for name in packages}), path.name)
                before = packages

    def test_what_a_page_shows_as_a_command_of_kschat_is_one(self) -> None:
        known = "|".join([*DEFINITIONS, "--version"])
        for path in [*DOCS.glob("*.md"), ROOT / "README.md"]:
            for line in re.findall(r"(?m)^(?:    |\$ )+(?:\S*/)?kschat (\S+)", path.read_text("utf-8")):
                self.assertRegex(line, rf"^({known})$", path.name)


class TestMaps(SynchronousTestCase):
    """Each package and module has its place in a map: the table of docs/architecture.md, the package's docstring."""

    def test_the_house_names_each_folder_and_module(self) -> None:
        text = (DOCS / "architecture.md").read_text("utf-8")
        house = text.partition("## The house")[2].partition("\n## ")[0]
        cells = [line.split(" | ")[0] for line in house.splitlines() if line.startswith("| `")]
        named = {name.removeprefix("kschat/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
        tracked = {path.parent.relative_to(ROOT).parts[0] for path in ROOT.glob("*/*.py")} - {"build", "dist", "kschat"}
        modules = {path.name for path in (ROOT / "kschat").glob("*.py")} - {"__init__.py"}
        packages = {f"{path.parent.name}/" for path in (ROOT / "kschat").glob("*/__init__.py")}
        wanted = modules | packages | {f"{name}/" for name in tracked if not name.startswith((".", "_"))}
        self.assertEqual(wanted - named, set())
        for name in named - wanted:
            places = [place for base in (ROOT, ROOT / "kschat") for place in base.glob(name.removesuffix("/"))]
            self.assertTrue(places or name == "compat_*.py", name)

    def test_each_package_s_docstring_names_its_modules(self) -> None:
        for top in ("kschat", "attack", "chaos", "soak", "fuzz", "bench", "simulate"):
            for init in (ROOT / top).rglob("__init__.py"):
                named = set(re.findall(r"``(\w+)/?``", ast.get_docstring(ast.parse(init.read_text("utf-8"))) or ""))
                for path in init.parent.iterdir():
                    is_module = path.suffix == ".py" or (path / "__init__.py").exists()
                    if is_module and not path.name.startswith("__"):
                        self.assertIn(path.stem, named, str(init.relative_to(ROOT)))
