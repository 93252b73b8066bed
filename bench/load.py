"""The load generator, a process of its own: ``python -m bench.load --port PORT``; prints one JSON object.

Closed loop (the default): each of N users keeps a window of messages on their way; what is measured is how many arrive.
Open loop (``--rate``): messages are due at random moments (a Poisson stream) whatever the server does, and a latency
counts from the moment a message was *due*, not from when it could be sent: a server that stalls cannot hide it (no
coordinated omission). How late the load itself sent is told beside (``lag``).
Idle (``--idle 1000,2000``): so many sockets join and stay; ``{"joined": 1000}`` is printed, and a line on stdin goes on.

Afterwards nothing more is sent, what is on its way is awaited, and every acknowledged message must have arrived
exactly once, in order for its pair. Tokens are HS256, made with the secret in the environment's KSCHAT_SECRET.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Sequence

import jwt

from bench.clients import ChatClient, Clock, EchoClient
from bench.options import LoadOptions, parse
from bench.process import cpu_seconds
from bench.stats import percentile

_CHUNK = 65536
_HANDSHAKES = 32
"""Sockets in their handshake at once: below the backlog of 50 that Twisted listens with."""
_PATIENCE = 20.0
"""Seconds until the handshakes must be done, and until what is on its way must have arrived."""


class LoadError(Exception):
    """The load could not be put on the server; the text says why."""


class Link:
    """A client and its socket."""

    __slots__ = ("client", "sock", "source", "unsent")

    def __init__(self, client: ChatClient) -> None:
        self.client = client
        self.source: Link = self
        self.sock = socket.socket()
        self.unsent = b""


class Load:
    """All links and the one epoll they are read by."""

    def __init__(self, options: LoadOptions) -> None:
        self.options = options
        self.clock = Clock()
        self.epoll = select.epoll()  # before all sockets: select() takes it only with a small file descriptor
        self.by_fd: dict[int, Link] = {}
        self.next_tick = 0.0
        self.faults: list[str] = []
        self.links = [Link(client) for client in self._clients()]
        for at, link in enumerate(self.links):
            peer = self.links[self._peer(at)]
            link.client.peer, peer.client.source, peer.source = peer.client, link.client, link

    def _peer(self, at: int) -> int:
        """Return whom the client number ``at`` writes to: its pair's other half, or the next in the ring."""
        if self.options.echo:
            return at
        return (at + 1) % self.options.clients if self.options.ring else at ^ 1

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
            clients.append(
                kind(name, names[self._peer(at)], token, options.manner, self.clock, key=keys.randrange(1, 256), time=now)
            )
        return clients

    def connect(self, first: int, last: int) -> None:
        """Open links ``first`` to ``last`` (exclusive) and join them to the namespace; raises LoadError."""
        waiting = self.links[first:last]
        opening: list[Link] = []
        deadline = time.perf_counter() + _PATIENCE + (last - first) / 100
        while waiting or opening:
            while waiting and len(opening) < _HANDSHAKES:
                link = waiting.pop(0)
                self._open(link)
                opening.append(link)
            self.turn(0.1)
            opening = [link for link in opening if not link.client.joined]
            if self.faults:
                raise LoadError(self.faults[0])
            if time.perf_counter() > deadline:
                raise LoadError(f"{len(opening)} sockets did not get through their handshake in time")

    def _open(self, link: Link) -> None:
        ports = self.options.ports
        port = ports[self.links.index(link) % len(ports)]
        try:
            link.sock.connect(("127.0.0.1", port))
        except OSError as error:
            raise LoadError(f"cannot connect to port {port}: {error}") from error
        link.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link.sock.setblocking(False)
        self.by_fd[link.sock.fileno()] = link
        self.epoll.register(link.sock, select.EPOLLIN)
        self.write(link, link.client.opening(f"127.0.0.1:{port}"))

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

    def run_closed(self) -> dict[str, object]:
        """Keep every window full for the warm-up and the measured seconds; return the figures."""
        for link in self.links:
            self.write(link, link.client.send(self.options.manner.window))
        begin = time.perf_counter() + self.options.warmup
        while time.perf_counter() < begin:
            self.turn(0.1, top_up=True)
        before = self._counts()
        begin = time.perf_counter()
        while time.perf_counter() < begin + self.options.seconds:
            self.turn(0.1, top_up=True)
        return self._window(begin, before)

    def run_open(self) -> dict[str, object]:
        """Send at the given rate for the warm-up and the measured seconds; return the figures."""
        now = time.perf_counter
        gap = random.Random(self.options.seed).expovariate
        rate, links = self.options.rate, self.links
        for link in links:
            link.client.due = []
        lags: list[float] = []
        due = now() + 0.01
        self.clock.begin = due + self.options.warmup
        end = self.clock.begin + self.options.seconds
        before: dict[str, float] = {}
        turn = 0
        while due < end:
            moment = now()
            if not before and moment >= self.clock.begin:
                before = self._counts()
            while due <= moment and due < end:
                link = links[turn % len(links)]
                turn += 1
                assert link.client.due is not None
                link.client.due.append(due)
                self.write(link, link.client.send(1))
                lags.append(now() - due)
                due += gap(rate)
            self.turn(min(0.1, max(0.0, due - now())))
        figures = self._window(self.clock.begin, before or self._counts())
        self._drain()
        return {**figures, "latency": _milliseconds(self.clock.latencies), "lag": _milliseconds(lags)}

    def _counts(self) -> dict[str, float]:
        clients = [link.client for link in self.links]
        return {
            "sent": sum(client.number for client in clients),
            "acked": sum(client.acks.next for client in clients),
            "delivered": sum(client.arrivals.next for client in clients),
            "load_cpu": time.process_time(),
            **{f"cpu_{pid}": cpu_seconds(pid) for pid in self.options.watch},
        }

    def _window(self, begin: float, before: dict[str, float]) -> dict[str, object]:
        """Return what was counted since ``before``."""
        seconds = time.perf_counter() - begin
        after = self._counts()
        return {"seconds": seconds, **{name: after[name] - count for name, count in before.items()}}

    def _drain(self) -> None:
        """Send nothing more, and wait for what is on its way."""
        deadline = time.perf_counter() + _PATIENCE
        while time.perf_counter() < deadline and self.by_fd:
            clients = [link.client for link in self.links]
            if all(c.acks.count() == c.number - c.acks.first and not c.lost() for c in clients):
                break
            self.turn(0.05)
        self.turn(0.2)  # what should not come: repeats

    def verdict(self) -> dict[str, object]:
        """Wait for what is on its way and return the counts of the whole run."""
        self._drain()
        clients = [link.client for link in self.links]
        counts = {
            "sent": sum(c.number - c.acks.first for c in clients),
            "acked": sum(c.acks.count() for c in clients),
            "delivered": sum(c.arrivals.count() for c in clients),
            "refused": sum(len(c.refused) for c in clients),
            "lost": sum(c.lost() for c in clients),
            "repeated": sum(c.arrivals.repeated + c.acks.repeated for c in clients),
            "disordered": sum(c.arrivals.disordered for c in clients),
            "respsends": sum(c.respsends for c in clients),
            "others": sum(c.others for c in clients),
        }
        wrong = ("refused", "lost", "repeated", "disordered", "others")
        exact = counts["sent"] == counts["acked"] and not any(counts[name] for name in wrong) and not self.faults
        if not self.options.echo:
            exact = exact and counts["respsends"] == counts["acked"]
        return {"exact": exact, **counts, "faults": self.faults[:5], "closed": len(self.faults)}

    def settle(self, seconds: float) -> None:
        """Answer pings and do nothing else for so long."""
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            self.turn(left)

    def run_idle(self, steps: Sequence[int]) -> None:
        """Join so many sockets step by step, and hold them until stdin says go on."""
        self.epoll.register(sys.stdin, select.EPOLLIN)
        joined = 0
        for step in steps:
            self.connect(joined, step)
            joined = step
            print(json.dumps({"joined": joined}), flush=True)
            while not select.select([sys.stdin], [], [], 0)[0]:
                self.turn(1)
                if self.faults:
                    raise LoadError(self.faults[0])
            if not os.read(sys.stdin.fileno(), 4096):
                return


def _milliseconds(samples: list[float]) -> dict[str, float]:
    """Return percentiles of samples in seconds, as milliseconds."""
    if not samples:
        return {"samples": 0}
    ordered = sorted(samples)
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    figures = {name: round(1000 * percentile(ordered, share), 4) for name, share in shares.items()}
    return {**figures, "samples": len(ordered)}


def main(arguments: Sequence[str]) -> int:
    """Run one load as the command line says; 0 when it ran, 1 when it could not."""
    options = parse(arguments)
    gc.disable()
    try:
        load = Load(options)
        if options.idle:
            load.run_idle(options.idle)
            return 0
        load.connect(0, options.clients)
        load.settle(options.settle)
        figures = load.run_open() if options.rate else load.run_closed()
        print(json.dumps({**figures, "total": load.verdict()}), flush=True)
    except LoadError as error:
        print(f"load: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
