"""The sockets of a load, and the one epoll they are read by. It knows nothing of what is measured."""

from __future__ import annotations

import os
import random
import select
import socket
import time

import jwt

from bench.clients import ChatClient, Clock, EchoClient
from bench.options import LoadOptions

_CHUNK = 65536
_HANDSHAKES = 32
"""Sockets in their handshake at once: below the backlog of 50 that Twisted listens with."""
PATIENCE = 20.0
"""Seconds until the handshakes must be done, and until what is on its way must have arrived."""


class LoadError(Exception):
    """The load could not be put on the server; the text says why."""


class Link:
    """A client and its socket."""

    __slots__ = ("client", "port", "sock", "source", "unsent")

    def __init__(self, client: ChatClient, port: int) -> None:
        self.client = client
        self.port = port
        self.source: Link = self
        self.sock = socket.socket()
        self.unsent = b""


class Links:
    """All links and the one epoll they are read by."""

    def __init__(self, options: LoadOptions) -> None:
        self.options = options
        self.clock = Clock()
        self.epoll = select.epoll()  # before all sockets: select() takes it only with a small file descriptor
        self.by_fd: dict[int, Link] = {}
        self.next_tick = 0.0
        self.faults: list[str] = []
        self.all = [Link(client, options.ports[at % len(options.ports)]) for at, client in enumerate(self._clients())]
        for at, link in enumerate(self.all):
            peer = self.all[self._peer(at)]
            link.client.peer, peer.client.source, peer.source = peer.client, link.client, link

    def _peer(self, at: int) -> int:
        """Return whom the client number ``at`` writes to: its pair's other half, or the next in the ring."""
        if self.options.echo:
            return at
        return (at + 1) % self.options.clients if self.options.ring or self.options.idle else at ^ 1

    def _clients(self) -> list[ChatClient]:
        options = self.options
        kind = EchoClient if options.echo else ChatClient
        secret = os.environ.get("KSCHAT_SECRET", "")
        if not (secret or options.echo):
            raise LoadError("KSCHAT_SECRET is not set: the users' tokens are made with it")
        now = int(time.time())
        names = [f"{options.prefix}{number:05d}" for number in range(options.clients)]
        keys = random.Random(options.seed)
        clients = []
        for at, name in enumerate(names):
            token = "" if options.echo else jwt.encode({"data": {"id": name}, "exp": now + 86400}, secret, "HS256")
            key = keys.randrange(1, 256)
            clients.append(kind(name, names[self._peer(at)], token, options.manner, self.clock, key=key, time=now))
        return clients

    def connect(self, first: int, last: int) -> None:
        """Open links ``first`` to ``last`` (exclusive) and join them to the namespace; raises LoadError."""
        waiting = self.all[first:last]
        opening: list[Link] = []
        deadline = time.perf_counter() + PATIENCE + (last - first) / 100
        while waiting or opening:
            while waiting and len(opening) < _HANDSHAKES:
                link = waiting.pop(0)
                self.begin(link)
                opening.append(link)
            self.turn(0.1)
            opening = [link for link in opening if not link.client.joined]
            if self.faults:
                raise LoadError(self.faults[0])
            if time.perf_counter() > deadline:
                raise LoadError(f"{len(opening)} sockets did not get through their handshake in time")

    def begin(self, link: Link) -> None:
        """Open one link; its handshake is done in the turns that follow. Raises LoadError."""
        try:
            link.sock.connect(("127.0.0.1", link.port))
        except OSError as error:
            raise LoadError(f"cannot connect to port {link.port}: {error}") from error
        link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sock.setblocking(False)
        self.by_fd[link.sock.fileno()] = link
        self.epoll.register(link.sock, select.EPOLLIN)
        self.write(link, link.client.opening(f"127.0.0.1:{link.port}"))

    def write(self, link: Link, data: bytes) -> None:
        """Send now what the socket takes, and the rest when it can."""
        if link.unsent:
            link.unsent += data
            return
        try:
            sent = link.sock.send(data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._gone(link, str(error))
            return
        if sent < len(data):
            link.unsent = data[sent:]
            self.epoll.modify(link.sock, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, link: Link) -> None:
        data, link.unsent = link.unsent, b""
        self.epoll.modify(link.sock, select.EPOLLIN)
        self.write(link, data)

    def _gone(self, link: Link, reason: str) -> None:
        fd = link.sock.fileno()
        if fd in self.by_fd:
            del self.by_fd[fd]
            self.epoll.unregister(fd)
            link.sock.close()
            self.faults.append(f"{link.client.user}: {link.client.fault or reason}")

    def turn(self, timeout: float, *, top_up: bool = False) -> None:
        """Wait at the most ``timeout`` seconds and handle what came; ``top_up`` fills the windows again."""
        now = time.perf_counter
        until_delivered = self.options.manner.until_delivered
        # epoll's own timeout is whole milliseconds; select's is microseconds, and an epoll can be selected.
        if timeout > 0 and not top_up:
            select.select([self.epoll], [], [], timeout)
            timeout = 0
        for fd, event in self.epoll.poll(timeout, 1024):
            link = self.by_fd.get(fd)
            if link is None:
                continue
            if event & select.EPOLLOUT:
                self._flush(link)
            if event == select.EPOLLOUT:
                continue
            try:
                data = link.sock.recv(_CHUNK)
            except OSError as error:
                self._gone(link, str(error))
                continue
            client = link.client
            out = client.received(data, now())
            if top_up:
                room = client.room()
                if room > 0:
                    out += client.send(room)
                if until_delivered and (room := link.source.client.room()) > 0:
                    self.write(link.source, link.source.client.send(room))
            if out:
                self.write(link, out)
            if client.fault or not data:
                self._gone(link, "closed without a word")
        if now() > self.next_tick:
            self.next_tick = now() + 1
            for link in list(self.by_fd.values()):
                if ping := link.client.tick(now()):
                    self.write(link, ping)

    def settle(self, seconds: float) -> None:
        """Answer pings and do nothing else for so long."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            self.turn(left)
