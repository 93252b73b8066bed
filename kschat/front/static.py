"""Files over HTTP: the page's script and style, and npm's build of socket.io-client where it is installed.

It supports validators (ETag, Last-Modified), ranges and gzip for text. It lists no directory, and serves nothing
outside its own. The page's URLs have the version of its scripts, see ``Release``.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Final

from twisted.python.filepath import FilePath, InsecurePath
from twisted.web.http import CACHED, NOT_FOUND, NOT_MODIFIED, stringToDatetime
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.static import File

from kschat.front.browser_policy import script_policy
from kschat.front.responses import takes_gzip

MAX_AGE: Final = 300
"""Seconds that a picture, or another file that others do not need in the same version, is used without asking."""

#: What makes a page together: the browser asks each time whether it changed, so that after an upgrade no script meets
#: an older one of the files that it imports. An answer that it did not is small.
REVALIDATED: Final = frozenset({".css", ".html", ".js", ".json", ".map", ".mjs", ".webmanifest"})

#: Seconds that a file is used without asking, which has its version in its URL: a year, as browsers keep it at most.
MAX_AGE_OF_RELEASE: Final = 31_536_000

#: What has a version: the page's own scripts and styles, and the module that it is built on.
_RELEASED: Final = ("kschat", "page")
_RELEASED_TYPES: Final = frozenset({".css", ".js"})

#: Before the version, in a path.
_VERSION: Final = "v-"

_SCRIPTS: Final = frozenset({".js", ".mjs"})

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}

#: Types that shrink: text, also where its type does not say so.
_TEXT: Final = re.compile(r"text/|application/(json|manifest\+json)|image/svg\+xml")

#: Bytes of files that are compressed: smaller ones gain nothing, and the reactor waits while one is compressed (once).
GZIP_FILES: Final = range(1024, 500_001)

#: Bytes of compressed files that are kept.
GZIP_KEPT: Final = 8_000_000

NO_CLIENT: Final = (
    b"npm's Socket.IO client is not installed beside this daemon: run `npm install socket.io-client` in its working "
    b"directory, or set client_dist to the directory of the package's `dist`.\n"
)

OTHER_RELEASE: Final = b"This file is of another release, or there is no such file. Load the page again.\n"

_CLIENT_FILE = re.compile(rb"socket\.io(\.esm|\.msgpack)?(\.min)?\.js(\.map)?")


class Release:
    """The version of the page's scripts and styles, by their content.

    It is a part of their URLs, and modules import each other by relative URLs. So a page runs the scripts that it was
    made for, or none: never some of another release, from a cache or from a daemon that was upgraded meanwhile.

    Args:
        directory: the static files, with ``kschat/`` and ``page/``.
    """

    def __init__(self, directory: FilePath[str]) -> None:
        self._directory = directory
        self._seen: dict[str, tuple[int, int]] = {}
        self._name = ""
        self.look()

    @property
    def name(self) -> str:
        """The version as a segment of a path; "" if there are no such files, or one can't be read."""
        return self._name

    def look(self) -> str:
        """Looks whether a file was changed, and so is of another version. Some 30 `stat`, 0.1 ms. Returns ``name``."""
        seen = dict(self._files())
        if seen != self._seen:
            self._seen, self._name = seen, self._named(sorted(seen))
        return self._name

    def has(self, path: FilePath[str]) -> bool:
        """Whether a file is of this version."""
        try:
            return self._seen.get(path.path) == _stamp(os.stat(path.path))
        except OSError:
            return False

    def _files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        for folder in _RELEASED:
            try:
                with os.scandir(self._directory.child(folder).path) as entries:
                    for entry in entries:
                        if os.path.splitext(entry.name)[1] in _RELEASED_TYPES and entry.is_file():
                            yield entry.path, _stamp(entry.stat())
            except OSError:
                continue  # one's own static files need not have it

    def _named(self, paths: Sequence[str]) -> str:
        content = hashlib.sha256()
        try:
            for path in paths:
                data = FilePath(path).getContent()
                content.update(f"{os.path.relpath(path, self._directory.path)} {len(data)}\n".encode())
                content.update(data)
        except OSError:
            return ""
        return f"{_VERSION}{content.hexdigest()[:16]}" if paths else ""


def _stamp(status: os.stat_result) -> tuple[int, int]:
    """What differs after a change of a file."""
    return status.st_size, status.st_mtime_ns


