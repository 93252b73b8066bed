"""One connection to RabbitMQ: pika's protocol with the faults of its Twisted adapter fixed.

- The adapter's ``connectionLost`` discards the reason: a wrong password, vhost or certificate all look the same.
- It writes each frame by itself, three for a message, and each waits for another round through the reactor. Here the
  frames of a batch, or of what one read brought, go out together and at once.
- After a missed heartbeat it calls ``loseConnection``, which never completes while unsent data is queued.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import pika
from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from kschat.backends.amqp.compat import last_error
from kschat.compat_tcp import is_direct, write_now
from kschat.tls import refusal

#: Seconds between two looks at a connection that is to end.
LOOK: Final = 1.0

# pika shows what was published in its warnings; what it knows is said here by what this package raises and logs.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class _Gathering:
    """The transport that pika writes to.

    Args:
        transport: to which it goes in the end.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._direct = is_direct(transport)
        self._held: list[bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or hold it back for ``release``."""
        if self._held is None:
            self._transport.write(data)
        else:
            self._held.append(data)

    def loseConnection(self) -> None:
        """What pika wrote before it asked for the end is to be sent."""
        self.release()
        self._transport.loseConnection()

    def hold(self) -> bool:
        """Hold back what is written from now on. False if that is so already: who began it releases it."""
        if self._held is not None:
            return False
        self._held = []
        return True

    def release(self) -> None:
        """Write what was held back, in one piece."""
        held, self._held = self._held, None
        if held:
            data = b"".join(held)
            if self._direct:
                data = write_now(self._transport, data)
            if data:
                self._transport.write(data)


class AmqpProtocol(TwistedProtocolConnection):  # type: ignore[misc]
    """A connection, from TCP's beginning to its end.

    Args:
        parameters: of pika.
        reactor: the real one.
        distrust: says why the broker's certificate was not trusted; "" where it was.

    Attributes:
        why: what ended it, in words, once it has; or what will.
        ended: whether it has.
        gone: fires then.
        after_read: is called when all of what came in one piece was taken.
    """

    def __init__(self, parameters: pika.ConnectionParameters, reactor: Any, distrust: Callable[[], str]) -> None:
        super().__init__(parameters, reactor)
        self._distrust = distrust
        self._reactor = reactor
        self._look: IDelayedCall | None = None
        self._ending = False
        self.why = ""
        self.ended = False
        self.gone: Deferred[None] = Deferred()
        self.after_read: Callable[[], None] = _nothing

    def makeConnection(self, transport: Any) -> None:
        """See ``IProtocol``."""
        super().makeConnection(_Gathering(transport))

    def hold(self) -> bool:
        """Hold back what is written until ``release``, so that it goes out in one piece.

        Returns:
            Whether ``release`` is to be called; False if the bytes are held back already.
        """
        return not self.ended and bool(self.transport.hold())

    def release(self) -> None:
        """Write what was held back."""
        self.transport.release()

    def connectionMade(self) -> None:
        """TCP, or TLS, stands."""
        super().connectionMade()
        self.transport.setTcpNoDelay(True)
        self._look = self._reactor.callLater(LOOK, self._watch)

    def _watch(self) -> None:
        self._look = self._reactor.callLater(LOOK, self._watch)
        if self._ending and self.transport.disconnecting:
            self.transport.abortConnection()
        self._ending = self.transport.disconnecting

    def dataReceived(self, data: bytes) -> None:
        """Some bytes have come."""
        holds = self.hold()
        try:
            super().dataReceived(data)
            self.after_read()
        finally:
            if holds:
                self.release()

    def abort(self, why: str) -> None:
        """End it now, whatever waits to be sent."""
        self.why = self.why or why
        if self.transport is not None and not self.ended:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It has ended."""
        self.ended = True
        if self._look is not None and self._look.active():
            self._look.cancel()
        error = last_error(self) or reason.value
        self.why = self.why or why(error, self._distrust())
        super().connectionLost(reason)
        self.gone.callback(None)


def _nothing() -> None:
    """Nobody waits."""


def why(error: BaseException | None, distrust: str = "") -> str:
    """Why a connection failed, in words that an operator can act on. Holds no password.

    Args:
        error: what ended it.
        distrust: what is wrong with the broker's certificate, where that is known.
    """
    if error is None:
        return "nobody knows"
    name = type(error).__name__
    text = str(error) or name
    if isinstance(error, pika.exceptions.ProbableAuthenticationError):
        return "the user or the password is wrong"
    if isinstance(error, pika.exceptions.ProbableAccessDeniedError):
        return "the vhost is not there, or not for this user"
    if isinstance(error, pika.exceptions.AMQPHeartbeatTimeout):
        return "RabbitMQ sent nothing, not even heartbeats"
    if isinstance(error, pika.exceptions.ConnectionClosedByBroker):
        return f"RabbitMQ closed the connection: {error.reply_text} ({error.reply_code})"
    if isinstance(error, pika.exceptions.ChannelClosedByBroker):
        return f"RabbitMQ refused: {error.reply_text} ({error.reply_code})"
    if isinstance(error, pika.exceptions.StreamLostError):
        inner = error.args[0] if error.args else ""
        value = getattr(inner, "value", None)
        return why(value, distrust) if isinstance(value, BaseException) else "the connection was lost"
    refused = refusal(error, distrust)
    if refused:
        return refused
    return text.rstrip(".")
