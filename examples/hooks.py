"""Receives the hooks of kschat, verifies them, and prints what happens. It needs nothing but Python.

    python examples/hooks.py FILE [PORT]

FILE is the daemon's `hooks_secret_file`. The server listens on 127.0.0.1, port 8000 unless another is given.
"""

import base64
import hashlib
import hmac
import json
import sys
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

#: Seconds by which the time of a request may differ from this machine's: an old one may be a replay.
TOLERANCE = 300

#: The ids of events that were handled. A real receiver keeps them in its database, for as long as `hooks_max_age`.
SEEN: set[str] = set()


def verify(secrets: list[bytes], headers: Message, body: bytes) -> bool:
    """Whether a request is the daemon's: Standard Webhooks, https://www.standardwebhooks.com."""
    id_, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    signed = f"{id_}.{timestamp}.".encode() + body
    expected = [base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()) for secret in secrets]
    given = [part.removeprefix("v1,").encode() for part in headers.get("webhook-signature", "").split(" ")]
    return any(hmac.compare_digest(one, other) for one in given for other in expected)


class Receiver(BaseHTTPRequestHandler):
    """Answers each request. Answer soon: do what takes long afterwards."""

    secrets: list[bytes]
    timeout = 10  # seconds: one request after another is read, and none may hold up the others for ever

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if not verify(self.secrets, self.headers, body):
            self.send_error(401)
            return
        # An event may come twice, with the same id.
        if self.headers["webhook-id"] not in SEEN:
            SEEN.add(self.headers["webhook-id"])
            event = json.loads(body)
            print(event["timestamp"], event["type"], json.dumps(event["data"]), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The requests themselves are not worth a line."""


def main(path: str, port: str = "8000") -> None:
    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    server = HTTPServer(("127.0.0.1", int(port)), Receiver)
    Receiver.secrets = [
        base64.b64decode(line.removeprefix("whsec_")) for line in lines if line and not line.startswith("#")
    ]
    print(f"waiting for events at http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
