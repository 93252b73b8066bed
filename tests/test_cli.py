"""The console command: tokens that the daemon takes, a configuration checked and shown, the table of settings."""

import contextlib
import io
import json
import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from kschat import __version__
from kschat.backends import redis
from kschat.chat.interfaces import RevocationsFull, StoreUnavailable
from kschat.chat.keys import Keys
from kschat.chat.revocation import LEEWAY, Revocation, RevocationRequest
from kschat.chat.tokens import Identity, Rooms, TokenError, Verifier
from kschat.cli import command as cli
from kschat.cli.api_client import Api
from kschat.cli.api_commands import Tools
from kschat.cli.connect import Finding
from kschat.hooks.vapid import VapidKey
from kschat.launch import Launch
from kschat.settings import Config, settings_table
from tests.support.launch import free_port

SECRET = "a secret of the tests, long enough for HS256"
KEY = {"KSCHAT_SECRET": SECRET}
NOW = 1_000_000


class Connected:
    """Stands for what is opened by ``--connect``.

    Attributes:
        findings: what comes of it.
        configs: whose parts were opened.
    """

    def __init__(self) -> None:
        self.findings = [Finding("store", "x.db"), Finding("listen", "tcp:1")]
        self.configs: list[Config] = []

    def open(self, config: Config) -> list[Finding]:
        self.configs.append(config)
        return self.findings


