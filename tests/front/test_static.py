"""Files over HTTP: what is served, how it is kept, and that there is no way out."""

from __future__ import annotations

import gzip
import os

from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.static import File

from kschat.assets import shipped
from kschat.front.static import (
    MAX_AGE,
    MAX_AGE_OF_RELEASE,
    ClientDist,
    Compressed,
    Release,
    StaticFile,
    StaticFiles,
    client_dist,
)
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
            kept = "no-cache" if name.endswith((".js", ".css", ".map")) else f"public, max-age={MAX_AGE}"
            self.assertEqual(response.headers["cache-control"], kept, name)
            self.assertEqual("content-security-policy" in response.headers, name.endswith(".js"), name)
            self.assertNotIn("content-encoding", response.headers)
        self.assertEqual((await self.served.get("/static/deep/er.txt")).body, b"deeper")

    async def test_a_file_that_is_not_read_holds_no_descriptor(self) -> None:
        def fail(*_: object) -> None:
            raise AssertionError("a file was opened for one request")

        self.patch(File, "openForReading", fail)
        for headers in ({}, {"range": "bytes=1-2"}):
            response = await self.served.get("/static/page.js", **headers)
            self.assertEqual(response.body, b"et" if headers else b"let a;")

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

    async def test_a_file_at_a_place_of_its_own(self) -> None:
        served = Served(
            self, worker=StaticFile(self.directory.child("page.js")), no=StaticFile(self.directory.child("no.js"))
        )
        first = await served.get("/worker")
        self.assertEqual((first.code, first.body, first.headers["cache-control"]), (200, b"let a;", "no-cache"))
        self.assertEqual(first.headers["content-type"], "text/javascript; charset=utf-8")
        self.assertRegex(first.headers["content-security-policy"], r"^default-src 'none'; .* ws://127\.0\.0\.1:\d+ ")
        self.assertEqual((await served.get("/worker", if_none_match=first.headers["etag"])).code, 304)
        head = await served.get("/worker", "HEAD")
        self.assertEqual((head.code, head.body, head.headers["content-length"]), (200, b"", "6"))
        for path in ("/worker/", "/worker/x", "/worker/../secret.txt", "/no"):
            self.assertEqual((await served.get(path)).code, 404, path)

    async def test_the_pages_own_files_are_there(self) -> None:
        served = Served(self, static=StaticFiles(shipped("static")))
        for name in ("page/main.js", "page/page.css", "kschat/socketio.js", "kschat/chat.js", "kschat.svg"):
            self.assertEqual((await served.get(f"/static/{name}")).code, 200, name)


