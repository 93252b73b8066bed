"""An application's functions, and how many arguments each accepts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

#: An application's function: it is called with a socket and what belongs to the occasion, and may be ``async def``.
Function = TypeVar("Function", bound=Callable[..., Any])


class Entry(msgspec.Struct, frozen=True):
    """A function for events of one name.

    Attributes:
        function: it.
        least, most: arguments that it takes beside the socket.
        once: whether it is for one event alone.
    """

    function: Callable[..., Any]
    least: int
    most: float
    once: bool = False

    @classmethod
    def of(cls, function: Callable[..., Any], once: bool = False) -> Entry:
        """Look at a function. Raises TypeError where it does not accept a socket."""
        return cls(function, *_arity(function), once)


class Handlers:
    """The functions of a namespace, or of all those that one rule makes.

    Attributes:
        middleware: run before a client is let in, in this order.
        events: by name.
        any: called for each event that comes, in this order, before its function.
        any_outgoing: called for each event that goes out to a socket.
    """

    __slots__ = ("any", "any_outgoing", "events", "middleware")

    def __init__(self) -> None:
        self.middleware: list[Callable[..., Any]] = []
        self.events: dict[str, Entry] = {}
        self.any: list[Callable[..., Any]] = []
        self.any_outgoing: list[Callable[..., Any]] = []


def _arity(function: Callable[..., Any]) -> tuple[int, float]:
    """The least and the most arguments that ``function`` takes beside the socket."""
    least, most = -1, -1.0
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = float("inf")
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            most += 1
            least += parameter.default is parameter.empty
    if most < 0:
        raise TypeError(f"{function!r} does not accept a socket")
    return max(least, 0), most
