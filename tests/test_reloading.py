"""SIGHUP: keys and certificates are read again, and no socket is dropped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kschat.chat.tokens import TokenError, Verifier
from kschat.front.endpoints import server_endpoint, tls_of
from kschat.hooks.signing import Signer, read_secrets
from kschat.reloading import Reloading, certificate_part, hooks_secret_part, keys_part, with_absolute_paths
from kschat.settings import SETTINGS, Config, ConfigError, read_keys
from kschat.tap import make_service
from tests.support.certificates import Authority
from tests.test_tap import PATIENCE, ROOT, TWISTD, ProcessTestCase, environment, first_match

HOST = "chat.example.org"
OLD, NEW = "o" * 32, "n" * 32


def token(secret: str) -> str:
    return jwt.encode({"data": {"id": "ann"}}, secret, "HS256")


class TestParts(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def lines(self, reloading: Reloading) -> list[str]:
        with capturedLogs() as events:
            reloading.reload()
        return [formatEvent(event) or "" for event in events]

    def file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def test_another_secret_holds_from_then_on_and_a_broken_one_changes_nothing(self) -> None:
        path = self.file("secret", OLD + "\n")
        config = Config(secret_file=str(path))
        verifier = Verifier(read_keys(config), config.algorithms, time.time)
        reloading = Reloading(keys_part(config, verifier))
        self.assertEqual(self.lines(reloading), ["secret_file was read again: a key for HS256, as before"])
        path.write_text(NEW)
        self.assertEqual(self.lines(reloading), ["secret_file was read again: a key for HS256"])
        self.assertEqual(verifier.verify(token(NEW)).user, "ann")
        self.assertRaises(TokenError, verifier.verify, token(OLD))
        for text, reason in (
            ("short", "a secret for HS256 has at least 32 bytes and this has 5"),
            ("", "the secret is empty, or is a public key, which anyone may know"),
        ):
            path.write_text(text)
            (line,) = self.lines(reloading)
            said = f"secret_file was not read again: {reason}; what was read before is still used"
            self.assertEqual(line, said)
        path.unlink()
        (line,) = self.lines(reloading)
        self.assertIn("No such file or directory", line)
        self.assertEqual(verifier.verify(token(NEW)).user, "ann")

    def test_a_jwk_set_names_its_keys(self) -> None:
        one = '{"kty":"oct","kid":"%s","k":"' + "b" * 43 + '"}'
        path = self.file("jwks.json", '{"keys":[%s]}' % (one % "a"))
        config = Config(jwks_file=str(path))
        reloading = Reloading(keys_part(config, Verifier(read_keys(config), config.algorithms, time.time)))
        path.write_text(f'{{"keys":[{one % "a"},{one % "b"}]}}')
        self.assertEqual(self.lines(reloading), ["jwks_file was read again: 2 keys (a, b) for HS256"])
        path.write_text("{")
        self.assertIn("the JWK Set is not JSON", self.lines(reloading)[0])

    def test_a_secret_that_other_daemons_prove_themselves_by_is_said_to_need_a_restart(self) -> None:
        path = self.file("secret", OLD)
        config = Config(secret_file=str(path), peer_listen="tcp:3001:interface=10.0.0.3")
        reloading = Reloading(keys_part(config, Verifier(read_keys(config), config.algorithms, time.time)))
        self.assertNotIn("restart", self.lines(reloading)[0])
        path.write_text(NEW)
        self.assertIn("give peer_secret, or restart all daemons", self.lines(reloading)[0])

    def test_the_secrets_of_hooks(self) -> None:
        old, new = ("whsec_" + letter * 32 for letter in "ab")
        path = self.file("hooks", old)
        signer = Signer(read_secrets(str(path)))
        reloading = Reloading(hooks_secret_part(str(path), signer))
        before = signer.headers("a", 1, b"")
        path.write_text(f"{new}\n{old}\n")
        self.assertEqual(["hooks_secret_file was read again: 2 secrets"], self.lines(reloading))
        signed = signer.headers("a", 1, b"")
        self.assertTrue(signed[b"webhook-signature"].endswith(before[b"webhook-signature"]))
        path.write_text("whsec_no")
        (line,) = self.lines(reloading)
        self.assertIn("was not read again: a secret ", line)
        self.assertEqual(signed, signer.headers("a", 1, b""))

    def test_where_there_is_no_file_it_says_so(self) -> None:
        config = Config(secret=OLD)
        reloading = Reloading(keys_part(config, Verifier(read_keys(config), config.algorithms, time.time)))
        self.assertEqual(len(self.lines(reloading)), 1)

    def test_paths_are_those_of_the_start(self) -> None:
        config = with_absolute_paths(Config(secret_file="secret", hooks_secret_file="hooks"))
        self.assertEqual(config.secret_file, str(Path("secret").absolute()))
        self.assertEqual(config.hooks_secret_file, str(Path("hooks").absolute()))

    def test_one_that_fails_keeps_no_other_from_being_read(self) -> None:
        def fails() -> str:
            raise ValueError("it is no use")

        lines = self.lines(Reloading({"a": fails, "b": lambda: "well"}))
        self.assertEqual(lines[1], "b was read again: well")
        self.assertIn("it is no use", lines[0])

    def test_a_certificate_that_cannot_be_used_keeps_the_one_before(self) -> None:
        root = Authority(self.directory, "root")
        certificate, key = (self.directory / name for name in ("cert.pem", "key.pem"))

        def renewed(days: int, with_key: bool = True) -> None:
            made = root.sign(HOST, days)
            shutil.copy(made[0], certificate)
            if with_key:
                shutil.copy(made[1], key)

        renewed(30)
        description = f"haproxy:ssl:0:privateKey={key}:certKey={certificate}"
        endpoint = tls_of(server_endpoint(MemoryReactorClock(), description))
        assert endpoint is not None
        reloading = Reloading(certificate_part("listen", endpoint, time.time))
        renewed(60)
        self.assertRegex(
            self.lines(reloading)[0], rf"^listen was read again: certificate of {HOST} until \d{{4}}-\d\d-\d\d$"
        )
        listening = endpoint._listening
        renewed(90, with_key=False)
        self.assertIn("Certificate public and private keys do not match; what was", self.lines(reloading)[0])
        renewed(-1)
        self.assertIn("the certificate has expired", self.lines(reloading)[0])
        certificate.write_text("")
        self.assertIn("a file for TLS holds no PEM key or certificate", self.lines(reloading)[0])
        certificate.unlink()
        self.assertIn("No such file or directory", self.lines(reloading)[0])
        self.assertIs(endpoint._listening, listening)

    def test_files_are_found_after_the_directory_was_changed(self) -> None:
        made = Authority(self.directory, "root").sign(HOST)
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.directory)
        names = [shutil.copy(path, name) for path, name in zip(made, ("a:b.pem", "k=y.pem"), strict=True)]
        certificate, key = (name.replace(":", "\\:").replace("=", "\\=") for name in names)
        for description in (f"ssl:0:privateKey={key}:certKey={certificate}", f"ssl:0:{key}:{certificate}"):
            os.chdir(self.directory)
            endpoint = tls_of(server_endpoint(MemoryReactorClock(), description))
            assert endpoint is not None
            os.chdir(before)
            (reread,) = certificate_part("listen", endpoint, time.time).values()
            self.assertIn(HOST, reread())

    def test_the_daemon_reads_what_its_settings_name(self) -> None:
        made = Authority(self.directory, "root").sign(HOST)
        path = self.file("secret", OLD)
        listen = f"ssl:3443:privateKey={made[1]}:certKey={made[0]}"
        daemon = make_service(Config(secret_file=str(path), store="memory", listen=listen), MemoryReactorClock())
        reloading: Any = daemon.getServiceNamed("reloading")
        lines = self.lines(reloading)
        self.assertEqual([line.split()[0] for line in lines], ["secret_file", "listen"])


class Recorder:
    """A configuration that remembers what is read of it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.names.add(name)
        return getattr(self.config, name)