class StaticFiles(Resource):
    """All regular files below `directory`, except those whose name begins with a dot.

    Scripts and styles of `release` are also below its name. A path with another release's is 404.
    """

    isLeaf = True

    def __init__(self, directory: FilePath[str], release: Release | None = None) -> None:
        super().__init__()
        self._directory = directory
        self._release = release
        self._compressed = Compressed()

    def render_GET(self, request: Request) -> bytes | int:
        """The file that the rest of the path names, or 404."""
        path, segments, release = self._directory, request.postpath or [b""], None
        if self._release is not None and segments[0].startswith(_VERSION.encode()):
            release = self._release
            if segments[0] != release.name.encode():
                return not_found(request, OTHER_RELEASE)
            segments = segments[1:] or [b""]
        for segment in segments:
            try:
                name = segment.decode("utf-8")
                if not name or name.startswith(".") or "\0" in name:
                    return not_found(request, b"There is no such file.\n")
                path = path.child(name)
            except (UnicodeDecodeError, InsecurePath):
                return not_found(request, b"There is no such file.\n")
        if release is not None and not release.has(path):
            return not_found(request, OTHER_RELEASE)
        return send_page_file(request, path, self._compressed, lasting=release is not None)


class StaticFile(Resource):
    """One regular file, at a place of its own; 404 as long as it is not there.

    A browser lets a service worker serve what is beside and below its script: the one of the page is beside the page.
    """

    isLeaf = True

    def __init__(self, path: FilePath[str]) -> None:
        super().__init__()
        self._path = path
        self._compressed = Compressed()

    def render_GET(self, request: Request) -> bytes | int:
        """The file."""
        if request.postpath:
            return not_found(request, b"There is no such file.\n")
        return send_page_file(request, self._path, self._compressed)


class ClientDist(Resource):
    """npm's browser builds, at the names that Socket.IO's own server gives them.

    Looks at each request: a client that is installed later is served without a restart.
    """

    isLeaf = True

    def __init__(self, directory: FilePath[str]) -> None:
        super().__init__()
        self._directory = directory
        self._compressed = Compressed()

    @staticmethod
    def serves(name: bytes) -> bool:
        """Whether the path segment `name`, below `/socket.io/`, is one of the client's files."""
        return _CLIENT_FILE.fullmatch(name) is not None

    def render_GET(self, request: Request) -> bytes | int:
        """The file that the last segment of the path names; without it, 404 and how to get it."""
        name = request.path.rpartition(b"/")[2]
        if not self.serves(name):
            return not_found(request, b"There is no such file.\n")
        path = self._directory.child(name.decode("ascii"))
        return send_file(request, path, self._compressed) if path.isfile() else not_found(request, NO_CLIENT)


def client_dist(configured: str, working_directory: FilePath[str]) -> FilePath[str]:
    """Where npm's build is: the setting `client_dist`, else where `npm install` puts it."""
    if configured:
        return FilePath(configured)
    return working_directory.descendant(["node_modules", "socket.io-client", "dist"])


class Compressed:
    """Files and their gzip: each is read when it is first asked for and when it has changed, and kept, within bounds.

    Args:
        most: bytes that are kept; those that were asked for longest ago give way.
    """

    __slots__ = ("_kept", "_most", "size")

    def __init__(self, most: int = GZIP_KEPT) -> None:
        self._kept: dict[tuple[str, bool], tuple[bytes, bytes]] = {}
        self._most = most
        #: bytes that are kept now
        self.size = 0

    def of(self, path: FilePath[str], version: bytes, packed: bool = True) -> bytes:
        """The gzip of a file, or its content.

        Args:
            path: the file.
            version: differs when the file has changed.
            packed: whether it is the gzip.

        Raises:
            OSError: it can't be read.
        """
        key = (path.path, packed)
        known, data = self._kept.pop(key, (b"", b""))
        self.size -= len(data)
        if known != version:
            # Without a time in it, so that daemons behind one proxy send the same.
            data = path.getContent()
            if packed:
                data = gzip.compress(data, 6, mtime=0)
        self._kept[key] = (version, data)
        self.size += len(data)
        while self.size > self._most:
            oldest = next(iter(self._kept))
            self.size -= len(self._kept.pop(oldest)[1])
        return data


