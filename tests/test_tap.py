"""``twistd kschat`` as a real process: how it starts, how it refuses to, how it ends."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from unittest import mock

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from kschat import tap
from kschat.cli.options import Options as PlainOptions
from kschat.front.descriptors import RESERVED
from kschat.process import IGNORED, DemoNotice, StartNotice
from kschat.settings import SETTINGS, Config, ConfigError
from kschat.tap import Options, make_service, makeService
from tests.front.wires import Wire

ROOT = Path(__file__).parent.parent
SECRET = "a secret of the tests, long enough for HS256"
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")

#: Seconds that a process is given, on a machine that has other things to do.
PATIENCE = 30


def environment(**settings: str) -> dict[str, str]:
    """Ours without what would configure a daemon, and with ``settings``."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("KSCHAT_") and name != "PORT"}
    return {**ours, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **settings}


def first_match(stream: IO[str], pattern: str, seen: list[str] | None = None) -> re.Match[str]:
    """The first line of ``stream`` that holds ``pattern``. Raises AssertionError when it ends without.

    ``seen`` is given those before it.
    """
    seen = [] if seen is None else seen
    for line in stream:
        match = re.search(pattern, line)
        if match:
            return match
        seen.append(line)
    raise AssertionError(f"{pattern!r} is not in {''.join(seen)}")


