"""Makes the pictures of the pages in docs/, from the running pages in Chromium.

The page on a desktop and a phone, light and dark, and a person's first minute: each begins with a demo that has just
been started. And the admin page, on three daemons with 300 sockets that chat. Run it after a change of a page, and look
at what it made. With the name of a scenario it makes the pictures of that one alone.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from bench.peers.base import Running
from bench.peers.daemon import Daemon
from bench.services import Services
from bench.spawn import spawn
from tests.support.launch import REPOSITORY, SERVING, command, environment, free_port, free_ports
from tests.support.needs import require_chromium, require_node

DOCS: Final = REPOSITORY / "docs"

#: Scenarios of tests/node/page that make pictures, and whether their daemon remembers over a restart.
SCENARIOS: Final = {"pictures": False, "minute": True}

#: That of the admin page.
ADMIN: Final = "admin_picture"


class Demo:
    """A daemon that a scenario may kill and start again."""

    def __init__(self, scratch: Path, settings: dict[str, object]) -> None:
        self._scratch = scratch
        self.port = free_port()
        self._settings = settings
        self.start()

    def start(self) -> None:
        arguments = command(self.port, {"demo": True, **self._settings})
        self._process = spawn(arguments, self._scratch / "daemon.log", SERVING, environment(""))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()


def play(scenario: str, told: Mapping[str, object], helpers: Mapping[str, Callable[[], None]]) -> dict[str, Any]:
    """What a scenario said at its end. ``helpers`` do what it asks for."""
    player = REPOSITORY / "tests" / "node" / "page" / "play.js"
    config = json.dumps({"chromium": require_chromium(), "pictures": str(DOCS), **told})
    said: dict[str, Any] = {}
    node = subprocess.Popen(
        [require_node(), str(player), scenario, config], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert node.stdin is not None
    assert node.stdout is not None
    for line in node.stdout:
        said = json.loads(line)
        if "ask" in said:
            helpers[said["ask"]]()
            node.stdin.write(json.dumps({"id": said["id"], "answer": None}).encode() + b"\n")
            node.stdin.flush()
    node.communicate()
    return said


def make(scenario: str, remembers: bool) -> dict[str, Any]:
    """What a scenario on a demo said at its end."""
    with tempfile.TemporaryDirectory(prefix="kschat-pictures-") as name:
        scratch = Path(name)
        demo = Demo(scratch, {"store": f"sqlite:{scratch / 'store.db'}"} if remembers else {})
        helpers = {"kill": demo.kill, "restart": demo.restart}
        try:
            return play(scenario, {"url": f"http://127.0.0.1:{demo.port}"}, helpers)
        finally:
            demo.kill()


def make_admin() -> dict[str, Any]:
    """The same of the admin page, on three daemons under a load."""
    key, secret, ports = secrets.token_urlsafe(32), secrets.token_hex(32), free_ports(3)
    with tempfile.TemporaryDirectory(prefix="kschat-pictures-") as name, Services() as services:
        keys = Path(name) / "keys.toml"
        keys.touch(mode=0o600)
        keys.write_text(f'[admin]\nkey = "{key}"\nscopes = ["admin"]\n')
        shared = (("store", "redis"), ("amqp", "{rabbitmq}"), ("redis", "{redis}"), ("api_keys", str(keys)))
        running: list[Running] = []
        load: subprocess.Popen[bytes] | None = None
        try:
            for number, port in enumerate(ports):
                scratch = Path(name) / str(number)
                scratch.mkdir()
                api = ("api_listen", f"tcp:{port}:interface=127.0.0.1")
                running.append(Daemon(name="picture", settings=(*shared, api)).start(scratch, secret, services))
            at = [part for one in running for part in ("--port", str(one.ports[0]))]
            argv = [sys.executable, "-m", "bench.load", *at, "--clients", "300", "--rate", "150", "--seconds", "600"]
            load = subprocess.Popen(argv, cwd=REPOSITORY, env={"KSCHAT_SECRET": secret}, stdout=subprocess.DEVNULL)
            return play(ADMIN, {"api": f"http://127.0.0.1:{ports[0]}", "key": key}, {})
        finally:
            if load is not None:
                load.kill()
                load.wait()
            for one in running:
                one.stop()


def main() -> int:
    """Make them; the exit status."""
    wanted = sys.argv[1:] or [*SCENARIOS, ADMIN]
    for scenario in wanted:
        said = make_admin() if scenario == ADMIN else make(scenario, SCENARIOS[scenario])
        if "done" not in said:
            print(json.dumps(said, indent=1), file=sys.stderr)
            return 1
    for path in sorted(path for kind in ("page", "minute", "admin") for path in DOCS.glob(f"{kind}-*.png")):
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