class _FileInMemory(File):
    """A file whose content is known: a client that does not read it holds no descriptor beside its connection."""

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(path)
        self._content = content

    def openForReading(self) -> BytesIO:
        """The content."""
        return BytesIO(self._content)


def send_page_file(
    request: Request, path: FilePath[str], compressed: Compressed, *, lasting: bool = False
) -> bytes | int:
    """A file of the page: a script also says what it may do when it is a worker."""
    if path.splitext()[1].lower() in _SCRIPTS:
        request.setHeader(b"content-security-policy", script_policy(request.getHeader(b"host")))
    return send_file(request, path, compressed, lasting=lasting)


def send_file(request: Request, path: FilePath[str], compressed: Compressed, *, lasting: bool = False) -> bytes | int:
    """`path` with validators and its type, as gzip for who takes it; 404 when it is no regular file.

    A range is of the file as it is, and so by twisted.web.static.File.

    Args:
        request: it is answered.
        path: the file.
        compressed: keeps the gzip.
        lasting: whether the file at this URL never changes.
    """
    path.changed()
    if not path.isfile():
        return not_found(request, b"There is no such file.\n")
    size, modified = path.getsize(), path.getModificationTime()
    version = b"%x-%x" % (size, int(modified * 1000))
    suffix = path.splitext()[1].lower()
    kind = TYPES.get(suffix, "application/octet-stream")
    _heed_if_range(request, b'"%b"' % version, modified)
    packed = False
    if size in GZIP_FILES and _TEXT.match(kind):
        request.setHeader(b"vary", b"Accept-Encoding")
        packed = request.getHeader(b"range") is None and takes_gzip(request.getHeader(b"accept-encoding") or b"")
    # Two representations of a file are two entities (RFC 9110, 8.8.3.3).
    etag = b'"%b%b"' % (version, b"-gzip" if packed else b"")
    request.setHeader(b"etag", etag)
    cached = b"no-cache" if suffix in REVALIDATED else b"public, max-age=%d" % MAX_AGE
    if lasting:
        cached = b"public, max-age=%d, immutable" % MAX_AGE_OF_RELEASE
    request.setHeader(b"cache-control", cached)
    request.setHeader(b"x-content-type-options", b"nosniff")
    known = request.getHeader(b"if-none-match")
    if known is not None:
        if _names(known, etag):
            request.setResponseCode(NOT_MODIFIED)
            return b""
        # RFC 9110, 13.1.3: an entity tag that differs overrules the date, which has whole seconds alone.
        request.requestHeaders.removeHeader(b"if-modified-since")
    if packed:
        if request.setLastModified(modified) is CACHED:
            return b""
        try:
            data = compressed.of(path, version)
        except OSError:
            return not_found(request, b"There is no such file.\n")
        request.setHeader(b"content-type", kind.encode("ascii"))
        request.setHeader(b"content-encoding", b"gzip")
        return data
    if size < GZIP_FILES.stop:
        try:
            file: File = _FileInMemory(path.path, compressed.of(path, version, packed=False))
        except OSError:
            return not_found(request, b"There is no such file.\n")
    else:
        file = File(path.path)
    file.type = kind
    file.encoding = None
    rendered: bytes | int = file.render_GET(request)
    return rendered


def _heed_if_range(request: Request, etag: bytes, modified: float) -> None:
    """Leave Range out where it is of something else than the file as it is now (RFC 9110, 13.1.5)."""
    condition = request.getHeader(b"if-range")
    if condition is None or condition == etag:
        return
    try:
        # Rounded as twisted.web rounds Last-Modified.
        if not condition.startswith((b'"', b"W/")) and stringToDatetime(condition) == math.ceil(modified):
            return
    except (ValueError, IndexError, KeyError):
        pass  # no date, and so none of the file's
    request.requestHeaders.removeHeader(b"range")


def not_found(request: Request, sentence: bytes) -> bytes:
    """404 with one sentence, never kept by a cache."""
    request.setResponseCode(NOT_FOUND)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"x-content-type-options", b"nosniff")
    return b"" if request.method == b"HEAD" else sentence


def _names(if_none_match: bytes, etag: bytes) -> bool:
    """Whether the header names `etag`, weakly compared: a proxy that compresses makes a strong tag weak."""
    tags = [tag.strip().removeprefix(b"W/") for tag in if_none_match.split(b",")]
    return etag in tags or b"*" in tags
