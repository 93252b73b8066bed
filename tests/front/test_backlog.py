"""How many connections may wait to be accepted, and that none of many that come at once is turned away."""

from __future__ import annotations

import errno
import resource
import select
import shutil
import socket
import struct
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import endpoints
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactor
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.front import backlog as backlogs
from kschat.front.backlog import ENOUGH, system_backlog, with_backlog
from kschat.front.endpoints import server_endpoint
from kschat.front.port import ListeningService
from tests.support.needs import require
from tests.support.waiting import PATIENCE, real_reactor

#: Clients that connect at once.
CLIENTS = 2000

#: How Linux begins struct tcp_info: its state, and further on how often it has sent the same again.
STATE, TOTAL_RETRANS = struct.Struct("=B"), struct.Struct("=100xI")
ESTABLISHED = 1


class Descriptions(SynchronousTestCase):
    def test_endpoints_that_say_no_backlog_have_the_one_that_is_given(self) -> None:
        for description in (
            "tcp:3000",
            "tcp:port=3000",
            "tcp:3000:interface=127.0.0.1",
            "tcp:3000:127.0.0.1",
            "tcp6:3000",
            "tcp6:3000:interface=\\:\\:1",
            "ssl:3000:privateKey=key.pem:certKey=cert.pem",
            "ssl:3000:key.pem:cert.pem",
            "unix:/run/kschat.sock",
            "unix:/run/kschat\\:1.sock:mode=660",
            "unix:address=/run/backlog=5.sock",
            "unix:/run/backlog\\=5.sock",
            "haproxy:tcp:3000",
            "haproxy:tcp6:3000:interface=\\:\\:1",
        ):
            self.assertEqual(with_backlog(description, 700), description + ":backlog=700")

    def test_one_that_is_said_stays(self) -> None:
        for description in (
            "tcp:3000:backlog=5",
            "tcp:backlog=5:port=3000",
            "tcp:3000:127.0.0.1:5",
            "tcp6:3000:5",
            "ssl:3000:key.pem:cert.pem:TLSv1_METHOD:127.0.0.1:5",
            "unix:/run/kschat.sock:660:5",
            "haproxy:tcp:3000:backlog=5",
        ):
            self.assertEqual(with_backlog(description, 700), description)

    def test_what_has_no_backlog_is_left_alone(self) -> None:
        adopted = "systemd:domain=INET:index=0"
        for description in (adopted, f"haproxy:{adopted}", "tls:3000", "", "tcp"):
            self.assertEqual(with_backlog(description, 700), description)

    def test_twisted_reads_what_is_written(self) -> None:
        reactor: Any = MemoryReactor()
        for description in ("tcp:3000", "tcp6:3000:interface=\\:\\:1", "haproxy:tcp:3000"):
            endpoints.serverFromString(reactor, with_backlog(description, 700)).listen(Factory())
        self.assertEqual([server[2] for server in reactor.tcpServers], [700] * 3)
        endpoints.serverFromString(reactor, with_backlog("unix:/run/k\\:s.sock:lockfile=0", 700)).listen(Factory())
        self.assertEqual([(server[0], server[2]) for server in reactor.unixServers], [("/run/k:s.sock", 700)])


class SystemTests(SynchronousTestCase):
    def file(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text)
        return path

    def test_the_system_s_bound_is_read(self) -> None:
        self.assertEqual(system_backlog(self.file("777\n")), 777)
        self.assertEqual(system_backlog(Path(self.mktemp())), socket.SOMAXCONN)
        self.assertEqual(system_backlog(self.file("much")), socket.SOMAXCONN)

    def lines(self, backlog: int, listen: str = "tcp:3000") -> list[str]:
        """What a start says where the system's bound is ``backlog``."""
        self.patch(backlogs, "SOMAXCONN", self.file(str(backlog)))
        reactor: Any = MemoryReactor()
        with capturedLogs() as captured:
            endpoint = server_endpoint(reactor, listen)
            ListeningService(endpoint, Factory(), description=listen, reactor=reactor).startService()
        return [str(formatEvent(event)) for event in captured if "somaxconn" in str(formatEvent(event))]

    def test_a_small_one_is_said_once(self) -> None:
        (line,) = self.lines(128)
        self.assertIn("128", line)
        self.assertIn("net.core.somaxconn", line)
        self.assertEqual(self.lines(ENOUGH), [])

    def test_not_where_the_endpoint_says_its_own(self) -> None:
        self.assertEqual(self.lines(128, "tcp:3000:backlog=50"), [])


class ManyAtOnce(TestCase):
    """Clients that connect while the reactor is busy: none is accepted before all have come."""

    def setUp(self) -> None:
        if system_backlog() < CLIENTS:
            require(f"net.core.somaxconn is {system_backlog()}: no listener may have {CLIENTS} clients wait")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 2 * CLIENTS + 200:
            require(f"this process may have no more than {hard} descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * CLIENTS + 200), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def listen(self, description: str) -> Any:
        """Where it listens."""
        listening = server_endpoint(real_reactor(), description).listen(Factory.forProtocol(Protocol))
        port: IListeningPort = self.successResultOf(listening)
        self.addCleanup(port.stopListening)
        return port.getHost()

    def connect(self, family: int, address: Any) -> list[socket.socket]:
        clients = []
        for _ in range(CLIENTS):
            client = socket.socket(family, socket.SOCK_STREAM)
            self.addCleanup(client.close)
            client.setblocking(False)
            self.assertIn(client.connect_ex(address), (0, errno.EINPROGRESS))
            clients.append(client)
        return clients

    def test_no_client_of_a_tcp_endpoint_sends_a_second_syn(self) -> None:
        for description, family in (
            ("tcp:0:interface=127.0.0.1", socket.AF_INET),
            ("haproxy:tcp6:0:interface=\\:\\:1", socket.AF_INET6),
        ):
            host = self.listen(description)
            clients = self.connect(family, (host.host, host.port))
            for client in clients:
                # Loopback's handshake is the kernel's alone: it is done, or its SYN was dropped and comes again later.
                poll = select.poll()
                poll.register(client, select.POLLOUT)
                poll.poll(PATIENCE * 1000)
                info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
                self.assertEqual((STATE.unpack_from(info)[0], TOTAL_RETRANS.unpack_from(info)[0]), (ESTABLISHED, 0))
            for client in clients:
                client.close()

    def test_no_client_of_a_unix_endpoint_is_turned_away(self) -> None:
        path = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, path)
        self.listen(f"unix:{path}/s")
        self.connect(socket.AF_UNIX, f"{path}/s")
