"""Makes the pictures of the page in docs/, from the running page in Chromium: desktop and phone, light and dark.

Each is of a demo that has just been started. Run it after a change of the page, and look at what it made.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench.spawn import spawn
from tests.support.launch import REPOSITORY, SERVING, command, environment, free_port
from tests.support.needs import require_chromium, require_node

DOCS: Final = REPOSITORY / "docs"


def main() -> int:
    """Make them; the exit status."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="kschat-pictures-") as scratch:

        def daemon() -> subprocess.Popen[bytes]:
            arguments = command(port, {"demo": True})
            return spawn(arguments, Path(scratch, "daemon.log"), SERVING, environment(""))

        running = daemon()
        told = {"chromium": require_chromium(), "url": f"http://127.0.0.1:{port}", "pictures": str(DOCS)}
        player = REPOSITORY / "tests" / "node" / "page" / "play.js"
        said: dict[str, object] = {}
        try:
            node = subprocess.Popen(
                [require_node(), str(player), "pictures", json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert node.stdin is not None
            assert node.stdout is not None
            for line in node.stdout:
                said = json.loads(line)
                if said.get("ask") == "restart":
                    running.terminate()
                    running.wait()
                    running = daemon()
                    node.stdin.write(b'{"answer": null}\n')
                    node.stdin.flush()
            node.communicate()
        finally:
            running.terminate()
            running.wait()
    if "done" not in said:
        print(json.dumps(said, indent=1), file=sys.stderr)
        return 1
    for path in sorted(DOCS.glob("page-*.png")):
        print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
