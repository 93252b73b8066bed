"""Drives python-socketio's client as tests/node/client.js drives npm's: the same lines on stdin, the same on stdout.

``python client.py`` takes the version that PYTHONPATH leads to: 4.6 speaks revision 3 of Engine.IO, 5.x revision 4.
The library does not tell a handler whether an ack is asked for: ``asks_ack`` is null. What a handler returns is the
ack, so that each is answered with no arguments.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import engineio
import socketio

CHAT_EVENTS = ("RESPSEND", "RESPRECEIVER", "RESPLOGOUT", "RESPSTATUS", "RESPCARBON", "Goodbye")

_lock = threading.Lock()


def say(**line: Any) -> None:
    """One line on stdout."""
    with _lock:
        sys.stdout.write(json.dumps(_to_plain(line)) + "\n")
        sys.stdout.flush()


def _to_plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"$bin": bytes(value).hex()}
    if isinstance(value, list | tuple):
        return [_to_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _to_plain(inner) for key, inner in value.items()}
    return value


def _from_plain(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["$bin"]) if value.keys() == {"$bin"} else value


class Engine(engineio.Client):
    """Hands messages on in their order, on one thread. (By itself it begins a thread for each, and they overtake.)"""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._messages: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        threading.Thread(target=self._hand_on, daemon=True).start()

    def _hand_on(self) -> None:
        while True:
            super()._trigger_event("message", *self._messages.get(), run_async=False)

    def _trigger_event(self, event: str, *args: Any, **more: Any) -> Any:
        if event == "message":
            self._messages.put(args)
            return None
        return super()._trigger_event(event, *args, **more)


class Client(socketio.Client):
    """One that can be ended in good order."""

    def _engineio_client_class(self) -> type[Engine]:
        return Engine

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._idle = threading.Condition()
        self._busy = 0
        self._sending = threading.RLock()

    def _send_packet(self, packet: Any) -> None:
        # An ack of one thread must not come between an event of another and its attachments.
        with self._sending:
            super()._send_packet(packet)

    def _handle_event(self, *args: Any) -> None:
        with self._idle:
            self._busy += 1
        try:
            super()._handle_event(*args)
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def end(self) -> None:
        """Disconnect when the acks of all that was told have left.

        On polling the library forgets what waits to be sent, the word of its end too, while a POST is on its way. So
        that is said here, and has left, before it is told to end.
        """
        with self._idle:
            self._idle.wait_for(lambda: not self._busy)
        if self.eio.current_transport == "polling":
            self.eio._send_packet(engineio.packet.Packet(engineio.packet.CLOSE))
            self.eio.queue.join()
        self.disconnect()


class One:
    """One client, with one namespace."""

    def __init__(self, name: str, url: str, options: dict[str, Any], events: list[str]) -> None:
        self.name = name
        parts = urlsplit(url)
        self.namespace = parts.path or "/"
        self.client = Client(reconnection=bool(options.get("reconnection")), logger=False)
        for event in (*CHAT_EVENTS, *events):
            self.client.on(event, self._hears(event), namespace=self.namespace)
        self.client.on("connect", lambda: say(socket=name, event="connect", args=[]), namespace=self.namespace)
        self.client.on("disconnect", self._ended, namespace=self.namespace)
        self.client.on("connect_error", self._refused, namespace=self.namespace)
        query = options.get("query", "")
        more: dict[str, Any] = {"auth": options["auth"]} if options.get("auth") else {}
        try:
            self.client.connect(
                f"{parts.scheme}://{parts.netloc}/{'?' + query if query else ''}",
                namespaces=[self.namespace],
                transports=options.get("transports"),
                **more,
            )
        except socketio.exceptions.ConnectionError as error:
            self._refused(str(error))

    def _hears(self, event: str) -> Callable[..., None]:
        def hear(*args: Any) -> None:
            say(socket=self.name, event=event, args=args, asks_ack=None)

        return hear

    def _ended(self, *reason: Any) -> None:
        say(socket=self.name, event="disconnect", args=[])

    def _refused(self, *why: Any) -> None:
        say(socket=self.name, event="connect_error", args=why)


class Clients:
    """What the lines ask for; a method each."""

    def __init__(self) -> None:
        self._ones: dict[str, One] = {}

    def connect(self, id: int, socket: str, url: str, options: Any, events: Any, answers: Any) -> None:  # noqa: A002
        say(id=id, answer=None)
        self._ones[socket] = One(socket, url, options, events)

    def emit(self, id: int, socket: str, event: str, args: list[Any], ack: bool) -> None:  # noqa: A002
        one = self._ones[socket]

        def answered(*answer: Any) -> None:
            say(id=id, answer=answer)

        one.client.emit(event, tuple(args), namespace=one.namespace, callback=answered if ack else None)
        if not ack:
            say(id=id, answer=None)

    def disconnect(self, id: int, socket: str) -> None:  # noqa: A002
        self._ones[socket].client.end()
        say(id=id, answer=None)

    def state(self, id: int, socket: str) -> None:  # noqa: A002
        client = self._ones[socket].client
        eio = client.eio
        say(
            id=id,
            answer={
                "connected": client.connected,
                "engine": "open" if eio.state == "connected" else "closed",
                "transport": eio.current_transport,
            },
        )


def main() -> None:
    """Until stdin ends."""
    clients = Clients()
    for line in sys.stdin:
        request = json.loads(line, object_hook=_from_plain)
        do, number = request.pop("do"), request["id"]
        try:
            getattr(clients, do)(**request)
        except Exception as error:  # noqa: BLE001 - the test is told
            say(id=number, error=repr(error))
    # Threads of the library would keep the process.
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
