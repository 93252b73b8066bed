"""A line client: python chat.py TOKEN ME PEER. Sends each line that is typed, prints what arrives."""

import os
import sys
import time
import uuid
from typing import Any

import socketio

NAMESPACE = "/kschat"
AGAIN = (3, 7, 8)  # no store, going down, busy: worth another try

token, me, peer = sys.argv[1:]
client = socketio.Client()
seen: set[str] = set()  # a message may come twice, after a connection was lost


# Before it connects: what was missed arrives at once. Returning is the ack: from then on it counts as delivered.
@client.on("RESPRECEIVER", namespace=NAMESPACE)
def received(body: dict[str, Any]) -> None:
    for message in body.get("MSG", []):
        if message["mid"] not in seen:
            print(f"{message['uId']}: {message['msg']}", flush=True)
        seen.add(message["mid"])


def send(text: str) -> None:
    # The same cid makes sending it again harmless.
    message = {"uId": me, "pId": peer, "msg": text, "rno": 1, "time": int(time.time()), "cid": str(uuid.uuid4())}
    while True:
        try:
            answer = client.call("Send", message, namespace=NAMESPACE, timeout=10)
        except (socketio.exceptions.TimeoutError, socketio.exceptions.BadNamespaceError):
            answer = {"ER": AGAIN[0]}
        if answer.get("ER") not in AGAIN:
            break
        time.sleep(1)
    print(f"not sent: {answer['WHY']}" if answer.get("ER") else "sent", flush=True)


client.connect(
    os.environ.get("KSCHAT_URL", "http://127.0.0.1:3000"), namespaces=[NAMESPACE], auth={"token": token}, retry=True
)
print("connected", flush=True)
for line in sys.stdin:
    send(line.rstrip("\n"))
client.disconnect()
