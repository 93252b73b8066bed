"""The few steps of a plan that still fail in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from simulate.devices import DeviceKind
from simulate.plans import DEEDS, Plan

T = TypeVar("T")

#: Plans that are tried at the most.
MAX_TRIES: Final = 400


def shrunk(plan: Plan, fails: Callable[[Plan], bool], tries: int = MAX_TRIES) -> Plan:
    """A smaller plan that fails.

    Args:
        plan: one that fails.
        fails: plays a plan, and says whether it fails in the same way.
        tries: how many are played at the most.
    """
    left = tries

    def tried(candidate: Plan) -> bool:
        nonlocal left
        if left <= 0 or candidate == plan:
            return False
        left -= 1
        return fails(candidate)

    while left > 0:
        before = plan
        plan = _with_fewer_steps(plan, tried)
        for candidate in _simpler(plan):
            if tried(candidate):
                plan = candidate
        if plan == before:
            break
    return plan


def _with_fewer_steps(plan: Plan, tried: Callable[[Plan], bool]) -> Plan:
    """Delta debugging: leave out halves, quarters, … of the steps."""
    count = 2
    while len(plan.steps) > 0:
        for rest in _without_parts(plan.steps, count):
            candidate = msgspec.structs.replace(plan, steps=tuple(rest))
            if tried(candidate):
                plan = candidate
                count = max(count - 1, 2)
                break
        else:
            if count >= len(plan.steps):
                break
            count = min(2 * count, len(plan.steps))
    return plan


def _without_parts(whole: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    size = max(len(whole) // count, 1)
    # The last steps first: what comes after the fault does nothing for it.
    for start in reversed(range(0, len(whole), size)):
        yield [*whole[:start], *whole[start + size :]]


def _simpler(plan: Plan) -> Iterator[Plan]:
    """The same without one thing more, each of the plan as it is given: devices, options, chances."""
    replace = msgspec.structs.replace
    for number in reversed(range(len(plan.devices))):
        if any(step.who == number for step in plan.steps if _is_of_device(step.kind)):
            continue
        kept = [kind for at, kind in enumerate(plan.devices) if at != number]
        steps = [
            replace(step, who=step.who - 1) if _is_of_device(step.kind) and step.who > number else step
            for step in plan.steps
        ]
        yield replace(plan, devices=tuple(kept), steps=tuple(steps))
        break
    for number, kind in enumerate(plan.devices):
        for plain in _plainer(kind):
            yield replace(plan, devices=(*plan.devices[:number], plain, *plan.devices[number + 1 :]))
    if plan.repeats:
        yield replace(plan, repeats=0)
    if plan.misses:
        yield replace(plan, misses=0)
    if plan.skew:
        yield replace(plan, skew=0.0)
    for number, step in enumerate(plan.steps):
        if step.kind == "burst":
            smaller = replace(step, kind="write", value=0.0)
            yield replace(plan, steps=(*plan.steps[:number], smaller, *plan.steps[number + 1 :]))


def _plainer(kind: DeviceKind) -> Iterator[DeviceKind]:
    replace = msgspec.structs.replace
    for name in ("acks", "receipts", "recover", "batch", "slow", "pieces"):
        if getattr(kind, name):
            yield replace(kind, **{name: False})
    if kind.watches:
        yield replace(kind, watches=())
    if (kind.revision, kind.means) != (4, "websocket"):
        yield replace(kind, revision=4, means="websocket")


def _is_of_device(kind: str) -> bool:
    return kind.startswith("line") or kind in DEEDS
