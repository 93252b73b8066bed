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
from collections.abc import Sequence
from typing import Final

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
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main(sys.argv[1:])
