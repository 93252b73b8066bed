"""examples/fcm.py, as it stands there: webhooks of a real daemon become notifications at a stand-in for Google."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, readBody
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from kschat.hooks.signing import Signer, secret_of
from tests.e2e.test_api import KEY, Body, keys_file
from tests.e2e.test_examples import EXAMPLES, LineClient
from tests.support import Daemon
from tests.support.launch import free_port
from tests.support.waiting import real_reactor, within

ACCOUNT = "push@project.example"
SECRET = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"


class Google(Resource):
    """Gives access tokens, and takes notifications.

    Attributes:
        key: of the service account.
        notifications: those that were taken.
        tokens: how many access tokens were given.
        answers: by device: the statuses of its next notifications.
        token_status: of the answer to a request for an access token.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.key = rsa.generate_private_key(65537, 2048)
        self.notifications: list[dict[str, Any]] = []
        self.tokens = 0
        self.answers: dict[str, list[int]] = {}
        self.token_status = 200
        self.url = ""
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def render_POST(self, request: Request) -> bytes:
        assert request.content is not None
        body = request.content.read()
        request.setHeader(b"content-type", b"application/json")
        if request.path == b"/token":
            assertion = (request.args or {})[b"assertion"][0].decode()
            claims = jwt.decode(assertion, self.key.public_key(), ["RS256"], audience=f"{self.url}/token")
            assert claims["iss"] == ACCOUNT and claims["scope"].endswith("/firebase.messaging"), claims
            request.setResponseCode(self.token_status)
            self.tokens += 1
            return b'{"access_token": "access-%d", "expires_in": 3600}' % self.tokens
        assert request.path == b"/v1/projects/project/messages:send", request.path
        assert request.getHeader("authorization") == f"Bearer access-{self.tokens}"
        message = json.loads(body)["message"]
        statuses = self.answers.get(message["token"], [])
        status = statuses.pop(0) if statuses else 200
        request.setResponseCode(status)
        if status == 200:
            self.notifications.append(message)
            due = [one for one in self._waiting if one[0] <= len(self.notifications)]
            self._waiting = [one for one in self._waiting if one not in due]
            for _, waited in due:
                waited.callback(None)
        return b"{}"

    def took(self, count: int) -> Deferred[None]:
        """Fires when it has taken so many."""
        waited: Deferred[None] = Deferred()
        if len(self.notifications) >= count:
            waited.callback(None)
        else:
            self._waiting.append((count, waited))
        return within(waited, f"{count} notifications", lambda: str(self.notifications))


class FcmTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.devices, self.account, self.secret = (directory / name for name in ("devices", "account", "secret"))
        self.secret.write_text(f"# of the tests\n{SECRET}\n")
        self.secret.chmod(0o600)
        self.devices.write_text(json.dumps({"bob": ["phone", "tablet"]}))
        self.google = Google()

    async def started(self) -> str:
        """The URL of the receiver."""
        site = Site(self.google)
        port: Any = await TCP4ServerEndpoint(real_reactor(), 0, interface="127.0.0.1").listen(site)
        self.addCleanup(port.stopListening)
        self.google.url = f"http://127.0.0.1:{port.getHost().port}"
        private = self.google.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.account.write_text(
            json.dumps(
                {
                    "project_id": "project",
                    "client_email": ACCOUNT,
                    "private_key": private,
                    "token_uri": f"{self.google.url}/token",
                }
            )
        )
        arguments = [sys.executable, str(EXAMPLES / "fcm.py"), "--port", "0", "--fcm", self.google.url]
        for name in ("secret", "devices", "account"):
            arguments += [f"--{name}", str(getattr(self, name))]
        receiver = LineClient.start(self, arguments, dict(os.environ))
        await receiver.says("/\n")
        found = re.search(r"http://\S+", receiver.said)
        assert found is not None
        return found[0]

    async def post(self, url: str, body: bytes, headers: dict[bytes, bytes]) -> int:
        given = Headers({name: [value] for name, value in headers.items()})
        response: Any = await Agent(real_reactor()).request(b"POST", url.encode(), given, Body(body))
        await readBody(response)
        return int(response.code)

    async def test_messages_that_wait_are_notified_once_on_each_device(self) -> None:
        url = await self.started()
        api = free_port()
        daemon = await Daemon.start(
            self,
            api_listen=f"tcp:{api}:interface=127.0.0.1",
            api_keys=keys_file(self),
            hooks_url=url,
            hooks_secret_file=self.secret,
            hooks_events="message.undelivered",
            undelivered_after=1,
        )
        sent = json.dumps({"from": "ann", "to": "bob", "msg": "Not in a notification"}).encode()
        headers = {b"authorization": f"Bearer {KEY}".encode()}
        self.assertEqual(await self.post(f"http://127.0.0.1:{api}/v1/send", sent, headers), 200)
        await self.google.took(2)
        self.assertEqual([one["token"] for one in self.google.notifications], ["phone", "tablet"])
        for one in self.google.notifications:
            self.assertEqual(one["notification"], {"title": "Chat", "body": "New message"})
            self.assertEqual(one["data"], {"user": "bob", "count": "1"})
        self.assertNotIn("Not in", json.dumps(self.google.notifications))
        self.assertEqual(daemon.faults, [])

    async def test_what_is_not_signed_is_refused_and_what_comes_twice_is_done_once(self) -> None:
        url = await self.started()
        data = {"user": "bob", "count": 3, "more": False}
        body = json.dumps({"type": "message.undelivered", "timestamp": "x", "data": data}).encode()
        signer, other = Signer([secret_of(SECRET)]), Signer([bytes(32)])
        now = int(time.time())
        for headers in (
            {},
            other.headers("msg_1", now, body),
            signer.headers("msg_1", now - 3600, body),
            signer.headers("msg_1", now, body + b" "),
        ):
            self.assertEqual(await self.post(url, body, headers), 401)
        self.assertEqual(self.google.notifications, [])
        good = signer.headers("msg_1", now, body)
        for _ in range(2):
            self.assertEqual(await self.post(url, body, good), 200)
        self.assertEqual([one["notification"]["body"] for one in self.google.notifications], ["3 new messages"] * 2)
        self.assertEqual(self.google.tokens, 1)

    async def test_a_device_that_is_gone_is_forgotten_and_one_that_is_not_reached_is_tried_again(self) -> None:
        url = await self.started()
        self.google.answers = {"phone": [404], "tablet": [503]}
        data = {"user": "bob", "count": 1, "more": False}
        body = json.dumps({"type": "message.undelivered", "timestamp": "x", "data": data}).encode()
        headers = Signer([secret_of(SECRET)]).headers("msg_2", int(time.time()), body)
        self.assertEqual(await self.post(url, body, headers), 503)
        self.assertEqual(json.loads(self.devices.read_text()), {"bob": ["tablet"]})
        self.assertEqual(await self.post(url, body, headers), 200)
        self.assertEqual([one["token"] for one in self.google.notifications], ["tablet"])

    async def test_without_an_access_token_no_device_is_forgotten_and_it_is_tried_again(self) -> None:
        url = await self.started()
        data = {"user": "bob", "count": 1, "more": False}
        body = json.dumps({"type": "message.undelivered", "timestamp": "x", "data": data}).encode()
        headers = Signer([secret_of(SECRET)]).headers("msg_3", int(time.time()), body)
        for self.google.token_status in (404, 400):
            self.assertEqual(await self.post(url, body, headers), 503)
        self.assertEqual(json.loads(self.devices.read_text()), {"bob": ["phone", "tablet"]})
        self.google.token_status = 200
        self.assertEqual(await self.post(url, body, headers), 200)
        self.assertEqual([one["token"] for one in self.google.notifications], ["phone", "tablet"])