class CommandTestCase(SynchronousTestCase):
    """Runs the command with a clock that stands still."""

    def setUp(self):
        self.clock = Clock()
        self.clock.advance(NOW)
        self.connected = Connected()
        self.ran: list[tuple[Config, Launch]] = []
        self.told: list[redis.Settings] = []
        self.tells: bool | Exception = True
        self.revoked: list[tuple[redis.Settings | None, redis.Settings, Revocation, int]] = []
        self.revokes: int | Exception | None = 3
        self.standard_input = io.StringIO()

    def run_daemons(self, config: Config, launch: Launch) -> int:
        self.ran.append((config, launch))
        return 7

    def run_reactor(self, begin: Any) -> Any:
        raise AssertionError("nothing needs the reactor")

    def tell_redis(self, settings: redis.Settings) -> bool:
        self.told.append(settings)
        if isinstance(self.tells, Exception):
            raise self.tells
        return self.tells

    def revoke_in_redis(
        self, store: redis.Settings | None, bus: redis.Settings, revocation: Revocation, now: int
    ) -> int | None:
        self.revoked.append((store, bus, revocation, now))
        if isinstance(self.revokes, Exception):
            raise self.revokes
        return self.revokes

    def connect(self, url: str, key: str, timeout: float, ca: str) -> Api:
        raise AssertionError("no command of these uses the API")

    def tools(self) -> Tools:
        """What commands need of their surroundings."""
        return Tools(
            connect=self.connect,
            wall=self.clock.seconds,
            monotonic=self.clock.seconds,
            sleep=self.clock.advance,
            standard_input=self.standard_input,
        )

    def run_command(self, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Status, output and errors of the command."""
        output, errors = io.StringIO(), io.StringIO()
        environ = KEY if environ is None else environ
        status = cli.main(
            arguments,
            environ,
            self.clock.seconds,
            output=output,
            errors=errors,
            connect=self.connected.open,
            run_daemons=self.run_daemons,
            tell_redis=self.tell_redis,
            run_reactor=self.run_reactor,
            revoke_in_redis=self.revoke_in_redis,
            tools=self.tools(),
        )
        return status, output.getvalue(), errors.getvalue()

    def refusal(self, *arguments: str, environ: dict[str, str] | None = None) -> str:
        """The sentence of a command that fails."""
        status, output, errors = self.run_command(*arguments, environ=environ)
        self.assertEqual((status, output, errors.count("\n")), (1, "", 1), errors)
        self.assertTrue(errors.startswith("kschat: "), errors)
        return errors


class TestToken(CommandTestCase):
    """``kschat token``."""

    def verified(self, *arguments: str, environ: dict[str, str] | None = None) -> Identity:
        status, output, errors = self.run_command("token", *arguments, environ=environ)
        self.assertEqual((status, errors), (0, ""))
        self.assertTrue(output.endswith("\n"))
        return Verifier(Keys.from_secret(SECRET.encode()), ["HS256"], self.clock.seconds).verify(output.strip())

    def test_a_token_names_its_user_and_is_good_for_an_hour(self):
        self.assertEqual(self.verified("--user", "42"), Identity("42", NOW + 3600.0, issued=NOW))

    def test_a_token_ends_when_it_was_told_to(self):
        self.assertEqual(self.verified("--user", "42", "--expires", "2d").expires, NOW + 2 * 86400)
        _, output, _ = self.run_command("token", "--user", "42", "--expires", "15m")
        verifier = Verifier(Keys.from_secret(SECRET.encode()), ["HS256"], self.clock.seconds)
        self.clock.advance(15 * 60 - 1)
        self.assertEqual(verifier.verify(output.strip()).user, "42")
        self.clock.advance(1)
        self.assertEqual(self.assertRaises(TokenError, verifier.verify, output.strip()).reason, "expired")

    def test_a_token_may_name_rooms_or_all_of_them(self):
        expected: dict[str, Rooms] = {"a,b": ("a", "b"), " a , ": ("a",), "*": "*", "": ()}
        for text, rooms in expected.items():
            self.assertEqual(self.verified("--user", "42", "--rooms", text).rooms, rooms)
            found = self.verified("--user", "42", "--rooms", "x", "--moderates", text)
            self.assertEqual((found.rooms, found.moderates), (("x",), rooms))

    def test_the_secret_may_come_from_any_source_of_settings(self):
        secret = Path(self.mktemp())
        secret.write_text(SECRET + "\n")
        file = Path(self.mktemp())
        file.write_text(f'secret = "{SECRET}"\n')
        self.assertEqual(self.verified("--user", "1", "--secret-file", str(secret), environ={}).user, "1")
        self.assertEqual(self.verified("--user", "1", "--config", str(file), environ={}).user, "1")
        self.assertEqual(self.verified("--user", "1", environ={"KSCHAT_CONFIG": str(file)}).user, "1")

    def test_what_cannot_be_a_token_is_one_sentence(self):
        self.assertIn("--user is missing", self.refusal("token"))
        for user in ["", "#room", "x" * 129]:
            self.assertIn("--user", self.refusal("token", "--user", user))
        for expires in ["", "0", "-1h", "1y", "1.5h", "11000d", "9" * 50, "h", "١h"]:
            self.assertIn("--expires", self.refusal("token", "--user", "1", "--expires", expires))

    def test_without_a_shared_secret_there_is_no_token(self):
        self.assertIn("there is no key", self.refusal("token", "--user", "1", environ={}))
        self.assertIn("take a token from its page", self.refusal("token", "--user", "1", "--demo", environ={}))
        self.assertIn(
            "HS256 only",
            self.refusal(
                "token",
                "--user",
                "1",
                environ={
                    "KSCHAT_SECRET": "x" * 64,
                    "KSCHAT_ALGORITHMS": "HS512",
                },
            ),
        )

    @given(st.text())
    def test_any_text_is_a_time_or_refused(self, text: str):
        with contextlib.suppress(UsageError):
            self.assertGreater(cli.seconds_of(text), 0)


class TestRun(CommandTestCase):
    """``kschat run``."""

    def test_it_runs_what_was_asked_for_and_ends_with_its_status(self):
        arguments = ["--max-batch", "7", "--deflate", "--no-metrics", "--listen=tcp:1"]
        status, output, errors = self.run_command("run", "--processes", "3", "--logfile", "k.log", *arguments)
        self.assertEqual((status, output, errors), (7, "", ""))
        ((config, launch),) = self.ran
        self.assertEqual((config.max_batch, config.listen, config.deflate, config.metrics), (7, "tcp:1", True, False))
        passed_on = ("--listen=tcp:1", "--max-batch=7", "--deflate", "--no-metrics")
        self.assertEqual((launch.count, launch.logfile), (3, "k.log"))
        self.assertEqual(sorted(launch.arguments), sorted(passed_on))

    def test_there_is_one_unless_it_is_said_and_one_for_each_core_if_it_is_asked(self):
        self.run_command("run")
        self.run_command("run", "-n", "auto")
        self.assertEqual([launch.count for _, launch in self.ran], [1, len(os.sched_getaffinity(0))])

    def test_what_is_no_number_and_what_is_no_configuration_runs_nothing(self):
        for text in ("0", "-1", "257", "two", "", "1.5", "²"):
            self.assertIn("neither a number from 1 to 256 nor auto", self.refusal("run", f"--processes={text}"))
        self.assertIn("there is no key", self.refusal("run", environ={}))
        self.assertEqual(self.ran, [])


class TestConnect(CommandTestCase):
    """``kschat check-config --connect``."""

    def test_each_part_is_a_line_and_the_status_is_0_where_all_can_be_used(self):
        status, output, errors = self.run_command("check-config", "--connect", "--max-batch", "7")
        self.assertEqual((status, output, errors), (0, "store: ok: x.db\nlisten: ok: tcp:1\n", ""))
        self.assertEqual([config.max_batch for config in self.connected.configs], [7])

    def test_the_status_is_1_where_one_could_not_be_used(self):
        self.connected.findings.append(Finding("amqp", "localhost:1: nobody is there", ok=False))
        status, output, errors = self.run_command("check-config", "--connect")
        self.assertEqual((status, errors), (1, ""))
        self.assertEqual(output.splitlines()[-1], "amqp: FAILED: localhost:1: nobody is there")

    def test_what_cannot_be_a_configuration_is_not_opened(self):
        self.assertIn("write tcp:3000", self.refusal("check-config", "--connect", "--listen", "3000"))
        self.assertEqual(self.connected.configs, [])


class TestHelp(CommandTestCase):
    """What ``--help`` shows, and what a wrong option is told."""

    def test_the_help_of_token_shows_its_own_options(self):
        shown = str(cli.TokenOptions())
        for option in ["--user", "--expires", "--rooms", "--secret-file", "--config"]:
            self.assertIn(option, shown)
        self.assertNotIn("--max-payload", shown)
        self.assertLess(shown.count("\n"), 45)

    def test_the_help_of_check_config_shows_its_own_options(self):
        shown = str(cli.CheckOptions())
        self.assertIn("--connect", shown)
        self.assertNotIn("--max-payload", shown)

    def test_a_wrong_option_is_told_which_was_probably_meant(self):
        for arguments, mend in [
            (["token", "--usr", "42"], "did you mean --user?"),
            (["token", "42"], "write --user 42"),
            (["check-config", "--listne", "tcp:1"], "did you mean --listen?"),
            (["check-config", "--ping_interval", "3"], "did you mean --ping-interval?"),
            (["check-config", "listen=tcp:1"], "write --listen tcp:1"),
            (["--store", "redis"], "which is started by `twistd kschat --store …`"),
            (["serve"], "the daemon is started by `kschat run` or `twistd kschat`"),
            (["run", "--proceses", "2"], "did you mean --processes?"),
            (["tokens"], "did you mean token?"),
            (["frobnicate"], "status, online, sockets, send"),
        ]:
            self.assertIn(mend, self.refusal(*arguments))


class TestCheckConfig(CommandTestCase):
    """``kschat check-config``."""

    def test_it_prints_the_effective_settings_with_secrets_masked(self):
        status, output, errors = self.run_command("check-config", "--max-batch", "7", environ={**KEY, "PORT": "81"})
        self.assertEqual((status, errors), (0, ""))
        shown = tomllib.loads(output)
        self.assertEqual((shown["max_batch"], shown["listen"], shown["secret"]), (7, "tcp:81", "(masked)"))
        self.assertNotIn(SECRET, output)

    def test_a_wrong_configuration_is_one_sentence_and_status_1(self):
        self.assertEqual(
            self.refusal("check-config", "--ping-interval", "abc"),
            "kschat: ping_interval: 'abc' from the command line (--ping-interval) is not a number of seconds\n",
        )

    def test_switches_can_be_turned_on_and_off(self):
        _, output, _ = self.run_command("check-config", "--demo", "--no-access-log", environ={})
        shown = tomllib.loads(output)
        self.assertEqual((shown["demo"], shown["access_log"]), (True, False))
        _, output, _ = self.run_command("check-config", "--no-demo", environ={**KEY, "KSCHAT_DEMO": "true"})
        self.assertIs(tomllib.loads(output)["demo"], False)
        self.assertIn("both given", self.refusal("check-config", "--demo", "--no-demo"))


class TestCommand(CommandTestCase):
    """The command itself."""

    def test_settings_table_is_the_table(self):
        self.assertEqual(self.run_command("settings-table"), (0, settings_table(), ""))

    def test_without_a_command_it_says_which_there_are(self):
        status, output, _ = self.run_command()
        self.assertEqual(status, 0)
        for command in ["token", "check-config", "settings-table"]:
            self.assertIn(command, output)

    def test_unknown_commands_and_options_are_one_sentence(self):
        self.refusal("tokens")
        self.refusal("check-config", "--listne", "tcp:1")
        self.refusal("check-config", "surplus")

    def test_version(self):
        shown = io.StringIO()
        self.patch(sys, "stdout", shown)
        self.assertRaises(SystemExit, self.run_command, "--version")
        self.assertEqual(shown.getvalue(), f"kschat {__version__}\n")


class TestPushKey(CommandTestCase):
    """``kschat push-key``."""

    def setUp(self) -> None:
        super().setUp()
        self.path = self.mktemp()

    def test_a_key_is_made_that_only_its_owner_may_read(self) -> None:
        status, output, errors = self.run_command("push-key", self.path, environ={})
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(output, f"{VapidKey.read(self.path).public_key}\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)

    def test_one_that_is_there_is_not_replaced_and_can_be_shown(self) -> None:
        _, made, _ = self.run_command("push-key", self.path, environ={})
        self.assertIn("exists: --show prints its public key", self.refusal("push-key", self.path, environ={}))
        for arguments in ((self.path, "--show"), ("--show", self.path), ("-s", self.path)):
            self.assertEqual(self.run_command("push-key", *arguments, environ={}), (0, made, ""))
        status, output, _ = self.run_command("push-key", self.path, "--show", "--json", environ={})
        self.assertEqual((status, json.loads(output)), (0, {"file": self.path, "key": made.strip()}))

    def test_what_is_wrong_is_one_sentence(self) -> None:
        Path(self.path).write_text("no key")
        for arguments, why in (
            ((), "name the file"),
            ((self.path, self.path), "name the file"),
            ((self.path, "--show"), "is not a private key in PEM"),
            ((f"{self.path}.none", "--show"), "No such file"),
            ((f"{self.path}.none/key",), "No such file"),
            ((self.path, "--sow"), "did you mean --show?"),
        ):
            self.assertIn(why, self.refusal("push-key", *arguments, environ={}), arguments)


class TestRestored(CommandTestCase):
    """``kschat restored`` of a Redis. (Of a file: tests/backends/test_sqlite_backup.py.)"""

    URL = "redis://127.0.0.1:1/0"

    def run_restored(self) -> tuple[int, str, str]:
        return self.run_command(
            "restored", "--store", "redis", "--redis", self.URL, "--redis-prefix", "mine", environ={}
        )

    def test_redis_is_told_and_no_key_is_needed(self):
        status, output, errors = self.run_restored()
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(output, "Redis begins another generation; offsets continue beyond all earlier ones\n")
        ((url, prefix),) = [(settings.url, settings.prefix) for settings in self.told]
        self.assertEqual((url, prefix), (self.URL, "mine"))

    def test_what_is_wrong_is_one_sentence(self):
        self.tells = False
        self.assertEqual(
            self.run_restored()[2], "kschat: restored: kschat has kept nothing there with the prefix mine\n"
        )
        self.tells = StoreUnavailable("Redis can't be reached: refused")
        self.assertEqual(self.run_restored()[2], "kschat: restored: Redis can't be reached: refused\n")
        self.assertIn("name the Redis", self.refusal("restored", "--store", "redis", environ={}))

    def test_of_a_postgresql_that_can_not_be_used(self) -> None:
        port = free_port()
        text = self.refusal("restored", "--store", f"postgresql://kschat:secret@127.0.0.1:{port}/kschat", environ={})
        self.assertIn(f"restored: 127.0.0.1:{port}: Connection refused", text)
        text = self.refusal("restored", "--store", "postgresql://u:secret@h/d?nothing=1", environ={})
        self.assertIn("store: is not like postgresql://", text)
        self.assertNotIn("secret@", text)


class TestRevoke(CommandTestCase):
    """``kschat revoke``; what it does to daemons is in ``tests/e2e/test_revoke.py``."""

    def test_with_redis_it_writes_there_and_says_how_many_daemons_were_told(self) -> None:
        cluster = (
            "--store",
            "redis",
            "--redis",
            "redis://one/0",
            "--redis-prefix",
            "p",
            "--redis-pub",
            "redis://two/0",
        )
        status, output, errors = self.run_command("revoke", "--user", "ann", *cluster)
        self.assertEqual((status, output, errors), (0, "revoked: in Redis, and on 3 daemons now\n", ""))
        ((store, bus, revocation, now),) = self.revoked
        assert store is not None
        self.assertEqual((store.url, store.prefix, bus.url, now), ("redis://one/0", "p", "redis://two/0", NOW * 1000))
        self.assertEqual(revocation, RevocationRequest(user="ann").revocation(now, 0))
        self.revokes = None
        self.assertIn("read it there", self.run_command("revoke", "--user", "ann", *cluster)[1])
        self.revokes = 1
        relay = ("--store", "none", "--redis", "redis://one/0")
        _, output, _ = self.run_command("revoke", "--lift", "--jti", "a", *relay)
        self.assertEqual((output, self.revoked[-1][0]), ("lifted: on 1 daemon now\n", None))

    def test_times_and_the_setting_count(self) -> None:
        cluster = ("--store", "redis", "--redis", "redis://one/0", "--revocation-days", "2")
        table = {
            ("--issued-before", "now"): (NOW * 1000, (NOW + 2 * 86400) * 1000),
            ("--issued-before", "1970-01-01T01:00:00+01:00"): (0, (NOW + 2 * 86400) * 1000),
            ("--issued-before", "12.5", "--user", "ann"): (12_500, (NOW + 2 * 86400) * 1000),
            ("--jti", "a"): (0, (NOW + 2 * 86400) * 1000),
            ("--jti", "a", "--expires", "1970-01-02T00:00:00Z"): (0, 86_400_000 + LEEWAY),
        }
        for arguments, expected in table.items():
            self.assertEqual(self.run_command("revoke", *arguments, *cluster)[0], 0)
            revocation = self.revoked[-1][2]
            self.assertEqual((revocation.before, revocation.until), expected, arguments)

    def test_what_can_not_be_done_is_one_sentence(self) -> None:
        cluster = ("--store", "redis", "--redis", "redis://one/0")
        table = {
            (): "name what is revoked",
            ("--user", "#team"): "begins with #",
            ("--jti", "a", "--user", "ann"): "jti names one token",
            ("--issued-before", "yesterday"): "is no time",
            ("--issued-before", "2026-11-30T12:00:00"): "does not say its zone",
            ("--issued-before", "9999999999"): "in the future",
            ("--user", "ann", "--expires", "now"): "give jti too",
        }
        for arguments, said in table.items():
            self.assertIn(said, self.refusal("revoke", *arguments, *cluster))
        self.assertIn("name the Redis", self.refusal("revoke", "--user", "ann", "--store", "redis"))
        self.assertIn("there is no file", self.refusal("revoke", "--user", "ann", "--store", "sqlite:/nowhere/x.db"))
        self.revokes = RevocationsFull()
        self.assertIn("no more can be kept", self.refusal("revoke", "--user", "ann", *cluster))
        self.revokes = StoreUnavailable("Redis is away")
        self.assertIn("Redis is away", self.refusal("revoke", "--user", "ann", *cluster))
        self.assertEqual(len(self.revoked), 2)
