"""Whose a request is: the connection's address, or what a trusted proxy says, and nobody else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.channel import ChannelBounds
from kschat.front.clients import MAX_HOPS, ClientAddress, ClientAddresses, ProxyError, address_key
from kschat.rates import RateSettings
from tests.front.daemon import Daemon, Response, handshake
from tests.front.frames import client_frame
from tests.front.pollers import Poller

PROXIES = ("10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.7")


class AddressOfAConnection(SynchronousTestCase):
    def setUp(self) -> None:
        self.addresses = ClientAddresses()

    def test_ip_addresses_count_alone_or_as_their_network(self) -> None:
        for peer, text, key in (
            (IPv4Address("TCP", "192.0.2.7", 5), "192.0.2.7:5", "192.0.2.7"),
            (IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2:3:4:5:6:5", "2001:db8:1:2::/64"),
            (IPv6Address("TCP", "2001:db8:1:2::1", 5), "2001:db8:1:2::1:5", "2001:db8:1:2::/64"),
            (IPv6Address("TCP", "fe80::1%eth0", 5), "fe80::1%eth0:5", "fe80::/64"),
            (IPv6Address("TCP", "::ffff:192.0.2.7", 5), "::ffff:192.0.2.7:5", "192.0.2.7"),
        ):
            address = self.addresses.of_connection(peer)
            self.assertEqual((str(address), address.key), (text, key))

    def test_what_is_no_address_is_not_shown_and_counts_as_one_client(self) -> None:
        for peer in (
            IPv4Address("TCP", "999.1.1.1", 5),
            IPv4Address("TCP", "\x1b[31m\0", 5),
            IPv6Address("TCP", "::1%\n", 5),
            IPv6Address("TCP", "", 5),
        ):
            address = self.addresses.of_connection(peer)
            self.assertEqual((str(address), address.key), ("unknown:5", "unknown"))

    def test_nobody_knows_who_is_at_a_unix_socket(self) -> None:
        for path in (None, b"/run/x"):
            address = self.addresses.of_connection(UNIXAddress(path))
            self.assertEqual((str(address), address.key), ("unix", ""))

    @given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
    def test_all_addresses_of_a_network_of_64_bits_are_one(self, address: object, other: int) -> None:
        key = address_key(str(address))
        if not key.count("."):
            base = int(address) >> 64 << 64  # type: ignore[call-overload]
            self.assertEqual(address_key(str(type(address)(base | other))), key)  # type: ignore[call-arg]


class ForwardedFor(SynchronousTestCase):
    def said(self, hop: str, *forwarded: str, trusted: tuple[str, ...] = PROXIES) -> str:
        """Whose a request from ``hop`` is."""
        addresses = ClientAddresses(trusted)
        peer = UNIXAddress(None) if hop == "unix" else IPv4Address("TCP", hop, 5)
        return str(addresses.of_request(addresses.of_connection(peer), [text.encode() for text in forwarded]))

    def test_who_is_not_trusted_speaks_for_itself(self) -> None:
        self.assertEqual(self.said("198.51.100.1", "203.0.113.1"), "198.51.100.1:5")
        self.assertEqual(self.said("192.0.2.7", "203.0.113.1", trusted=()), "192.0.2.7:5")

    def test_the_rightmost_hop_that_is_no_proxy_is_the_client(self) -> None:
        for forwarded, client in (
            (("203.0.113.1",), "203.0.113.1"),
            (("6.6.6.6, 203.0.113.1",), "203.0.113.1"),
            (("6.6.6.6", "203.0.113.1"), "203.0.113.1"),
            (("6.6.6.6,10.1.1.1, 203.0.113.1,10.0.0.2",), "203.0.113.1"),
            (("203.0.113.1,10.0.0.2", "2001:db8:ffff::9"), "203.0.113.1"),
            (("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
            (("203.0.113.1:4711",), "203.0.113.1"),
            (("2001:db8::5",), "2001:db8::5"),
            (("[2001:db8::5]:4711",), "2001:db8::5"),
            (("::ffff:203.0.113.1",), "203.0.113.1"),
        ):
            self.assertEqual(self.said("192.0.2.7", *forwarded), client, forwarded)

    def test_what_is_no_address_ends_the_search_at_the_proxy_that_wrote_it(self) -> None:
        for bad in (
            "unknown",
            "",
            "x",
            "1.2.3",
            "1.2.3.4.5",
            "[::1",
            "_hidden",
            "1" * 5000,
            "\xff",
            "1.2.3.4:99999999",
        ):
            self.assertEqual(self.said("192.0.2.7", f"6.6.6.6, {bad}"), "192.0.2.7:5", bad)
            self.assertEqual(self.said("192.0.2.7", f"6.6.6.6, {bad}, 10.0.0.2"), "10.0.0.2", bad)
        self.assertEqual(self.said("192.0.2.7"), "192.0.2.7:5")

    def test_a_long_header_costs_no_more_than_a_chain_of_proxies(self) -> None:
        hops = ["6.6.6.6"] * 3000 + ["10.0.0.2"] * MAX_HOPS
        self.assertEqual(self.said("192.0.2.7", ",".join(hops)), "10.0.0.2")

    def test_a_unix_socket_is_believed_if_it_is_named(self) -> None:
        self.assertEqual(self.said("unix", "203.0.113.1"), "unix")
        self.assertEqual(self.said("unix", "203.0.113.1", trusted=("unix",)), "203.0.113.1")
        self.assertEqual(self.said("unix", trusted=("unix",)), "unix")

    def test_a_proxy_of_ipv4_may_be_written_as_one_of_ipv6(self) -> None:
        self.assertEqual(self.said("192.0.2.7", "203.0.113.1", trusted=("::ffff:192.0.2.0/120",)), "203.0.113.1")

    def test_what_is_neither_address_nor_network_is_refused(self) -> None:
        for entry, reason in (
            ("proxy.example", "is neither an address, nor a network such as 10.0.0.0/8, nor unix"),
            ("10.0.0.1/8", "is a network with an address inside it: write 10.0.0.0/8"),
        ):
            with self.assertRaises(ProxyError) as caught:
                ClientAddresses((entry,))
            self.assertEqual(str(caught.exception), reason)

    def test_other_daemons_read_what_one_wrote(self) -> None:
        for address in (
            ClientAddress("192.0.2.7", 5, "192.0.2.7"),
            ClientAddress("2001:db8::1", 0, "2001:db8::/64"),
            ClientAddresses().of_connection(UNIXAddress(None)),
        ):
            self.assertEqual(ClientAddress.from_header(address.to_header()), address)


class AddressOfARequest(SynchronousTestCase):
    def handshake(self, daemon: Daemon, **headers: str) -> tuple[str, str, str]:
        """What the application is told of the client's address."""
        daemon.upgrade(**headers)
        (sid,) = daemon.sessions
        said = daemon.sessions[sid].handshake
        return said.peer, said.address, said.client

    def test_the_application_is_told_what_a_trusted_proxy_says(self) -> None:
        forwarded = {"X_Forwarded_For": "2001:db8::5"}
        trusting = Daemon(trusted_proxies=PROXIES)
        self.assertEqual(self.handshake(trusting, **forwarded), ("2001:db8::5", "2001:db8::5", "2001:db8::/64"))
        self.assertEqual(self.handshake(Daemon(), **forwarded), ("192.0.2.7:54321", "192.0.2.7", "192.0.2.7"))

    def test_so_is_the_log(self) -> None:
        for trusted, expected in ((PROXIES, "203.0.113.1"), ((), "192.0.2.7")):
            daemon = Daemon(trusted_proxies=trusted)
            with capturedLogs() as logs:
                daemon.request(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n")
                daemon.request(b"GET /socket.io/ HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n")
            lines = [formatEvent(event) for event in logs]
            self.assertEqual(len(lines), 3, lines)
            for line in lines:
                self.assertIn(f"{expected}", line)

    def test_a_proxy_that_nobody_named_is_said_once(self) -> None:
        def warned(peer: str, trusted: tuple[str, ...] = (), times: int = 3) -> list[str]:
            daemon = Daemon(trusted_proxies=trusted, access_log=False)
            with capturedLogs() as logs:
                for _ in range(times):
                    wire = daemon.connect(peer=peer)
                    wire.arrive(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n")
            return [str(formatEvent(event)) for event in logs]

        (line,) = warned("10.0.0.5")
        self.assertIn("add 10.0.0.5 to trusted_proxies", line)
        self.assertEqual(len(warned("127.0.0.1")), 1)
        self.assertEqual(warned("10.0.0.5", ("10.0.0.0/8",)), [])
        # Anybody on the internet may send the header.
        self.assertEqual(warned("8.8.8.8"), [])

    def test_each_request_of_a_proxy_s_connection_is_its_own_client_s(self) -> None:
        daemon = Daemon(trusted_proxies=PROXIES)
        wire = daemon.connect()
        poll = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {}\r\n\r\n"
        for client in ("203.0.113.1", "203.0.113.2"):
            wire.arrive(poll.format(client).encode())
        self.assertEqual(
            [connection.handshake.address for connection in daemon.sessions.values()], ["203.0.113.1", "203.0.113.2"]
        )

    def test_a_header_without_a_websocket_s_own_is_no_obstacle(self) -> None:
        daemon = Daemon(trusted_proxies=PROXIES)
        wire = daemon.connect()
        wire.arrive(handshake(X_Forwarded_For="x" * 2000))
        for _ in range(20):  # a head that is long waits for its turns
            daemon.clock.advance(0)
            wire.pump()
        self.assertIn(b" 101 ", bytes(wire.taken))


class SessionsOfSeveralAddresses(SynchronousTestCase):
    """A client may change its network. A connection counts for the address that it comes from, what the session does
    for the address that began it."""

    A, B = "192.0.2.1", "192.0.2.2"

    def setUp(self) -> None:
        self.daemon = Daemon(bounds=ChannelBounds(max_connections=100, max_connections_per_address=2))
        self.poller = Poller(self.daemon, peer=self.A)
        self.poller.join()

    def test_an_upgrade_by_another_address(self) -> None:
        peer = self.poller.websocket(peer=self.B)
        self.assertEqual(self.daemon.connections.places.of(self.B), 1)
        self.assertEqual(self.daemon.front.polls.of(self.A), 1)
        peer.send("2probe")
        peer.send("5")
        peer.texts()
        self.assertEqual(self.daemon.front.polls.of(self.A), 0)
        protocol: Any = peer.wire.protocol
        self.assertEqual(protocol.held_for, self.B)
        (connection,) = self.daemon.sessions.values()
        self.assertIs(connection.session.transport, protocol)
        self.assertEqual(connection.handshake.client, self.A)

    def test_there_must_be_room_for_it(self) -> None:
        for _ in range(2):
            wire = self.daemon.connect(peer=self.B)
            wire.arrive(handshake())
            wire.arrive(client_frame(b"40/kschat,"))
        refused = self.daemon.connect(peer=self.B)
        self.assertIsNotNone(refused.lost)
        self.assertTrue(self.poller.lives)
        self.assertEqual(self.poller.post("6").status, 200)


class UnixSockets(SynchronousTestCase):
    """Whoever connects to a UNIX socket has no address, unless it is a trusted proxy that tells its clients'."""

    PROXY = UNIXAddress(None)

    def daemon(self, trusted: tuple[str, ...], **settings: Any) -> Daemon:
        return Daemon(
            bounds=ChannelBounds(max_connections=10, max_connections_per_address=2),
            rates=RateSettings(burst=1, address_handshakes=2),
            trusted_proxies=trusted,
            **settings,
        )

    def statuses(self, daemon: Daemon, *clients: str) -> list[int]:
        """The answers to handshakes that a proxy forwards for these clients; each has joined then."""
        found = []
        for client in clients:
            wire = daemon.connect(peer=self.PROXY)
            wire.arrive(handshake(X_Forwarded_For=client))
            found.append(Response(bytes(wire.taken)).status)
            wire.arrive(client_frame(b"40/kschat,"))
        return found

    def test_limits_of_an_address_hold_for_what_a_trusted_proxy_says(self) -> None:
        daemon = self.daemon(("unix",))
        clients = ["203.0.113.1"] * 3 + ["203.0.113.2"]
        self.assertEqual(self.statuses(daemon, *clients), [101, 101, 503, 101])
        daemon.clock.advance(60)
        self.assertEqual(daemon.connections.places.of("203.0.113.1"), 2)
        self.assertEqual(daemon.counters.full["connections_per_address"], 1)

    def test_what_a_client_writes_before_it_counts_for_nothing(self) -> None:
        daemon = self.daemon(("unix",))
        clients = [f"198.51.100.{number}, 203.0.113.1" for number in range(3)]
        self.assertEqual(self.statuses(daemon, *clients), [101, 101, 503])

    def test_otherwise_those_of_the_daemon_hold_alone(self) -> None:
        daemon = self.daemon(())
        self.assertEqual(self.statuses(daemon, *["203.0.113.1"] * 10), [101] * 10)
        self.assertIsNotNone(daemon.connect(peer=self.PROXY).lost)
        self.assertEqual(daemon.counters.limited["address_handshakes"], 0)

    def test_of_all_of_them_the_largest_holder_is_ended(self) -> None:
        daemon = self.daemon((), max_buffered=1_000_000, max_unsent=900_000)
        self.statuses(daemon, *["203.0.113.1"] * 3)
        for wire in daemon._wires[:3]:
            wire.room = 0
        for number, size in enumerate((200_000, 700_000, 200_000)):
            daemon.recorder.sockets[number].emit(b'["e","%b"]' % (b"x" * size))
        self.assertEqual([socket.accepted for socket in daemon.recorder.sockets], [True, False, True])
