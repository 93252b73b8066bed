"""Runs a program under what a systemd unit forbids, as far as the kernel forbids it to a process: system calls,
families of sockets, memory that is written and run, capabilities, modes of files. Run by ``python -m``::

    python -m tests.support.sandbox deploy/kschat.service DIRECTORY COMMAND…

It does by libseccomp what systemd does (``src/core/execute.c`` and ``src/shared/seccomp-util.c`` of systemd 252). Where
this process may, all of the file system but DIRECTORY is read-only too (``ProtectSystem=strict``). Other namespaces are
not made here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NE, MASKED_EQ = 1, 7
PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 38, 24
PROT_WRITE, PROT_EXEC = 2, 4
#: Families of sockets that Linux has.
FAMILIES = range(46)


#: For mount_setattr(2), which is system call 442 on all machines.
MOUNT_SETATTR = 442
CLONE_NEWNS, MS_BIND, MS_PRIVATE, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 0x20000, 0x1000, 1 << 18, 0x8000, 1


class MountAttributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


class Comparison(ctypes.Structure):
    """``struct scmp_arg_cmp``."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def directives(unit: Path, name: str) -> list[str]:
    """The values of a setting of a unit, in order."""
    return re.findall(rf"^{name}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)


def calls(names: Iterable[str]) -> set[str]:
    """The system calls of a filter's names, of which those with @ are groups."""
    found: set[str] = set()
    for name in names:
        if not name.startswith("@"):
            found.add(name)
            continue
        text = subprocess.run(
            ["systemd-analyze", "syscall-filter", "--no-pager", name], capture_output=True, text=True, check=True
        ).stdout
        lines = [line.strip() for line in text.splitlines()[1:]]
        found |= calls(line for line in lines if line and not line.startswith("#"))
    return found


def allowed_calls(unit: Path) -> set[str]:
    """The system calls that a unit allows: its first filter allows, and those with ~ take away."""
    allowed: set[str] = set()
    for value in directives(unit, "SystemCallFilter"):
        if value.startswith("~"):
            allowed -= calls(value[1:].split())
        else:
            allowed |= calls([*value.split(), "@default"])
    return allowed


class Filters:
    """libseccomp."""

    def __init__(self) -> None:
        self.library: Any = ctypes.CDLL("libseccomp.so.2", use_errno=True)
        self.library.seccomp_init.restype = ctypes.c_void_p

    def begin(self, default: int) -> Any:
        return ctypes.c_void_p(self.library.seccomp_init(ctypes.c_uint32(default)))

    def add(self, filter_: Any, action: int, name: str, *comparisons: Comparison) -> None:
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:
            return  # not one of this kernel's
        array = (Comparison * max(len(comparisons), 1))(*comparisons)
        done = self.library.seccomp_rule_add_array(
            filter_, ctypes.c_uint32(action), ctypes.c_int(number), ctypes.c_uint(len(comparisons)), array
        )
        # A call that only another architecture has.
        assert done in (0, -errno.EDOM, -errno.EINVAL), (name, done)

    def load(self, filter_: Any) -> None:
        done = self.library.seccomp_load(filter_)
        assert done == 0, done


def keep_read_only(library: Any, directory: Path) -> bool:
    """Let this process write to no file but those in ``directory``. Returns whether it may do that."""

    def change(path: bytes, flags: int, **attributes: int) -> None:
        wanted = MountAttributes(**attributes)
        done = library.syscall(MOUNT_SETATTR, -100, path, flags, ctypes.byref(wanted), ctypes.sizeof(wanted))
        assert done == 0, os.strerror(ctypes.get_errno())

    if library.unshare(CLONE_NEWNS):
        return False
    place = os.fsencode(directory.absolute())
    change(b"/", AT_RECURSIVE, propagation=MS_PRIVATE)
    assert library.mount(place, place, None, MS_BIND, None) == 0, os.strerror(ctypes.get_errno())
    change(b"/", AT_RECURSIVE, set=MOUNT_ATTR_RDONLY)
    change(place, 0, clear=MOUNT_ATTR_RDONLY)
    # What was the working directory is below the new mount.
    os.chdir(place)
    return True


def restrict(unit: Path, directory: Path) -> None:
    """Restrict this process, and what it will run."""
    library = ctypes.CDLL(None, use_errno=True)
    library.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_void_p)
    # What the filters are made of is read by other programs, which need to write nothing.
    print("all but a directory is read-only:", keep_read_only(library, directory), flush=True)
    os.umask(int(directives(unit, "UMask")[0], 8))
    filters = Filters()
    refused = ERRNO | errno.EPERM
    only = filters.begin(refused)
    for name in sorted(allowed_calls(unit)):
        filters.add(only, ALLOW, name)
    families = {getattr(socket, name) for name in directives(unit, "RestrictAddressFamilies")[0].split()}
    sockets = filters.begin(ALLOW)
    for family in FAMILIES:
        if family not in families:
            filters.add(sockets, ERRNO | errno.EAFNOSUPPORT, "socket", Comparison(0, MASKED_EQ, 0xFFFFFFFF, family))
    memory = filters.begin(ALLOW)
    if directives(unit, "MemoryDenyWriteExecute") == ["yes"]:
        both = PROT_WRITE | PROT_EXEC
        filters.add(memory, refused, "mmap", Comparison(2, MASKED_EQ, both, both))
        for name in ("mprotect", "pkey_mprotect"):
            filters.add(memory, refused, name, Comparison(2, MASKED_EQ, PROT_EXEC, PROT_EXEC))
    if os.geteuid() == 0 and directives(unit, "CapabilityBoundingSet") == [""]:
        for capability in range(64):
            library.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for filter_ in (sockets, memory, only):
        filters.load(filter_)


if __name__ == "__main__":
    restrict(Path(sys.argv[1]), Path(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
