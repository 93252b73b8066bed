"""Starting a process, and waiting until it serves. It knows neither peers nor services."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.launch import REPOSITORY

_START: Final = 30.0
"""Seconds a server has until it serves."""


class PeerError(Exception):
    """A peer, or a service that it needs, did not start; the text says why."""


def readiness(port: int) -> dict[str, str]:
    """Return what a daemon on the loopback says of itself at /readyz. Raises OSError, ValueError."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=_START)
    try:
        link.request("GET", "/readyz")
        said: dict[str, str] = json.load(link.getresponse())
        return said
    finally:
        link.close()


def spawn(
    argv: Sequence[str], log: Path, ready: bytes, environ: Mapping[str, str] | None = None, seconds: float = _START
) -> subprocess.Popen[bytes]:
    """Start a process that writes to ``log``, and return when ``ready`` stands there. Raises PeerError.

    ``environ`` is the whole environment of the process; without it, it gets this one's. It has ``seconds`` to get
    ready.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=REPOSITORY, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    deadline = time.monotonic() + seconds
    while ready not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            tail = log.read_text(errors="replace")[-2000:]
            raise PeerError(f"{' '.join(argv)} does not serve (status {process.returncode}):\n{tail}")
        time.sleep(0.05)
    return process
