"""Where a daemon begins that ``kschat run`` starts: ``python -m kschat.worker PARENT ARGUMENTS…``.

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
    """Let this process get SIGTERM when its parent ends, however that ends. It exits if the parent has ended."""
    with contextlib.suppress(OSError, AttributeError):  # no Linux
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
        # Known in this process only (sd_listen_fds(3)); before anything of Twisted is imported, which reads it.
        os.environ["LISTEN_PID"] = str(os.getpid())
    sys.argv = ["twistd", *arguments[1:]]
    from twisted.scripts.twistd import run

    run()


if __name__ == "__main__":
    main(sys.argv[1:])
