"""What the page may do in a browser, and that no Host can add to it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.front.browser_policy import connect_sources, page_headers, script_policy


def policy(text: bytes) -> dict[str, list[str]]:
    """The parts of a policy."""
    return {name: values for name, *values in (part.split() for part in text.decode().split(";"))}


class Page(SynchronousTestCase):
    def test_nothing_is_inline_and_nothing_comes_from_elsewhere(self) -> None:
        parts = policy(page_headers(b"chat.example")[b"content-security-policy"])
        for name, values in parts.items():
            if name not in ("connect-src", "frame-ancestors"):
                self.assertLessEqual(set(values), {"'self'", "'none'", "blob:"}, name)
        self.assertEqual(parts["default-src"], ["'none'"])
        self.assertEqual(parts["script-src"], ["'self'"])
        self.assertEqual(parts["style-src"], ["'self'"])
        self.assertEqual(parts["frame-ancestors"], ["'none'"])

    def test_it_connects_to_its_daemon_alone(self) -> None:
        for host in (b"chat.example", b"localhost:3000", b"[::1]:3000", b"127.0.0.1"):
            sources = policy(page_headers(host)[b"content-security-policy"])["connect-src"]
            self.assertEqual(sources, ["'self'", f"ws://{host.decode()}", f"wss://{host.decode()}"])

    def test_no_host_adds_to_the_policy(self) -> None:
        for host in (
            None,
            b"",
            b"a;script-src *",
            b"a b",
            b"*",
            b"*.example",
            b"a,b",
            b"a/b",
            b"[x]",
            b"a:b",
            b"a\r\nb",
            b"\xff",
        ):
            self.assertEqual(connect_sources(host), b"'self'", host)

    def test_pages_that_may_show_it_in_a_frame_are_named(self) -> None:
        headers = page_headers(b"x", ("https://app.example", "https://*.example.org"))
        parts = policy(headers[b"content-security-policy"])
        self.assertEqual(parts["frame-ancestors"], ["https://app.example", "https://*.example.org"])

    def test_the_address_is_told_to_nobody(self) -> None:
        headers = page_headers(b"x")
        self.assertEqual(headers[b"referrer-policy"], b"no-referrer")
        self.assertEqual(headers[b"x-content-type-options"], b"nosniff")
        self.assertIn(b"camera=()", headers[b"permissions-policy"])


class Scripts(SynchronousTestCase):
    def test_a_worker_connects_to_its_daemon_alone(self) -> None:
        parts = policy(script_policy(b"chat.example"))
        self.assertEqual(parts["default-src"], ["'none'"])
        self.assertEqual(parts["script-src"], ["'self'"])
        self.assertEqual(parts["connect-src"], ["'self'", "ws://chat.example", "wss://chat.example"])
