"""Files over HTTP: the page's script and style, and npm's build of socket.io-client where it is installed.

Validators (ETag, Last-Modified) and ranges, no listing of directories, no way out of the directory that is served.
"""

import re
from typing import Final

from twisted.python.filepath import FilePath, InsecurePath
from twisted.web.http import NOT_FOUND, NOT_MODIFIED
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.static import File

MAX_AGE: Final = 300
"""Seconds that a file is used without asking whether it changed: a page and its script soon agree after an upgrade."""

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

NO_CLIENT: Final = (
    b"npm's Socket.IO client is not installed beside this daemon: run `npm install socket.io-client` in its working "
    b"directory, or set client_dist to the directory of the package's `dist`.\n"
)

_CLIENT_FILE = re.compile(rb"socket\.io(\.esm|\.msgpack)?(\.min)?\.js(\.map)?")


class StaticFiles(Resource):
    """All regular files below `directory`, except those whose name begins with a dot."""

    isLeaf = True

    def __init__(self, directory: FilePath[str]) -> None:
        super().__init__()
        self._directory = directory

    def render_GET(self, request: IRequest) -> bytes | int:
        """The file that the rest of the path names, or 404."""
        path = self._directory
        for segment in request.postpath or [b""]:
            try:
                name = segment.decode("utf-8")
                if not name or name.startswith(".") or "\0" in name:
                    return not_found(request, b"There is no such file.\n")
                path = path.child(name)
            except (UnicodeDecodeError, InsecurePath):
                return not_found(request, b"There is no such file.\n")
        return send_file(request, path)


class ClientDist(Resource):
    """npm's browser builds, at the names that Socket.IO's own server gives them.

    Looks at each request: a client that is installed later is served without a restart.
    """

    isLeaf = True

    def __init__(self, directory: FilePath[str]) -> None:
        super().__init__()
        self._directory = directory

    @staticmethod
    def serves(name: bytes) -> bool:
        """Whether the path segment `name`, below `/socket.io/`, is one of the client's files."""
        return _CLIENT_FILE.fullmatch(name) is not None

    def render_GET(self, request: IRequest) -> bytes | int:
        """The file that the last segment of the path names; without it, 404 and how to get it."""
        name = request.path.rpartition(b"/")[2]
        if not self.serves(name):
            return not_found(request, b"There is no such file.\n")
        path = self._directory.child(name.decode("ascii"))
        return send_file(request, path) if path.isfile() else not_found(request, NO_CLIENT)


def client_dist(configured: str, working_directory: FilePath[str]) -> FilePath[str]:
    """Where npm's build is: the setting `client_dist`, else where `npm install` puts it."""
    if configured:
        return FilePath(configured)
    return working_directory.descendant(["node_modules", "socket.io-client", "dist"])


def send_file(request: IRequest, path: FilePath[str]) -> bytes | int:
    """`path` with validators and its type, by twisted.web.static.File; 404 when it is no regular file."""
    path.changed()
    if not path.isfile():
        return not_found(request, b"There is no such file.\n")
    etag = b'"%x-%x"' % (path.getsize(), int(path.getModificationTime() * 1000))
    request.setHeader(b"etag", etag)
    request.setHeader(b"cache-control", b"public, max-age=%d" % MAX_AGE)
    request.setHeader(b"x-content-type-options", b"nosniff")
    known = request.getHeader(b"if-none-match")
    if known is not None:
        if _names(known, etag):
            request.setResponseCode(NOT_MODIFIED)
            return b""
        # RFC 9110, 13.1.3: an entity tag that differs overrules the date, which has whole seconds alone.
        request.requestHeaders.removeHeader(b"if-modified-since")
    file = File(path.path)
    file.type = TYPES.get(path.splitext()[1].lower(), "application/octet-stream")
    file.encoding = None
    rendered: bytes | int = file.render_GET(request)
    return rendered


def not_found(request: IRequest, sentence: bytes) -> bytes:
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
