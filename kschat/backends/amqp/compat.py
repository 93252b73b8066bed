"""Uses of private parts of pika, each with the symptom that made it necessary.

``tests/backends/test_compat_pika.py`` checks each of them and fails with a one-line message if one has disappeared.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred


def last_error(connection: Any) -> BaseException | None:
    """Why a connection has ended, as pika itself knows it.

    What its adapter passes on forgets it: a wrong password, vhost or certificate all read ``AMQPConnectionError(1)``.
    """
    error: BaseException | None = getattr(connection._impl, "_error", None)
    return error


def plain_channel(channel: Any) -> Any:
    """pika's own channel below a ``TwistedChannel``.

    The wrapper has a Deferred for each message that arrives or is published, asks for an answer to each binding (three
    times as slow), and gives a returned message to whichever publish is confirmed next.
    """
    return channel._channel


def answered(channel: Any, method: str, **arguments: Any) -> Deferred[Any]:
    """Call a method of pika's own channel whose answer is awaited; fails when the channel is closed.

    The wrapper's methods of these names bring what ``plain_channel`` is for to avoid.
    """
    asked: Deferred[Any] = channel._wrap_channel_method(method)(**arguments)
    return asked
