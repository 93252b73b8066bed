"""A receiver of hooks, a process of its own: ``python -m bench.receiver PORT SECONDS STATUS``.

It answers each request after so many seconds by a status. A line on its input makes it print how many requests came,
and how many different events.
"""

from __future__ import annotations

import asyncio
import json
import sys


class Receiver:
    """Answers requests.

    Args:
        seconds: until each answer.
        status: of it.
    """

    def __init__(self, seconds: float, status: int) -> None:
        self._seconds = seconds
        self._answer = b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status
        self._ended = asyncio.Event()
        self._requests = 0
        self._ids: set[bytes] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[1:]
                headers = dict(line.lower().split(b": ", 1) for line in head if line)
                await reader.readexactly(int(headers[b"content-length"]))
                self._requests += 1
                self._ids.add(headers[b"webhook-id"])
                if self._seconds:
                    await asyncio.sleep(self._seconds)
                writer.write(self._answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def say(self) -> None:
        """Print what came."""
        if not sys.stdin.readline():
            self._ended.set()
            return
        print(json.dumps({"requests": self._requests, "events": len(self._ids)}), flush=True)

    async def run(self, port: int) -> None:
        """Serve until the end of the input."""
        await asyncio.start_server(self.serve, "127.0.0.1", port)
        asyncio.get_running_loop().add_reader(sys.stdin, self.say)
        print("{}", flush=True)
        await self._ended.wait()


if __name__ == "__main__":
    asyncio.run(Receiver(float(sys.argv[2]), int(sys.argv[3])).run(int(sys.argv[1])))
