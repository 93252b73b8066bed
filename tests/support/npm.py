"""A real npm socket.io client in a node process, driven by lines of JSON (tests/node/client.js says which).

The process belongs to one test and ends with it. Binary is bytes on this side, an Error of JavaScript is
``{"$error": message}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from twisted.internet import defer, protocol
from twisted.internet.interfaces import IProcessTransport
from twisted.python.failure import Failure
from twisted.trial import unittest

from tests.support.daemon import Daemon, SharedDaemon
from tests.support.needs import NODE_DIRECTORY, require_node
from tests.support.waiting import PATIENCE, real_reactor, repeated_until, within

#: The exact versions in tests/node/package.json, by major version.
VERSIONS: Mapping[int, str] = {1: "1.7.4", 2: "2.5.0", 3: "3.1.3", 4: "4.8.4"}


class Event(NamedTuple):
    """What a socket was told: by the server, or by its own library (connect, disconnect, error, connect_error)."""

    name: str
    args: list[Any]
    asks_ack: bool


class NodeSocket:
    """One socket of a client. Events that nobody has waited for yet stand in ``unseen``, in the order they came in."""

    def __init__(self, client: NodeClient, name: str) -> None:
        self._client = client
        self._name = name
        self.unseen: list[Event] = []
        self._waiting: list[tuple[str, Callable[[Event], bool], defer.Deferred[Event]]] = []

    def next(
        self, name: str, right: Callable[[Event], bool] = lambda event: True, seconds: float = PATIENCE
    ) -> defer.Deferred[Event]:
        """The first event of that name that is ``right`` and was not given before; waits for one that is not there."""
        for event in self.unseen:
            if event.name == name and right(event):
                self.unseen.remove(event)
                return defer.succeed(event)
        waited: defer.Deferred[Event] = defer.Deferred(lambda _: self._waiting.remove(waiting))
        waiting = (name, right, waited)
        self._waiting.append(waiting)
        return self._client.wait(waited, f"the event {name} at socket {self._name}", seconds)

    def emit(self, event: str, *args: object, seconds: float = PATIENCE) -> defer.Deferred[list[Any]]:
        """Emits with an ack; gives the ack's arguments."""
        return self._client.ask("emit", seconds, socket=self._name, event=event, args=args, ack=True)

    def emit_without_ack(self, event: str, *args: object) -> defer.Deferred[None]:
        """Emits; done when the client was told to, not when the server has it."""
        return self._client.ask("emit", PATIENCE, socket=self._name, event=event, args=args, ack=False)

    def disconnect(self) -> defer.Deferred[None]:
        """Disconnects it from the client's side."""
        return self._client.ask("disconnect", PATIENCE, socket=self._name)

    def state(self) -> defer.Deferred[dict[str, Any]]:
        """``connected``, ``id``, ``recovered``, ``engine``: its readyState (opening, open, closing, closed), and the
        ``transport`` that carries it."""
        return self._client.ask("state", PATIENCE, socket=self._name)

    @property
    def version(self) -> int:
        """Of its client."""
        return self._client.version

    async def changes_to(self, transport: str) -> None:
        """Waits until it is carried by that transport."""
        right = lambda state: state["transport"] == transport  # noqa: E731
        await repeated_until(self.state, right, f"a client on {transport}")

    def told(self, event: Event) -> None:
        """Called by the client for every event."""
        for waiting in self._waiting:
            name, right, waited = waiting
            if event.name == name and right(event):
                self._waiting.remove(waiting)
                waited.callback(event)
                return
        self.unseen.append(event)