class TestSettings(SynchronousTestCase):
    """Those that are live hold from then on; of all others it is said that they need a restart."""

    BEFORE = Config(secret=OLD, store="memory", listen="tcp:0:interface=127.0.0.1")

    def setUp(self) -> None:
        self.daemon = make_service(self.BEFORE, MemoryReactorClock())
        self.reloading: Any = self.daemon.getServiceNamed("reloading")
        self.now = self.BEFORE
        self.reloading.watch(self.BEFORE, lambda: self.now)

    def lines(self, **changed: object) -> list[tuple[str, str]]:
        """The level and the text of what is said, but for keys and certificates."""
        self.now = msgspec.structs.replace(self.now, **changed)
        with capturedLogs() as events:
            self.reloading.reload()
        lines = [(event["log_level"].name, formatEvent(event) or "") for event in events]
        return [line for line in lines if "no setting names a file" not in line[1]]

    def test_what_is_as_before_is_said_to_be(self) -> None:
        self.assertEqual(self.lines(), [("info", "the settings were read again: they are as before")])

    def test_each_that_was_changed_has_a_line(self) -> None:
        said = self.lines(rate_user_sends=7.0, max_polls=5, max_payload=5000)
        self.assertEqual(
            said,
            [
                ("warn", "max_payload was changed, which needs a restart: it is still 1000000"),
                ("info", "max_polls is 5 from now on; it was 10000"),
                ("info", "rate_user_sends is 7.0 from now on; it was 500.0"),
            ],
        )
        # What needs a restart does so until there was one.
        self.assertEqual(self.lines(), [said[0]])
        self.assertEqual(
            self.lines(max_payload=self.BEFORE.max_payload)[0][1].rpartition(":")[2], " they are as before"
        )

    def test_a_secret_is_not_shown(self) -> None:
        ((level, line),) = self.lines(secret=NEW)
        self.assertEqual(level, "warn")
        self.assertNotIn(OLD, line)
        self.assertNotIn(NEW, line)

    def test_what_cannot_be_used_changes_nothing(self) -> None:
        def fails() -> Config:
            raise ConfigError("max_polls: 'many' from the file kschat.toml is not a whole number")

        self.reloading.watch(self.BEFORE, fails)
        ((level, line),) = self.lines()
        self.assertEqual(level, "error")
        self.assertIn("the settings were not read again: max_polls: 'many' from the file", line)
        self.assertTrue(line.endswith("; what was read before is still used"), line)

    def test_every_live_setting_is_put_to_use(self) -> None:
        recorder: Any = Recorder(self.BEFORE)
        self.reloading._use(recorder)
        live = {name for name, setting in SETTINGS.items() if setting.about.live}
        self.assertEqual(live - recorder.names, set())

    def test_limits_hold_from_then_on(self) -> None:
        front = self.daemon.front.front
        self.assertTrue(front.polls.has_room("a"))
        self.lines(max_polls_per_address=1, max_polls=1)
        front.polls.enter(mock.Mock(proved=True), "a")
        self.assertFalse(front.polls.has_room("a"))
        self.assertFalse(front.polls.has_room("b"))
        self.lines(drain_notice=3.0)
        self.assertEqual(self.daemon.drain_notice, 3)


