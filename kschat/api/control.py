"""The control socket: HTTP over a UNIX socket that only the daemon's own user can open.

::

    POST /v1/revoke   {"user": …} or {"jti": …, "expires": …} or {"issued_before": …, "user": …}; "lift": true
                      200 {} once it is kept and all daemons were told; otherwise {"error": one sentence}: 400 the
                      request is not valid, 503 the store is not available, 507 there are too many revocations
"""

from __future__ import annotations

import os
import socket
import stat
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from kschat.chat.interfaces import RevocationsFull, StoreUnavailable
from kschat.chat.operations import Operations
from kschat.chat.revocation import RevocationRequest
from kschat.unix_paths import open_directory, short_path

#: Bytes of a request's body.
MAX_BODY: Final = 65_536

_decode: Final = msgspec.json.Decoder(RevocationRequest).decode


class Revoke(Resource):
    """``POST /v1/revoke``.

    Args:
        operations: of the daemon.
    """

    log = Logger()
    isLeaf = True

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self._operations = operations

    def render_POST(self, request: Request) -> int:
        """Revoke tokens, or lift that; answered when all daemons were told."""
        body = request.content.read(MAX_BODY + 1) if request.content is not None else b""
        try:
            if len(body) > MAX_BODY:
                raise ValueError(f"the request is larger than {MAX_BODY} bytes")
            asked = _decode(body)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            _answer(request, HTTPStatus.BAD_REQUEST, str(error))
            return NOT_DONE_YET
        revoked = self._operations.revoke(asked)
        revoked.addCallbacks(lambda _: _answer(request, HTTPStatus.OK), self._failed, errbackArgs=(request,))
        revoked.addErrback(self._not_answered)
        return NOT_DONE_YET

    def _failed(self, failure: Failure, request: Request) -> None:
        for error, status in _STATUS.items():
            if failure.check(error):
                _answer(request, status, failure.getErrorMessage() or _SENTENCES[status])
                return
        self.log.failure("tokens could not be revoked", failure)
        _answer(request, HTTPStatus.INTERNAL_SERVER_ERROR, "the daemon's log has the reason")

    def _not_answered(self, failure: Failure) -> None:
        self.log.failure("a request at the control socket could not be answered", failure)


_STATUS: Final[dict[type[Exception], HTTPStatus]] = {
    ValueError: HTTPStatus.BAD_REQUEST,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    RevocationsFull: HTTPStatus.INSUFFICIENT_STORAGE,
}

_SENTENCES: Final = {
    HTTPStatus.SERVICE_UNAVAILABLE: "the store is not available",
    HTTPStatus.INSUFFICIENT_STORAGE: "there are as many revocations as can be kept",
}


def _answer(request: Request, status: HTTPStatus, error: str = "") -> None:
    channel: object = request.channel
    if channel is None:
        return  # whoever asked is gone
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"application/json")
    request.write(msgspec.json.encode({"error": error} if error else {}) + b"\n")
    request.finish()


class _QuietSite(Site):
    """What is done is logged by those who do it."""

    noisy = False

    def log(self, request: object) -> None:
        """Nothing."""


def make_site(operations: Operations) -> Site:
    """What is served at the control socket."""
    root, version = Resource(), Resource()
    root.putChild(b"v1", version)
    version.putChild(b"revoke", Revoke(operations))
    site = _QuietSite(root)
    site.displayTracebacks = False
    return site


class ControlSocket(Service):
    """Listens at a UNIX socket with the mode 0600. If it cannot, the log has the reason, and the daemon runs on.

    Args:
        path: of the socket.
        site: what is served there.
        reactor: Twisted's.
    """

    log = Logger()

    def __init__(self, path: str, site: Site, reactor: Any) -> None:
        self._path = path
        self._site = site
        self._reactor = reactor
        self._port: IListeningPort | None = None
        # Of a path that is too long, while it is listened at.
        self._directory: int | None = None

    def startService(self) -> None:
        """Listen."""
        super().startService()
        try:
            self._directory = open_directory(self._path)
            path = short_path(self._path, self._directory)
            _make_way(path)
            # Nobody else may connect at any moment, not even between bind and chmod.
            mask = os.umask(0o177)
            try:
                self._port = self._reactor.listenUNIX(path, self._site, mode=0o600)
            finally:
                os.umask(mask)
        except CannotListenError as error:
            if self._site.numPorts:
                self._site.doStop()  # Twisted has started it before it tried to listen
            self._cannot(os.strerror(error.socketError.errno or 0))
        except OSError as error:
            self._cannot(error.strerror or str(error))

    def stopService(self) -> Deferred[Any] | None:
        """Stop listening, and remove the socket."""
        super().stopService()
        port, self._port = self._port, None
        stopped = maybeDeferred(port.stopListening) if port is not None else succeed(None)
        return stopped.addBoth(self._stopped)

    def _stopped(self, result: object) -> object:
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None
        return result

    def _cannot(self, why: str) -> None:
        self.log.warn(
            "kschat revoke cannot reach this daemon: {path} can't be the control socket: {why}",
            path=self._path,
            why=why,
        )


def _make_way(path: str) -> None:
    """Remove the socket of a daemon that was killed. Raises OSError: the path can't be used."""
    place = Path(path)
    if not place.exists():
        return
    if not stat.S_ISSOCK(place.stat().st_mode):
        raise OSError(17, "there is a file of that name")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        if probe.connect_ex(path) == 0:
            raise OSError(98, "another daemon listens there")
    place.unlink()
