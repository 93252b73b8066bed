"""What URLs of Redis mean."""

from twisted.trial.unittest import SynchronousTestCase

from kschat.backends.redis import AddressError
from kschat.backends.redis.client.address import Address, parse


class TestAddresses(SynchronousTestCase):
    """What a URL says, and what is refused."""

    def test_each_part_but_the_host_may_be_missing(self) -> None:
        for url, expected in {
            "redis://localhost": Address(places=(("localhost", 6379),)),
            "redis://localhost/": Address(places=(("localhost", 6379),)),
            "redis://localhost:1/2": Address(places=(("localhost", 1),), db=2),
            "redis://:secret@h": Address(places=(("h", 6379),), password="secret"),
            "rediss://ann:p%40s%2Fs@h:7/0": Address(places=(("h", 7),), tls=True, user="ann", password="p@s/s"),
            "redis://ann:p@ss@h": Address(places=(("h", 6379),), user="ann", password="p@ss"),
            "redis://[::1]:7": Address(places=(("::1", 7),)),
            "redis://[::1]": Address(places=(("::1", 6379),)),
        }.items():
            self.assertEqual(parse(url), expected, url)

    def test_a_master_that_sentinels_know(self) -> None:
        self.assertEqual(
            parse("redis+sentinel://ann:secret@a,b:7,[::1]:8/the%20one/3?sentinel_user=s&sentinel_password=t%26u"),
            Address(
                places=(("a", 26379), ("b", 7), ("::1", 8)),
                service="the one",
                user="ann",
                password="secret",
                sentinel_user="s",
                sentinel_password="t&u",
                db=3,
            ),
        )
        self.assertEqual(parse("rediss+sentinel://a/one"), Address(places=(("a", 26379),), tls=True, service="one"))

    def test_what_can_t_be_read_is_refused_in_a_sentence_without_the_password(self) -> None:
        for url in (
            "http://:hunter2@h",
            "redis://",
            "redis://:hunter2@",
            "redis://:hunter2@h:port",
            "redis://:hunter2@h:99999",
            "redis://:hunter2@h/name",
            "redis://:hunter2@h/1/2",
            "redis://:hunter2@a,b",
            "redis://:hunter2/x@h",
            "redis://ann@h",
            "redis://:hunter2@h?sentinel_password=hunter2",
            "redis://:hunter2@[::1",
            "redis+sentinel://:hunter2@h",
            "redis+sentinel://:hunter2@h/name/db",
            "redis+sentinel://:hunter2@h/name?password=hunter2",
        ):
            sentence = str(self.assertRaises(AddressError, parse, url))
            self.assertNotIn("hunter2", sentence)
            self.assertNotIn("\n", sentence)

    def test_a_password_is_in_no_repr(self) -> None:
        self.assertNotIn("hunter2", repr(parse("redis+sentinel://:hunter2@h/n?sentinel_password=hunter2")))
