"""The image, built by ``make image`` on a root made by debootstrap: it serves with a read-only root and no privileges.

Packages of Python come from a server of this process, which has what pip downloaded by the lock files' hashes; those of
Debian from the machine's mirror. All that podman makes is in a directory of the test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from tests.e2e.deployed import DeployedTestCase
from tests.support import REPOSITORY, SECRET, require_node
from tests.support.daemon import Daemon
from tests.support.debian import base_system
from tests.support.needs import require_program

PATIENCE = 900
LOCKS = REPOSITORY / "deploy" / "container"
BASE = "localhost/debian:test"

#: podman sets limits by default that some machines do not let it set.
SETTINGS = "[containers]\ndefault_ulimits = []\n"


class Engine:
    """podman, with storage of its own."""

    def __init__(self, place: Path) -> None:
        podman, runc = require_program("podman"), require_program("runc")
        settings = place / "containers.conf"
        settings.write_text(SETTINGS)
        self.command = [podman, f"--root={place}/storage", f"--runroot={place}/run", f"--runtime={runc}"]
        self.environment = {**os.environ, "CONTAINERS_CONF": str(settings), "KSCHAT_SECRET": SECRET}

    def run(self, *arguments: str) -> str:
        """What podman prints. AssertionError where it fails."""
        return self.run_program(*self.command, *arguments)

    def run_program(self, *command: str) -> str:
        """What a program prints that knows podman by these settings."""
        ended = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if ended.returncode:
            raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
        return ended.stdout


class Container(Daemon):
    """The image as docs/containers.md starts it, at a port that is free here."""

    def __init__(self, engine: Engine) -> None:
        super().__init__({}, SECRET)
        self._engine = engine
        self.name = f"kschat-{self.port}"

    async def begin(self, test: DeployedTestCase) -> None:
        """Start it; it ends with the test."""
        test.addCleanup(self._end)
        await self._spawn()

    def _command(self) -> list[str]:
        run = ["run", "--rm", f"--name={self.name}", "--read-only", "--network=host", "--cap-drop=all"]
        run += ["--security-opt=no-new-privileges", "--env=KSCHAT_SECRET", f"--env=HEALTH_URL={self.url}/livez"]
        return [*self._engine.command, *run, "kschat", f"--listen=tcp:{self.port}:interface=127.0.0.1"]

    def _place(self) -> tuple[dict[str, str], str]:
        return self._engine.environment, str(REPOSITORY)


class TestImage(DeployedTestCase):
    timeout = 2400

    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="kschat-image-"))
        self.addCleanup(shutil.rmtree, self.place, ignore_errors=True)

    async def test_it_serves_and_is_the_same_whenever_it_is_built(self) -> None:
        require_node()
        engine = Engine(self.place)
        self.addCleanup(engine.run, "rmi", "--all", "--force")
        one, other = await deferToThread(self.built_twice, engine)
        self.assertEqual(one["RootFS"], other["RootFS"])
        self.assertEqual(one["Pushed"], other["Pushed"])
        self.assertEqual((one["Config"]["User"], one["Config"]["StopSignal"]), ("10001:10001", "SIGTERM"))
        self.assertTrue(one["Healthcheck"])
        container = Container(engine)
        await container.begin(self)
        await container.ready_becomes("ready")
        await self.assert_serves_the_page(container.url, SECRET)
        await self.assert_two_clients_chat(container, container, SECRET)
        await deferToThread(self.assert_confined, engine, container.name)
        self.assertEqual(0, await container.stop())
        self.assertEqual([], container.faults)
        self.assertNotRegex(container.log, "plugin cache|Traceback")

    def built_twice(self, engine: Engine) -> tuple[Any, Any]:
        """What podman says of the image of each of two builds, and what a registry would get of it.

        The format docker, which alone has a health check, records the container of the build. What is pushed in the
        format oci does not.
        """
        engine.run("import", str(base_system()), BASE)
        image = f"--build-arg=BASE={BASE} --isolation=chroot --network=host --no-cache {self.index()}"
        make = ["make", "image", f"PODMAN={' '.join(engine.command)}", f"IMAGE={image}"]
        found: list[Any] = []
        for _ in range(2):
            engine.run_program(*make)
            (said,) = json.loads(engine.run("image", "inspect", "kschat"))
            with tempfile.TemporaryDirectory(dir=self.place) as registry:
                engine.run("push", "--quiet", "--format=oci", "kschat", f"dir:{registry}")
                found.append({**said, "Pushed": Path(registry, "manifest.json").read_text()})
        return found[0], found[1]

    def index(self) -> str:
        """The option for pip's settings in a build: they name a server that has the wheels."""
        wheels = self.place / "wheels"
        ask = ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        python = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip()
        options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", f"--python-version={python}"]
        for name in ("requirements.lock", "build.lock"):
            pip = [sys.executable, "-m", "pip", "download", *options, f"--requirement={LOCKS / name}"]
            subprocess.run([*pip, f"--dest={wheels}"], check=True, timeout=PATIENCE)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(wheels)))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        for end in (thread.join, server.server_close, server.shutdown):
            self.addCleanup(end)
        settings = self.place / "pip.conf"
        settings.write_text(f"[global]\nno-index = true\nfind-links = http://127.0.0.1:{server.server_port}/\n")
        return f"--secret=id=pip.conf,src={settings}"

    def assert_confined(self, engine: Engine, name: str) -> None:
        """The health check is content; the user has no privileges, and its directory alone can be written."""
        engine.run("healthcheck", "run", name)
        self.assertEqual("10001", engine.run("exec", name, "id", "-u").strip())
        engine.run("exec", name, "touch", "/var/lib/kschat/there")
        for path in ("/there", "/opt/kschat/there", "/etc/there"):
            self.assertRaises(AssertionError, engine.run, "exec", name, "touch", path)
        self.assertRegex(engine.run("exec", name, "grep", "CapEff", "/proc/self/status"), r"CapEff:\s0+\n")
        engine.run("exec", name, "/opt/kschat/bin/python", "-c", "import psycopg")


class TestCompose(DeployedTestCase):
    def test_podman_compose_starts_what_it_says(self) -> None:
        """Up to podman, whose place another program takes: its images are on a registry."""
        compose = require_program("podman-compose")
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        called = place / "called"
        podman = place / "podman"
        podman.write_text(
            f'#!/bin/sh\necho "$*" >>{called}\ncase "$1" in --version) echo podman version 4.3.1 ;; esac\n'
        )
        podman.chmod(0o755)
        environ = {**os.environ, "KSCHAT_SECRET": SECRET, "RABBITMQ_PASSWORD": "p"}
        command = [compose, f"--podman-path={podman}", f"--file={LOCKS / 'compose.yml'}", "up", "--detach"]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(0, ended.returncode, ended.stdout + ended.stderr)
        started = [line for line in called.read_text().splitlines() if line.startswith("run ")]
        daemons = [line for line in started if line.endswith(" kschat")]
        self.assertEqual((6, 3), (len(started), len(daemons)), ended.stderr)
        for line in daemons:
            for option in ("--read-only", "--cap-drop ALL", "no-new-privileges:true", f"-e KSCHAT_SECRET={SECRET}"):
                self.assertIn(option, line)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is the base class's
        """Log nothing."""
