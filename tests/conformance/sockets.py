"""The application of Socket.IO's own test suite, as its document describes it."""

from __future__ import annotations

from typing import Any

from kschat.server import Namespace, Server, Socket


def serve(server: Server) -> None:
    """``/`` and ``/custom``: say what CONNECT carried, send back what comes, and as an ack where one is asked for."""
    for name in ("/", "/custom"):
        _serve(server.of(name))


def _serve(namespace: Namespace) -> None:
    @namespace.on("connect")
    def connected(socket: Socket) -> None:
        socket.emit("auth", socket.auth)

    @namespace.on("message")
    def message(socket: Socket, *args: Any) -> None:
        socket.emit("message-back", *args)

    @namespace.on("message-with-ack")
    def message_with_ack(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args
