"""The application of Socket.IO's own test suite, as its document describes it."""

from __future__ import annotations

from typing import Any

from kschat.server import Namespace, Server, Socket


def serve(server: Server, pause: float) -> None:
    """``/`` and ``/custom``: say what CONNECT carried, send back what comes, and as an ack where one is asked for.

    Args:
        server: whose they are.
        pause: seconds between the answer to CONNECT and ``auth``.
    """
    for name in ("/", "/custom"):
        _serve(server.of(name), pause)


def _serve(namespace: Namespace, pause: float) -> None:
    @namespace.on("connect")
    def connected(socket: Socket) -> None:
        if pause:
            namespace.clock.callLater(pause, socket.emit, "auth", socket.auth)
        else:
            socket.emit("auth", socket.auth)

    @namespace.on("message")
    def message(socket: Socket, *args: Any) -> None:
        socket.emit("message-back", *args)

    @namespace.on("message-with-ack")
    def message_with_ack(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args
