"""Warnings of secrets that others can read or guess: one sentence each, in the log and by ``check-config``."""

from __future__ import annotations

import io
import json
import os
import secrets
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat import tap
from kschat.cli.command import main
from kschat.cli.warnings import warnings_of
from kschat.process import StartNotice
from kschat.settings import load
from kschat.settings.weak_secrets import weakness
from tests.support.certificates import Authority

SECRET = "Zk3-vJ9qXw_7LmTd0RbYc5NfHs2GpUeA"


class TestWeakSecrets(SynchronousTestCase):
    def test_what_people_type_is_found(self) -> None:
        for secret in (
            "x" * 40,
            "ab" * 20,
            "0101101011010010110101100101101001011010",
            "abcdefghijk" * 3,
            "S3cureP@ssage-" * 3,
            "hunter2hunter2hunter2hunter2hunter2",
            "secret" * 6 + "sec",
            "your-256-bit-secret-your-256-bit-secret!",
            "my-super-secret-key-that-is-very-long",
            "This_Is_A_Very_Long_Secret_For_HS256",
            "CHANGEME-changeme-ChangeMe-please-123",
            "P4ssw0rdP4ssw0rd-p4ssw0rd-p4ssw0rd",
            "correct horse battery staple secret key",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "0123456789abcdefghijklmnopqrstuvwxyz",
            "zyxwvutsrqponmlkjihgfedcba9876543210",
            "qwertyuiopasdfghjklzxcvbnmqwertyuiop",
        ):
            self.assertTrue(weakness(secret.encode()), secret)

    def test_what_a_program_makes_is_not(self) -> None:
        for _ in range(300):
            for secret in (
                secrets.token_urlsafe(32).encode(),
                secrets.token_hex(16).encode(),
                secrets.token_hex(32).encode(),
                secrets.token_bytes(32),
                str(10**38 + secrets.randbelow(10**39)).encode(),
            ):
                self.assertEqual(weakness(secret), "", secret)


