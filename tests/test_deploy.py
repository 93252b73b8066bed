"""What is under deploy/ for systemd and logrotate, each checked by the program that it is for (proxies: tests.e2e)."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import jwt
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from tests.support.needs import require, require_program
from tests.support.sandbox import allowed_calls, directives
from tests.test_tap import PATIENCE, ROOT, SECRET, TWISTD, ProcessTestCase, environment, first_match

DEPLOY = ROOT / "deploy"
SERVICES = ("kschat.service", "kschat@.service")

_MONITORING = "tests.test_monitoring.Prometheus.test_every_expression_is_understood_and_every_series_in_it_is_there"
_IMAGE = "tests.installation.container_image.TestImage.test_it_serves_and_is_the_same_whenever_it_is_built"
_LITESTREAM = (
    "tests.e2e.test_restore.LitestreamTests.test_clients_of_before_miss_nothing_that_was_acknowledged_after_the_restore"
)
_COMPOSE_HAPROXY = "tests.test_containers.TestCompose.test_haproxy_understands_its_file_and_finds_the_daemons"

#: Files of deploy/ -> the test in which the program that they are for reads them; for the manifests of Kubernetes and
#: for compose, where that program may be missing, their schema or what is read of them.
READ_BY: Mapping[str, str] = {
    "kschat*.service": "tests.test_deploy.Units.test_systemd_understands_every_line",
    "kschat*.socket": "tests.test_deploy.Units.test_systemd_understands_every_line",
    "kschat@.service.d/*": "tests.test_deploy.Units.test_systemd_understands_every_line",
    "kschat.sysusers": "tests.test_deploy.Units.test_its_user_and_its_directories_are_made",
    "kschat.tmpfiles": "tests.test_deploy.Units.test_its_user_and_its_directories_are_made",
    "litestream.yml": _LITESTREAM,
    "logrotate.conf": "tests.test_deploy.Units.test_logrotate_understands_its_file",
    "nginx*.conf": "tests.e2e.test_proxies.BelowAPath.test_through_nginx",
    "haproxy*.cfg": "tests.e2e.test_proxies.BelowAPath.test_through_haproxy",
    "apache*.conf": "tests.e2e.test_proxies.BelowAPath.test_through_apache",
    "prometheus-rules.yml": _MONITORING,
    "grafana-dashboard.json": _MONITORING,
    "completion/kschat.bash": "tests.test_commands.Made.test_bash_completes_commands_options_and_choices",
    "completion/*": "tests.test_commands.Made.test_other_shells_find_nothing_wrong_with_theirs",
    "man/*": "tests.test_commands.Made.test_man_finds_nothing_wrong_with_a_page",
    "container/Containerfile": _IMAGE,
    "container/build.lock": _IMAGE,
    "container/requirements.lock": "tests.test_deb.TestPackage.test_debian_s_python_runs_what_is_in_it",
    "container/compose.yml": "tests.installation.container_image.TestCompose.test_podman_compose_starts_what_it_says",
    "container/haproxy.cfg": _COMPOSE_HAPROXY,
    "kubernetes/kschat.yaml": "tests.test_containers.TestKubernetes.test_they_fit_the_schemas",
    "kubernetes/kustomization.yaml": "tests.test_containers.TestKubernetes.test_kubectl_reads_them",
    "debian/kschat.toml": "tests.test_deb.TestSettings.test_the_daemon_reads_them",
    "debian/control": "tests.test_deb.TestPackage.test_dpkg_reads_what_it_is",
    "debian/p*": "tests.installation.debian_package.TestPackage.test_it_serves_and_leaves_nothing",
    "debian/*": "tests.installation.debian_package.TestPackage.test_lintian_finds_nothing",
}

#: What a unit may score in ``systemd-analyze security``, times 10: 0 is nothing exposed, 100 all.
EXPOSURE = 19


def require_systemd(name: str) -> str:
    """A program of systemd's that is as new as the units."""
    path = require_program(name)
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"systemd (\d+)", version)
    require("" if found and int(found[1]) >= 252 else f"{name} is not of systemd 252 or later")
    return path


