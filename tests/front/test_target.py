"""Request lines in each form that a server must take, and in none that it need not."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from kschat.front.target import Target, parse_target
from tests.front.daemon import V3, V4, Daemon, Response, handshake
from tests.front.pollers import request

PATHS = ("/socket.io/", "//socket.io/", "///socket.io/", "//socket.io", "http://chat.example/socket.io/")


class Parsing(SynchronousTestCase):
    def test_paths_are_as_they_came(self) -> None:
        for target in (b"/", b"/?a=http://b/", b"/a//b", b"//metrics", b"//evil.example/x", b"*"):
            self.assertEqual(parse_target(target), Target(target))

    def test_the_absolute_form_is_path_and_authority(self) -> None:
        for target, uri, authority in (
            (b"http://h/a?b", b"/a?b", b"h"),
            (b"https://h:443/a", b"/a", b"h:443"),
            (b"HTTP://[::1]:80/", b"/", b"[::1]:80"),
            (b"ws://h/a", b"/a", b"h"),
            (b"http://h", b"/", b"h"),
            (b"http://h?a=/b", b"/?a=/b", b"h"),
        ):
            self.assertEqual(parse_target(target), Target(uri, authority))

    def test_other_forms_are_none(self) -> None:
        for target in (b"x/a", b"host:80", b"ftp://h/a", b"http:///a", b"http://u@h/a", b"http:/h/a", b"", b"xmetrics"):
            self.assertIsNone(parse_target(target), target)

    def test_slashes_are_merged_before_one_path_alone(self) -> None:
        for target in (b"//a/b?x", b"////a/b/?x", b"//a/b", b"http://h//a/b"):
            read = parse_target(target, [b"/a/b"])
            assert read is not None
            self.assertTrue(read.uri.startswith(b"/a/b"), read)
        for target in (b"//a/bc", b"//a", b"//a//b"):
            self.assertEqual(parse_target(target, [b"/a/b"]), Target(target))


class Served(SynchronousTestCase):
    def get(self, target: str, host: str = "chat.example") -> tuple[int, bytes]:
        response = Daemon().request(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return response.status, response.body

    def test_all_resources_answer_to_the_absolute_form(self) -> None:
        for scheme in ("http", "HTTPS"):
            for path in ("", "/", "/static", "/healthz", "/readyz", "/socket.io/socket.io.js"):
                status, _ = self.get(f"{scheme}://chat.example:8080{path}")
                self.assertEqual(status, 200, path)

    def test_sessions_begin_and_go_on_by_each_form(self) -> None:
        for path in PATHS:
            daemon = Daemon()
            for query in (V3, V4):
                wire = daemon.connect()
                wire.arrive(handshake(query).replace(b"/socket.io/", path.encode()))
                self.assertIn(b" 101 ", bytes(wire.taken), path)
            wire = daemon.connect()
            wire.arrive(request("GET", "EIO=4&transport=polling").replace(b"/socket.io/", path.encode()))
            self.assertIn(b'0{"sid":"', bytes(wire.taken), path)
            (sid,) = [sid for sid in daemon.sessions if daemon.engine.polling(sid)]
            query = f"EIO=4&transport=polling&sid={sid}"
            wire.taken.clear()
            # What overlaps is seen by the head of a request, which must be read as its rest is.
            wire.arrive(request("POST", query, b"40/kschat,").replace(b"/socket.io/", path.encode()))
            self.assertTrue(bytes(wire.taken).endswith(b"ok"), path)

    def test_its_authority_counts_and_not_host(self) -> None:
        daemon = Daemon(origins=("https://other.example",))
        for authority, host, status in (("a.example", "b.example", b" 101 "), ("b.example", "a.example", b" 403 ")):
            wire = daemon.connect()
            data = handshake(Host=host, Origin="http://a.example")
            wire.arrive(data.replace(b"GET /", f"GET http://{authority}/".encode()))
            self.assertIn(status, bytes(wire.taken))

    def test_what_a_proxy_keeps_to_itself_has_one_spelling(self) -> None:
        for target in ("//healthz", "///healthz", "//chat.example/healthz"):
            self.assertEqual(self.get(target)[0], 404, target)

    def test_what_is_no_target_is_refused(self) -> None:
        for target in ("healthz", "xhealthz", "chat.example:80", "ftp://chat.example/healthz", "http://a@b/healthz"):
            daemon = Daemon()
            wire = daemon.connect()
            body = b"x" * 10
            wire.arrive(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n".encode() + body)
            self.assertTrue(bytes(wire.taken).startswith(b"HTTP/1.1 400 "), target)
            self.assertEqual(bytes(wire.taken).count(b"HTTP/1.1"), 1)
            self.assertIsNotNone(wire.lost)

    def test_the_server_as_a_whole_may_be_asked_for(self) -> None:
        response = Daemon().request(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual((response.status, response.body), (200, b""))


class Hosts(SynchronousTestCase):
    """RFC 9112, section 3.2: one Host, which is valid, or none in HTTP/1.0; otherwise 400."""

    def status(self, hosts: Sequence[str], version: str = "1.1", target: str = "/healthz") -> int:
        lines = [f"GET {target} HTTP/{version}", *[f"Host: {host}" for host in hosts]]
        daemon = Daemon()
        wire = daemon.connect()
        wire.arrive("\r\n".join(lines).encode() + b"\r\n\r\n")
        daemon.take_turns()
        found = Response(bytes(wire.taken)).status
        self.assertEqual(wire.lost is not None, found == 400 or version == "1.0", hosts)
        return found

    def test_a_request_without_one_is_refused(self) -> None:
        self.assertEqual(self.status([]), 400)
        self.assertEqual(self.status([], target="http://x/healthz"), 400)

    def test_by_http_1_0_none_is_needed(self) -> None:
        self.assertEqual(self.status([], "1.0"), 200)

    def test_several_are_refused(self) -> None:
        for hosts in (["a", "b"], ["a", "a"], ["", ""], ["a", ""]):
            for version in ("1.0", "1.1"):
                self.assertEqual(self.status(hosts, version), 400, hosts)
        self.assertEqual(self.status(["a", "a"], target="http://a/healthz"), 400)

    def test_what_is_no_host_is_refused(self) -> None:
        for host in ("a b", "a/b", "a@b", "a:b", "a:1:2", "[::1", "::1", "a\\b", 'a"', "b\u00fc", "[a b]", "a#", "a?b"):
            for version in ("1.0", "1.1"):
                self.assertEqual(self.status([host], version), 400, host)

    def test_each_form_is_taken(self) -> None:
        for host in (
            "",
            "a",
            "a:",
            ":80",
            "chat.example:8080",
            "192.0.2.1:80",
            "[2001:db8::1]:443",
            "[fe80::1%25eth0]",
        ):
            self.assertEqual(self.status([host]), 200, host)
        self.assertEqual(self.status(["my_host-1.example.~x%20"]), 200)

    def test_websockets_and_polls_too(self) -> None:
        for data in (handshake(Host=None), request("GET", "EIO=4&transport=polling").replace(b"Host: ", b"X: ")):
            daemon = Daemon()
            self.assertEqual(daemon.request(data).status, 400)
            self.assertEqual(len(daemon.sessions), 0)

    def test_a_body_is_not_waited_for(self) -> None:
        daemon = Daemon()
        wire = daemon.connect()
        wire.arrive(b"POST /socket.io/ HTTP/1.1\r\nContent-Length: 500\r\n\r\n")
        self.assertEqual(Response(bytes(wire.taken)).status, 400)
        self.assertIsNotNone(wire.lost)
