"""The log: levels, JSON, and another file when one is full, or was moved away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kschat.logs import DEFAULT_FILE, FORMATS, LEVELS, DaemonLog, LogCount, LogFile, make_log
from kschat.settings import SETTINGS
from kschat.tap import Options
from tests.support.needs import require_program
from tests.test_tap import PATIENCE, ROOT, SECRET, TWISTD, ProcessTestCase, environment, first_match


class Counts(SynchronousTestCase):
    def test_warnings_and_faults_are_counted_while_the_service_runs(self) -> None:
        logged: Counter[str] = Counter()
        publisher = LogPublisher()
        count = LogCount(logged, publisher)
        logger = Logger("kschat.test", observer=publisher)
        logger.error("before")
        count.startService()
        for level in LogLevel.iterconstants():
            logger.emit(level, "one")
        logger.failure("a fault", Failure(ValueError()))
        # An event of old, without a level.
        publisher({"log_format": "old", "log_time": 0.0})
        count.stopService()
        logger.error("after")
        self.assertEqual(logged, {"warn": 1, "error": 1, "critical": 2})


class Lines(SynchronousTestCase):
    def setUp(self) -> None:
        self.output = StringIO()

    def logger(self, **more: Any) -> tuple[Logger, DaemonLog]:
        log = DaemonLog(self.output, **more)
        return Logger("kschat.test", observer=log), log

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    def test_lines_below_the_level_are_not_written_and_it_may_change(self) -> None:
        logger, log = self.logger(level="warn")
        for level in LogLevel.iterconstants():
            logger.emit(level, "{name}", name=level.name)
        self.assertEqual(
            [line.split()[-1] for line in self.output.getvalue().splitlines()], ["warn", "error", "critical"]
        )
        log.level = "debug"
        logger.debug("all of it")
        self.assertIn("[kschat.test#debug] all of it", self.output.getvalue())

    def test_an_event_without_a_level_is_information(self) -> None:
        event: LogEvent = {"log_format": "old", "log_time": 0.0}
        DaemonLog(self.output, level="info")(event)
        self.assertIn("old", self.output.getvalue())

    def test_json_is_one_object_a_line_whatever_a_client_sends(self) -> None:
        logger, _ = self.logger(form="json")
        peer = SimpleNamespace(host="ten")
        logger.info("{user} from {peer.host}: {count:d}", user='a"\n\ud800', count=2, peer=peer, socket="s1", token="x")
        (line,) = self.lines()
        self.assertRegex(line.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$")
        self.assertEqual(line.pop("message"), 'a"\n\\ud800 from ten: 2')
        # What the text does not show may be what no log may hold.
        self.assertEqual(
            line,
            {"level": "info", "logger": "kschat.test", "fields": {"user": 'a"\n\\ud800', "count": 2, "socket": "s1"}},
        )

    def test_json_of_a_failure_has_its_traceback(self) -> None:
        logger, _ = self.logger(form="json")
        try:
            raise ValueError("of no use")
        except ValueError:
            logger.failure("it failed", Failure())
        (line,) = self.lines()
        self.assertEqual((line["level"], line["message"]), ("critical", "it failed"))
        self.assertIn("ValueError: of no use", line["traceback"])

    def test_an_event_without_a_text_is_no_line(self) -> None:
        for form in ("json", "text"):
            DaemonLog(self.output, form=form)({"log_time": 0.0, "log_level": LogLevel.info})
        self.assertEqual(self.output.getvalue(), "")


class Files(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "k.log"

    def file(self, size: int = 0) -> LogFile:
        file = LogFile(str(self.path), size)
        self.addCleanup(file.close)
        return file

    def there(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.directory.iterdir()}

    def test_a_full_file_is_renamed_and_so_are_the_older_ones(self) -> None:
        file = self.file(size=8)
        for text in ("first\n", "second\n", "3\n", "a very long line\n"):
            file.write(text)
        self.assertEqual(
            self.there(), {"k.log": "a very long line\n", "k.log.1": "3\n", "k.log.2": "second\n", "k.log.3": "first\n"}
        )

    def test_what_is_there_at_the_start_is_appended_to_and_counted(self) -> None:
        self.path.write_text("before\n")
        file = self.file(size=12)
        file.write("more\n")
        file.write("yet more\n")
        self.assertEqual(self.there(), {"k.log": "yet more\n", "k.log.1": "before\nmore\n"})

    def test_where_it_cannot_be_renamed_no_line_is_lost(self) -> None:
        file = self.file(size=8)
        self.patch(os, "rename", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
        for text in ("first\n", "second\n", "third\n"):
            file.write(text)
        self.assertEqual(self.there(), {"k.log": "first\nsecond\nthird\n"})

    def test_where_no_file_could_be_opened_it_tries_again_and_uses_its_name(self) -> None:
        file = self.file(size=8)
        file.write("first\n")
        patch = self.patch(LogFile, "_open", lambda _: (_ for _ in ()).throw(OSError(24, "Too many open files")))
        file.write("second\n")
        patch.restore()
        for text in ("third\n", "fourth\n", "fifth\n"):
            file.write(text)
        self.assertEqual(self.there()["k.log"], "fifth\n")
        self.assertEqual("".join(self.there().values()).count("\n"), 5)

    def test_a_file_that_was_moved_away_is_replaced(self) -> None:
        file = self.file()
        file.write("old\n")
        self.path.rename(self.directory / "moved")
        file.write("still old\n")
        self.assertIn("moved away", file.rotate())
        file.write("new\n")
        self.assertEqual(self.there(), {"k.log": "new\n", "moved": "old\nstill old\n"})

    def test_one_that_was_replaced_is_followed(self) -> None:
        file = self.file()
        file.write("old\n")
        self.path.rename(self.directory / "moved")
        self.path.write_text("created\n")
        file.rotate()
        file.write("new\n")
        self.assertEqual(self.there(), {"k.log": "created\nnew\n", "moved": "old\n"})

    def test_one_that_is_where_it_was_is_renamed(self) -> None:
        file = self.file()
        file.write("old\n")
        file.rotate()
        file.write("new\n")
        self.assertEqual(self.there(), {"k.log": "new\n", "k.log.1": "old\n"})

    def test_if_no_new_file_can_be_opened_the_log_continues_in_the_old_one(self) -> None:
        file = self.file()
        shutil.move(self.path, self.directory / "moved")
        self.path.mkdir()
        self.assertRaises(OSError, file.rotate)
        file.write("on\n")
        self.assertEqual((self.directory / "moved").read_text(), "on\n")


class Choosing(SynchronousTestCase):
    """Where the log goes, by twistd's own options."""

    def made(self, **options: Any) -> DaemonLog | None:
        return make_log(options, form="text", level="info", size=0)

    def test_another_log_of_twistd_s_is_left_alone(self) -> None:
        self.assertIsNone(self.made(syslog=True, nodaemon=True))
        self.assertIsNone(self.made(logger="somebody.else", nodaemon=True))
        self.assertIsNone(self.made(logfile="-", nodaemon=False))

    def test_in_the_foreground_the_log_is_standard_output_which_has_no_other_file(self) -> None:
        for options in ({"nodaemon": True}, {"nodaemon": True, "logfile": "-"}, {"debug": True}):
            log = self.made(**options)
            assert log is not None
            self.assertIn("standard output", log.rotate())

    def test_in_the_background_it_is_the_file_that_twistd_s_would_be(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)
        for options in ({}, {"logfile": "named.log"}):
            log: Any = self.made(**options)
            self.addCleanup(log._output.close)
        self.assertEqual({path.name for path in directory.iterdir()}, {DEFAULT_FILE, "named.log"})

    def test_the_settings_have_the_levels_and_formats_that_there_are(self) -> None:
        choices = [SETTINGS[name].about.choices for name in ("log_level", "log_format")]
        self.assertEqual(choices, [LEVELS, FORMATS])

    def test_twistd_s_own_size_is_the_default(self) -> None:
        self.assertEqual(SETTINGS["log_rotate"].default, 1_000_000)
        self.assertIsNone(Options().parent)


