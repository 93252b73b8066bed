"""Debian's nginx, haproxy and Apache on loopback, each by the examples of ``deploy/``."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.trial import unittest

from tests.support.launch import free_port
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

#: The same of Apache, whose modules Debian puts into one directory.
APACHE = """
ServerRoot DIRECTORY
ServerName localhost
PidFile DIRECTORY/pid
Mutex file:DIRECTORY
DefaultRuntimeDir DIRECTORY
ErrorLog DIRECTORY/errors
Listen 127.0.0.1:PORT
MODULES
EXAMPLE
"""
APACHE_MODULES = Path("/usr/lib/apache2/modules")
APACHE_LOADED = (
    "mpm_event",
    "authz_core",
    "slotmem_shm",
    "proxy",
    "proxy_http",
    "proxy_balancer",
    "lbmethod_byrequests",
)


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
        mode = ["-f"]
        if self._program.endswith("nginx"):
            mode = ["-p", str(self._directory), "-c"]
        elif self._program.endswith("apache2"):
            mode = ["-D", "FOREGROUND", "-f"]
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


def nginx(ports: Sequence[int], example: str = "nginx.conf") -> Proxy:
    """An nginx before daemons on these ports."""
    example = _before(ports, example)
    example = example.replace("listen 80;", "listen 127.0.0.1:PORT;")
    return Proxy(require_program("nginx"), NGINX.replace("EXAMPLE", example))


def haproxy(ports: Sequence[int], example: str = "haproxy.cfg") -> Proxy:
    """A haproxy before daemons on these ports."""
    example = _before(ports, example)
    return Proxy(require_program("haproxy"), example.replace("bind :80", "bind 127.0.0.1:PORT"))


def apache(ports: Sequence[int], example: str = "apache.conf") -> Proxy:
    """An Apache before daemons on these ports."""
    modules = "\n".join(f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in APACHE_LOADED)
    example = _before(ports, example).replace("*:80", "127.0.0.1:PORT")
    configuration = APACHE.replace("MODULES", modules).replace("EXAMPLE", example)
    return Proxy(require_program("apache2"), configuration)


def _before(ports: Sequence[int], name: str) -> str:
    """An example with its daemons on these ports."""
    example = (DEPLOY / name).read_text("utf-8")
    for number, port in enumerate(ports):
        example = example.replace(f"127.0.0.1:{3000 + number}", f"127.0.0.1:{port}")
    return example


def _listens(port: int) -> bool:
    """Whether somebody listens on that port of 127.0.0.1 (state 0A of /proc/net/tcp), without connecting."""
    place = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(fields[1] == place and fields[3] == "0A" for fields in map(str.split, lines))
