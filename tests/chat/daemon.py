"""The chat of one daemon in memory, on a clock that the test turns: what ``house`` and ``peers`` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
from twisted.internet.task import Clock

from kschat.backends.local import LocalBus
from kschat.chat.application import Chat
from kschat.chat.authentication import KeySource
from kschat.chat.context import make_context
from kschat.chat.delivery import Bounds
from kschat.chat.expiry import TokenTimes
from kschat.chat.keys import Keys
from kschat.chat.mids import Mids
from kschat.chat.tokens import Issuer, Rooms, Verifier
from kschat.counters import Counters
from kschat.rates import RateSettings
from kschat.wire.cork import Cork
from kschat.wire.limits import Limits

NOW = 1_700_000_000.0
SECRET = b"a secret of the tests, 32 bytes or more"


class ChatDaemon:
    """One daemon's chat, without a front.

    Args:
        store: as given.
        router: as given.
        bus: as given, or one of a daemon that is alone.
        clock: as given, or a new one that stands at ``NOW``.
        limits: on what clients send, in the place of the defaults.
        max_room: members of a room.
        max_rooms: rooms of a user.
        bounds: of the pipeline, in the place of the defaults.
        uniform: gives a number between two others; the lesser one, unless another is given.
        rates: what users and addresses may do; anything, unless given.
        leeway, token_times: for tokens that expire.
        key_source: is asked for newer keys.
        verifier: of tokens, in the place of the issuer's.
        more: other arguments of ``make_context``.

    Attributes:
        step: seconds that the wall clock was set from where it stood.
    """

    def __init__(
        self,
        *,
        store: Any,
        router: Any,
        bus: Any = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        max_room: int = 1000,
        max_rooms: int = 1000,
        bounds: Bounds | None = None,
        uniform: Callable[[float, float], float] = min,
        rates: RateSettings | None = None,
        leeway: float = 0.0,
        token_times: TokenTimes | None = None,
        key_source: KeySource | None = None,
        verifier: Verifier | None = None,
        **more: Any,
    ) -> None:
        if clock is None:
            clock = Clock()
            clock.advance(NOW)
        self.clock = clock
        self.store: Any = store
        self.router: Any = router
        self.bus: Any = LocalBus() if bus is None else bus
        self.counters = Counters()
        self.cork = Cork()
        self.step = 0.0
        wall = lambda: clock.seconds() + self.step  # noqa: E731
        self.issuer = Issuer(SECRET, wall)
        self.verifier = verifier or Verifier(Keys.from_secret(SECRET), ("HS256",), wall, leeway=leeway)
        self.context = make_context(
            clock=clock,
            wall=wall,
            verifier=self.verifier,
            key_source=key_source,
            token_times=token_times or TokenTimes(),
            store=store,
            router=router,
            bus=self.bus,
            cork=self.cork,
            mids=Mids("0a0b0c0d"),
            bounds=bounds or Bounds(),
            limits=limits or Limits(),
            max_room=max_room,
            max_rooms=max_rooms,
            counters=self.counters,
            uniform=uniform,
            rates=rates or RateSettings(),
            **more,
        )
        self.chat = Chat(self.context)
        self.hub = self.context.hub

    def token(self, user: str, rooms: Rooms = (), lasts: float | None = None) -> str:
        """A token that lets ``user`` in, for so many seconds; None: for ever, so that no call waits for its end."""
        if lasts is not None:
            return self.issuer.issue(user, lasts, rooms)
        return jwt.encode({"data": {"id": user, "rooms": rooms}}, SECRET, "HS256")