class Processes(ProcessTestCase):
    """Real daemons, real signals."""

    LISTEN = ("--listen", "tcp:0:interface=127.0.0.1", "--store", "memory")

    def test_json_at_the_level_that_is_set_and_another_one_after_sighup(self) -> None:
        (self.directory / "k.toml").write_text('log_format = "json"\n')
        daemon, url = self.started(*self.LISTEN, "--config", "k.toml", KSCHAT_SECRET=SECRET)
        self.assertEqual({type(json.loads(line)) for line in self.before}, {dict})
        with (self.directory / "k.toml").open("a") as file:
            file.write('log_level = "error"\n')
        daemon.send_signal(signal.SIGHUP)
        with urllib.request.urlopen(url.partition('"')[0] + "healthz", timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)
        self.assertNotIn("Server Shut Down", daemon.stdout.read())

    def begun(self, *options: str, how: tuple[str, ...] = ("kschat",), **settings: str) -> int:
        """A daemon in the background, which logs to k.log."""
        ended = self.ended(
            ["--pidfile=k.pid", "--logfile=k.log", *how, *options],
            environment(
                KSCHAT_SECRET=SECRET, KSCHAT_LISTEN="tcp:0:interface=127.0.0.1", KSCHAT_STORE="memory", **settings
            ),
        )
        self.assertEqual(ended.returncode, 0, ended.stderr)
        pid = int((self.directory / "k.pid").read_text())
        self.addCleanup(self.end, pid)
        self.eventually(lambda: "serving on" in (self.directory / "k.log").read_text())
        return pid

    def end(self, pid: int) -> None:
        if (self.directory / "k.pid").exists():
            os.kill(pid, signal.SIGTERM)
            self.eventually(lambda: not (self.directory / "k.pid").exists())

    def written_to(self, pid: int) -> set[int]:
        """The inodes of the files of this directory that the process has open for writing."""
        found = set()
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(link).startswith(str(self.directory.absolute())):
                    found.add(link.stat().st_ino)
            except OSError:
                continue
        return found

    def test_after_logrotate_lines_go_to_the_new_file_whether_the_plugin_or_the_tac_was_started(self) -> None:
        logrotate = require_program("logrotate")
        for how in (("kschat",), ("-y", str(ROOT / "kschat.tac"))):
            pid = self.begun(how=how, KSCHAT_LOG_ROTATE="0")
            log, moved = self.directory / "k.log", self.directory / "k.log.1"
            first = log.stat().st_ino
            config = self.directory / "logrotate"
            config.write_text(
                f"{log.absolute()} {{\n rotate 2\n nocompress\n postrotate\n  kill -USR1 {pid}\n endscript\n}}\n"
            )
            config.chmod(0o644)
            state = self.directory.absolute() / "state"
            subprocess.run(
                [logrotate, "--force", f"--state={state}", str(config.absolute())],
                check=True,
                timeout=PATIENCE,
                capture_output=True,
            )
            self.eventually(lambda log=log: log.exists() and "was moved away; a new file was opened" in log.read_text())
            self.assertEqual(moved.stat().st_ino, first)
            self.assertEqual(self.written_to(pid), {log.stat().st_ino})
            self.end(pid)
            self.assertIn("Server Shut Down", log.read_text())
            for path in (log, moved):
                path.unlink()

    def test_a_log_that_cannot_be_written_is_one_sentence(self) -> None:
        ended = self.ended(
            ["--pidfile=", "--logfile=nowhere/k.log", "-n", "kschat", *self.LISTEN], environment(KSCHAT_SECRET=SECRET)
        )
        self.assertEqual((ended.returncode, ended.stdout), (1, ""))
        self.assertRegex(
            ended.stderr, r"^kschat: the log can't be written to .*nowhere/k\.log: No such file or directory\n$"
        )

    def test_where_twistd_has_another_log_it_says_that_two_settings_are_not_used(self) -> None:
        daemon = subprocess.Popen(
            [
                *TWISTD,
                "-n",
                "--pidfile=",
                "--logger=tests.test_logs.plain",
                "kschat",
                *self.LISTEN,
                "--log-format=json",
            ],
            cwd=self.directory,
            env=environment(KSCHAT_SECRET=SECRET),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert daemon.stdout is not None
        self.addCleanup(daemon.stdout.close)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        first_match(daemon.stdout, "log_format and log_level are not used")


def plain() -> DaemonLog:
    """A log that twistd is given by its option ``--logger``."""
    assert sys.__stdout__ is not None
    return DaemonLog(sys.__stdout__)