class TestWarnings(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def file(self, name: str, content: str | bytes, mode: int) -> str:
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return str(path)

    def warned(self, environ: dict[str, str] | None = None, **argv: str) -> list[str]:
        there = {"KSCHAT_STORE": "memory", **(environ or {})}
        return warnings_of(load(argv, there), argv, there)

    def test_nothing_is_said_where_all_is_well(self) -> None:
        self.assertEqual(self.warned(secret_file=self.file("secret", SECRET, 0o600)), [])
        self.assertEqual(self.warned({"KSCHAT_SECRET": SECRET}), [])
        self.assertEqual(self.warned({"KSCHAT_DEMO": "true"}), [])

    def test_a_secret_that_others_can_read_or_change(self) -> None:
        for mode, can in ((0o644, "read"), (0o604, "read"), (0o666, "read and change"), (0o622, "change")):
            path = self.file("secret", SECRET, mode)
            (said,) = self.warned(secret_file=path)
            end = f"chmod 600 {path}" if "read" in can else f"chmod go-w {path}"
            self.assertEqual(said, f"secret_file: other users of this machine can {can} {path}: {end}")

    def test_a_file_that_root_hands_to_the_group_of_the_daemon_is_well(self) -> None:
        path = self.file("secret", SECRET, 0o640)
        with mock.patch("os.geteuid", return_value=os.stat(path).st_uid + 1000):
            warned = self.warned(secret_file=path)
        self.assertEqual(bool(warned), os.stat(path).st_uid != 0)
        self.assertEqual(len(self.warned(secret_file=path)), 1)
        if os.geteuid() == 0:
            # As a package hands it over, and as root asks about it.
            os.chown(path, 0, 12345)
            self.assertEqual(self.warned(secret_file=path), [])
            os.chmod(path, 0o644)
            self.assertEqual(len(self.warned(secret_file=path)), 1)

    def test_a_public_key_may_be_read_and_not_changed(self) -> None:
        key = {"kty": "oct", "kid": "a", "k": "b" * 43}
        for mode, count in ((0o644, 1), (0o600, 0), (0o646, 1)):
            self.assertEqual(len(self.warned(jwks_file=self.file("jwks", json.dumps({"keys": [key]}), mode))), count)
        public = {
            "kty": "EC",
            "crv": "P-256",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        }
        for mode, words in ((0o644, []), (0o646, ["jwks_file: other users of this machine can change"])):
            path = self.file("jwks", json.dumps({"keys": [public]}), mode)
            said = self.warned(jwks_file=path, algorithms="ES256")
            self.assertEqual([one.partition(f" {path}")[0] for one in said], words)

    def test_the_private_key_of_a_certificate(self) -> None:
        certificate, key = Authority(self.directory).sign("chat.example.org")
        key.chmod(0o644)
        for kind in ("ssl", "haproxy:ssl"):
            listen = f"{kind}:3443:privateKey={key}:certKey={certificate}"
            (said,) = self.warned({"KSCHAT_SECRET": SECRET}, listen=listen)
            self.assertTrue(said.startswith("listen: other users of this machine can read"), said)

    def test_what_a_back_end_is_asked_and_who_can_sign_for_the_daemon(self) -> None:
        for mode, url, words in (
            (0o600, "https://app.example.org/", []),
            (0o600, "http://127.0.0.1:9300/", []),
            (0o600, "http://backend:9300/", ["ask_url: the network between this machine and your back end can read"]),
            (0o644, "https://app.example.org/", ["hooks_secret_file: other users of this machine can read"]),
        ):
            path = self.file("hooks", "whsec_" + "a" * 32, mode)
            said = self.warned({"KSCHAT_SECRET": SECRET}, ask_url=url, hooks_secret_file=path)
            self.assertEqual([True] * len(said), [one.startswith(word) for one, word in zip(said, words, strict=True)])

    def test_a_database(self) -> None:
        path = self.file("kschat.db", "", 0o644)
        self.file("kschat.db-wal", "", 0o640)
        warned = self.warned({"KSCHAT_SECRET": SECRET}, store=f"sqlite:{path}")
        self.assertEqual([one.rpartition(" ")[2] for one in warned], [path, f"{path}-wal"])
        self.assertEqual(self.warned({"KSCHAT_SECRET": SECRET}, store=f"sqlite:{self.directory}/new.db"), [])

    def test_a_secret_that_is_guessed(self) -> None:
        (said,) = self.warned({"KSCHAT_SECRET": "secret" * 6})
        self.assertTrue(said.startswith("secret: the secret is easily guessed: it has only 5 different"), said)
        self.assertNotIn("secretsecret", said)
        (said,) = self.warned(
            {"KSCHAT_SECRET": SECRET, "KSCHAT_PEER_SECRET": "changeme" * 5}, peer_listen="tcp:3001:interface=10.0.0.3"
        )
        self.assertTrue(said.startswith("peer_secret: the secret is easily guessed"), said)

    def test_a_secret_on_the_command_line_and_in_a_file_of_settings(self) -> None:
        (said,) = self.warned(secret=SECRET)
        self.assertIn("secret: other users of this machine can read it in the list of processes", said)
        settings = f'secret = "{SECRET}"\namqp = "amqp://u:password@localhost/"\nredis = "redis://localhost/"\n'
        config = self.file("kschat.toml", settings, 0o644)
        (said,) = self.warned({"KSCHAT_STORE": "redis"}, config=config)
        self.assertTrue(said.startswith(f"config: other users of this machine can read {config}"), said)
        self.assertTrue(said.endswith("(it holds secret, amqp)"), said)
        self.assertEqual(
            self.warned({"KSCHAT_SECRET": SECRET}, config=self.file("b.toml", "max_batch = 7\n", 0o644)), []
        )

    def test_a_password_for_several_hosts(self) -> None:
        relay = {"KSCHAT_SECRET": SECRET, "KSCHAT_STORE": "none"}
        for url in ("amqp://u:p@a:5672,[::1]:5672/v", "amqp://u:p,w@a,b/", "amqps://u:p@[::1],b"):
            (said,) = self.warned(relay, amqp=url)
            self.assertTrue(said.startswith("amqp: other users of this machine can read it"), said)
        for url in ("amqp://a:5672,[::1]:5672/v", "amqp://a,b:5672"):
            self.assertEqual(self.warned(relay, amqp=url), [], url)

    def test_a_password_in_the_url_of_a_store(self) -> None:
        for url in ("postgresql://u:p@h/d", "postgresql://u@h/d?password=p", "postgresql:///d?user=u&password=p"):
            (said,) = self.warned({"KSCHAT_SECRET": SECRET}, store=url)
            self.assertTrue(said.startswith("store: other users of this machine can read it"), said)
        self.assertEqual(self.warned({"KSCHAT_SECRET": SECRET}, store="postgresql://u@h/d"), [])

    def test_check_config_says_them_and_succeeds(self) -> None:
        path = self.file("secret", "secret" * 6, 0o644)
        output, errors = io.StringIO(), io.StringIO()
        unused = dict.fromkeys(
            ("connect", "run_daemons", "tell_redis", "revoke_in_redis", "run_reactor", "tools"), mock.Mock()
        )
        arguments = ["check-config", "--secret-file", path]
        self.assertEqual(main(arguments, {}, lambda: 0.0, output=output, errors=errors, **unused), 0)
        first, second = errors.getvalue().splitlines()
        self.assertTrue(first.startswith("kschat: warning: secret_file: the secret is easily guessed"), first)
        self.assertTrue(second.startswith("kschat: warning: secret_file: other users of this machine can read"), second)
        self.assertIn("secret_file = ", output.getvalue())

    def test_the_log_of_the_start_says_them(self) -> None:
        path = self.file("secret", SECRET, 0o644)
        environ = {"KSCHAT_STORE": "memory", "KSCHAT_LISTEN": "tcp:0:interface=127.0.0.1", "KSCHAT_CONTROL": "none"}
        with mock.patch.dict(os.environ, environ):
            options = tap.Options()
            options.parseOptions(["--secret-file", path])
            whole: Any = tap.makeService(options)
        notices = [service for service in whole if isinstance(service, StartNotice)]
        with capturedLogs() as events:
            for notice in notices:
                notice.startService()
        said = [formatEvent(event) or "" for event in events]
        self.assertIn(f"secret_file: other users of this machine can read {path}: chmod 600 {path}", said)