class AsGzip(TestCase):
    TEXT = b"let many = 'the same words, again and again';\n" * 100

    def setUp(self) -> None:
        self.directory = FilePath(self.mktemp())
        self.directory.makedirs()
        for name in ("page.js", "look.css", "sign.svg", "map.map", "page.png", "page.woff2"):
            self.directory.child(name).setContent(self.TEXT)
        self.directory.child("small.js").setContent(b"let a;")
        self.directory.child("socket.io.min.js").setContent(self.TEXT)
        self.served = Served(self, static=StaticFiles(self.directory), io=ClientDist(self.directory))

    async def test_text_is_sent_compressed_to_who_takes_it(self) -> None:
        for name in ("static/page.js", "static/look.css", "static/sign.svg", "static/map.map", "io/socket.io.min.js"):
            for accepted in ("gzip", "deflate, gzip;q=0.5, br", "GZIP"):
                response = await self.served.get(f"/{name}", accept_encoding=accepted)
                self.assertEqual(response.headers["content-encoding"], "gzip", name)
                self.assertEqual(response.headers["vary"], "Accept-Encoding")
                self.assertEqual(gzip.decompress(response.body), self.TEXT)
                self.assertLess(len(response.body), len(self.TEXT) / 4)

    async def test_to_others_it_is_sent_as_it_is(self) -> None:
        for accepted in ("", "identity", "br", "gzip;q=0", "gzip;q=0.000"):
            response = await self.served.get("/static/page.js", accept_encoding=accepted)
            self.assertEqual((response.body, response.headers["vary"]), (self.TEXT, "Accept-Encoding"))
            self.assertNotIn("content-encoding", response.headers)

    async def test_what_does_not_shrink_is_sent_as_it_is(self) -> None:
        for name in ("page.png", "page.woff2", "small.js"):
            response = await self.served.get(f"/static/{name}", accept_encoding="gzip")
            self.assertEqual(response.code, 200)
            for header in ("content-encoding", "vary"):
                self.assertNotIn(header, response.headers, name)

    async def test_each_has_a_tag_of_its_own(self) -> None:
        plain = (await self.served.get("/static/page.js")).headers["etag"]
        packed = (await self.served.get("/static/page.js", accept_encoding="gzip")).headers["etag"]
        self.assertNotEqual(plain, packed)
        for accepted, known, code in (("gzip", packed, 304), ("gzip", plain, 200), ("", plain, 304), ("", packed, 200)):
            response = await self.served.get("/static/page.js", accept_encoding=accepted, if_none_match=known)
            self.assertEqual((response.code, response.headers["vary"]), (code, "Accept-Encoding"), (accepted, known))
            self.assertEqual(response.headers["etag"], packed if accepted else plain)

    async def test_its_date_is_looked_at(self) -> None:
        modified = (await self.served.get("/static/page.js", accept_encoding="gzip")).headers["last-modified"]
        response = await self.served.get("/static/page.js", accept_encoding="gzip", if_modified_since=modified)
        self.assertEqual((response.code, response.body), (304, b""))

    async def test_head_says_what_get_would(self) -> None:
        for accepted in ("", "gzip"):
            got = await self.served.get("/static/page.js", accept_encoding=accepted)
            head = await self.served.get("/static/page.js", "HEAD", accept_encoding=accepted)
            self.assertEqual((head.code, head.body), (200, b""))
            self.assertEqual(int(head.headers["content-length"]), len(got.body))
            for header in ("etag", "vary", "content-type", "last-modified"):
                self.assertEqual(head.headers[header], got.headers[header], header)
            self.assertEqual(head.headers.get("content-encoding"), got.headers.get("content-encoding"))

    async def test_a_range_is_of_the_file_as_it_is(self) -> None:
        response = await self.served.get("/static/page.js", accept_encoding="gzip", range="bytes=4-7")
        self.assertEqual((response.code, response.body), (206, b"many"))
        self.assertNotIn("content-encoding", response.headers)
        etag, modified = response.headers["etag"], response.headers["last-modified"]
        for condition, code in (
            (etag, 206),
            (modified, 206),
            (f"W/{etag}", 200),
            (etag[:-1] + '-gzip"', 200),
            ('"other"', 200),
            ("Mon, 01 Jan 2001 00:00:00 GMT", 200),
            ("nonsense", 200),
            ("Mon, 99 Xyz 2001 00:00:00 GMT", 200),
        ):
            part = await self.served.get("/static/page.js", range="bytes=4-7", if_range=condition)
            self.assertEqual((part.code, part.body == self.TEXT), (code, code == 200), condition)

    async def test_a_changed_file_is_compressed_again(self) -> None:
        first = await self.served.get("/static/page.js", accept_encoding="gzip")
        self.directory.child("page.js").setContent(self.TEXT * 2)
        again = await self.served.get("/static/page.js", accept_encoding="gzip", if_none_match=first.headers["etag"])
        self.assertEqual((again.code, gzip.decompress(again.body)), (200, self.TEXT * 2))


