"""Files over HTTP: what is served, how it is kept, and that there is no way out."""

from __future__ import annotations

import os

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kschat.assets import shipped
from kschat.front.static import MAX_AGE, ClientDist, StaticFiles, client_dist
from tests.front.serving import Served


class Files(TestCase):
    def setUp(self) -> None:
        self.outside = FilePath(self.mktemp())
        self.directory = self.outside.child("static")
        self.directory.child("deep").makedirs()
        self.outside.child("secret.txt").setContent(b"secret")
        for name, text in {
            "page.js": b"let a;",
            "look.css": b"a{}",
            "sign.svg": b"<svg/>",
            "map.map": b"{}",
            "data.unknown": b"\0\1",
            ".hidden": b"secret",
            "with space.txt": b"room",
            "empty.txt": b"",
            "archive.js.gz": b"\x1f\x8b",
        }.items():
            self.directory.child(name).setContent(text)
        self.directory.child("deep").child("er.txt").setContent(b"deeper")
        self.served = Served(self, static=StaticFiles(self.directory))

    async def test_files_have_their_types(self) -> None:
        types = {
            "page.js": "text/javascript; charset=utf-8",
            "look.css": "text/css; charset=utf-8",
            "sign.svg": "image/svg+xml",
            "map.map": "application/json",
            "data.unknown": "application/octet-stream",
            "archive.js.gz": "application/octet-stream",
            "with%20space.txt": "text/plain; charset=utf-8",
            "deep/er.txt": "text/plain; charset=utf-8",
            "empty.txt": "text/plain; charset=utf-8",
        }
        for name, expected in types.items():
            response = await self.served.get(f"/static/{name}")
            self.assertEqual((response.code, response.headers["content-type"]), (200, expected), name)
            self.assertEqual(response.headers["x-content-type-options"], "nosniff")
            self.assertEqual(response.headers["cache-control"], f"public, max-age={MAX_AGE}")
            self.assertNotIn("content-encoding", response.headers)
        self.assertEqual((await self.served.get("/static/deep/er.txt")).body, b"deeper")

    async def test_there_is_no_listing_and_no_way_out(self) -> None:
        paths = [
            "",
            "/",
            "/deep",
            "/deep/",
            "/missing.js",
            "/page.js/",
            "/page.js/more",
            "/.hidden",
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/deep/../../secret.txt",
            "/deep/%2e%2e/%2e%2e/secret.txt",
            "//secret.txt",
            "/%2fetc/passwd",
            "/" + "%2fetc%2fpasswd",
            "/page.js%00.txt",
            "/%00",
            "/%ff",
            "/" + "x" * 5000,
            "/..\\secret.txt",
        ]
        for path in paths:
            response = await self.served.get(f"/static{path}")
            self.assertEqual(response.code, 404, path)
            self.assertNotIn(b"secret", response.body)
            self.assertEqual(response.headers["cache-control"], "no-store", path)

    async def test_a_file_that_is_known_is_not_sent_again(self) -> None:
        first = await self.served.get("/static/page.js")
        etag, modified = first.headers["etag"], first.headers["last-modified"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await self.served.get("/static/page.js", if_none_match=known)
            self.assertEqual((again.code, again.body), (304, b""), known)
            self.assertEqual(again.headers["etag"], etag)
        self.assertEqual((await self.served.get("/static/page.js", if_modified_since=modified)).code, 304)

    async def test_a_changed_file_is_sent_though_its_date_has_the_same_second(self) -> None:
        first = await self.served.get("/static/page.js")
        path = self.directory.child("page.js")
        status = os.stat(path.path)
        path.setContent(b"let b;")
        os.utime(path.path, (status.st_atime, int(status.st_mtime) + (0.25 if status.st_mtime % 1 > 0.5 else 0.75)))
        again = await self.served.get(
            "/static/page.js", if_none_match=first.headers["etag"], if_modified_since=first.headers["last-modified"]
        )
        self.assertEqual((again.code, again.body), (200, b"let b;"))

    async def test_head_and_ranges(self) -> None:
        head = await self.served.get("/static/page.js", "HEAD")
        self.assertEqual((head.code, head.body, head.headers["content-length"]), (200, b"", "6"))
        part = await self.served.get("/static/page.js", range="bytes=4-")
        self.assertEqual((part.code, part.body), (206, b"a;"))
        self.assertEqual((await self.served.get("/static/page.js", range="bytes=90-")).code, 416)

    async def test_other_methods_are_refused(self) -> None:
        for method in ("POST", "PUT", "DELETE"):
            self.assertIn((await self.served.get("/static/page.js", method)).code, (405, 501))

    async def test_the_pages_own_files_are_there(self) -> None:
        served = Served(self, static=StaticFiles(shipped("static")))
        for name in ("kschat.js", "socketio.js", "kschat.css", "kschat.svg"):
            self.assertEqual((await served.get(f"/static/{name}")).code, 200, name)


class NpmsClient(TestCase):
    NAMES = (
        "socket.io.js",
        "socket.io.js.map",
        "socket.io.min.js",
        "socket.io.min.js.map",
        "socket.io.esm.min.js",
        "socket.io.esm.min.js.map",
        "socket.io.msgpack.min.js",
        "socket.io.msgpack.min.js.map",
    )

    def setUp(self) -> None:
        self.directory = FilePath(self.mktemp())
        self.served = Served(self, io=ClientDist(self.directory))

    async def test_without_it_the_answer_says_how_to_get_it(self) -> None:
        for name in self.NAMES:
            response = await self.served.get(f"/io/{name}")
            self.assertEqual(response.code, 404)
            self.assertEqual(response.headers["content-type"], "text/plain; charset=utf-8")
            self.assertIn(b"npm install socket.io-client", response.body)
            self.assertIn(b"client_dist", response.body)

    async def test_it_is_served_as_soon_as_it_is_installed(self) -> None:
        self.assertEqual((await self.served.get("/io/socket.io.js")).code, 404)
        self.directory.makedirs()
        for name in (*self.NAMES, "index.js", "package.json"):
            self.directory.child(name).setContent(name.encode())
        for name in self.NAMES:
            response = await self.served.get(f"/io/{name}")
            self.assertEqual((response.code, response.body), (200, name.encode()))
            known = await self.served.get(f"/io/{name}", if_none_match=response.headers["etag"])
            self.assertEqual(known.code, 304)
        for other in ("index.js", "package.json", "", "socket.io.dev.js", "..%2fsocket.io.js", "xsocket.io.js"):
            self.assertEqual((await self.served.get(f"/io/{other}")).code, 404, other)


class WhereNpmPutsIt(SynchronousTestCase):
    def test_the_setting_or_node_modules_below_the_working_directory(self) -> None:
        here = FilePath("/srv/chat")
        self.assertEqual(client_dist("/opt/dist", here).path, "/opt/dist")
        self.assertEqual(client_dist("", here).path, "/srv/chat/node_modules/socket.io-client/dist")

    def test_names_below_socket_io_that_are_the_clients(self) -> None:
        for name in NpmsClient.NAMES:
            self.assertTrue(ClientDist.serves(name.encode()), name)
        for name in ("", "1", "socket.io", "socket.io.js.map.js", "socketXio.js", "socket.io.min.js\n"):
            self.assertFalse(ClientDist.serves(name.encode()), name)
