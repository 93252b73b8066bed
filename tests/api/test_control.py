"""The control socket, without a daemon behind it: what is asked, and what is answered."""

from __future__ import annotations

import http.client
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from kschat.api.control import MAX_BODY, ControlSocket, make_site
from kschat.chat.interfaces import RevocationsFull, StoreUnavailable
from kschat.chat.revocation import RevocationRequest
from kschat.cli import revoke
from kschat.settings import ConfigError
from kschat.unix_paths import MAX_PATH
from tests.support.waiting import real_reactor


class Asked:
    """Operations that keep what they were asked.

    Attributes:
        answer: what is answered.
    """

    def __init__(self) -> None:
        self.requests: list[RevocationRequest] = []
        self.answer: Exception | None = None

    def revoke(self, request: RevocationRequest) -> Deferred[None]:
        self.requests.append(request)
        return succeed(None) if self.answer is None else fail(self.answer)


class ControlTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        # A UNIX socket's path is short.
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.path = f"{directory.name}/c"
        self.asked = Asked()

    def listening(self) -> ControlSocket:
        operations: Any = self.asked
        service = ControlSocket(self.path, make_site(operations), real_reactor())
        service.startService()
        self.addCleanup(service.stopService)
        return service

    def file(self) -> Path:
        """A file that is somebody else's."""
        file = Path(self.path + ".txt")
        file.write_text("mine")
        return file

    def deep(self) -> str:
        """A path that is longer than that of a socket may be."""
        directory = Path(self.directory) / ("d" * MAX_PATH)
        directory.mkdir()
        return str(directory / "c")

    def text(self, file: Path) -> str:
        """What is in it."""
        return file.read_text()

    async def said(self, request: RevocationRequest) -> str:
        """What the command is told."""
        try:
            done = await deferToThread(revoke._asked, self.path, request)
        except ConfigError as error:
            return str(error)
        return "done" if done else "nobody"

    async def raw(self, method: str, path: str, body: bytes) -> int:
        """The status of any request."""

        def ask() -> int:
            connection = revoke._UnixConnection(self.path)
            connection.request(method, path, body)
            status = connection.getresponse().status
            connection.close()
            return status

        return await deferToThread(ask)

    async def test_a_request_arrives_as_the_command_means_it(self) -> None:
        self.listening()
        requests = [
            RevocationRequest(user="ann", lift=True),
            RevocationRequest(jti="\u00e4\n\0", expires=1.5),
            RevocationRequest(issued_before=0.0, user="42"),
        ]
        for request in requests:
            self.assertEqual(await self.said(request), "done")
        self.assertEqual(self.asked.requests, requests)

    async def test_a_failure_is_one_sentence(self) -> None:
        self.listening()
        for answer, expected in (
            (ValueError("that is not it"), "revoke: that is not it"),
            (StoreUnavailable("the disk is full"), "revoke: the disk is full"),
            (RevocationsFull(), "revoke: there are as many revocations as can be kept"),
            (ZeroDivisionError("a bug"), "revoke: the daemon's log has the reason"),
        ):
            self.asked.answer = answer
            self.assertEqual(await self.said(RevocationRequest(user="ann")), expected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_what_is_no_request_is_refused(self) -> None:
        self.listening()
        for body in (
            b"",
            b"{",
            b"[]",
            b'{"users":"ann"}',
            b'{"user":{}}',
            b"[" * 10_000,
            b" " * (MAX_BODY + 1),
            b"\xff",
        ):
            self.assertEqual(await self.raw("POST", "/v1/revoke", body), http.HTTPStatus.BAD_REQUEST, body[:20])
        self.assertEqual(await self.raw("GET", "/v1/revoke", b""), http.HTTPStatus.METHOD_NOT_ALLOWED)
        self.assertEqual(await self.raw("POST", "/v1/other", b"{}"), http.HTTPStatus.NOT_FOUND)
        self.assertEqual(self.asked.requests, [])

    async def test_only_the_owner_may_open_it_and_it_is_removed_at_the_end(self) -> None:
        before = os.umask(0)
        try:
            service = self.listening()
        finally:
            os.umask(before)
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        await maybeDeferred(service.stopService)
        self.assertNotIn("c", os.listdir(self.directory))
        self.assertEqual(await self.said(RevocationRequest(user="ann")), "nobody")

    async def test_a_path_that_is_too_long_for_a_socket_will_do(self) -> None:
        self.path = self.deep()
        service = self.listening()
        self.assertEqual(await self.said(RevocationRequest(user="ann")), "done")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        await maybeDeferred(service.stopService)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), [])
        self.assertEqual(await self.said(RevocationRequest(user="ann")), "nobody")

    async def test_the_socket_of_a_killed_daemon_gives_way(self) -> None:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(self.path)
        self.assertEqual(await self.said(RevocationRequest(user="ann")), "nobody")
        self.listening()
        self.assertEqual(await self.said(RevocationRequest(user="ann")), "done")

    async def test_what_is_in_its_way_stays_and_the_log_has_the_reason(self) -> None:
        short = self.path
        self.listening()
        file = self.file()
        for path, why in (
            (short, "another daemon listens there"),
            (str(file), "there is a file of that name"),
            (short + "/x", "Not a directory"),
            (short + "x" * MAX_PATH, f"its path is longer than {MAX_PATH} bytes"),
        ):
            self.path = path
            with capturedLogs() as events:
                self.listening()
            (text,) = [str(formatEvent(event)) for event in events if "revoke" in str(formatEvent(event))]
            self.assertIn(why, text)
        self.assertEqual(self.text(file), "mine")
        self.path = short
        self.assertEqual(await self.said(RevocationRequest(user="ann")), "done")
