"""The admin page: a document and its files, the same for everybody. What it shows, its script asks the API for.

It is served beside the HTTP API. The key is typed into the page; this module never sees it.
"""

from __future__ import annotations

from typing import Final

from twisted.python.filepath import FilePath
from twisted.web.resource import Resource
from twisted.web.server import Request

from kschat.front.browser_policy import admin_headers
from kschat.front.static import Compressed, StaticFiles, not_found, send_file

#: The file that is the document.
DOCUMENT: Final = "index.html"


class AdminPage(Resource):
    """``GET /admin``, and the files of the page below it.

    Args:
        directory: has them.
    """

    isLeaf = True

    def __init__(self, directory: FilePath[str]) -> None:
        super().__init__()
        self._document = directory.child(DOCUMENT)
        self._files = StaticFiles(directory)
        self._compressed = Compressed()

    def render_GET(self, request: Request) -> bytes | int:
        """The document, or a file."""
        for name, value in admin_headers().items():
            request.setHeader(name, value)
        path = request.postpath
        if path == [b""]:
            # What the document names is beside it.
            request.redirect(b"../" + request.path.rstrip(b"/").rpartition(b"/")[2])
            return b""
        if path == [DOCUMENT.encode()]:
            return not_found(request, b"The page is one level up.\n")
        if path:
            return self._files.render_GET(request)
        return send_file(request, self._document, self._compressed)
