"""Sends notifications to Android and iOS apps when messages wait for their users: a receiver of kschat's webhooks.

Firebase Cloud Messaging (HTTP v1) carries them. Which devices a user has, your app tells your back end; here that is a
file of JSON, {"alice": ["a device's token", …]}, which is read again for each webhook.

    python examples/fcm.py --secret hooks.secret --devices devices.json --account service-account.json --port 8099
    twistd kschat … --hooks-url http://127.0.0.1:8099/ --hooks-secret-file hooks.secret \
        --hooks-events message.undelivered

Needs PyJWT (`pip install "pyjwt[crypto]"`), and beside it the standard library alone. A webhook is answered with 200
when all its notifications were sent; with 503 the daemon sends it again later.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt

FCM = "https://fcm.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
MAX_BODY = 1_000_000  # bytes of a webhook
MAX_AGE = 300  # seconds that a webhook's timestamp may differ from the clock
MAX_KNOWN = 10_000  # webhooks whose ids are remembered
PATIENCE = 10  # seconds for an answer of Google's


class TryLater(Exception):
    """The webhook should be sent again."""


class Account:
    """A service account of Google's: makes access tokens, each used for nearly an hour."""

    def __init__(self, path: str) -> None:
        found = json.loads(Path(path).read_text("utf-8"))
        self.project: str = found["project_id"]
        self._email, self._key, self._url = found["client_email"], found["private_key"], found["token_uri"]
        self._token, self._until = "", 0.0
        self._lock = threading.Lock()

    def token(self) -> str:
        """The token for requests now. Raises OSError."""
        with self._lock:
            now = time.time()
            if now >= self._until:
                claims = {"iss": self._email, "scope": SCOPE, "aud": self._url, "iat": int(now), "exp": int(now) + 3600}
                assertion = jwt.encode(claims, self._key, "RS256")
                form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
                data = urllib.parse.urlencode(form).encode()
                with urllib.request.urlopen(self._url, data, PATIENCE) as answer:
                    found = json.load(answer)
                self._token, self._until = found["access_token"], now + found["expires_in"] - 60
            return self._token


class Sender:
    """Sends notifications by FCM."""

    def __init__(self, account: Account, devices: str, fcm: str) -> None:
        self._account = account
        self._devices = Path(devices)
        self._url = f"{fcm}/v1/projects/{account.project}/messages:send"
        self._lock = threading.Lock()

    def undelivered(self, event: dict[str, Any]) -> None:
        """Notify each device of a user. Raises TryLater if one could not be reached."""
        user, count, more = event["user"], event["count"], event.get("more", False)
        words = "New message" if count == 1 else f"{count}{'+' if more else ''} new messages"
        failed = False
        for device in self._of(user):
            message = {
                "token": device,
                "notification": {"title": "Chat", "body": words},
                "data": {"user": user, "count": str(count)},
                # The next one takes its place, on the way and on the screen.
                "android": {"collapse_key": "chat", "notification": {"tag": "chat"}},
                "apns": {"headers": {"apns-collapse-id": "chat"}},
            }
            failed = not self._send(user, device, message) or failed
        if failed:
            raise TryLater("a device was not reached")

    def _send(self, user: str, device: str, message: dict[str, Any]) -> bool:
        """Whether it is done; what is refused for good is done too."""
        try:
            token = self._account.token()
        except OSError as error:  # a status, too: it says nothing of the device
            print(f"Google gives no access token: {error}", file=sys.stderr)
            return False
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            request = urllib.request.Request(self._url, json.dumps({"message": message}).encode(), headers)
            with urllib.request.urlopen(request, timeout=PATIENCE):
                return True
        except urllib.error.HTTPError as error:
            if error.code == 404:  # UNREGISTERED: the app is gone from that device
                self._forget(user, device)
                return True
            print(f"FCM answered {error.code}", file=sys.stderr)
            return error.code not in (401, 403, 429) and error.code < 500
        except OSError as error:
            print(f"Google cannot be reached: {error}", file=sys.stderr)
            return False

    def _of(self, user: str) -> list[str]:
        with self._lock:
            return list(json.loads(self._devices.read_text("utf-8")).get(user, []))

    def _forget(self, user: str, device: str) -> None:
        with self._lock:
            devices = json.loads(self._devices.read_text("utf-8"))
            devices[user] = [one for one in devices.get(user, []) if one != device]
            self._devices.write_text(json.dumps(devices), "utf-8")


class Webhooks:
    """Verifies webhooks by the Standard Webhooks specification, and knows which were done."""

    def __init__(self, secret: str) -> None:
        lines = [line.strip() for line in Path(secret).read_text("utf-8").splitlines()]
        # Several, while they are being changed.
        self._secrets = [
            base64.b64decode(line.removeprefix("whsec_")) for line in lines if line and not line.startswith("#")
        ]
        self._done: OrderedDict[str, None] = OrderedDict()

    def is_genuine(self, headers: Any, body: bytes) -> bool:
        """Whether a request was signed with the secret, lately."""
        id_, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not id_ or not stamp.isdigit() or abs(time.time() - int(stamp)) > MAX_AGE:
            return False
        given = [one.removeprefix("v1,") for one in headers.get("webhook-signature", "").split() if one[:3] == "v1,"]
        for secret in self._secrets:
            digest = hmac.new(secret, f"{id_}.{stamp}.".encode() + body, hashlib.sha256).digest()
            if any(hmac.compare_digest(base64.b64encode(digest), one.encode()) for one in given):
                return True
        return False

    def is_done(self, id_: str) -> bool:
        """Whether this webhook was done: after a crash the daemon may send one twice."""
        return id_ in self._done

    def done(self, id_: str) -> None:
        """It is done."""
        self._done[id_] = None
        while len(self._done) > MAX_KNOWN:
            self._done.popitem(last=False)


class Receiver(BaseHTTPRequestHandler):
    """Takes webhooks."""

    webhooks: Webhooks
    sender: Sender
    timeout = 10

    def do_POST(self) -> None:
        """One webhook."""
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            return self._answer(413)
        body = self.rfile.read(int(length))
        if not self.webhooks.is_genuine(self.headers, body):
            return self._answer(401)
        id_, event = self.headers["webhook-id"], json.loads(body)
        if event["type"] == "message.undelivered" and not self.webhooks.is_done(id_):
            try:
                self.sender.undelivered(event["data"])
            except TryLater:
                return self._answer(503)
            self.webhooks.done(id_)
        return self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the standard library
        """Nothing a request."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Webhooks of kschat to Firebase Cloud Messaging")
    parser.add_argument("--secret", required=True, help="the file of the daemon's setting hooks_secret_file")
    parser.add_argument("--devices", required=True, help="JSON: a list of device tokens for each user")
    parser.add_argument("--account", required=True, help="the JSON key of a service account that may send")
    parser.add_argument("--fcm", default=FCM, help="where FCM is")
    parser.add_argument("--port", type=int, default=8099, help="on 127.0.0.1")
    options = parser.parse_args()
    Receiver.webhooks = Webhooks(options.secret)
    Receiver.sender = Sender(Account(options.account), options.devices, options.fcm)
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Receiver)
    print(f"waiting for webhooks at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
