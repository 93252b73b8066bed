"""TLS to PostgreSQL, by libpq's own parameters; and what a URL says of the session that it wants."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.backends.test_postgresql_failures import FailureTestCase
from tests.contracts.made import to
from tests.support.certificates import Authority
from tests.support.postgresql import PostgreSQL, shared_postgresql


class TlsTests(FailureTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.authority = Authority(self.directory)

    async def server(self) -> PostgreSQL:
        """One that offers TLS, with a certificate for localhost."""
        server = await self.own_server("fsync = off")
        for path, name in zip(self.authority.sign("localhost"), ("server.crt", "server.key"), strict=True):
            copy = server.data / name
            shutil.copyfile(path, copy)
            shutil.chown(copy, server.data.owner(), server.data.group())
            copy.chmod(0o600)
        server.do("ALTER SYSTEM SET ssl = on")
        server.do("SELECT pg_reload_conf()")
        await self.until(lambda: server.do("SHOW ssl") == [("on",)], "TLS")
        return server

    def url(self, server: PostgreSQL, host: str, authority: Authority) -> str:
        return (
            f"postgresql://kschat:secret@{host}:{server.port}/kschat"
            f"?sslmode=verify-full&sslrootcert={authority.ca.as_posix().replace(' ', '%20')}"
        )

    async def test_the_certificate_and_its_name_are_verified(self) -> None:
        server = await self.server()
        store = self.made(self.url(server, "localhost", self.authority))
        store.start()
        await self.up(store)
        await store.append(to("ben"))
        await store.read("ben", 0, 1)
        kinds = server.do(
            "SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'kschat'"
        )
        self.assertEqual(kinds, [(True,)])
        await store.stop()
        text = await self.refusal(self.made(self.url(server, "127.0.0.1", self.authority)))
        self.assertIn("does not match host name", text)
        stranger = Authority(self.directory, "somebody else")
        text = await self.refusal(self.made(self.url(server, "localhost", stranger)))
        self.assertIn("certificate verify failed", text)

    async def test_a_server_without_it_is_refused(self) -> None:
        server = await shared_postgresql()
        text = await self.refusal(self.made(f"{server.url}?sslmode=require"))
        self.assertIn("does not support SSL", text)

    async def test_a_url_that_wants_no_primary_is_told_so(self) -> None:
        server = await shared_postgresql()
        for wanted in ("standby", "read-only"):
            text = await self.refusal(self.made(f"{server.url}?target_session_attrs={wanted}"))
            self.assertIn("it accepts writes, and the URL asks for one that does not (target_session_attrs)", text)
        for wanted in ("any", "read-write", "primary", "prefer-standby"):
            store = self.made(f"{server.url}?target_session_attrs={wanted}")
            store.start()
            await self.up(store)
            await store.stop()