class ProcessTestCase(SynchronousTestCase):
    """Runs twistd in a directory of its own."""

    def setUp(self):
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def ended(self, arguments: Sequence[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """What a twistd left behind that ends by itself."""
        command = [*TWISTD, *arguments]
        return subprocess.run(
            command, cwd=self.directory, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def started(self, *arguments: str, **settings: str) -> tuple[Any, str]:
        """A daemon in the foreground that serves, and its URL."""
        daemon: Any = subprocess.Popen(
            [*TWISTD, "-n", "--pidfile=", "kschat", *arguments],
            cwd=self.directory,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        # Reading has no timeout of its own.
        watchdog = threading.Timer(PATIENCE, daemon.kill)
        self.addCleanup(watchdog.cancel)
        watchdog.start()
        self.before: list[str] = []
        return daemon, first_match(daemon.stdout, r"serving on (https?://\S+)", self.before)[1]

    def eventually(self, holds) -> None:
        """Waits for another process, which tells nobody when it is done."""
        end = time.monotonic() + PATIENCE
        while not holds():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)


class TestRefusedStart(ProcessTestCase):
    """One sentence on stderr, status 1, no traceback; in the foreground and where it would have left it."""

    def assert_one_sentence(self, ended: subprocess.CompletedProcess[str], beginning: str) -> None:
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended.stderr)
        self.assertTrue(ended.stderr.startswith(f"kschat: {beginning}"), ended.stderr)
        self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
        self.assertEqual(os.listdir(self.directory), [])

    def test_without_a_secret_the_start_says_how_to_give_one(self):
        for mode in [["-n"], ["-n", "--pidfile="], []]:
            self.assert_one_sentence(
                self.ended([*mode, "kschat"], environment()), "there is no key to verify tokens with"
            )

    def test_a_bad_value_is_named_with_its_origin(self):
        ended = self.ended(["kschat"], environment(KSCHAT_SECRET=SECRET, KSCHAT_MAX_BATCH="many"))
        self.assert_one_sentence(
            ended, "max_batch: 'many' from the environment (KSCHAT_MAX_BATCH) is not a whole number"
        )

    def test_an_endpoint_that_twisted_does_not_know_is_refused(self):
        for listen, reason in [
            ("carrier:pigeon", "Unknown endpoint type: 'carrier'"),
            ("ssl:443", "write ssl:443:privateKey=key.pem:certKey=cert.pem"),
            ("ssl:443:privateKey=/nowhere.pem:certKey=/nowhere.pem", "No such file or directory: /nowhere.pem"),
            ("systemd:domain=INET:index=0", "systemd has handed over no such socket"),
        ]:
            ended = self.ended(["-n", "kschat", "--listen", listen], environment(KSCHAT_SECRET=SECRET))
            self.assert_one_sentence(ended, f"listen: {listen!r} is not an endpoint that Twisted can use: {reason}\n")
        # Of some kinds the settings tell.
        ended = self.ended(["-n", "kschat", "--listen", "tcp:http"], environment(KSCHAT_SECRET=SECRET))
        self.assert_one_sentence(ended, "listen: 'tcp:http' from the command line (--listen) is not an endpoint that")

    def test_an_option_that_is_none_is_one_sentence_and_no_help(self):
        ended = self.ended(["kschat", "--listne", "tcp:3000"], environment(KSCHAT_SECRET=SECRET))
        self.assert_one_sentence(ended, "option --listne not recognized (did you mean --listen?)")

    def test_the_tac_is_refused_in_the_same_words(self):
        ended = self.ended(["-ny", str(ROOT / "kschat.tac"), "--pidfile="], environment())
        self.assertEqual(ended.returncode, 1)
        self.assertTrue(ended.stderr.startswith("kschat: there is no key"), ended.stderr)
        self.assertNotIn("Traceback", ended.stderr + ended.stdout)

    def test_a_busy_port_is_one_sentence_that_names_its_setting(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            busy = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
            for mode in [["-n"], []]:
                for name, arguments in {
                    "listen": ["--listen", busy],
                    "peer_listen": ["--listen", "tcp:0:interface=127.0.0.1", "--peer-listen", busy],
                }.items():
                    ended = self.ended([*mode, "kschat", *arguments], environment(KSCHAT_SECRET=SECRET))
                    self.assert_one_sentence(ended, f"{name}: cannot listen at {busy}: Address already in use\n")

    def test_a_socket_whose_directory_is_missing_is_one_sentence(self):
        ended = self.ended(["kschat", "--listen", "unix:/nowhere/x.sock"], environment(KSCHAT_SECRET=SECRET))
        self.assert_one_sentence(
            ended, "listen: cannot listen at unix:/nowhere/x.sock: there is no directory /nowhere\n"
        )


class TestRunning(ProcessTestCase):
    """A daemon that serves."""

    def test_a_demo_serves_on_loopback_at_the_port_of_the_environment(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        _, url = self.started("--demo", PORT=str(port))
        self.assertEqual(url, f"http://127.0.0.1:{port}/")
        with urllib.request.urlopen(url + "healthz", timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)
        with urllib.request.urlopen(f"{url}?uid=1&rid=2", timeout=PATIENCE) as answer:
            self.assertIn(b"demo", answer.read())
        with urllib.request.urlopen(f"{url}metrics", timeout=PATIENCE) as answer:
            self.assertEqual([b'kschat_up{part="store"} 1.0'], re.findall(rb"(?m)^kschat_up\{\S+ \S+", answer.read()))
        with urllib.request.urlopen(f"{url}readyz", timeout=PATIENCE) as answer:
            said = {"status": "ready", "router": "none", "store": "up", "bus": "none"}
            self.assertEqual(json.load(answer), said)

    def test_metrics_need_not_be_served(self):
        _, url = self.started(
            "--listen", "tcp:0:interface=127.0.0.1", "--store", "memory", KSCHAT_SECRET=SECRET, KSCHAT_METRICS="false"
        )
        error = self.assertRaises(urllib.error.HTTPError, urllib.request.urlopen, f"{url}metrics", timeout=PATIENCE)
        self.assertEqual(error.code, 404)
        error.close()

    def test_connections_that_the_limit_of_files_can_not_hold_are_said_and_lowered(self):
        def wanted(limit, **settings):
            with mock.patch.object(tap, "raise_limit", lambda: limit):
                config, notice = tap._within_descriptors(Config(**settings))
            return config.max_connections, notice

        self.assertEqual(wanted(20_000), (10_000, ""))
        self.assertEqual(wanted(1024)[0], 1024 - RESERVED)
        self.assertIn("10000 is lowered to 874, since this process may open no more than 1024 files", wanted(1024)[1])
        self.assertEqual(wanted(1024, peer_listen="tcp:1")[0], (1024 - RESERVED) // 2)
        self.assertEqual(wanted(1024, max_connections=800), (800, ""))
        error = self.assertRaises(ConfigError, wanted, 180)
        self.assertIn("max_connections: this process may open no more than 180 files", str(error))
        with capturedLogs() as logged:
            StartNotice("lowered").startService()
        self.assertEqual(formatEvent(logged[0]), "lowered")

    def test_a_demo_says_in_the_log_that_it_is_one(self):
        environ = environment(PORT="0")
        with mock.patch.dict(os.environ, environ, clear=True):
            options = Options()
            options.parseOptions(["--demo"])
            whole: Any = makeService(options)
        (notice,) = (service for service in whole if isinstance(service, DemoNotice))
        with capturedLogs() as logged:
            notice.startService()
        self.assertIn("this is a demo", logged[0]["log_format"])

    def test_a_signal_ends_it_in_order_with_status_0(self):
        for number in [signal.SIGTERM, signal.SIGINT]:
            daemon, _ = self.started("--listen", "tcp:0:interface=127.0.0.1", KSCHAT_SECRET=SECRET)
            daemon.send_signal(number)
            printed = daemon.stdout.read()
            self.assertEqual(daemon.wait(PATIENCE), 0, printed)
            self.assertIn("Server Shut Down", printed)
            self.assertNotIn("Traceback", printed)

    def test_signals_that_mean_nothing_do_not_end_it(self):
        self.assertIn(signal.SIGUSR2, IGNORED)
        daemon, url = self.started("--listen", "tcp:0:interface=127.0.0.1", KSCHAT_SECRET=SECRET)
        for number in IGNORED:
            daemon.send_signal(number)
            with urllib.request.urlopen(url + "healthz", timeout=PATIENCE) as answer:
                self.assertEqual(answer.status, 200)
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)

    def test_in_the_background_they_do_not_either_and_sigusr1_begins_another_log(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        ended = self.ended(
            ["--pidfile=kschat.pid", "--logfile=kschat.log", "kschat", "--listen", f"tcp:{port}:interface=127.0.0.1"],
            environment(KSCHAT_SECRET=SECRET),
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        pid = int((self.directory / "kschat.pid").read_text())
        self.addCleanup(self.end, pid)
        log = self.directory / "kschat.log"
        self.eventually(lambda: "serving on" in log.read_text())
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGUSR2)
        os.kill(pid, signal.SIGUSR1)
        self.eventually((self.directory / "kschat.log.1").exists)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)

    def end(self, pid: int) -> None:
        """Ends a daemon in the background, and waits until it has."""
        os.kill(pid, signal.SIGTERM)
        self.eventually(lambda: not (self.directory / "kschat.pid").exists())

    def test_it_waits_by_a_clock_that_nobody_can_set_whatever_its_reactor_is_and_by_the_tac_too(self):
        checks = "from twisted.internet import reactor; import time; print(reactor.seconds is time.monotonic)"
        service = "from kschat.tap import Options, makeService; makeService(Options())"
        tac = f"exec(open({str(ROOT / 'kschat.tac')!r}).read())"
        install = "from twisted.internet.{}reactor import install; install()"
        chosen = [f"{install.format(name)}; {service}" for name in ("asyncio", "poll")]
        for beginning in (*chosen, service, tac):
            ended = subprocess.run(
                [sys.executable, "-c", f"{beginning}; {checks}"],
                cwd=self.directory,
                env=environment(KSCHAT_SECRET=SECRET, KSCHAT_STORE="memory", KSCHAT_LISTEN="tcp:0"),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual(ended.stdout, "True\n", beginning + ended.stderr)

    def test_a_store_that_cannot_be_opened_is_said_before_it_serves(self):
        daemon, _ = self.started(
            "--listen", "tcp:0:interface=127.0.0.1", "--store", "sqlite:/nowhere/x.db", KSCHAT_SECRET=SECRET
        )
        first_match(daemon.stdout, "not ready: the store can't be used")
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)
        self.assertRegex(
            self.before[0],
            r"^kschat: store: sqlite:/nowhere/x\.db can't be used: there is no directory /nowhere; Send is refused",
        )

    def test_the_secret_is_not_in_the_log(self):
        daemon, _ = self.started("--listen", "tcp:0:interface=127.0.0.1", KSCHAT_SECRET=SECRET)
        daemon.terminate()
        self.assertNotIn(SECRET, daemon.stdout.read())


class TestOptions(SynchronousTestCase):
    """The options of twistd, made from the settings."""

    def test_there_is_an_option_for_every_setting(self):
        shown = str(Options())
        for setting in SETTINGS.values():
            self.assertRegex(shown, rf"{setting.option}\b")

    def test_what_was_not_given_is_absent(self):
        options = Options()
        options.parseOptions([])
        self.assertEqual(options.given(), {})

    def test_what_was_given_keeps_its_text_by_the_setting_s_name(self):
        options = Options()
        options.parseOptions(["-c", "x.toml", "-l", "tcp:1", "--ping-interval=3", "--demo", "--no-access-log"])
        expected = {"config": "x.toml", "listen": "tcp:1", "ping_interval": "3", "demo": "true", "access_log": "false"}
        self.assertEqual(options.given(), expected)

    def test_a_switch_both_on_and_off_is_refused(self):
        self.assertRaises(usage.UsageError, PlainOptions().parseOptions, ["--demo", "--no-demo"])


class TestMakeService(SynchronousTestCase):
    """The service, without a process around it."""

    def test_an_unknown_endpoint_is_a_configuration_error(self):
        config = Config(secret=SECRET, listen="carrier:pigeon")
        self.assertRaises(ConfigError, make_service, config, MemoryReactorClock())

    def test_it_listens_where_it_was_told_and_stops(self):
        reactor = MemoryReactorClock()
        service = make_service(Config(secret=SECRET, store="memory", listen="tcp:8080:interface=127.0.0.1"), reactor)
        service.privilegedStartService()
        service.startService()
        self.assertEqual([(port, where) for port, _, _, where in reactor.tcpServers], [(8080, "127.0.0.1")])
        service.stopService()

    def test_what_is_for_operators_has_a_port_of_its_own(self):
        reactor = MemoryReactorClock()
        ops = "tcp:9100:interface=127.0.0.1"
        config = Config(secret=SECRET, store="memory", listen="tcp:8080", ops_listen=ops, base_path="/chat")
        service = make_service(config, reactor)
        service.privilegedStartService()
        service.startService()
        sites = {port: factory for port, factory, *_ in reactor.tcpServers}
        for path in ("/healthz", "/readyz", "/metrics", "/chat/healthz", "/chat/metrics", "/chat/", "/chat/socket.io/"):
            told = {}
            for port, site in sites.items():
                wire = Wire(reactor)
                protocol: Any = site.buildProtocol(wire.getPeer())
                wire.protocol = protocol
                protocol.makeConnection(wire)
                wire.arrive(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                told[port] = bytes(wire.taken).split(b" ", 2)[1]
            served = {9100} if path.count("/") == 1 else set() if path.endswith(("healthz", "metrics")) else {8080}
            self.assertEqual({port for port, status in told.items() if status != b"404"}, served, (path, told))
        service.stopService()

    def test_two_services_can_live_in_one_process(self):
        reactor = MemoryReactorClock()
        for port in (8080, 8081):
            make_service(Config(secret=SECRET, store="memory", listen=f"tcp:{port}"), reactor).startService()
        self.assertEqual([port for port, *_ in reactor.tcpServers], [8080, 8081])
