"""Where pushes may go: the URL of a subscription is a stranger's."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.push import PushRefused
from kschat.hooks.push_hosts import PushHosts, Target, is_public
from kschat.settings import Config

HOSTS = PushHosts(
    ("push.example.org", "*.push.example.net", "own.example.org:8443", "203.0.113.7", "[2001:db8::7]:444")
)


class HostTests(SynchronousTestCase):
    def test_named_hosts_are_allowed(self) -> None:
        for url, target in (
            ("https://push.example.org/send/abc-_~!$&'()*+,;=:@%20?a=b/", Target("push.example.org", 443)),
            ("https://push.example.org:443/", Target("push.example.org", 443)),
            ("https://a.push.example.net/x", Target("a.push.example.net", 443)),
            ("https://a.b.push.example.net/x", Target("a.b.push.example.net", 443)),
            ("https://own.example.org:8443/x", Target("own.example.org", 8443)),
            ("https://203.0.113.7/x", Target("203.0.113.7", 443)),
            ("https://[2001:db8::7]:444/x", Target("2001:db8::7", 444)),
        ):
            self.assertEqual(HOSTS.target(url), target)

    def test_all_else_is_refused(self) -> None:
        for url in (
            "",
            "https://push.example.org",
            "http://push.example.org/x",
            "HTTPS://push.example.org/x",
            "ftp://push.example.org/x",
            "//push.example.org/x",
            "https://push.example.com/x",
            "https://evil-push.example.org/x",
            "https://push.example.org.evil.example/x",
            "https://push.example.net/x",
            "https://xpush.example.net/x",
            "https://push.example.org:8443/x",
            "https://push.example.org:0443/x",
            "https://push.example.org:99999/x",
            "https://own.example.org/x",
            "https://push.example.org./x",
            "https://user@push.example.org/x",
            "https://push.example.org@evil.example/x",
            "https://evil.example\\@push.example.org/x",
            "https://push.example.org\\@evil.example/x",
            "https://push.example.org%2eevil.example/x",
            "https://push.example.org/x#fragment",
            "https://push.example.org/x\r\nHost: evil",
            "https://push.example.org/x y",
            "https://push.example.org/\u00e4",
            "https://push.ex\u0430mple.org/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://2130706433/x",
            "https://localhost/x",
            "https://a.203.0.113.7/x",
        ):
            self.assertRaises(PushRefused, HOSTS.target, url)

    def test_a_star_allows_all_at_the_port_of_https(self) -> None:
        hosts = PushHosts(("*",))
        self.assertEqual(hosts.target("https://any.example/x"), Target("any.example", 443))
        self.assertRaises(PushRefused, hosts.target, "https://any.example:6379/x")

    def test_none_are_allowed_if_none_is_named(self) -> None:
        self.assertRaises(PushRefused, PushHosts(()).target, "https://push.example.org/x")

    def test_what_names_no_host_is_refused(self) -> None:
        for text in (
            "",
            "https://push.example.org",
            "push.*.org",
            "*.*.org",
            "**",
            "a b",
            "*.",
            "a:0",
            "a:65536",
            "a:",
            "*.10.0.0.1",
        ):
            self.assertRaises(ValueError, PushHosts, (text,))

    def test_by_default_the_services_of_browsers_are_allowed(self) -> None:
        hosts = PushHosts(Config().push_hosts)
        for url in (
            "https://fcm.googleapis.com/fcm/send/fBc9X4VmTzQ:APA91bH",
            "https://jmt17.google.com/fcm/send/fBc9X4VmTzQ:APA91bH",
            "https://updates.push.services.mozilla.com/wpush/v2/gAAAAAB",
            "https://web.push.apple.com/QGx7Ow",
            "https://wns2-par02p.notify.windows.com/w/?token=BQYAAAC%2f",
        ):
            hosts.target(url)
        for url in ("https://push.apple.com/x", "https://storage.googleapis.com/x", "https://windows.com/x"):
            self.assertRaises(PushRefused, hosts.target, url)


class AddressTests(SynchronousTestCase):
    def test_addresses_of_the_internet_are_public(self) -> None:
        for address in (
            "8.8.8.8",
            "142.250.74.1",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ):
            self.assertTrue(is_public(address), address)

    def test_others_are_not(self) -> None:
        for address in (
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "localhost",
            "",
        ):
            self.assertFalse(is_public(address), address)
