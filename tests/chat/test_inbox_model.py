"""A model of the inbox: whatever happens in whatever order, no message stays undelivered and no cursor passes a hole.

The store is the test's, and answers when it likes and with what it had found when it liked; for a while it may be one
that was left behind. The router carries nothing: messages arrive in the order that hypothesis chooses, twice, or never,
and some that nobody stored. There is no clock: any timer may end at any time, in any order. Bounds are made small, so
that few messages reach them all.
"""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec import Raw
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat import inflight, stream
from kschat.chat.interfaces import Progress, Stored
from kschat.chat.stream import StreamState
from kschat.wire.errors import Reason
from tests.chat.daemon import NOW
from tests.chat.peers import Client, Daemon, StillRouter, message
from tests.chat.stores import AskedStore, Behind, Shelves

USERS = ("ben", "cem")

#: In the place of 50, 25, 500, 10, and of 200, 256000, 2000, 1000000. A message is 150 bytes, one in some is 650.
SMALL_STREAM = {"PAGE": 3, "FIRST_PAGE": 2, "MAX_EARLY": 2, "MAX_REREADS": 2}
SMALL_WINDOW = {"LAG": 3, "LAG_BYTES": 700, "MAX_IN_FLIGHT": 5, "MAX_IN_FLIGHT_BYTES": 1200}

#: Beyond all offsets that the store ever gives here.
NEVER = 10_000

#: Messages of one batch of news.
MAX_BATCH = 7

#: Most of it happens to one user.
user_names = st.sampled_from((*USERS, USERS[0], USERS[0]))
pick = st.integers(0, 11)


class Timers(Clock):
    """Timers that end when the test says so. No time passes."""

    def end(self, which: int) -> None:
        """One of them ends, whatever others were to end before."""
        call = self.calls.pop(which % len(self.calls))
        call.called = 1
        call.func(*call.args, **call.kw)


class Device:
    """One connection of a user, and what may be asked of it.

    Attributes:
        start: the offset after which the daemon began, once it has.
        claimed: the offset that the client showed, where the daemon took it.
        acks: whether its program has called an ack; from then on it calls them all, by and by.
        acked: the newest that it has called in the end.
        deaf: the frame from which on its library throws away what comes, where its program has disconnected.
    """

    def __init__(self, client: Client, claim: int | None) -> None:
        self.client = client
        self.claim = claim
        self.start: int | None = None
        self.acks = False
        self.acked: int | None = None
        self.deaf: int | None = None


class InboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = ExitStack()
        for module, bounds in ((stream, SMALL_STREAM), (inflight, SMALL_WINDOW)):
            for name, value in bounds.items():
                self.patches.enter_context(patch.object(module, name, value))
        self.timers = Timers()
        self.timers.advance(NOW)
        self.shelves = Shelves(page=4)
        self.begin_daemon()
        self.devices: list[Device] = []
        #: pids and offsets of connections that have ended
        self.memories: dict[str, list[tuple[str, str]]] = {user: [] for user in USERS}
        self.pending: list[Stored] = []
        #: of whose messages some news were lost; the next that come tell of them as well
        self.uninformed: set[str] = set()
        #: offsets that some device is proved to have
        self.had: dict[str, set[int]] = {user: set() for user in USERS}

    def begin_daemon(self) -> None:
        self.store = AskedStore(self.shelves)
        self.store.held = self.store.prompt = True
        self.router = StillRouter()
        self.daemon = Daemon(self.store, self.router, self.timers)

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            self.patches.close()

    # Messages.

    @rule(user=user_names, count=st.integers(1, 7))
    def append(self, user: str, count: int) -> None:
        self.pending += [self.put(user, count) for count in range(count)]

    @rule(user=user_names, count=st.integers(1, 3))
    def append_and_bring(self, user: str, count: int) -> None:
        self.daemon.news(*[self.put(user, count) for count in range(count)])

    def put(self, user: str, number: int) -> Stored:
        return self.shelves.put(message(user, msg=Raw(b'"%b"' % (b"x" * 500 * (number % 3 == 2)))))

    @precondition(lambda self: self.pending)
    @rule(picks=st.lists(pick, min_size=1, max_size=5), keep=st.booleans())
    def bring_news(self, picks: list[int], keep: bool) -> None:
        batch = [self.pending[one % len(self.pending)] for one in picks]
        if not keep:
            self.pending = [one for one in self.pending if one not in batch]
        self.daemon.news(*batch)

    @precondition(lambda self: self.pending)
    @rule()
    def bring_all_news(self) -> None:
        batch, self.pending = self.pending[:MAX_BATCH], self.pending[MAX_BATCH:]
        self.daemon.news(*batch)

    @precondition(lambda self: self.pending)
    @rule(which=pick)
    def lose_news(self, which: int) -> None:
        (place,) = self.pending.pop(which % len(self.pending)).places
        self.uninformed.add(place[0])

    @rule(user=user_names, offset=st.integers(NEVER, NEVER + 5))
    def announce_what_nobody_stored(self, user: str, offset: int) -> None:
        self.daemon.news(Stored(message(user), ((user, offset),)))

    @rule(user=user_names, count=st.sampled_from((1, 5, 100)))
    def forget_the_oldest(self, user: str, count: int) -> None:
        self.shelves.drop(user, count)

    # Devices.

    @precondition(lambda self: len(self.devices) < 5)
    @rule(user=user_names, options=st.sets(st.sampled_from(("batch", "receipts"))), memory=pick)
    def connect(self, user: str, options: set[str], memory: int) -> None:
        client = self.daemon.client(user, dict.fromkeys(options, "1"))
        self.join(client, memory)

    @precondition(lambda self: len(self.devices) < 5)
    @rule(user=user_names, batch=st.booleans(), memory=pick)
    def connect_to_recover(self, user: str, batch: bool, memory: int) -> None:
        self.join(self.daemon.client(user, {"recover": "1", "batch": str(int(batch))}), memory)

    def join(self, client: Client, memory: int) -> None:
        memories = self.memories[client.user]
        claim = None
        if memories and memory % 3:
            pid, offset = memories[memory % len(memories)]
            client.join(pid=pid, offset=offset)
            if client.connection.handshake.query.get("recover"):
                claim = int(offset)
        else:
            client.join()
        self.devices.append(Device(client, claim))

    @precondition(lambda self: self.devices)
    @rule(which=pick)
    def drop(self, which: int) -> None:
        self.end(self.device(which))

    @precondition(lambda self: self.devices)
    @rule(which=pick)
    def leave_and_come_back_on_the_same_connection(self, which: int) -> None:
        device = self.device(which)
        self.remember(device)
        self.devices.remove(device)
        device.client.leave()
        device.client.join()
        self.devices.append(Device(device.client, None))

    @precondition(lambda self: self.devices)
    @rule(which=pick)
    def pong(self, which: int) -> None:
        self.prove(self.device(which))

    @precondition(lambda self: self.devices)
    @rule(which=pick, event=pick)
    def ack(self, which: int, event: int) -> None:
        device = self.device(which)
        client = device.client
        asking = [one for one in client.read() if one.name == "RESPRECEIVER" and one.id is not None]
        if asking:
            acked = asking[event % len(asking)]
            if device.deaf is not None and acked.frame >= device.deaf:
                return
            device.acks = True
            for one in client.received:
                if one.name == "RESPRECEIVER" and one.frame <= acked.frame:
                    self.had[client.user].update(one.offsets)
            assert acked.id is not None
            client.ack(acked.id)

    @precondition(lambda self: self.devices)
    @rule(which=pick, count=st.integers(1, 4), pongs=st.integers(0, 2))
    def disconnect_by_program(self, which: int, count: int, pongs: int) -> None:
        """An acking program disconnects while messages come.

        Its library throws away all that comes from then on; its WebSocket answers pings until it is closed.
        """
        device = self.device(which)
        device.client.read()
        device.acks = device.acks or any(one.id is not None for one in device.client.received if one.name)
        if device.acks and device.deaf is None:
            self.ack_all(device)
            device.deaf = len(device.client.pipe.frames)
            self.append_and_bring(device.client.user, count)
            for _ in range(pongs):
                self.prove(device)

    # The store, and the daemon.

    @rule()
    def the_store_looks_at_once_or_late(self) -> None:
        self.store.prompt = not self.store.prompt

    @precondition(lambda self: self.store.questions)
    @rule(which=pick)
    def the_store_looks(self, which: int) -> None:
        self.store.questions[which % len(self.store.questions)].look()

    @precondition(lambda self: self.store.questions)
    @rule(which=pick)
    def the_store_answers(self, which: int) -> None:
        self.store.questions.pop(which % len(self.store.questions)).answer()

    @precondition(lambda self: self.store.questions)
    @rule()
    def the_store_answers_all_it_was_asked(self) -> None:
        questions, self.store.questions = self.store.questions, []
        for one in questions:
            one.answer()

    @precondition(lambda self: self.store.questions)
    @rule(which=pick)
    def the_store_refuses(self, which: int) -> None:
        self.store.questions.pop(which % len(self.store.questions)).refuse()

    @precondition(lambda self: not self.store.away)
    @rule()
    def the_store_goes(self) -> None:
        self.store.away = True

    @precondition(lambda self: self.store.away)
    @rule()
    def the_store_comes_back(self) -> None:
        self.store.away = False

    @precondition(lambda self: self.store.inner is self.shelves)
    @rule()
    def the_store_is_left_behind(self) -> None:
        """From here on it answers as a master that another has replaced: nothing new comes to it."""
        self.store.inner = Behind(self.shelves)

    @precondition(lambda self: self.store.inner is not self.shelves)
    @rule()
    def the_store_finds_the_new_master(self) -> None:
        self.store.inner = self.shelves
        self.daemon.hub.reconnected()

    @precondition(lambda self: self.timers.getDelayedCalls())
    @rule(which=pick)
    def a_timer_ends(self, which: int) -> None:
        self.timers.end(which)

    @precondition(lambda self: self.devices)
    @rule(looked=st.booleans())
    def the_daemon_is_killed(self, looked: bool) -> None:
        for device in self.devices:
            self.remember(device)
        self.devices.clear()
        for one in self.store.questions:
            if looked and one.name == "save_progress":
                one.look()
        for call in list(self.timers.getDelayedCalls()):
            call.cancel()
        self.begin_daemon()

    @precondition(lambda self: self.devices)
    @rule()
    def all_comes_to_rest(self) -> None:
        self.come_to_rest()

    # What must hold, always.

    @invariant()
    def all_holds(self) -> None:
        self.each_device_begins_behind_what_was_proved()
        self.each_device_is_written_each_offset_once_in_order()
        self.no_cursor_is_past_what_no_device_has()
        self.no_cursor_that_is_noted_goes_back()
        self.what_waits_is_bounded()

    def each_device_is_written_each_offset_once_in_order(self) -> None:
        for device in self.devices:
            offsets = device.client.offsets()
            assert offsets == sorted(set(offsets)), offsets
            assert device.start is None or not offsets or offsets[0] > device.start

    def each_device_begins_behind_what_was_proved(self) -> None:
        self.end_those_that_were_replaced()
        for device in self.devices:
            opened = device.client.stream
            if device.start is None and opened.state is not StreamState.OPENING:
                device.start = opened.at
                if device.claim is None or opened.at != device.claim:
                    assert self.is_had(device.client.user, opened.at), opened.at
                    # Else a crash would show it later what it was not shown now, behind what came after.
                    assert opened.at <= self.shelves.shelf(device.client.user).cursor, opened.at
                else:
                    # A device that shows where it is has what came before.
                    self.had[device.client.user].update(range(1, device.claim + 1))

    def no_cursor_is_past_what_no_device_has(self) -> None:
        for user in USERS:
            assert self.is_had(user, self.shelves.shelf(user).cursor)
            inbox = self.daemon.hub._inboxes.get(user)
            assert inbox is None or self.is_had(user, inbox.cursor)

    def no_cursor_that_is_noted_goes_back(self) -> None:
        before = dict.fromkeys(USERS, 0)
        for (progress,) in self.store.calls("save_progress"):
            assert isinstance(progress, Progress)
            for user, cursor in progress.cursors.items():
                assert cursor >= before[user]
                before[user] = cursor

    def what_waits_is_bounded(self) -> None:
        for device in self.devices:
            served = device.client.served
            early, window = served.stream._early, served.stream.in_flight
            assert len(early) <= SMALL_STREAM["MAX_EARLY"]
            more = SMALL_STREAM["MAX_EARLY"] + SMALL_STREAM["PAGE"]
            assert len(window) <= SMALL_WINDOW["MAX_IN_FLIGHT"] + more, len(window)
            assert window.size == sum(one[3] for one in window.entries)
            assert window.size <= SMALL_WINDOW["MAX_IN_FLIGHT_BYTES"] + 650 * (1 + SMALL_STREAM["MAX_EARLY"]), (
                window.size
            )
            assert not served._group

    def is_had(self, user: str, upto: int) -> bool:
        """Whether each offset up to this one is proved, or no longer kept."""
        gone = self.shelves.dropped.get(user, set())
        return all(offset in self.had[user] or offset in gone for offset in range(1, upto + 1))

    # What must hold in the end.

    def come_to_rest(self) -> None:
        """Let all happen that is to happen, and a last message come to each user."""
        for device in [device for device in self.devices if device.deaf is not None]:
            self.end(device)
        self.store.away = False
        self.store.inner = self.shelves
        self.daemon.hub.reconnected()
        self.settle()
        while self.pending:
            self.bring_all_news()
        self.settle()
        self.nobody_misses_anything(self.uninformed)
        self.daemon.news(*[self.shelves.put(message(user)) for user in USERS])
        self.settle()
        self.nobody_misses_anything(set())
        self.uninformed.clear()
        assert not self.store.questions
        assert not self.daemon.cork.held

    def nobody_misses_anything(self, but: set[str]) -> None:
        for device in self.devices:
            if device.client.user in but:
                continue
            client = device.client
            assert device.start is not None
            missing = [
                offset
                for offset in self.shelves.kept(client.user)
                if offset > device.start and offset not in client.offsets()
            ]
            assert not missing, missing
            assert client.stream.state is StreamState.LIVE
            assert not client.stream.in_flight
            assert not client.stream._early
            last = self.shelves.kept(client.user)[-1:]
            if last:
                assert self.shelves.shelf(client.user).cursor == last[0]

    def settle(self) -> None:
        """The store answers, clients answer pings, timers end, until there is no more of it."""
        for _ in range(2000):  # one page of a user is read at a time
            questions, self.store.questions = self.store.questions, []
            for one in questions:
                one.answer()
                self.each_device_begins_behind_what_was_proved()
            ponged = [self.prove(device) for device in self.devices]
            acked = [self.ack_all(device) for device in self.devices]
            if not questions and not any(ponged) and not any(acked):
                if not self.timers.getDelayedCalls():
                    return
                for _ in self.timers.getDelayedCalls():
                    if self.timers.calls:
                        self.timers.end(0)
        raise AssertionError("it does not come to rest")

    # Helpers.

    def device(self, which: int) -> Device:
        return self.devices[which % len(self.devices)]

    def prove(self, device: Device) -> bool:
        client = device.client
        client.read()
        asked = client.pipe.asked
        if asked is not None:
            for one in client.everything:
                if one.name == "RESPRECEIVER" and one.frame < asked[1] and not device.acks:
                    self.had[client.user].update(one.offsets)
        return client.pong()

    def ack_all(self, device: Device) -> bool:
        """Let an acking program call the newest ack; whether there was one."""
        asking = [one for one in device.client.read() if one.name == "RESPRECEIVER" and one.id is not None]
        if not device.acks or not asking or asking[-1].id == device.acked:
            return False
        for one in device.client.received:
            if one.name == "RESPRECEIVER" and one.frame <= asking[-1].frame:
                self.had[device.client.user].update(one.offsets)
        device.acked = asking[-1].id
        assert device.acked is not None
        device.client.ack(device.acked)
        return True

    def remember(self, device: Device) -> None:
        client = device.client
        client.read()
        if client.pid is not None and client.noted is not None:
            self.memories[client.user].append((client.pid, client.noted))

    def end_those_that_were_replaced(self) -> None:
        """A client that comes back ends the socket that it had."""
        for device in [device for device in self.devices if device.client.pipe.closed is Reason.REPLACED]:
            if device.claim is not None:
                self.had[device.client.user].update(range(1, device.claim + 1))
            self.end(device)

    def end(self, device: Device) -> None:
        self.remember(device)
        self.devices.remove(device)
        device.client.drop()


class GatheringMachine(InboxMachine):
    """A daemon that asks sockets to confirm several messages at once."""

    def begin_daemon(self) -> None:
        super().begin_daemon()
        self.daemon.hub.confirmations.on = True


class TestInboxModel(SynchronousTestCase):
    """Hypothesis plays the machine."""

    def test_no_message_stays_undelivered_and_no_cursor_passes_a_hole(self) -> None:
        run_state_machine_as_test(
            InboxMachine,
            settings=settings(
                max_examples=120,
                stateful_step_count=50,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )

    def test_nor_where_several_are_confirmed_at_once(self) -> None:
        run_state_machine_as_test(
            GatheringMachine,
            settings=settings(
                max_examples=60,
                stateful_step_count=50,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )
