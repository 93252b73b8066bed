"""``Authenticator``: the one place where a token becomes an identity, at connect and on a live socket.

Keys may come from elsewhere while the daemon runs: a token of a key that is not known yet waits for them, for a bounded
time, rather than be refused. A client that is refused shows an error to its user, and most do not try again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kschat.chat.tokens import Identity, TokenError, Verifier
from kschat.counters import Counters
from kschat.rates import AddressLimits
from kschat.repeated_log import RepeatedLog
from kschat.wire.connection import Connection

#: Reasons that other keys may end.
_CURABLE: Final = frozenset({"no_keys", "unknown_key"})

#: Finds whose a token is. Raises TokenError.
Find: TypeAlias = Callable[[Verifier], Identity]


class KeySource(Protocol):
    """Where newer keys may come from."""

    def newer(self) -> Deferred[None] | None:
        """Ask for the keys again.

        Returns:
            Fires when they may have changed, and soon in any case; never fails. None: too many wait already.
        """


class Authenticator:
    """Says whose a token is.

    Args:
        verifier: knows keys and rules.
        check: refuses a token that is revoked: raises TokenError.
        source: is asked for newer keys; None: there is nobody to ask.
        counters: counts refusals.
        addresses: counts refusals of each address.
        repeated: gathers lines about them.
    """

    log = Logger()

    def __init__(
        self,
        verifier: Verifier,
        *,
        check: Callable[[Identity], None],
        source: KeySource | None,
        counters: Counters,
        addresses: AddressLimits,
        repeated: RepeatedLog,
    ) -> None:
        self._addresses = addresses
        self._verifier = verifier
        self._check = check
        self._source = source
        self._counters = counters
        self._repeated = repeated

    def identify(self, find: Find) -> Identity | Deferred[Identity]:
        """Whose a token is, which ``find`` takes from a request.

        Returns:
            The identity; a Deferred of it, where newer keys are asked for first. That fails with TokenError.

        Raises:
            TokenError: it is nobody's.
        """
        try:
            return self._found(find)
        except TokenError as error:
            newer = self._source.newer() if self._source is not None and error.reason in _CURABLE else None
            if newer is None:
                raise
        return newer.addCallback(lambda _: self._found(find))

    def _found(self, find: Find) -> Identity:
        identity = find(self._verifier)
        self._check(identity)
        return identity

    def refused(self, connection: Connection, error: TokenError) -> None:
        """A socket was refused because of its token. The reason goes to the log and the metrics, not to the client."""
        self._counters.denied[error.reason] += 1
        if error.reason != "no_keys":  # that is no fault of the client's
            self._addresses.failed_token(connection.handshake.client)
        self._repeated.info(
            self.log,
            "a socket from {peer} was rejected: {reason}",
            kind=f"sockets that were rejected: {error.reason}",
            peer=connection.handshake.peer,
            reason=error.reason,
        )

    def not_renewed(self, connection: Connection, error: TokenError) -> None:
        """A token that a live socket gave for its next one was refused."""
        self._counters.tokens["refused"] += 1
        self._addresses.failed_token(connection.handshake.client)
        self._repeated.info(
            self.log,
            "a token from {peer} was rejected, and its socket keeps the one before: {reason}",
            peer=connection.handshake.peer,
            reason=error.reason,
        )