class TestFiles(SynchronousTestCase):
    def test_each_is_read_in_a_test_by_the_program_that_it_is_for(self) -> None:
        files = [path for path in DEPLOY.rglob("*") if path.is_file()]
        for path in files:
            name = str(path.relative_to(DEPLOY))
            self.assertTrue(any(fnmatch(name, pattern) for pattern in READ_BY), f"no test reads {name}")
        for pattern, test in READ_BY.items():
            self.assertTrue(any(fnmatch(str(path.relative_to(DEPLOY)), pattern) for path in files), pattern)
            self.assertTrue(callable(namedAny(test)), test)


class Units(SynchronousTestCase):
    """systemd's own tools, without systemd."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()

    def run_program(self, *arguments: str) -> tuple[int, str]:
        """The status and all that was said."""
        ended = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
        return ended.returncode, ended.stdout + ended.stderr

    def test_little_is_exposed(self) -> None:
        analyze = require_systemd("systemd-analyze")
        for name in SERVICES:
            status, said = self.run_program(
                analyze, "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(DEPLOY / name)
            )
            self.assertEqual(status, 0, said)

    def test_systemd_understands_every_line(self) -> None:
        analyze = require_systemd("systemd-analyze")
        units = self.root / "etc/systemd/system"
        shutil.copytree(DEPLOY, units, ignore=shutil.ignore_patterns("*.cfg", "*.sysusers", "*.tmpfiles"))
        # Units that ours name, and the ones that every unit needs.
        for kind in ("target", "slice"):
            for path in Path("/usr/lib/systemd/system").glob(f"*.{kind}"):
                shutil.copy(path, units)
        for name in ("opt/kschat/.venv/bin/twistd", "usr/bin/kill"):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            path.chmod(0o755)
        for name in ("kschat.service", "kschat.socket", "kschat@3001.service", "kschat@3001.socket"):
            status, said = self.run_program(analyze, "verify", f"--root={self.root}", "--man=no", name)
            self.assertEqual((status, said), (0, ""), name)

    def test_its_user_and_its_directories_are_made(self) -> None:
        users, directories = (require_systemd(f"systemd-{name}") for name in ("sysusers", "tmpfiles"))
        (self.root / "etc").mkdir()
        status, said = self.run_program(users, f"--root={self.root}", str(DEPLOY / "kschat.sysusers"))
        self.assertEqual(status, 0, said)
        (line,) = (self.root / "etc/passwd").read_text().splitlines()
        name, _, number, group, _, home, shell = line.split(":")
        self.assertEqual((name, home, shell), ("kschat", "/var/lib/kschat", "/usr/sbin/nologin"))
        if os.geteuid():
            return  # only root may give a directory away
        status, said = self.run_program(directories, f"--root={self.root}", "--create", str(DEPLOY / "kschat.tmpfiles"))
        self.assertEqual(status, 0, said)
        made = {path: (self.root / path).stat() for path in ("etc/kschat", "var/log/kschat", "run/kschat")}
        self.assertEqual([oct(found.st_mode)[-3:] for found in made.values()], ["750", "750", "755"])
        self.assertEqual([found.st_uid for found in made.values()], [0, int(number), int(number)])
        self.assertTrue(group)

    def test_logrotate_understands_its_file(self) -> None:
        logrotate = require_program("logrotate")
        copy = self.root / "kschat"
        shutil.copy(DEPLOY / "logrotate.conf", copy)
        copy.chmod(0o644)
        status, said = self.run_program(logrotate, "--debug", f"--state={self.root / 'state'}", str(copy))
        self.assertEqual(status, 0, said)
        self.assertNotIn("error", said)

    def test_the_units_differ_only_in_what_they_must(self) -> None:
        for name in ("WatchdogSec", "Type", "LimitNOFILE", "ExecStart", "ExecReload", "SystemCallFilter"):
            self.assertEqual(*(directives(DEPLOY / unit, name) for unit in SERVICES))


class Activated(ProcessTestCase):
    """Ports that systemd holds."""

    def ports(self, count: int) -> tuple[int, list[socket.socket]]:
        """A port of 127.0.0.1 with so many listening sockets, as ``ReusePort=yes`` makes them."""
        sockets = []
        port = 0
        for _ in range(count):
            one = socket.socket()
            self.addCleanup(one.close)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(("127.0.0.1", port))
            port = one.getsockname()[1]
            one.listen(4096)
            sockets.append(one)
        return port, sockets

    def activated(self, listening: socket.socket) -> Any:
        """A daemon that was handed this socket, by systemd's protocol (sd_listen_fds(3))."""
        listen = "--listen systemd:domain=INET:index=0 --store memory"
        protocol = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=kschat.socket"
        command = f'exec 3<&{listening.fileno()}; {protocol}; exec "$@" {listen}'
        daemon: Any = subprocess.Popen(
            ["bash", "-c", command, "bash", *TWISTD, "-n", "--pidfile=", "kschat"],
            cwd=self.directory,
            env=environment(KSCHAT_SECRET=SECRET),
            pass_fds=(listening.fileno(),),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        first_match(daemon.stdout, "serving on http://")
        return daemon

    def count(self, port: int) -> int:
        """How many connections the daemon has that answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
            return int(json.load(answer)["open"])

    def test_clients_wait_while_the_daemon_restarts(self) -> None:
        port, (held,) = self.ports(1)
        daemon = self.activated(held)
        self.assertEqual(self.count(port), 1)
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)
        # Nobody is there, and nobody is refused.
        early = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.addCleanup(early.close)
        early.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        self.activated(held)
        self.assertTrue(early.recv(100).startswith(b"HTTP/1.1 200 OK"))

    def test_several_daemons_share_one_port(self) -> None:
        port, sockets = self.ports(2)
        daemons = [self.activated(one) for one in sockets]
        # The kernel shares by the client's port: all come to one of two by a chance of one in 2**39.
        for _ in range(40):
            self.count(port)
        for daemon in daemons:
            first_match(daemon.stdout, "GET /healthz 200")


class Sandboxed(ProcessTestCase):
    """A daemon under a unit's restrictions does what one without them does."""

    def test_it_serves_stores_reloads_and_ends(self) -> None:
        require_systemd("systemd-analyze")
        require("" if sys.platform == "linux" and _has_seccomp() else "libseccomp is not there")
        unit = DEPLOY / "kschat.service"
        self.assertFalse(allowed_calls(unit) & {"mount", "reboot", "chown", "setuid", "bpf", "ptrace", "init_module"})
        made = Authority(self.directory, "root").sign("127.0.0.1")
        for path, name in zip(made, ("cert.pem", "key.pem"), strict=True):
            shutil.copy(path, self.directory / name)
        (self.directory / "secret").write_text(SECRET)
        arguments = [
            *("--secret-file", "secret", "--store", "sqlite:kschat.db", "--ops-listen", "tcp:0:interface=127.0.0.1"),
            *("--listen", "ssl:0:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1"),
        ]
        sandbox = [sys.executable, "-m", "tests.support.sandbox", str(unit), "."]
        daemon = self.process([*sandbox, *TWISTD, "-n", "--pidfile=", "kschat", *arguments])
        ops = first_match(daemon.stdout, r"serving operators on (http://\S+)")[1]
        url = first_match(daemon.stdout, r"serving on (https://\S+)")[1]
        self.assertNotIn("Traceback", "".join(self.before))
        self.assertIn('"kept"', self.exchange(url))
        with urllib.request.urlopen(f"{ops}metrics", timeout=PATIENCE) as answer:
            self.assertIn(b'kschat_up{part="store"} 1.0', answer.read())
        daemon.send_signal(signal.SIGHUP)
        first_match(daemon.stdout, "listen was read again")
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)

    def exchange(self, url: str) -> str:
        """A message to oneself, over long-polling and TLS: the packets that came."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        token = jwt.encode({"data": {"id": "ann"}}, SECRET, "HS256")

        def ask(query: str, body: bytes | None = None) -> str:
            request = urllib.request.Request(f"{url}socket.io/?EIO=4&transport=polling&{query}", body)
            with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as answer:
                return str(answer.read().decode())

        sid = re.findall(r'"sid":"([^"]+)"', ask("t=1"))[0]
        ask(f"sid={sid}", f'40/kschat,{{"token":"{token}"}}'.encode())
        said = ask(f"sid={sid}&t=2")
        ask(f"sid={sid}", b'42/kschat,1["Send",{"uId":"ann","pId":"ann","msg":"kept"}]')
        for number in range(3, 10):
            said += ask(f"sid={sid}&t={number}")
            if '"kept"' in said:
                break
        return said

    def process(self, command: list[str]) -> Any:
        daemon = subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert daemon.stdout is not None
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        self.before = []
        return daemon


def _has_seccomp() -> bool:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return True
