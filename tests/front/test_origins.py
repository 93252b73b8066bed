"""Origins: what may be named, what of it matches what browsers send, and nothing beside it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.front.origins import OriginError, Origins

LABELS = st.text("abcxyz-0", min_size=1, max_size=5)


class Case(SynchronousTestCase):
    def assertAllows(self, named: str, *origins: str, host: bytes = b"") -> None:
        for origin in origins:
            self.assertTrue(Origins((named,)).allow(origin.encode(), host), (named, origin))

    def assertForbids(self, named: str, *origins: str, host: bytes = b"") -> None:
        for origin in origins:
            self.assertFalse(Origins((named,)).allow(origin.encode(), host), (named, origin))


class Spellings(Case):
    """Each is a way to write an origin by which no browser sends it: it works all the same."""

    def test_a_default_port_is_the_same_as_none(self) -> None:
        for named in ("https://x.example:443", "https://x.example", "https://x.example:0443"):
            self.assertAllows(named, "https://x.example", "https://x.example:443")
            self.assertForbids(named, "http://x.example:443", "https://x.example:80", "https://x.example:8443")
        self.assertAllows("http://x.example:80", "http://x.example")
        self.assertForbids("http://x.example:443", "http://x.example", "https://x.example")

    def test_case_does_not_count(self) -> None:
        self.assertAllows("HTTPS://Chat.Example.ORG", "https://chat.example.org")
        self.assertAllows("https://chat.example.org", "HTTPS://CHAT.example.org")

    def test_a_name_beyond_ascii_is_the_one_that_browsers_send(self) -> None:
        for named in ("https://bücher.example", "https://BÜCHER.example", "https://xn--bcher-kva.example"):
            self.assertAllows(named, "https://xn--bcher-kva.example", "https://bücher.example")
        self.assertAllows("https://*.bücher.example", "https://a.xn--bcher-kva.example")

    def test_addresses_are_compared_as_addresses(self) -> None:
        self.assertAllows("http://[0:0::1]:3000", "http://[::1]:3000")
        self.assertAllows("http://127.0.0.1:3000", "http://127.0.0.1:3000")

    def test_pages_of_apps_and_files(self) -> None:
        for named in ("capacitor://localhost", "app://MyApp", "chrome-extension://abcdef", "file://"):
            self.assertAllows(named, named)
        self.assertForbids("file://", "null", "http://", "https://file")

    def test_the_opaque_origin_may_be_named(self) -> None:
        self.assertAllows("null", "null")
        self.assertForbids("null", "https://null", "http://x.example", "", "NULL")
        self.assertForbids("https://x.example", "null", host=b"null")


class Subdomains(Case):
    def test_all_of_them_and_not_the_domain(self) -> None:
        self.assertAllows("https://*.example.org", "https://a.example.org", "https://a.b.c.example.org")
        self.assertAllows("https://*.example.org:8443", "https://a.example.org:8443")
        self.assertAllows("https://*.example", "https://a.example")
        self.assertAllows("HTTP://*.LocalHost:3000", "http://a.localhost:3000")

    def test_nothing_that_only_looks_like_one(self) -> None:
        self.assertForbids(
            "https://*.example.org",
            "https://example.org",
            "https://evilexample.org",
            "https://.example.org",
            "https://a.example.org.evil.example",
            "https://a.example.org:8443",
            "https://a.example.org:443@evil.example",
            "http://a.example.org",
            "https://evil.example/.example.org",
            "https://evil.example?.example.org",
            "https://evil.example#.example.org",
            "https://evil.example\\.example.org",
            "https://evil.example\n.example.org",
            "https://evil.example%2f.example.org",
            "https://user@a.example.org",
            "https://a..example.org",
            "https://*.example.org",
            "https://a.example.org.",
            "https://[::1].example.org",
            "null",
        )

    @settings(max_examples=200)
    @given(st.lists(LABELS, min_size=1, max_size=4), st.lists(LABELS, min_size=1, max_size=3))
    def test_label_by_label(self, labels: list[str], domain: list[str]) -> None:
        below = len(labels) > len(domain) and labels[-len(domain) :] == domain
        if "".join(labels).isdigit() or "".join(domain).isdigit():
            return  # an address
        policy = Origins((f"https://*.{'.'.join(domain)}",))
        self.assertEqual(policy.allow(f"https://{'.'.join(labels)}".encode(), b""), below)


class Own(Case):
    """The daemon's own page may connect, also where nobody named it."""

    def test_the_host_is_compared_as_the_origin_is(self) -> None:
        named = "https://other.example"
        for origin, host in (
            ("https://chat.example", b"chat.example"),
            ("https://chat.example", b"Chat.Example"),
            ("https://chat.example", b"chat.example:443"),
            ("http://chat.example", b"chat.example:80"),
            ("http://[::1]:3000", b"[0::1]:3000"),
            ("https://xn--bcher-kva.example", "bücher.example".encode()),
        ):
            self.assertAllows(named, origin, host=host)

    def test_another_s_is_not(self) -> None:
        named = "https://other.example"
        for origin, host in (
            ("https://chat.example", b"chat.example:80"),
            ("https://chat.example:8443", b"chat.example"),
            ("https://chat.example", b""),
            ("file://", b""),
            ("https://chat.example", b"chat.example/"),
            ("https://chat.example", b"a@chat.example"),
            ("https://chat.example", b"\xff"),
        ):
            self.assertForbids(named, origin, host=host)


class Refused(SynchronousTestCase):
    """What can match no page is one sentence, at the start."""

    def reason(self, named: str) -> str:
        return str(self.assertRaises(OriginError, Origins, (named,)))

    def test_what_is_more_than_an_origin(self) -> None:
        for rest in ("/", "/chat", "?a", "#a"):
            for host in ("x.example", "*.x.example"):
                self.assertIn(f": write https://{host}", self.reason(f"https://{host}{rest}"))

    def test_a_star_in_the_wrong_place(self) -> None:
        for named in (
            "https://*",
            "*.example.org",
            "https://a*.example.org",
            "https://*example.org",
            "https://*.*.example.org",
            "https://a.*.org",
            "*://example.org",
            "https://example.org:*",
            "https://*.127.0.0.1",
            "https://*.[::1]",
        ):
            self.assertTrue(self.reason(named), named)

    def test_addresses_of_websockets(self) -> None:
        self.assertIn("write https://x.example", self.reason("wss://x.example"))
        self.assertIn("write http://x.example:3000", self.reason("ws://x.example:3000"))

    def test_what_is_no_origin(self) -> None:
        for named in (
            "x.example",
            "https://",
            "https://x.example:",
            "https://x.example:0",
            "https://x.example:65536",
            "https://x.example:٣",
            "https://user@x.example",
            "https://x .example",
            "https://x%41.example",
            "https://[::x]",
            "https://a..example",
            "https://☃.example",
            "https://" + "a" * 64 + ".example",
            "http:/x.example",
            "",
        ):
            self.assertTrue(self.reason(named), named)

    @settings(max_examples=300)
    @given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: ("https://" + text).encode()))
    def test_whatever_a_peer_sends_is_let_in_or_not(self, origin: bytes) -> None:
        self.assertFalse(Origins(("https://*.example.org",)).allow(origin, origin.partition(b"://")[2] + b"x"))
