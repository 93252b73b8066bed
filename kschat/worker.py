"""The main program of a daemon that ``kschat run`` starts: ``python -m kschat.worker PARENT ARGUMENTS…``.

``ARGUMENTS`` are twistd's. ``PARENT`` is the id of the process that started this one; 0 if this is the process of
``kschat run`` itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

#: prctl(2): the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int) -> None:
    """Make the kernel send SIGTERM to this process when its parent ends. Exit if the parent has ended already."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)


def main(arguments: Sequence[str]) -> None:
    """Become a daemon."""
    parent = int(arguments[0])
    if parent:
        # Ctrl-C is for the parent, which passes it on.
        os.setpgid(0, 0)
        end_with(parent)
        # Only this process knows its id (sd_listen_fds(3)). Twisted reads the variable when it is imported.
        os.environ["LISTEN_PID"] = str(os.getpid())
    sys.argv = ["twistd", *arguments[1:]]
    _run_twistd()


def _run_twistd() -> None:
    """As the program twistd does, but with kschat as its only plugin.

    twistd looks for plugins in all packages, and remembers them in files: where one of these is old and cannot be
    written, as in a container with a read-only root, it logs a warning and a traceback at each start.
    """
    from twisted.application import app
    from twisted.scripts.twistd import ServerOptions, runApp  # type: ignore[attr-defined]

    from twisted.plugins.kschat_plugin import kschat

    class Options(ServerOptions):
        @property
        def subCommands(self) -> Iterator[tuple[str, None, Callable[[], Any], str]]:
            self.loadedPlugins = {kschat.tapname: kschat}
            yield kschat.tapname, None, lambda: kschat.options(), kschat.description

    app.run(runApp, Options)


if __name__ == "__main__":
    main(sys.argv[1:])
