"""TLS to RabbitMQ: who is not who it says is refused, and the log says why in one line."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from kschat.backends.amqp import AddressError, AmqpRouter, Settings
from kschat.chat.interfaces import RouterEvent
from tests.contracts.made import stored
from tests.contracts.router import Arrivals
from tests.support.certificates import Authority
from tests.support.launch import free_ports
from tests.support.rabbitmq import RabbitMQ
from tests.support.waiting import real_reactor, within


class AmqpTlsTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=self.mktemp_directory()))
        self.authority = Authority(self.directory)

    def mktemp_directory(self) -> str:
        path = Path(self.mktemp())
        path.mkdir(parents=True)
        return str(path.absolute())

    def router(self, url: str, **changes: Any) -> AmqpRouter:
        given = {"url": url, "ca": str(self.authority.ca), **changes}
        router = AmqpRouter(Settings(**given), real_reactor())
        self.addCleanup(router.stop)
        return router

    async def works(self, router: AmqpRouter) -> None:
        arrivals = Arrivals()
        router.attach(arrivals)
        up = arrivals.next(RouterEvent.UP)
        router.start()
        await within(up, "the router to be up", str)
        await router.bind("ben", "a")
        self.assertEqual(await router.publish(stored("ben"), exact=True), [True])

    async def refusal(self, router: AmqpRouter) -> str:
        """The one line that the log has of it, also after another try."""
        with capturedLogs() as events:
            router.start()
            for _ in range(300):
                if router.figures["tries"] >= 3:
                    break
                await deferLater(real_reactor(), 0.02)
        await router.stop()
        self.assertEqual(router.figures["connections"], 0)
        (text,) = [formatEvent(event) for event in events if "RabbitMQ" in formatEvent(event)]
        self.assertNotIn("\n", text)
        return text

    def impostor(self, host: str, days: int, authority: Authority) -> int:
        """The port of something with such a certificate."""
        certificate, key = authority.sign(host, days)
        context = PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes()).options()
        port = real_reactor().listenSSL(0, Factory.forProtocol(Protocol), context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def test_with_a_real_broker(self) -> None:
        (tls,) = free_ports(1)
        certificate, key = self.authority.sign("localhost")
        broker = RabbitMQ(
            f"listeners.ssl.default = 127.0.0.1:{tls}\nssl_options.cacertfile = {self.authority.ca}\n"
            f"ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n"
            "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
        )
        self.addCleanup(broker.stop)
        await broker.start()
        own, own_key = self.authority.sign("the daemon")
        await self.works(self.router(f"amqps://guest:guest@localhost:{tls}/", cert=str(own), key=str(own_key)))
        text = await self.refusal(self.router(f"amqps://guest:guest@127.0.0.1:{tls}/", cert=str(own), key=str(own_key)))
        self.assertIn("its certificate is of another name", text)
        await self.refusal(self.router(f"amqps://guest:guest@localhost:{tls}/"))  # without a certificate of its own

    async def test_a_certificate_that_has_ended(self) -> None:
        port = self.impostor("localhost", -1, self.authority)
        text = await self.refusal(self.router(f"amqps://localhost:{port}/"))
        self.assertIn("its certificate has expired", text)

    async def test_an_authority_that_nobody_knows(self) -> None:
        port = self.impostor("localhost", 30, Authority(self.directory, "somebody else"))
        text = await self.refusal(self.router(f"amqps://localhost:{port}/"))
        self.assertIn("its certificate is of an authority that is not known here", text)

    def test_files_that_can_t_be_used(self) -> None:
        broken = self.directory / "broken.pem"
        broken.write_text("nonsense")
        for changes in ({"ca": str(broken)}, {"cert": str(broken)}, {"ca": "/nowhere.pem"}):
            with self.assertRaises(AddressError):
                self.router("amqps://localhost/", **changes)