class Kept(SynchronousTestCase):
    def test_what_is_kept_is_bounded_and_used(self) -> None:
        directory = FilePath(self.mktemp())
        directory.makedirs()
        compressed = Compressed(3000)
        paths = [directory.child(str(number)) for number in range(10)]
        for path in paths:
            path.setContent(os.urandom(1000))
            self.assertEqual(gzip.decompress(compressed.of(path, b"1")), path.getContent())
            self.assertLessEqual(compressed.size, 3000)
        before = paths[-1].getContent()
        paths[-1].setContent(b"changed, and nobody said so")
        self.assertEqual(gzip.decompress(compressed.of(paths[-1], b"1")), before)
        self.assertEqual(gzip.decompress(compressed.of(paths[-1], b"2")), b"changed, and nobody said so")
        self.assertGreater(compressed.size, 1000)


class Releases(TestCase):
    def setUp(self) -> None:
        self.directory = self.made()
        self.release = Release(self.directory)
        self.served = Served(self, static=StaticFiles(self.directory, self.release))

    def made(self) -> FilePath[str]:
        """A directory like the page's."""
        directory = FilePath(self.mktemp())
        files = {"page": {"main.js": b"a", "look.css": b"b", "icon.png": b"d"}, "kschat": {"chat.js": b"c"}}
        for folder, content in files.items():
            directory.child(folder).makedirs()
            for name, text in content.items():
                directory.child(folder).child(name).setContent(text)
        return directory

    async def test_scripts_and_styles_last_below_the_name_of_their_release(self) -> None:
        self.assertRegex(self.release.name, r"^v-[0-9a-f]{16}$")
        for name, text in (("page/main.js", b"a"), ("page/look.css", b"b"), ("kschat/chat.js", b"c")):
            response = await self.served.get(f"/static/{self.release.name}/{name}")
            self.assertEqual((response.code, response.body), (200, text))
            self.assertEqual(response.headers["cache-control"], f"public, max-age={MAX_AGE_OF_RELEASE}, immutable")
            self.assertEqual("content-security-policy" in response.headers, name.endswith(".js"))
            response = await self.served.get(f"/static/{name}")
            self.assertEqual((response.code, response.headers["cache-control"]), (200, "no-cache"))

    async def test_of_another_release_or_without_one_there_is_nothing(self) -> None:
        name = self.release.name
        for path in (
            "v-0123456789abcdef/page/main.js",
            "v-/page/main.js",
            f"{name}x/page/main.js",
            f"{name}/page/icon.png",
            f"{name}/page/missing.js",
            f"{name}/",
            name,
            f"{name}/../page/main.js",
            f"{name}/{name}/page/main.js",
        ):
            response = await self.served.get(f"/static/{path}")
            self.assertEqual((response.code, response.headers["cache-control"]), (404, "no-store"), path)

    async def test_a_file_that_changes_is_of_another_release(self) -> None:
        before = self.release.name
        self.directory.child("kschat").child("chat.js").setContent(b"changed")
        # Until a page is asked for: neither the new one nor, in a page of the old release, a mix.
        self.assertEqual((await self.served.get(f"/static/{before}/kschat/chat.js")).code, 404)
        self.assertEqual((await self.served.get(f"/static/{before}/page/main.js")).code, 200)
        after = self.release.look()
        self.assertNotEqual(after, before)
        self.assertEqual((await self.served.get(f"/static/{before}/page/main.js")).code, 404)
        self.assertEqual((await self.served.get(f"/static/{after}/kschat/chat.js")).body, b"changed")

    def test_all_daemons_of_a_release_name_it_alike(self) -> None:
        other = self.made()
        os.utime(other.child("page").child("main.js").path, (1, 1))
        self.assertEqual(Release(other).name, self.release.name)
        other.child("page").child("main.js").moveTo(other.child("page").child("other.js"))
        self.assertNotEqual(Release(other).name, self.release.name)

    async def test_static_files_without_a_page_have_no_release(self) -> None:
        directory = FilePath(self.mktemp())
        directory.makedirs()
        release = Release(directory)
        self.assertEqual(release.look(), "")
        served = Served(self, static=StaticFiles(directory, release))
        self.assertEqual((await served.get("/static/v-/page/main.js")).code, 404)


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
