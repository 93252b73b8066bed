"""Debian's nginx and haproxy on loopback, which send each request to the next of several daemons: round robin."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.trial import unittest

from tests.support.daemon import free_port
from tests.support.needs import require_program
from tests.support.waiting import real_reactor

#: Seconds until it must serve, or must have ended.
PATIENCE = 20

#: The examples that come with kschat are what is tested.
DEPLOY = Path(__file__).parents[2] / "deploy"

#: What stands around the example of nginx, with all it writes in a directory of the test's.
NGINX = """
daemon off;
worker_processes 1;
pid DIRECTORY/pid;
error_log DIRECTORY/errors;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path DIRECTORY/body;
    proxy_temp_path DIRECTORY/proxy;
    fastcgi_temp_path DIRECTORY/fastcgi;
    uwsgi_temp_path DIRECTORY/uwsgi;
    scgi_temp_path DIRECTORY/scgi;
    EXAMPLE
}
"""


class Proxy:
    """One of them.

    Attributes:
        port: where it listens.
    """

    def __init__(self, program: str, configuration: str) -> None:
        self._program = program
        self._configuration = configuration
        self._directory = Path(tempfile.mkdtemp(prefix="kschat-proxy-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self, test: unittest.TestCase) -> None:
        """Start it, until the test's end; it serves when this returns."""
        path = self._directory / "configuration"
        path.write_text(self._configuration.replace("PORT", str(self.port)).replace("DIRECTORY", str(self._directory)))
        self._spawn(path)
        test.addCleanup(self.stop)
        for _ in range(PATIENCE * 20):
            if _listens(self.port):
                return
            if self._process is None or self._process.poll() is not None:
                break
            await deferLater(real_reactor(), 0.05)
        raise AssertionError(f"it does not serve: {(self._directory / 'log').read_text()}")

    def _spawn(self, path: Path) -> None:
        mode = ["-p", str(self._directory), "-c"] if self._program.endswith("nginx") else ["-f"]
        # No child of the reactor's: trial would take what it leaves for a leak.
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen([self._program, *mode, str(path)], stdout=log, stderr=log)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        shutil.rmtree(self._directory, ignore_errors=True)


def nginx(ports: Sequence[int]) -> Proxy:
    """An nginx before daemons on these ports."""
    example = _before(ports, (DEPLOY / "nginx.conf").read_text("utf-8"))
    example = example.replace("listen 80;", "listen 127.0.0.1:PORT;")
    return Proxy(require_program("nginx"), NGINX.replace("EXAMPLE", example))


def haproxy(ports: Sequence[int]) -> Proxy:
    """A haproxy before daemons on these ports."""
    example = _before(ports, (DEPLOY / "haproxy.cfg").read_text("utf-8"))
    return Proxy(require_program("haproxy"), example.replace("bind :80", "bind 127.0.0.1:PORT"))


def _before(ports: Sequence[int], example: str) -> str:
    """An example with its three daemons on these ports."""
    for number, port in enumerate(ports):
        example = example.replace(f"127.0.0.1:{3000 + number}", f"127.0.0.1:{port}")
    return example


def _listens(port: int) -> bool:
    """Whether somebody listens on that port of 127.0.0.1 (state 0A of /proc/net/tcp), without connecting."""
    place = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[1] == place and fields[3] == "0A" for fields in map(str.split, lines))
