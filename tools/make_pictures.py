"""Makes the pictures of the page in docs/, from the running page in Chromium.

The page on a desktop and a phone, light and dark, and a person's first minute. Each begins with a demo that has just
been started. Run it after a change of the page, and look at what it made.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.spawn import spawn
from tests.support.launch import REPOSITORY, SERVING, command, environment, free_port
from tests.support.needs import require_chromium, require_node

DOCS: Final = REPOSITORY / "docs"

#: Scenarios of tests/node/page that make pictures, and whether their daemon remembers over a restart.
SCENARIOS: Final = {"pictures": False, "minute": True}


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


def make(scenario: str, remembers: bool) -> dict[str, Any]:
    """What a scenario said at its end."""
    with tempfile.TemporaryDirectory(prefix="kschat-pictures-") as name:
        scratch = Path(name)
        demo = Demo(scratch, {"store": f"sqlite:{scratch / 'store.db'}"} if remembers else {})
        told = {"chromium": require_chromium(), "url": f"http://127.0.0.1:{demo.port}", "pictures": str(DOCS)}
        player = REPOSITORY / "tests" / "node" / "page" / "play.js"
        said: dict[str, Any] = {}
        try:
            node = subprocess.Popen(
                [require_node(), str(player), scenario, json.dumps(told)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert node.stdin is not None
            assert node.stdout is not None
            for line in node.stdout:
                said = json.loads(line)
                if "ask" in said:
                    {"kill": demo.kill, "restart": demo.restart}[said["ask"]]()
                    node.stdin.write(json.dumps({"id": said["id"], "answer": None}).encode() + b"\n")
                    node.stdin.flush()
            node.communicate()
        finally:
            demo.kill()
    return said


def main() -> int:
    """Make them; the exit status."""
    for scenario, remembers in SCENARIOS.items():
        said = make(scenario, remembers)
        if "done" not in said:
            print(json.dumps(said, indent=1), file=sys.stderr)
            return 1
    for path in sorted((*DOCS.glob("page-*.png"), *DOCS.glob("minute-*.png"))):
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
