"""TLS to Redis: who is not who it says is refused, and the log says why in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate

from kschat.backends.redis import AddressError, RedisStore
from kschat.chat.interfaces import StoreUnavailable
from tests.backends.redis_stores import StoreTestCase
from tests.contracts.made import to
from tests.support.certificates import Authority
from tests.support.launch import free_ports
from tests.support.waiting import real_reactor


class RedisTlsTests(StoreTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.authority = Authority(self.directory)

    def tls(self, url: str, **changes: Any) -> RedisStore:
        """A store that trusts the tests' authority."""
        return self.made(url, **{"ca": str(self.authority.ca), **changes})

    def impostor(self, host: str, days: int, authority: Authority) -> int:
        """The port of something with such a certificate."""
        certificate, key = authority.sign(host, days)
        context = PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes()).options()
        port = real_reactor().listenSSL(0, Factory.forProtocol(Protocol), context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def test_with_a_real_redis(self) -> None:
        (port,) = free_ports(1)
        certificate, key = self.authority.sign("localhost")
        await self.own_redis(
            f'tls-port {port}\ntls-cert-file "{certificate}"\ntls-key-file "{key}"\n'
            f'tls-ca-cert-file "{self.authority.ca}"\ntls-auth-clients yes\nrequirepass hunter2\n'
        )
        own, own_key = self.authority.sign("the daemon")
        mine = {"cert": str(own), "key": str(own_key)}
        store = self.tls(f"rediss://:hunter2@localhost:{port}/1", **mine)
        store.start()
        await self.up(store)
        await store.append(to("ben"))
        self.assertEqual((await store.inbox("ben")).last, 1)
        text = await self.refusal(self.tls(f"rediss://:hunter2@127.0.0.1:{port}/1", **mine))
        self.assertIn("its certificate is of another name", text)
        self.assertNotIn("hunter2", text)
        await self.refusal(self.tls(f"rediss://:hunter2@localhost:{port}/1"))  # without a certificate of its own

    async def test_a_certificate_that_has_ended(self) -> None:
        port = self.impostor("localhost", -1, self.authority)
        store = self.tls(f"rediss://localhost:{port}/")
        self.assertIn("its certificate has expired", await self.refusal(store))
        self.failureResultOf(store.append(to("ben")), StoreUnavailable)

    async def test_an_authority_that_nobody_knows(self) -> None:
        port = self.impostor("localhost", 30, Authority(self.directory, "somebody else"))
        self.assertIn(
            "is of an authority that is not known here", await self.refusal(self.tls(f"rediss://localhost:{port}/"))
        )

    async def test_a_certificate_of_another_name(self) -> None:
        port = self.impostor("redis.example", 30, self.authority)
        self.assertIn("of another name", await self.refusal(self.tls(f"rediss://localhost:{port}/")))

    def test_files_that_can_t_be_used(self) -> None:
        broken = self.directory / "broken.pem"
        broken.write_text("nonsense")
        for changes in ({"ca": str(broken)}, {"cert": str(broken)}, {"ca": "/nowhere.pem"}):
            with self.assertRaises(AddressError):
                self.tls("rediss://localhost/", **changes)