class NodeClient(protocol.ProcessProtocol):
    """A node process with one version of the client and any number of its sockets."""

    def __init__(self, version: int, daemon: Daemon | SharedDaemon | None) -> None:
        self.version = version
        self._daemon = daemon
        self._transport: IProcessTransport | None = None
        self._sockets: dict[str, NodeSocket] = {}
        self._answers: dict[int, defer.Deferred[Any]] = {}
        self._requests = 0
        self._buffer = b""
        self._talk: list[str] = []
        self._ended: defer.Deferred[None] = defer.Deferred()

    @classmethod
    def start(cls, test: unittest.TestCase, version: int, daemon: Daemon | SharedDaemon | None = None) -> NodeClient:
        """Starts client ``version`` (1 to 4) until the test's end; ``daemon`` is the one whose log an error shows."""
        client = cls(version, daemon)
        command, more = client._command()
        client._transport = real_reactor().spawnProcess(client, command[0], command, env={**os.environ, **more})
        test.addCleanup(client.end)
        return client

    def _command(self) -> tuple[list[str], dict[str, str]]:
        """The program, and what its environment has beside ours."""
        return [require_node(), str(NODE_DIRECTORY / "client.js"), str(self.version)], {}

    @property
    def title(self) -> str:
        """What it is."""
        return f"socket.io-client {VERSIONS[self.version]}"

    @property
    def revision(self) -> int:
        """The Engine.IO revision that this client speaks."""
        return 3 if self.version < 3 else 4

    async def open(self, url: str, **options: object) -> NodeSocket:
        """A socket on a connection of its own, over WebSocket, without reconnecting, unless ``options`` say otherwise.

        ``transports=None`` leaves that to the library, which begins with polling and changes to WebSocket. Beside the
        library's there are ``answers``: whether it calls the acks that events ask for (True), and ``events``: names of
        those that it listens to beside the chat's. The socket may still be connecting, or be refused: wait for its
        event connect.
        """
        name = f"s{len(self._sockets) + 1}"
        socket = self._sockets[name] = NodeSocket(self, name)
        defaults: dict[str, object] = {"transports": ["websocket"], "reconnection": False, "forceNew": True}
        given = {**defaults, **options}
        ours = {"answers": given.pop("answers", True), "events": given.pop("events", [])}
        if given["transports"] is None:
            del given["transports"]
        await self.ask("connect", PATIENCE, socket=name, url=url, options=given, **ours)
        return socket

    async def connect(self, url: str, **options: object) -> NodeSocket:
        """Like :meth:`open`, when it is connected."""
        socket = await self.open(url, **options)
        await socket.next("connect")
        return socket

    def ask(self, do: str, seconds: float, **fields: object) -> defer.Deferred[Any]:
        """One request of client.js; its answer."""
        self._requests += 1
        number = self._requests

        def forget(_: object) -> None:
            self._answers.pop(number, None)

        answer = self._answers[number] = defer.Deferred(forget)
        line = json.dumps({"id": number, "do": do, **cast("dict[str, Any]", _to_plain(fields))})
        self._talk.append(f"< {line[:500]}")
        assert self._transport is not None
        self._transport.writeToChild(0, line.encode() + b"\n")
        return self.wait(answer, f"the answer to {line[:200]}", seconds)

    def wait(self, waited: defer.Deferred[Any], what: str, seconds: float) -> defer.Deferred[Any]:
        """A bounded wait whose error shows what this client and the daemon did."""
        return within(waited, what, self._seen, seconds)

    def end(self) -> defer.Deferred[None]:
        """Ends the process: its connections are closed as a browser's are when its tab is closed."""
        assert self._transport is not None
        if not self._ended.called:
            self._transport.closeStdin()
        return within(self._ended, "the client to end", self._seen)

    def outReceived(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._talk.append(f"> {line[:500].decode(errors='replace')}")
            said = json.loads(line, object_hook=_from_plain)
            if "event" in said:
                self._sockets[said["socket"]].told(Event(said["event"], said["args"], said.get("asks_ack", False)))
                continue
            answer = self._answers.pop(said["id"], None)
            if answer is None:
                continue
            if "error" in said:
                answer.errback(AssertionError(f"the client: {said['error']}"))
            else:
                answer.callback(said["answer"])

    def errReceived(self, data: bytes) -> None:
        self._talk.append(f"! {data.decode(errors='replace')}")

    def processEnded(self, reason: Failure) -> None:
        for answer in list(self._answers.values()):
            answer.errback(AssertionError(f"the client ended: {reason.value}\n{self._seen()}"))
        self._answers.clear()
        self._ended.callback(None)

    def _seen(self) -> str:
        talk = "\n".join(self._talk[-40:])
        log = self._daemon.log[-8000:] if self._daemon is not None else "(of no daemon)"
        return f"--- {self.title} (< asked, > said):\n{talk}\n--- the daemon's log:\n{log}"


def _to_plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"$bin": value.hex()}
    if isinstance(value, list | tuple):
        return [_to_plain(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _to_plain(inner) for key, inner in value.items()}
    return value


def _from_plain(value: dict[str, Any]) -> dict[str, Any] | bytes:
    return bytes.fromhex(value["$bin"]) if value.keys() == {"$bin"} else value