class Published(BaseHTTPRequestHandler):
    """Publishes keys, once the test lets it."""

    server: Publisher

    def do_GET(self) -> None:
        self.send_response(200 if self.server.document else 503)
        self.end_headers()
        self.wfile.write(self.server.document)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing."""


class Publisher(ThreadingHTTPServer):
    """Of keys."""

    document = b""


class TestPublishedKeys(ProcessTestCase):
    def test_a_daemon_without_keys_says_so_and_fetches_them_until_they_are_there(self) -> None:
        publisher = Publisher(("127.0.0.1", 0), Published)
        self.addCleanup(publisher.server_close)
        self.addCleanup(publisher.shutdown)
        threading.Thread(target=publisher.serve_forever, daemon=True).start()
        published = f"http://127.0.0.1:{publisher.server_port}/jwks"
        daemon, url = self.started(
            *("--listen", "tcp:0:interface=127.0.0.1", "--store", "memory"),
            *("--jwks-url", published, "--algorithms", "ES256"),
        )
        first_match(daemon.stdout, "can't be fetched from .*: the answer is status 503; all tokens are refused")
        error = self.assertRaises(urllib.error.HTTPError, urllib.request.urlopen, f"{url}readyz", timeout=PATIENCE)
        self.assertEqual(json.load(error)["keys"], "down")
        error.close()
        first_match(daemon.stdout, "not ready: the keys of tokens can't be used")
        private = ec.generate_private_key(ec.SECP256R1())
        key = jwt.get_algorithm_by_name("ES256").to_jwk(private.public_key(), as_dict=True)
        publisher.document = json.dumps({"keys": [{**key, "kid": "one"}]}).encode()
        first_match(daemon.stdout, r"the keys were fetched from .*: a key \(one\)")
        with urllib.request.urlopen(f"{url}readyz", timeout=PATIENCE) as answer:
            self.assertEqual(json.load(answer)["keys"], "up")
        with urllib.request.urlopen(f"{url}metrics", timeout=PATIENCE) as answer:
            self.assertIn(b"kschat_keys 1.0", answer.read())
        daemon.send_signal(signal.SIGHUP)
        first_match(daemon.stdout, "jwks_url was read again: the keys are fetched")
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)


class TestProcesses(ProcessTestCase):
    """Real daemons, real signals, real handshakes."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.directory, "root")
        self.renew(30)
        (self.directory / "secret").write_text(OLD)

    def renew(self, days: int) -> None:
        for made, name in zip(self.authority.sign("127.0.0.1", days), ("cert.pem", "key.pem"), strict=True):
            # As an operator's tool does it: the old file is whole until the new one is.
            shutil.copy(made, self.directory / "new.pem")
            (self.directory / "new.pem").rename(self.directory / name)

    def handshake(self, port: int) -> tuple[ssl.SSLSocket, int]:
        """A new connection, and the serial number of the certificate that it was shown."""
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        connection = context.wrap_socket(raw, server_hostname="127.0.0.1")
        self.addCleanup(connection.close)
        shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        return connection, x509.load_der_x509_certificate(shown).serial_number

    def ask(self, connection: ssl.SSLSocket) -> bytes:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        heard = b""
        while b'"users":0}' not in heard:
            piece = connection.recv(65536)
            assert piece, heard
            heard += piece
        return heard

    def test_a_new_certificate_is_shown_and_an_old_socket_lives(self) -> None:
        listen = "ssl:0:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1"
        daemon, url = self.started("--listen", listen, "--secret-file", "secret", "--store", "memory")
        port = int(url.rstrip("/").rpartition(":")[2])
        old, first = self.handshake(port)
        self.ask(old)
        self.renew(60)
        daemon.send_signal(signal.SIGHUP)
        first_match(daemon.stdout, r"listen was read again: certificate of 127\.0\.0\.1 until")
        _, second = self.handshake(port)
        self.assertNotEqual(second, first)
        (self.directory / "cert.pem").write_text("nonsense")
        daemon.send_signal(signal.SIGHUP)
        first_match(daemon.stdout, "secret_file was read again: a key for HS256, as before")
        first_match(daemon.stdout, "listen was not read again: .*; what was read before is still used")
        self.assertEqual(self.handshake(port)[1], second)
        self.assertIn(b"200 OK", self.ask(old))
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)

    def test_settings_of_the_file_hold_and_a_broken_file_changes_nothing(self) -> None:
        file = self.directory / "kschat.toml"
        file.write_text('secret_file = "secret"\nlisten = "tcp:0:interface=127.0.0.1"\nstore = "memory"\n')
        daemon, url = self.started("--config", "kschat.toml", KSCHAT_MAX_BATCH="7")
        with urllib.request.urlopen(f"{url}healthz", timeout=PATIENCE) as answer:
            self.assertEqual(answer.status, 200)
        with file.open("a") as text:
            text.write("rate_address_handshakes = 0.001\nrate_burst = 0.001\nmax_batch = 9\nmax_depth = 32\n")
        daemon.send_signal(signal.SIGHUP)
        first_match(daemon.stdout, "max_depth was changed, which needs a restart: it is still 64")
        first_match(daemon.stdout, r"rate_address_handshakes is 0\.001 from now on; it was 500\.0")
        first_match(daemon.stdout, "secret_file was read again")
        handshake = f"{url}socket.io/?EIO=4&transport=polling"
        urllib.request.urlopen(handshake, timeout=PATIENCE).close()
        error = self.assertRaises(urllib.error.HTTPError, urllib.request.urlopen, handshake, timeout=PATIENCE)
        self.assertEqual(error.code, 429)
        error.close()
        file.write_text("max_batch = many")
        daemon.send_signal(signal.SIGHUP)
        first_match(daemon.stdout, "the settings were not read again: .*kschat.toml.*; what was read before is still")
        first_match(daemon.stdout, "secret_file was read again")
        daemon.terminate()
        self.assertEqual(daemon.wait(PATIENCE), 0)

    def test_in_the_background_and_by_the_tac(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        environ = environment(
            KSCHAT_SECRET_FILE="secret",
            KSCHAT_LISTEN=f"ssl:{port}:privateKey=key.pem:certKey=cert.pem:interface=127.0.0.1",
            KSCHAT_STORE="memory",
        )
        (self.directory / "elsewhere").mkdir()
        pidfile, log = (self.directory.absolute() / name for name in ("kschat.pid", "kschat.log"))
        how = [f"--pidfile={pidfile}", f"--logfile={log}", "--rundir=elsewhere"]
        for command in (["kschat"], ["-y", str(ROOT / "kschat.tac")]):
            ended = subprocess.run(
                [*TWISTD, *how, *command],
                cwd=self.directory,
                env=environ,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            self.assertEqual(ended.returncode, 0, ended.stderr)
            pid = int(pidfile.read_text())
            try:
                self.eventually(lambda: "serving on" in log.read_text())
                _, first = self.handshake(port)
                self.renew(61 if command == ["kschat"] else 62)
                os.kill(pid, signal.SIGHUP)
                self.eventually(lambda: "listen was read again" in log.read_text())
                self.assertIn("secret_file was read again", log.read_text())
                self.assertNotEqual(self.handshake(port)[1], first)
            finally:
                os.kill(pid, signal.SIGTERM)
                self.eventually(lambda: not pidfile.exists())
            log.unlink()
