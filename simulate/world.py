"""Plays a plan: all that is decided by it and by its seed, and nothing else."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import msgspec
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import provider

from simulate.clock import VirtualClock
from simulate.daemons import SimulatedDaemon
from simulate.devices import Device
from simulate.ledger import Ledger, ModelStore, Violation, stream_of
from simulate.network import Connection
from simulate.plans import FAULTS, Plan, Step
from simulate.services import Attached, Exchange, Hall

#: Where the time begins, in seconds since 1970.
NOW: Final = 1_700_000_000.0

#: Virtual seconds within which everything must have arrived, once all is healed. A client whose connection stood still
#: notices by its heartbeat, and a daemon looks at the ends of inboxes every half a minute.
LIVENESS: Final = 150.0

#: Virtual seconds for which nothing may happen at the end that changes what is known: cursors are written, presence is
#: told.
SETTLE: Final = 15.0

#: Bytes of a large message: enough for a batch of its own.
LARGE: Final = 20_000

#: Steps between two looks at the bounds.
LOOK_EVERY: Final = 50


class Result(msgspec.Struct, frozen=True):
    """What became of a world.

    Attributes:
        violation: what was not as it must be; None for nothing.
        digest: of all that happened: the same plan has the same.
        steps: calls of the virtual clock.
        seconds: virtual ones.
        counts: of what happened, by name.
        tail: the last of what happened.
        history: all of it, if that was asked for.
        operations: the same as others check it, see docs/testing.md.
    """

    violation: str | None
    digest: str
    steps: int
    seconds: float
    counts: dict[str, int]
    tail: tuple[str, ...]
    history: tuple[str, ...] = ()
    operations: tuple[dict[str, Any], ...] = ()

    @property
    def kind(self) -> str:
        """The violation without its numbers: two of one kind are the same fault, mostly."""
        text = (self.violation or "").partition("\n")[0].partition(": ")[2]
        return " ".join(word for word in text.split() if not any(letter.isdigit() for letter in word))


class World:
    """The daemons, the services and the devices of one plan.

    Args:
        plan: what happens.
        keep_history: whether all that happens is kept, for a report.
    """

    def __init__(self, plan: Plan, *, keep_history: bool = False) -> None:
        self.plan = plan
        self.clock = VirtualClock(NOW)
        self.ledger = Ledger(lambda: self.clock.seconds() - NOW, plan.rooms)
        if keep_history:
            self.ledger.history, self.ledger.operations = [], []
        self.store = ModelStore(self.ledger)
        for room, members in plan.rooms.items():
            for member in members:
                self.store.join(room, member, 100)
        exchange, hall = Exchange(), Hall()
        self.daemons = [
            SimulatedDaemon(
                f"k{number}",
                clock=self.clock,
                ledger=self.ledger,
                store=self.store,
                exchange=exchange,
                hall=hall,
                streams=self._stream,
            )
            for number in range(plan.daemons)
        ]
        self.connections: list[Connection] = []
        self.devices = [
            Device(
                f"d{number}",
                kind,
                clock=self.clock,
                ledger=self.ledger,
                store=self.store,
                daemons=self.daemons,
                random=self._stream("device", number),
                wired=lambda device, connection: None,
            )
            for number, kind in enumerate(plan.devices)
        ]
        self._healed = self._is_ending = False

    def _stream(self, *names: object) -> Random:
        return stream_of(self.plan.seed, *names)

    def run(self) -> None:
        """Play it to its end. Raises Violation."""
        plan, clock = self.plan, self.clock
        for number, daemon in enumerate(self.daemons):
            daemon.repeats, daemon.misses = plan.repeats, plan.misses
            daemon.skew = number * plan.skew
            daemon.start()
        for number, device in enumerate(self.devices):
            clock.callLater(0.01 * number, device.connect)
        for step in plan.steps:
            clock.callLater(step.at, self._take, step)
        self._until(plan.seconds)
        self._heal()
        end = clock.seconds() + LIVENESS
        while not self._is_whole():
            if not clock.step(end):
                self._fail_alive()
            self._look()
        self._until(clock.seconds() - NOW + SETTLE)
        if not self._is_whole():
            self._fail_alive()
        self._check_whole()
        self._stop()

    def _until(self, seconds: float) -> None:
        while self.clock.step(NOW + seconds):
            self._look()

    def _look(self) -> None:
        if self.ledger.violation is not None:
            raise Violation(self.ledger.violation)
        if not self.clock.steps % LOOK_EVERY:
            for daemon in self.daemons:
                daemon.check()

    # What happens.

    def _take(self, step: Step) -> None:
        if step.kind in FAULTS and self._healed:
            return
        if step.kind in FAULTS:
            self.ledger.counts["faults"] += 1
            self.ledger.note("fault", step.kind, step.who, step.value)
            self.ledger.operation("info", "nemesis", step.kind, who=step.who, seconds=step.value)
        subject, _, what = step.kind.partition(" ")
        if subject in ("store", "broker", "bus"):
            self._service(subject, what, step)
        elif subject == "line":
            self._line(what, step)
        elif step.kind in FAULTS:
            self._process(step)
        else:
            self._deed(step)

    def _deed(self, step: Step) -> None:
        device = self.devices[step.who]
        if step.kind == "write":
            device.write(step.to, 0)
        elif step.kind == "large":
            device.write(step.to, LARGE)
        elif step.kind == "burst":
            for _ in range(int(step.value)):
                device.write(step.to, 0)
        elif step.kind == "read":
            device.mark_read(step.to)
        elif step.kind == "sync":
            device.sync(int(step.value))
        elif step.kind == "history":
            device.ask_history(step.to)
        elif step.kind == "leave" and not self._healed:
            self.ledger.note("leave", device.name)
            device.leave()
            self.clock.callLater(step.value, device.connect)

    def _process(self, step: Step) -> None:
        daemon = self.daemons[step.who]
        if step.kind == "halt":
            daemon.halt()
            self.clock.callLater(step.value, daemon.go_on)
            return
        if not daemon.lives:
            return
        if step.kind == "kill":
            daemon.kill()
        else:
            daemon.stop()
        self.clock.callLater(step.value, self._restart, daemon)

    def _restart(self, daemon: SimulatedDaemon) -> None:
        if self._is_ending or (daemon.lives and not daemon.ending):
            return
        if daemon.lives:
            self.clock.callLater(0.5, self._restart, daemon)  # it has not ended yet
            return
        daemon.start()

    def _service(self, subject: str, what: str, step: Step) -> None:
        """``mute`` and ``deaf``: as the daemon is to the service; ``away``: for all daemons."""
        daemon = self.daemons[step.who]
        if what == "away":
            for one in self.daemons:
                self._send_away(one, subject)
            self.clock.callLater(step.value, self._back, subject, self.daemons)
            return
        if not daemon.lives:
            return
        part = part_of(daemon, subject)
        if what == "cut":
            part.cut()
        elif what == "late":
            part.cut(late=True)
        elif what == "cancels":
            daemon.router.cancel()
        else:
            # The first of a daemon's connections to the store is the one that writes.
            lines = 1 if what.startswith("write") else None
            part.hold(requests=what.endswith("mute"), answers=what.endswith("deaf"), lines=lines)
            self.clock.callLater(step.value, part.heal)

    def _send_away(self, daemon: SimulatedDaemon, subject: str) -> None:
        if daemon.lives:
            part = part_of(daemon, subject)
            part.refused = True
            part.cut(late=True)

    def _back(self, subject: str, daemons: Sequence[SimulatedDaemon]) -> None:
        for daemon in daemons:
            if daemon.lives:
                part_of(daemon, subject).heal()

    def _line(self, what: str, step: Step) -> None:
        connections = list(self.devices[step.who].connections)
        for connection in connections:
            if what == "cut":
                connection.cut()
            elif what == "stalls":
                connection.stall()
            else:
                connection.hold(up=what in ("up", "both"), down=what in ("down", "both"))
        if what != "cut":
            self.clock.callLater(step.value, self._heal_lines, connections)

    def _heal_lines(self, connections: Sequence[Connection]) -> None:
        for connection in connections:
            connection.heal()

    def _heal(self) -> None:
        """No fault from now on, and none goes on."""
        self._healed = True
        self.ledger.note("healed")
        for daemon in self.daemons:
            daemon.go_on()
            if daemon.lives:
                for part in (daemon.store, daemon.router, daemon.bus):
                    part.heal()
            self._restart(daemon)
        for device in self.devices:
            self._heal_lines(device.connections)
            device.connect()

    # The end.

    def _is_whole(self) -> bool:
        return (
            all(daemon.lives and not daemon.ending for daemon in self.daemons)
            and all(device.joined and not device.waits for device in self.devices)
            and not self.ledger.undelivered()
            and self._cursors_stand()
            and self._presence_holds()
        )

    def _cursors_stand(self) -> bool:
        return all(self.store.cursor(user) == len(inbox.stored) for user, inbox in self.ledger.inboxes.items())

    def _presence_holds(self) -> bool:
        return not self._wrong_presence()

    def _wrong_presence(self) -> list[tuple[str, str, bool | None]]:
        """The devices that see a user otherwise than that user is, with what they see."""
        online = {device.kind.user: None for device in self.devices if device.joined}
        return [
            (device.name, user, device.presence.get(user))
            for device in self.devices
            for user in device.kind.watches
            if device.presence.get(user) is not (user in online)
        ]

    def _fail_alive(self) -> None:
        """Something does not become whole: say what."""
        fail = self.ledger.fail
        for daemon in self.daemons:
            if not daemon.lives or daemon.ending:
                fail(daemon.name, "is not serving")
        for device in self.devices:
            if not device.joined:
                fail(device.name, "is not connected after all was healed")
            if device.waits:
                fail(device.name, "has", device.waits, "messages that are not acknowledged after all was healed")
        for user in self.ledger.undelivered():
            inbox = self.ledger.inbox(user)
            fail(user, "has read up to", inbox.upto, "of", len(inbox.stored), "after all was healed")
        for user, inbox in self.ledger.inboxes.items():
            if self.store.cursor(user) != len(inbox.stored):
                fail("the cursor of", user, "is at", self.store.cursor(user), "of", len(inbox.stored), "after all was")
        for name, user, seen in self._wrong_presence():
            fail(name, "sees that", user, "is", {True: "online", False: "offline", None: "unknown"}[seen])

    def _check_whole(self) -> None:
        """Nothing that was acknowledged is lost: neither in the store, nor on the way."""
        ledger = self.ledger
        for draft in ledger.drafts:
            for user in ledger.recipients(draft):
                inbox = ledger.inbox(user)
                offset = inbox.offsets.get(draft.mid)
                if offset is None or offset not in inbox.received:
                    ledger.fail("message", draft.number, "was acknowledged, and did not reach", user)
        ledger.check_order()

    def _stop(self) -> None:
        """End all in order: nothing may be left."""
        for device in self.devices:
            device.leave()
        self._until(self.clock.seconds() - NOW + 2)
        self._is_ending = True
        for daemon in self.daemons:
            daemon.stop()
        self._until(self.clock.seconds() - NOW + 60)
        for daemon in self.daemons:
            if daemon.lives:
                self.ledger.fail(daemon.name, "has not ended:", *daemon.clock.names())


def part_of(daemon: SimulatedDaemon, subject: str) -> Attached:
    """What connects a daemon to a service."""
    return {"store": daemon.store, "broker": daemon.router, "bus": daemon.bus}[subject]


@contextmanager
def logged(ledger: Ledger) -> Iterator[None]:
    """What is logged as a failure is a violation: also an error of a Deferred that nobody has handled."""

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        failure: Any = event.get("log_failure")
        if (failure is not None or event.get("log_level") is LogLevel.critical) and ledger.violation is None:
            trace = "" if failure is None else "\n" + failure.getTraceback()
            ledger.violation = f"logged: {formatEvent(event)}{trace}"

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)


def play(plan: Plan, *, keep_history: bool = False) -> Result:
    """Play a plan."""
    world = World(plan, keep_history=keep_history)
    ledger = world.ledger
    violation: str | None = None
    with logged(ledger):
        try:
            world.run()
        except Violation as error:
            violation = ledger.violation or str(error)
        counts, steps, seconds = dict(ledger.counts), world.clock.steps, world.clock.seconds() - NOW
        counts["messages"] = len(ledger.drafts)
        counts["devices"] = len(world.devices)
        del world
        if violation is None:
            gc.collect()  # a Deferred with an error that nobody has handled says so when it is freed
            violation = ledger.violation
    return Result(
        violation,
        ledger.digest(),
        steps,
        seconds,
        counts,
        tuple(ledger.tail()),
        tuple(ledger.history or ()),
        tuple(ledger.operations or ()),
    )
