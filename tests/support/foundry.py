"""A stand-in for Cloud Foundry: uploads, stages and starts the app of this checkout as its documents say.

- upload: the files under version control, without those that ``.cfignore`` names;
- staging, by the Python buildpack: ``pip install -r requirements.txt`` into an environment of the app's. What pip would
  fetch is there already, as tests have no network; and the interpreter is the tests', not that of ``runtime.txt``;
- start: the command ``web`` of ``Procfile`` in a shell, in the app's directory, with ``PORT``, ``VCAP_SERVICES``,
  ``VCAP_APPLICATION``, ``CF_INSTANCE_INTERNAL_IP`` and the variables of ``manifest.yml``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.support import seed
from tests.support.daemon import Daemon
from tests.support.launch import REPOSITORY, free_port

#: Seconds that a step of staging may take.
PATIENCE = 180

#: What ``VCAP_SERVICES`` says: by the label of the offering.
Services = Mapping[str, Sequence[object]]


class Application(msgspec.Struct, rename="kebab"):
    """What is read of an app in ``manifest.yml``."""

    name: str
    instances: int
    buildpacks: list[str]
    health_check_type: str
    health_check_http_endpoint: str
    services: list[str]
    env: dict[str, str | int | bool]

    @property
    def environment(self) -> dict[str, str]:
        """The variables as an app gets them: texts."""
        return {name: json.dumps(one) if not isinstance(one, str) else one for name, one in self.env.items()}


class Manifest(msgspec.Struct):
    """``manifest.yml``."""

    applications: list[Application]


class Droplet:
    """The staged app.

    Args:
        directory: for the app, and for what it was staged with.
    """

    def __init__(self, directory: Path) -> None:
        self.app = directory / "app"
        self._deps = directory / "deps"
        directory.mkdir(parents=True)
        self._upload()
        self.manifest = msgspec.yaml.decode((self.app / "manifest.yml").read_bytes(), type=Manifest)
        self._stage()

    def _upload(self) -> None:
        _run(["git", "clone", "--quiet", "--shared", str(REPOSITORY), str(self.app)])
        changed = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--modified", "--others", "--exclude-standard"]
        for name in _run(changed).split("\0"):
            source, target = REPOSITORY / name, self.app / name
            if name and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
        _run(["git", "-C", str(self.app), "add", "--all"])
        left_out = ["git", "-C", str(self.app), "ls-files", "-z", "--cached", "--ignored", "--exclude-from=.cfignore"]
        for name in _run(left_out).split("\0"):
            if name:
                (self.app / name).unlink()
        _run(["rm", "-rf", str(self.app / ".git")])

    def _stage(self) -> None:
        _run([sys.executable, "-m", "venv", "--without-pip", str(self._deps)])
        seed.seed(self._deps)
        environ = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
        environ |= {"PATH": os.environ["PATH"], "HOME": str(self._deps)}
        install = [str(self._deps / "bin" / "python"), "-m", "pip", "install", "-r", "requirements.txt"]
        _run([*install, "--exists-action=w", "--disable-pip-version-check"], cwd=self.app, env=environ)

    @property
    def command(self) -> str:
        """The command of the process ``web``."""
        (found,) = re.findall(r"(?m)^web: (.+)$", (self.app / "Procfile").read_text())
        return str(found)

    def environment(self, port: int, services: Services) -> dict[str, str]:
        """The environment of an instance."""
        (application,) = self.manifest.applications
        return {
            "PATH": f"{self._deps / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.app),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PORT": str(port),
            "CF_INSTANCE_INTERNAL_IP": "127.0.0.1",
            "VCAP_APPLICATION": json.dumps({"application_name": application.name}),
            "VCAP_SERVICES": json.dumps(services),
            # Every instance has an address of its own there, and so this port; here they share one.
            "PEER_PORT": str(free_port()),
            **application.environment,
        }


class Instance(Daemon):
    """One instance of a staged app."""

    def __init__(self, droplet: Droplet, services: Services, secret: str) -> None:
        super().__init__({}, secret)
        self._droplet = droplet
        self._environ = {**droplet.environment(self.port, services), "KSCHAT_SECRET": secret}

    @classmethod
    async def begin(cls, test: Any, droplet: Droplet, services: Services, secret: str) -> Instance:
        """One that serves."""
        instance = cls(droplet, services, secret)
        test.addCleanup(instance._end)
        await instance._spawn()
        return instance

    def _command(self) -> list[str]:
        return ["bash", "-c", self._droplet.command]

    def _place(self) -> tuple[dict[str, str], str]:
        return self._environ, str(self._droplet.app)


def _run(command: list[str], **more: Any) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **more)
    if ended.returncode:
        raise AssertionError(f"{command}: {ended.stdout}\n{ended.stderr}")
    return str(ended.stdout)
