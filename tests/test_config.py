"""Settings: where they come from, which one wins, and the one sentence that a wrong one is."""

import itertools
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat import settings as config
from kschat.hooks.vapid import new_key
from kschat.settings import SETTINGS, Config, ConfigError
from kschat.settings.setting import Setting, Unfit
from kschat.tracing import settings as tracing

ROOT = Path(__file__).parent.parent
SECRET = "a secret of the tests, long enough for HS256"
KEY = {"KSCHAT_SECRET": SECRET}

#: For each setting a text that is not its default, and what it means. Those of keys stand in TestKeys.
SAMPLES: dict[str, tuple[str, Any]] = {
    "listen": ("tcp:4000", "tcp:4000"),
    "token_leeway": ("1.5", 1.5),
    "jwks_refresh": ("60", 60.0),
    "token_notice": ("30", 30.0),
    "token_grace": ("2.5", 2.5),
    "require_exp": ("true", True),
    "audience": ("chat, app", ("chat", "app")),
    "issuer": ("https://login.example.org/", ("https://login.example.org/",)),
    "store": ("memory", "memory"),
    "store_sync": ("normal", "normal"),
    "metrics": ("false", False),
    "amqp": ("amqp://localhost/", "amqp://localhost/"),
    "amqp_exchange": ("chat", "chat"),
    "amqp_exchange_type": ("topic", "topic"),
    "amqp_durable": ("true", True),
    "amqp_prefix": ("u.", "u."),
    "amqp_queue": ("connection", "connection"),
    "amqp_format": ("tutorial", "tutorial"),
    "amqp_ca": (__file__, __file__),
    "amqp_cert": (__file__, __file__),
    "amqp_key": (__file__, __file__),
    "redis": ("redis://localhost/", "redis://localhost/"),
    "redis_pub": ("rediss://localhost/1", "rediss://localhost/1"),
    "redis_sub": ("redis+sentinel://localhost/name", "redis+sentinel://localhost/name"),
    "redis_prefix": ("chat", "chat"),
    "redis_wait": ("2", 2),
    "redis_wait_timeout": ("2.5", 2.5),
    "redis_wait_disk": ("true", True),
    "redis_ca": (__file__, __file__),
    "redis_cert": (__file__, __file__),
    "redis_key": (__file__, __file__),
    "retention_days": ("0.5", 0.5),
    "revocation_days": ("30", 30.0),
    "max_blocked": ("5", 5),
    "ask_about": ("join, send", ("join", "send")),
    "ask_timeout": ("0.5", 0.5),
    "ask_silent": ("allow", "allow"),
    "ask_cache": ("0", 0.0),
    "ask_concurrent": ("10", 10),
    "ask_waiting": ("10", 10),
    "edit_within": ("60", 60.0),
    "blocked_reply": ("refused", "refused"),
    "restrict_presence": ("yes", True),
    "push_hosts": ("push.example.org, *.example.org:8443", ("push.example.org", "*.example.org:8443")),
    "control": ("/run/kschat.control", "/run/kschat.control"),
    "retention_messages": ("7", 7),
    "ping_interval": ("0.3", 0.3),
    "ping_timeout": ("7", 7.0),
    "max_payload": ("5000", 5000),
    "max_payload_unjoined": ("20000", 20000),
    "max_joins": ("50", 50),
    "max_connections": ("17", 17),
    "max_polls": ("19", 19),
    "max_connections_per_address": ("16", 16),
    "max_polls_per_address": ("18", 18),
    "upgrade_timeout": ("4.5", 4.5),
    "peer_listen": ("tcp:3001:interface=127.0.0.1", "tcp:3001:interface=127.0.0.1"),
    "ops_listen": ("tcp:9100:interface=127.0.0.1", "tcp:9100:interface=127.0.0.1"),
    "peer_url": ("http://10.0.0.3:3001", "http://10.0.0.3:3001"),
    "peer_secret": ("s" * 32, "s" * 32),
    "max_forwards": ("23", 23),
    "handshake_timeout": ("2", 2.0),
    "connect_timeout": ("3", 3.0),
    "max_header": ("2048", 2048),
    "max_unsent": ("9000000", 9_000_000),
    "max_buffered": ("50000000", 50_000_000),
    "max_attachments": ("0", 0),
    "max_depth": ("9", 9),
    "max_namespaces": ("3", 3),
    "max_event_name": ("40", 40),
    "max_batch": ("1", 1),
    "max_in_flight": ("2", 2),
    "linger": ("0.002", 0.002),
    "max_waiting": ("5", 5),
    "max_room": ("6", 6),
    "max_rooms": ("7", 7),
    "rate_burst": ("2.5", 2.5),
    "rate_socket_events": ("31", 31.0),
    "rate_socket_bytes": ("32", 32.0),
    "rate_user_events": ("33", 33.0),
    "rate_user_bytes": ("34", 34.0),
    "rate_user_sends": ("35", 35.0),
    "rate_user_copies": ("36", 36.0),
    "rate_user_joins": ("0.5", 0.5),
    "rate_address_handshakes": ("37", 37.0),
    "rate_handshakes": ("38", 38.0),
    "max_handshakes_waiting": ("39", 39),
    "rate_address_joins": ("38", 38.0),
    "rate_address_failed_tokens": ("0", 0.0),
    "rate_cluster_sends": ("7", 7.0),
    "max_user_sockets": ("39", 39),
    "typing_interval": ("0", 0.0),
    "presence_interval": ("0.3", 0.3),
    "drain_notice": ("5", 5.0),
    "drain_time": ("10", 10.0),
    "store_messages": ("10", 10),
    "store_bytes": ("2000000", 2_000_000),
    "trusted_proxies": ("10.0.0.0/8, unix", ("10.0.0.0/8", "unix")),
    "frame_ancestors": ("https://a.example, https://*.b.example", ("https://a.example", "https://*.b.example")),
    "origins": ("https://a.example, http://b.example:8080", ("https://a.example", "http://b.example:8080")),
    "base_path": ("/chat/a", "/chat/a"),
    "templates": ("/", "/"),
    "static": ("/", "/"),
    "client_dist": ("/", "/"),
    "deflate": ("true", True),
    "deflate_from": ("7", 7),
    "hooks_events": ("user.connected, room.joined", ("user.connected", "room.joined")),
    "hooks_max_events": ("500", 500),
    "hooks_max_age": ("3600", 3600.0),
    "undelivered_after": ("30", 30.0),
    "undelivered_every": ("60", 60.0),
    "access_log": ("false", False),
    "otel_endpoint": ("http://localhost:4318", "http://localhost:4318"),
    "otel_sample": ("0.5", 0.5),
    "log_level": ("warn", "warn"),
    "log_format": ("json", "json"),
    "log_rotate": ("7", 7),
}
#: URLs of RabbitMQ, with several hosts too.
RABBITMQ_URLS = (
    "amqps://localhost/vhost",
    "amqp://a,b:5673,[::1]:5672",
    "amqps://u:p,w@a.example:5671,b.example/v?heartbeat=5",
)
#: What a setting's sample can't do without.
RELAY = {"amqp": "amqp://localhost/", "store": "none"}
PEERS = {"peer_listen": "tcp:3001:interface=127.0.0.1"}
COMPANIONS: dict[str, dict[str, str]] = {
    "amqp": {"store": "none"},
    "redis": RELAY,
    "redis_pub": {**RELAY, "redis": "redis://localhost/"},
    "redis_sub": {**RELAY, "redis": "redis://localhost/"},
    "redis_wait_disk": {"redis_wait": "1"},
    "peer_url": PEERS,
    "peer_secret": PEERS,
}
#: An algorithm that a key by this setting may have.
ALGORITHMS = {"secret_file": "HS256", "public_key_file": "ES256", "jwks_file": "ES256"}
OF_KEYS = {"demo", "secret", "secret_file", "public_key_file", "jwks_file", "jwks_url", "jwks_ca", "algorithms"}
OF_KEYS |= {"push_key", "push_contact", "push_private", "push_ca", "push_url"}  # which need the first of them
OF_KEYS |= {"api_listen", "api_keys", "ask_url", "hooks_url", "hooks_secret_file", "hooks_ca"}  # which need each other


class ConfigTestCase(SynchronousTestCase):
    """What the tests of settings share."""

    def file(self, text: str | bytes) -> str:
        """The path of a new file that holds ``text``."""
        path = Path(self.mktemp())
        path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
        return str(path)

    def refusal(self, argv: dict[str, str], environ: dict[str, str]) -> str:
        """The sentence that these values are refused with."""
        sentence = str(self.assertRaises(ConfigError, config.load, argv, environ))
        self.assertNotIn("\n", sentence)
        return sentence


class TestTracing(ConfigTestCase):
    """Spans: where they go, and what is needed for them."""

    def test_a_collector_is_enough(self) -> None:
        for url in ("http://localhost:4318", "https://otlp.example.org/v1/traces"):
            found = config.load({"otel_endpoint": url}, KEY)
            self.assertEqual((found.otel_endpoint, found.otel_sample), (url, 0.01))

    def test_what_cannot_be_used_is_one_sentence(self) -> None:
        for url, reason in (
            ("localhost:4318", "is not like http://localhost:4318"),
            ("http://u:p@localhost:4318", "has a user, a password"),
            ("http://localhost:4318/?key=7", "keys go into OTEL_EXPORTER_OTLP_HEADERS"),
        ):
            self.assertIn(reason, self.refusal({"otel_endpoint": url}, KEY))
        self.assertIn("is more than 1", self.refusal({"otel_sample": "1.5"}, KEY))

    def test_without_opentelemetry_it_is_said_how_it_is_installed(self) -> None:
        for needed in ("opentelemetry.nowhere.trace", "nowhere"):
            self.patch(tracing, "_NEEDED", (needed,))
            self.assertIn(
                "needs OpenTelemetry, which is not installed: pip install 'kschat[otel]'",
                self.refusal({"otel_endpoint": "http://localhost:4318"}, KEY),
            )
        config.load({}, KEY)

    def test_spans_are_posted_where_collectors_take_them(self) -> None:
        for url in ("http://h:4318", "http://h:4318/", "http://h:4318/v1/traces", "http://h:4318/v1/traces/"):
            self.assertEqual(tracing.traces_url(url), "http://h:4318/v1/traces")
        self.assertEqual(tracing.traces_url("https://h/otlp"), "https://h/otlp/v1/traces")


class TestPush(ConfigTestCase):
    """Web Push: the key, whom push services may ask, and where pushes may go."""

    def setUp(self) -> None:
        self.key = self.file(new_key())
        self.given = {"push_key": self.key, "push_contact": "mailto:ops@example.org"}

    def loaded(self, **more: str) -> Config:
        return config.load({**self.given, **more}, KEY)

    def refused(self, **more: str) -> str:
        return self.refusal({name: value for name, value in {**self.given, **more}.items() if value}, KEY)

    def test_a_key_and_a_contact_are_enough(self) -> None:
        found = self.loaded()
        self.assertEqual((found.push_key, found.push_contact), (self.key, "mailto:ops@example.org"))
        self.assertEqual(found.push_hosts, Config().push_hosts)
        self.loaded(push_ca=__file__, push_private="yes", push_hosts="10.0.0.7:8443, *.push.example.org")
        self.loaded(push_hosts="*")
        for url in (
            "https://app.example.org/chat?with={peer}&as={user}",
            "http://localhost:8000/#{peer}",
            "https://a.example",
        ):
            self.assertEqual(self.loaded(push_url=url).push_url, url)

    def test_without_a_key_the_others_are_of_no_use(self) -> None:
        for name, value in (
            ("push_contact", "mailto:ops@example.org"),
            ("push_private", "yes"),
            ("push_ca", __file__),
            ("push_url", "https://app.example.org/"),
        ):
            self.assertIn(f"{name}", sentence := self.refusal({name: value}, KEY))
            self.assertIn("is of no use without push_key", sentence)
        self.assertIn("needs push_contact too", self.refused(push_contact=""))

    def test_what_cannot_be_used_is_one_sentence(self) -> None:
        for more, why in (
            ({"push_key": "/nowhere/push.pem"}, "cannot be read"),
            ({"push_key": self.file("no key")}, "is not a private key in PEM"),
            ({"push_contact": "ops@example.org"}, "is not like mailto:"),
            ({"push_hosts": "https://push.example.org"}, "is not like push.example.org"),
            ({"push_hosts": "*.10.0.0.1"}, "before an address"),
            ({"push_hosts": "*", "push_private": "yes"}, "cannot go with push_private"),
            ({"push_ca": "/nowhere/ca.pem"}, "is not a file"),
            ({"push_url": "javascript:alert(1)"}, "is not like https://"),
            ({"push_url": "https://app.example.org/{other}"}, "is not like https://"),
            ({"push_url": "https://{peer}.example.org/ x"}, "is not like https://"),
            ({"store": "none", "amqp": "amqp://localhost/"}, "needs a store that keeps messages"),
        ):
            self.assertIn(why, self.refused(**more), more)


class TestSources(ConfigTestCase):
    """Defaults < TOML file < environment < command line."""

    def test_without_anything_but_a_key_the_defaults_hold(self):
        self.assertEqual(config.load({}, KEY), Config(secret=SECRET))

    def test_every_setting_has_a_sample_here(self):
        self.assertEqual(set(SETTINGS), set(SAMPLES) | OF_KEYS)

    def test_every_setting_can_be_given_on_the_command_line(self):
        for name, (text, value) in SAMPLES.items():
            given = {name: text, **COMPANIONS.get(name, {})}
            self.assertEqual(getattr(config.load(given, KEY), name), value)

    def test_every_setting_can_be_given_by_the_environment(self):
        for name, (text, value) in SAMPLES.items():
            given = {name: text, **COMPANIONS.get(name, {})}
            environ = {f"KSCHAT_{one.upper()}": said for one, said in given.items()}
            self.assertEqual(getattr(config.load({}, {**KEY, **environ}), name), value)

    def test_every_setting_can_be_given_in_the_file(self):
        for name, (_, value) in SAMPLES.items():
            path = self.file(f"{name} = {json.dumps(value)}\n")
            self.assertEqual(getattr(config.load({"config": path, **COMPANIONS.get(name, {})}, KEY), name), value)

    def test_where_other_daemons_reach_this_one_is_told_or_read_from_the_endpoint(self):
        for said, place in (
            ({}, None),
            ({"peer_listen": "tcp:3001:interface=10.0.0.3"}, ("10.0.0.3", 3001)),
            ({"peer_listen": "tcp:port=3001:backlog=5:interface=10.0.0.3"}, ("10.0.0.3", 3001)),
            ({"peer_listen": "tcp6:3001:interface=fd00\\:\\:1"}, ("fd00::1", 3001)),
            ({"peer_listen": "tcp:3001", "peer_url": "http://ks-1.internal:3001/"}, ("ks-1.internal", 3001)),
            ({"peer_listen": "tcp6:3001", "peer_url": "http://[fd00::1]:3001"}, ("fd00::1", 3001)),
        ):
            self.assertEqual(config.peer_place(config.load(said, KEY)), place)

    def test_other_daemons_that_could_not_find_or_know_this_one_are_refused(self):
        there = {"peer_listen": "tcp:3001:interface=10.0.0.3"}
        for said, environ, reason in (
            ({"peer_url": "http://a:1"}, KEY, "is of no use without peer_listen"),
            ({"peer_secret": "x" * 32}, KEY, "is of no use without peer_listen"),
            ({"peer_listen": "tcp:3001"}, KEY, "give peer_url too"),
            ({"peer_listen": "tcp:0:interface=10.0.0.3"}, KEY, "give peer_url too"),
            ({"peer_listen": "tcp:3001:interface=0.0.0.0"}, KEY, "give peer_url too"),
            ({"peer_listen": "unix:/run/x"}, KEY, "give peer_url too"),
            ({**there, "peer_url": "https://a:1"}, KEY, "is not like http://10.0.0.3:3001"),
            ({**there, "peer_url": "http://a"}, KEY, "is not like http://10.0.0.3:3001"),
            ({**there, "peer_secret": "short"}, KEY, "is shorter than 32 bytes"),
        ):
            error = self.assertRaises(ConfigError, config.load, said, environ)
            self.assertIn(reason, str(error))

    def test_a_list_in_the_file_may_be_one_text(self):
        path = self.file('origins = "https://a.example,*"')
        self.assertEqual(config.load({"config": path}, KEY).origins, ("https://a.example", "*"))

    def test_the_environment_wins_over_the_file_and_the_command_line_over_both(self):
        path = self.file("max_batch = 2\nmax_waiting = 2\nmax_in_flight = 2\n")
        environ = {**KEY, "KSCHAT_CONFIG": path, "KSCHAT_MAX_WAITING": "3", "KSCHAT_MAX_IN_FLIGHT": "3"}
        loaded = config.load({"max_in_flight": "4"}, environ)
        self.assertEqual((loaded.max_batch, loaded.max_waiting, loaded.max_in_flight), (2, 3, 4))

    def test_the_file_of_the_command_line_is_read_instead_of_the_environments(self):
        environ = {**KEY, "KSCHAT_CONFIG": self.file("max_batch = 2")}
        self.assertEqual(
            config.load({"config": self.file("max_waiting = 3")}, environ), Config(secret=SECRET, max_waiting=3)
        )

    def test_variables_of_others_and_of_the_tests_are_left_alone(self):
        environ = {
            **KEY,
            "HOME": "/",
            "KSCHATTER": "x",
            "KSCHAT_TESTS_REQUIRE": "1",
            "KSCHAT_BENCH_SECONDS": "5",
            "KSCHAT_PORT": "tcp://10.0.0.1:3000",
        }
        self.assertEqual(config.load({}, environ), Config(secret=SECRET))

    def test_port_replaces_the_endpoint_of_default_and_file_but_not_a_named_one(self):
        path = self.file('listen = "tcp:1:interface=127.0.0.1"')
        environ = {**KEY, "PORT": "8080"}
        self.assertEqual(config.load({}, environ).listen, "tcp:8080")
        self.assertEqual(config.load({"config": path}, environ).listen, "tcp:8080")
        self.assertEqual(config.load({}, {**environ, "KSCHAT_LISTEN": "tcp:2"}).listen, "tcp:2")
        self.assertEqual(config.load({"listen": "tcp:3"}, environ).listen, "tcp:3")
        self.assertEqual(config.load({}, {**KEY, "PORT": ""}).listen, "tcp:3000")


class TestRefusals(ConfigTestCase):
    """Each is one sentence that names the setting and where it came from."""

    def test_a_bad_value_names_its_key_and_its_origin(self):
        self.assertEqual(
            self.refusal({}, {**KEY, "KSCHAT_PING_INTERVAL": "abc"}),
            "ping_interval: 'abc' from the environment (KSCHAT_PING_INTERVAL) is not a number of seconds",
        )
        self.assertEqual(
            self.refusal({"max_payload": "1.5"}, KEY),
            "max_payload: '1.5' from the command line (--max-payload) is not a whole number of bytes",
        )
        path = self.file("max_payload = true")
        self.assertEqual(
            self.refusal({"config": path}, KEY),
            f"max_payload: True from the file {path} is not a whole number of bytes",
        )

    def test_values_out_of_bounds_or_of_another_kind_are_refused(self):
        for name, text, reason in [
            ("ping_interval", "0", "is less than 0.001 seconds"),
            ("ping_interval", "1e9", "is more than 86400 seconds"),
            ("ping_timeout", "nan", "is not a number of seconds"),
            ("ping_timeout", "inf", "is not a number of seconds"),
            ("max_connections", "0", "is less than 1 connections"),
            ("max_connections", "9" * 5000, "is not a whole number of connections"),
            (
                "store",
                "sqlite:",
                "is not a store: write memory, redis, none, sqlite:kschat.db or postgresql://kschat@localhost/kschat",
            ),
            (
                "store",
                "memory:",
                "is not a store: write memory, redis, none, sqlite:kschat.db or postgresql://kschat@localhost/kschat",
            ),
            (
                "store",
                "redis:",
                "is not a store: write memory, redis, none, sqlite:kschat.db or postgresql://kschat@localhost/kschat",
            ),
            ("store_sync", "off", "is not one of: full, normal"),
            ("retention_days", "-1", "is less than 0 days"),
            ("access_log", "perhaps", "is neither true nor false"),
            ("frame_ancestors", "chat.example", "holds 'chat.example', which is not like https://chat.example.org"),
            ("frame_ancestors", "https://a.example,null", "holds 'null', which no frame can be allowed by"),
            (
                "frame_ancestors",
                "https://münchen.example",
                "is not written as browsers do: write https://xn--mnchen-3ya.example",
            ),
            ("origins", "chat.example", "holds 'chat.example', which is not like https://chat.example.org"),
            (
                "trusted_proxies",
                "proxy",
                "holds 'proxy', which is neither an address, nor a network such as 10.0.0.0/8",
            ),
            ("trusted_proxies", "10.0.0.1/8", "which is a network with an address inside it: write 10.0.0.0/8"),
            ("origins", "https://a.example/path", "has more than scheme, host and port: write https://a.example"),
            ("base_path", "chat", "is not like /chat"),
            ("base_path", "//chat", "is not like /chat"),
            ("base_path", "/chat/../x", "is not like /chat"),
            ("base_path", "/a b", "is not like /chat"),
            ("base_path", "/é", "is not like /chat"),
            ("templates", "/nowhere", "is not a directory"),
            ("listen", " ", "is empty: give a Twisted endpoint"),
            ("listen", "tcp:http", "is not an endpoint that Twisted can use: its port is no number ('http')"),
            ("listen", "tcp:-1", "is not an endpoint that Twisted can use: a port is a number from 0 to 65535"),
            ("listen", "tcp6:65536", "is not an endpoint that Twisted can use: a port is a number from 0 to 65535"),
            ("listen", "haproxy:tcp:99999", "a port is a number from 0 to 65535"),
            ("listen", "tcp:interface=127.0.0.1", "is not an endpoint that Twisted can use: it has no port"),
            ("listen", "tcp:3000:backlog=many", "it has 'many' where a number is wanted"),
            ("listen", "unix:/run/a:mode=9", "it has '9' where a number is wanted"),
            ("listen", "tcp:1:127.0.0.1:50:x", "it has more parts than such an endpoint knows"),
            ("listen", "tcp:1:color=red", "it has a part that such an endpoint does not know ('color')"),
            ("peer_listen", "tcp:1e3:interface=127.0.0.1", "its port is no number ('1e3'): write tcp:1000:interface="),
            ("amqp_prefix", "x" * 300, "is longer than 100 bytes, which leaves no room for ids in a routing key"),
            ("amqp_exchange", "x" * 300, "is empty, or longer than 100 bytes"),
            ("amqp_exchange", "", "is empty, or longer than 100 bytes"),
            ("algorithms", "HS256,none", "holds 'none', which is not one of: HS256"),
        ]:
            sentence = self.refusal({name: text}, KEY)
            self.assertTrue(sentence.startswith(f"{name}: "), sentence)
            self.assertIn(f"from the command line (--{name.replace('_', '-')}) ", sentence)
            self.assertIn(reason, sentence)

    def test_a_value_of_another_type_in_the_file_is_refused(self):
        for line in [
            "listen = 3000",
            "ping_interval = '25'",
            "demo = 1",
            "origins = [1]",
            "store = ['memory']",
            "[max_batch]",
        ]:
            self.assertIn(" from the file ", self.refusal({"config": self.file(line)}, KEY))

    def test_an_unknown_name_is_refused_in_all_three_places_with_a_hint(self):
        path = self.file("ping_intervall = 3")
        self.assertEqual(
            self.refusal({"config": path}, KEY),
            f"ping_intervall from the file {path} is not a setting of kschat (did you mean ping_interval?)",
        )
        self.assertEqual(
            self.refusal({}, {**KEY, "KSCHAT_PINGINTERVAL": "3"}),
            "KSCHAT_PINGINTERVAL from the environment is not a setting of kschat (did you mean ping_interval?)",
        )
        self.assertIn("KSCHAT_demo from the environment is not", self.refusal({}, {**KEY, "KSCHAT_demo": "1"}))
        self.assertIn("zzz from the command line is not a setting", self.refusal({"zzz": "1"}, KEY))

    def test_a_file_that_is_missing_or_no_toml_is_refused(self):
        self.assertEqual(
            self.refusal({"config": "/nowhere.toml"}, KEY),
            "config: '/nowhere.toml' from the command line (--config) cannot be read: No such file or directory",
        )
        broken: list[str | bytes] = ["listen", b"listen = '\xff'", "listen = 'a'\nlisten = 'b'"]
        for text in broken:
            path = self.file(text)
            self.assertIn(
                f"config: {path!r} from the environment (KSCHAT_CONFIG) ",
                self.refusal({}, {**KEY, "KSCHAT_CONFIG": path}),
            )

    def test_settings_that_do_not_fit_each_other_are_refused(self):
        self.assertEqual(
            self.refusal({"max_payload": "3000000"}, {**KEY, "KSCHAT_MAX_UNSENT": "5000000"}),
            "max_unsent: 5000000 from the environment (KSCHAT_MAX_UNSENT) is less than twice max_payload "
            "(3000000 from the command line (--max-payload))",
        )
        self.assertIn(
            "is less than max_payload (1000000 from the defaults)", self.refusal({"store_bytes": "1000"}, KEY)
        )

    def test_port_that_is_no_port_is_refused(self):
        for port in ["http", "-1", "65536", "3000 ", "９"]:
            self.assertIn(
                "from the environment (PORT) is not the number of a port", self.refusal({}, {**KEY, "PORT": port})
            )

    def test_a_long_value_is_not_shown_whole(self):
        self.assertLess(len(self.refusal({"store": "x" * 100_000}, KEY)), 400)


class TestNearMisses(ConfigTestCase):
    """A value that is nearly right is refused with what to write in its place."""

    def assert_mended(self, name: str, text: str, mend: str, **others: str) -> None:
        sentence = self.refusal({name: text, **others}, KEY)
        self.assertTrue(sentence.endswith(mend), sentence)
        self.assertTrue(sentence.startswith(f"{name}: "), sentence)

    def test_an_endpoint(self):
        for text, mend in {
            "3000": "write tcp:3000",
            ":3000": "write tcp:3000",
            "0.0.0.0:3000": "write tcp:3000",
            "*:80": "write tcp:80",
            "localhost:3000": "write tcp:3000:interface=127.0.0.1",
            "10.0.0.3:3000": "write tcp:3000:interface=10.0.0.3",
            "[::1]:3000": "write tcp6:3000:interface=\\:\\:1",
            "http://localhost:3000": "write tcp:3000:interface=127.0.0.1",
            "https://0.0.0.0:443/": "write ssl:443:privateKey=key.pem:certKey=cert.pem",
            "tcp:localhost:3000": "write tcp:3000:interface=127.0.0.1",
            "tcp://0.0.0.0:3000": "write tcp:3000",
            "tcp:3000:interface=::1": "write tcp6:3000:interface=\\:\\:1",
            "TCP:3000": "write tcp:3000",
            "/run/kschat.sock": "write unix:/run/kschat.sock",
            "tcp:": "write tcp:3000",
            "unix:": "write unix:/run/kschat.sock",
            "tcp:1e3": "its port is no number ('1e3'): write tcp:1000",
            "tcp:port=3k:interface=::1": "write tcp6:port=3k:interface=\\:\\:1",
            "tcp6:3_000": "write tcp6:3000",
            "haproxy:tcp:1e3": "write haproxy:tcp:1000",
            "ssl:1e3": "write ssl:1000:privateKey=key.pem:certKey=cert.pem",
            "tcp:70000": "a port is a number from 0 to 65535",
        }.items():
            self.assert_mended("listen", text, mend)
        self.assert_mended("peer_listen", "10.0.0.3:3001", "write tcp:3001:interface=10.0.0.3")
        path = self.file("listen = 3000")
        self.assertTrue(self.refusal({"config": path}, KEY).endswith("is not a text: write tcp:3000"))
        for right in ["tcp:3000", "haproxy:tcp:3000", "tcp:port=1:interface=10.0.0.3", "systemd:domain=INET:index=0"]:
            self.assertEqual(config.load({"listen": right}, KEY).listen, right)

    def test_a_store(self):
        for text, mend in {
            "sqlite": "use sqlite:kschat.db",
            "sqlite:": "use sqlite:kschat.db",
            "SQLite": "use sqlite:kschat.db",
            "": "use sqlite:kschat.db",
            "kschat.db": "use sqlite:kschat.db",
            "/var/lib/chat.db": "use sqlite:/var/lib/chat.db",
            "./data/chat": "use sqlite:./data/chat",
            "sqlite:///var/lib/chat.db": "use sqlite:/var/lib/chat.db",
            "sqlite://chat.db": "use sqlite:chat.db",
            "sqlite3:chat.db": "use sqlite:chat.db",
            "Memory": "use memory",
            "sqlite::memory:": "use memory",
            ":memory:": "use memory",
            "redis:": "use redis",
            "redis://u:hunter2@h/0": "use redis, and give the URL to the setting redis",
            "rabbitmq": "use none (relay mode), and give the URL of RabbitMQ to the setting amqp",
            "sqlite:~/chat.db": "write the whole path: ~ is the shell's, and stays as it is here",
            "sqlite:/": "use sqlite:/kschat.db",
        }.items():
            self.assert_mended("store", text, mend)
        self.assertNotIn("hunter2", self.refusal({"store": "redis://u:hunter2@h/0"}, KEY))

    def test_a_number_with_its_unit(self):
        for name, text, mend in [
            ("ping_interval", "25s", "is not a number of seconds: write 25"),
            ("ping_interval", "1m30s", "write 90"),
            ("ping_timeout", "500 ms", "write 0.5"),
            ("ping_timeout", "0,5", "write 0.5"),
            ("ping_interval", "25 seconds", "write 25"),
            ("ping_interval", "'25'", "write 25"),
            ("ping_interval", "", "leave it out, or give a number"),
            ("ping_interval", "90000", "write 90 if you mean milliseconds"),
            ("redis_wait", "1000", "is more than 100 replicas"),
            ("ping_interval", "300025s", "is not a number of seconds"),
            ("max_payload", "25s", "is not a whole number of bytes"),
            ("retention_days", "30d", "is not a number of days: write 30"),
            ("retention_days", "2 weeks", "write 14"),
            ("max_payload", "1MB", "is not a whole number of bytes: write 1000000"),
            ("max_payload", "1MiB", "write 1048576"),
            ("max_payload", "1,000,000", "write 1000000"),
            ("max_payload", "1e6", "write 1000000"),
            ("max_connections", "10k", "write 10000"),
            ("max_connections", "500.0", "write 500"),
            ("retention_messages", "500 messages", "write 500"),
        ]:
            self.assert_mended(name, text, mend)
        path = self.file('ping_interval = "25"')
        self.assertTrue(self.refusal({"config": path}, KEY).endswith("is not a number of seconds: write 25"))

    def test_a_switch_and_a_choice(self):
        self.assert_mended("access_log", "enabled", "is neither true nor false: write true")
        self.assert_mended("access_log", "N", "is neither true nor false: write false")
        self.assert_mended("access_log", '"true"', "write true")
        self.assertTrue(self.refusal({"config": self.file("demo = 1")}, KEY).endswith("write true"))
        self.assert_mended("store_sync", "FULL", "is not one of: full, normal: write full")
        self.assert_mended("amqp_exchange_type", "topics", "did you mean topic?")
        self.assert_mended("algorithms", "hs256", "write HS256")
        self.assert_mended("algorithms", "Ed25519", "write EdDSA")
        self.assert_mended("amqp_exchange", '"chat"', "stands in quotes: write chat without the quotes")

    def test_a_list(self):
        self.assert_mended("origins", '["https://a", "https://b"]', "write https://a,https://b")
        self.assert_mended("origins", "https://a https://b", "write https://a,https://b")
        self.assert_mended("origins", "chat.example.org", "write https://chat.example.org")
        self.assert_mended("origins", "https://chat.example.org/", "write https://chat.example.org")
        self.assert_mended("origins", "localhost:8080", "write http://localhost:8080")

    def test_a_url_of_rabbitmq(self):
        for text, mend in {
            "localhost:5672": "write amqp://localhost:5672",
            "localhost:0/a": "write amqp://localhost/a",
            "http://x:65536": "write amqp://guest:guest@localhost:5672/",
            "guest:hunter2@localhost": "begin it with amqp://",
            "rabbitmq://localhost/": "write amqp://localhost/",
            "AMQP://localhost/": "write amqp://localhost/",
            "http://localhost:15672/": "write amqp://guest:guest@localhost:5672/",
            "amqp:///": "there is no host in it: write amqp://localhost:5672/",
            "amqp://localhost//": "is written %2F: end it with /%2F",
            "amqp://localhost/a/b": "is written %2F: end it with /a%2Fb",
            "amqp://u:hunter2/x@localhost/": "a / in a user's name or password is written %2F",
            "amqp://u:hunter2#x@localhost/": "a # in a user's name or password is written %23",
            "amqp://u@localhost/": "there is a user in it and no password: write user:password@host",
            "amqp://localhost:http/": "a host in it is not like name, name:port or [address]:port",
            "amqp://localhost/?heartbeats=5": "nothing is known of 'heartbeats' in its query: write heartbeat",
            "amqp://localhost/?heartbeat=abc": "Invalid heartbeat value 'abc'",
            "a:5672,b:5672": "write amqp://a:5672,b:5672",
            "amqp://a,,b/": "a host is missing before or behind a comma: write host:5672,host:5672",
            "amqp://u:hunter2@a,/": "a host is missing before or behind a comma: write host:5672,host:5672",
            "amqp://a,b:http/": "a host in it is not like name, name:port or [address]:port",
            "amqp://a,b:0/": "a port is a number from 1 to 65535",
            "amqp://u:hunter2@a/v,amqp://u:hunter2@b/v": "write one, with several hosts: …@host:5672,host:5672/vhost",
        }.items():
            self.assert_mended("amqp", text, mend, store="none")
            self.assertNotIn("hunter2", self.refusal({"amqp": text, "store": "none"}, KEY))
        for right in ["amqp://localhost", "amqp://u:p%2F@[::1]:5672/%2F?heartbeat=5", *RABBITMQ_URLS]:
            self.assertEqual(config.load({"amqp": right, "store": "none"}, KEY).amqp, right)

    def test_a_url_of_redis(self):
        for text, mend in {
            "localhost:6379": "write redis://localhost:6379",
            ":hunter2@localhost:6379": "begin it with redis://",
            "redis-sentinel://a:26379/chat": "write redis+sentinel://a:26379/chat",
            "unix:///run/redis.sock": "write redis://localhost:6379/0",
            "redis://localhost/chat": "what follows the host is no number of a database, such as /0",
            "redis://localhost?db=1": "a database stands in the path, as in redis://…/1",
            "redis+sentinel://a:26379/0": "the master's name is missing before the database: …/NAME/0",
            "redis+sentinel://a:26379/chat/x": "what follows the master's name is no number of a database, such as /0",
            "redis://hunter2@localhost": "a user in it and no password (a password alone is written :password@)",
        }.items():
            self.assert_mended("redis", text, mend, **RELAY)
            self.assertNotIn("hunter2", self.refusal({"redis": text, **RELAY}, KEY))

    def test_the_place_of_another_daemon(self):
        self.assert_mended("peer_url", "10.0.0.3:3001", "write http://10.0.0.3:3001", **PEERS)
        self.assert_mended("peer_url", "https://ks-1:3001", "write http://ks-1:3001", **PEERS)
        self.assert_mended("peer_url", "http://ks-1", "give its port too", **PEERS)
        self.assert_mended("peer_url", "http://", "write http://10.0.0.3:3001", **PEERS)

    def test_a_path(self):
        self.assert_mended("templates", "~/templates", "~ is the shell's, and stays as it is here")
        self.assert_mended("client_dist", "file:///srv/dist", "write /srv/dist")

    def test_a_file_of_settings(self):
        for text, mend in {
            '[kschat]\nlisten = "tcp:3000"': "sections are not used",
            "[max_batch]": "sections are not used",
            "[[listen]]\nport = 3000": "sections are not used",
            "kschat.listen = 'tcp:3000'": "sections are not used",
            "listen = tcp:3000": 'texts stand in quotes, listen = "…"',
            "demo = True": "write demo = true",
            "listen: tcp:3000": "write name = value, not name: value",
            "ping-interval = 3": "did you mean ping_interval?",
        }.items():
            self.assertIn(mend, self.refusal({"config": self.file(text)}, KEY))
        self.assertEqual(config.load({"config": self.file(b"\xef\xbb\xbfmax_batch = 2")}, KEY).max_batch, 2)
        self.assertIn("it is not UTF-8", self.refusal({"config": self.file(b"listen = '\xff'")}, KEY))

    def test_an_origin(self):
        stars = (
            "has a * in the wrong place: write * alone for all origins, or https://*.example.org for all below a domain"
        )
        port = "has a port that is not a number from 1 to 65535"
        for text, mend in {
            "http://*": stars,
            "http://*:3000": stars,
            "https://a.*.b": stars,
            "https://*.a.*.b": stars,
            "https://*.*": stars,
            "https://a*.example.org": stars,
            "https://*.*.a.b": "has more than one *, where one is for all levels: write https://*.a.b",
            "http://*.10.0.0.1": "has a * before an address, below which there is nothing: write http://10.0.0.1",
            "*.example.org": "has a * in the wrong place: write https://*.example.org",
            "http://x:0": f"{port}: write http://x",
            "http://x:65536": f"{port}: write http://x",
            "http://x:": f"{port}: write http://x",
            "https://*.x:0": f"{port}: write https://*.x",
            "ws://x:0": f"{port}: write https://chat.example.org:8443, or no port",
            "ws://x:81/a": "which no page has: write http://x:81",
            "http://a..b": "has a host that no page can have: write it like https://chat.example.org",
            "http://": "has no host, or more than a host and a port: write it like https://chat.example.org",
            "http://u@x": "has no host, or more than a host and a port: write it like https://chat.example.org",
            ",a": "holds 'a', which is not like https://chat.example.org: write https://a",
            "https://b,a b": "write https://b,a,b",
            "https://b,-": "holds '-', which is not like https://chat.example.org: write https://-",
        }.items():
            self.assert_mended("origins", text, mend)

    def test_a_base_path(self):
        self.assert_mended("base_path", "chat", "write /chat")
        self.assert_mended("base_path", "//chat/", "write /chat")
        self.assert_mended("base_path", "https://example.org/chat/a", "write /chat/a")
        dots = "is not like /chat: browsers resolve the parts . and .. and do not send them: write "
        for text, mend in {"/.": "/", "/..": "/", "/a/./b": "/a/b", "/a/../b": "/b", "/chat/.": "/chat"}.items():
            self.assert_mended("base_path", text, dots + mend)
        for text, mend in {"a//b": "write /a/b", ".": "write /", "https://h/a/./b/": "write /a/b"}.items():
            self.assert_mended("base_path", text, mend)

    def test_what_is_to_be_written_can_be_used_and_is_not_what_was_refused(self):
        parts = [
            "",
            "*",
            "a",
            "*.a",
            "a.*",
            "x:0",
            "x:65536",
            "x:80",
            "/",
            ".",
            "..",
            "//",
            "http://",
            "https://",
            "ws://",
        ]
        parts += [
            "tcp:",
            "tcp6:",
            "ssl:",
            "unix:",
            ":",
            "1e3",
            "3000",
            "-1",
            "[::1]",
            "10.0.0.1",
            ":interface=",
            "é",
            "@",
        ]
        for name in ("origins", "base_path", "listen"):
            for text in map("".join, itertools.product(parts, repeat=2)):
                for said in self.said(name, text):
                    self.assertNotEqual(said, text)
                    config.load({name: said}, KEY)
        parts += [
            "redis://",
            "amqp://",
            "file://",
            "sqlite:",
            "sqlite://",
            "a/",
            "30d",
            "300025s",
            "9e9",
            "'a'",
            "true",
        ]
        for name in sorted(SETTINGS.keys() - OF_KEYS):
            for text in parts:
                for said in self.said(name, text, **COMPANIONS.get(name, {})):
                    self.assertNotEqual(said, text)
                    if SETTINGS[name].kind != "list":
                        SETTINGS[name].from_text(said)
                    if said.startswith("sqlite:"):
                        config.load({name: said}, KEY)

    def said(self, name: str, text: str, **others: str) -> list[str]:
        """What is to be written where ``text`` is refused."""
        try:
            config.load({name: text, **others}, KEY)
        except ConfigError as error:
            return re.findall(r"(?:write|use) (\S+)$", str(error))
        return []

    def test_white_space_around_a_value_is_no_part_of_it(self):
        self.assertEqual(config.load({"listen": " tcp:3000\r"}, KEY).listen, "tcp:3000")


class TestKeys(ConfigTestCase):
    """One key, fit for the algorithms; in a demo none, and nobody from outside."""

    def pem(self) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def test_a_start_without_a_key_says_how_to_give_one(self):
        sentence = self.refusal({}, {})
        for word in ["KSCHAT_SECRET", "--secret-file FILE", "--demo", "32 bytes"]:
            self.assertIn(word, sentence)

    def test_a_short_secret_is_refused_and_not_shown(self):
        sentence = self.refusal({"secret": "hunter2"}, {})
        self.assertIn(
            "secret: the value from the command line (--secret) cannot be used with algorithms HS256", sentence
        )
        self.assertIn("at least 32 bytes", sentence)
        self.assertNotIn("hunter2", sentence)

    def test_a_secret_too_short_for_its_algorithm_is_refused(self):
        self.assertIn("at least 64 bytes", self.refusal({"secret": "x" * 63, "algorithms": "HS256,HS512"}, {}))
        config.load({"secret": "x" * 64, "algorithms": "HS256,HS512"}, {})

    def test_a_secret_may_lie_in_a_file_whose_last_newline_is_no_part_of_it(self):
        loaded = config.load({"secret_file": self.file(SECRET + "\n")}, {})
        self.assertEqual(config.read_secret(loaded), SECRET.encode())
        self.assertIn("cannot be used", self.refusal({"secret_file": self.file("\n")}, {}))

    def test_a_file_that_cannot_be_read_is_refused_with_its_origin(self):
        self.assertEqual(
            self.refusal({}, {"KSCHAT_JWKS_FILE": "/nowhere"}),
            "jwks_file: '/nowhere' from the environment (KSCHAT_JWKS_FILE) cannot be read: No such file or directory",
        )
        path = self.file('secret_file = "a\\u0000b"')
        self.assertIn("cannot be read", self.refusal({"config": path}, {}))

    def test_keys_at_a_url_need_a_way_that_nobody_can_change_and_algorithms_of_public_keys(self):
        url = "https://login.example.org/jwks"
        config.load({"jwks_url": url, "algorithms": "RS256"}, {})
        config.load({"jwks_url": "http://127.0.0.1:8080/", "algorithms": "ES256", "jwks_ca": self.file("x")}, {})
        for argv, words in (
            ({"jwks_url": "http://login.example.org/"}, "use https, or http on this machine"),
            ({"jwks_url": "login.example.org"}, "is not like https://"),
            ({"jwks_url": url}, "the algorithm HS256, whose key is a secret: add --algorithms RS256"),
            ({"jwks_url": url, "secret_file": self.file(SECRET)}, "name one key"),
            ({"jwks_url": url, "algorithms": "RS256", "jwks_ca": "/nowhere"}, "jwks_ca: '/nowhere'"),
            ({"secret_file": self.file(SECRET), "jwks_ca": "/nowhere"}, "is of no use without jwks_url"),
        ):
            self.assertIn(words, self.refusal(argv, {}))

    def test_two_keys_are_refused(self):
        sentence = self.refusal({"secret_file": self.file(SECRET)}, KEY)
        self.assertIn("cannot go with secret (from the environment (KSCHAT_SECRET)): name one key", sentence)

    def test_a_public_key_wants_an_algorithm_of_its_kind(self):
        path = self.file(self.pem())
        self.assertIn("no key for the algorithm HS256", self.refusal({"public_key_file": path}, {}))
        loaded = config.load({"public_key_file": path, "algorithms": "ES256"}, {})
        self.assertEqual(len(config.read_keys(loaded).usable_with("ES256")), 1)
        self.assertIsNone(config.read_secret(loaded))
        self.assertIn("never mixed", self.refusal({"public_key_file": path, "algorithms": "ES256,HS256"}, {}))

    def test_the_algorithms_that_a_key_wants_are_named_as_they_would_be_given(self):
        path = self.file(self.pem())
        self.assertTrue(self.refusal({"public_key_file": path}, {}).endswith(": add --algorithms ES256"))
        environ = {"KSCHAT_PUBLIC_KEY_FILE": path}
        self.assertTrue(self.refusal({}, environ).endswith(": add KSCHAT_ALGORITHMS=ES256"))
        toml = self.file(f"public_key_file = {json.dumps(path)}")
        self.assertTrue(self.refusal({"config": toml}, {}).endswith(': add algorithms = ["ES256"]'))
        given = {"public_key_file": path, "algorithms": "RS256"}
        self.assertTrue(self.refusal(given, {}).endswith(": give --algorithms ES256 instead"))
        given = {"secret_file": self.file(SECRET), "algorithms": "RS256"}
        self.assertTrue(self.refusal(given, {}).endswith(": give --algorithms HS256 instead"))
        rsa_key = rsa.generate_private_key(65537, 2048).public_key()
        path = self.file(rsa_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        self.assertTrue(self.refusal({"public_key_file": path}, {}).endswith(": add --algorithms RS256"))
        jwks = json.dumps({"keys": [jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key, as_dict=True)]})
        self.assertTrue(self.refusal({"jwks_file": self.file(jwks)}, {}).endswith(": add --algorithms RS256"))

    def test_a_key_of_another_kind_than_its_setting_says_is_told_by_its_looks(self):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        ssh = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        for name, content, mend in [
            ("public_key_file", private, "openssl pkey -in FILE -pubout prints the public key"),
            ("public_key_file", ssh, "ssh-keygen -e -m PKCS8 -f FILE prints it as PEM"),
            ("public_key_file", b"-----BEGIN CERTIFICATE-----\n", "-noout -pubkey prints its public key"),
            ("public_key_file", b'{"keys": []}', "it is a JWK Set: give it by jwks_file"),
            ("secret_file", self.pem(), "it is a public key: give it by public_key_file"),
            ("jwks_file", self.pem(), "it is a public key: give it by public_key_file"),
        ]:
            self.assertIn(mend, self.refusal({name: self.file(content), "algorithms": ALGORITHMS[name]}, {}))

    def test_a_jwk_set_may_hold_several_keys(self):
        keys = [{"kty": "oct", "kid": kid, "k": jwt.utils.base64url_encode(kid.encode() * 32).decode()} for kid in "ab"]
        loaded = config.load({"jwks_file": self.file(json.dumps({"keys": keys}))}, {})
        self.assertEqual([key.kid for key in config.read_keys(loaded).usable_with("HS256")], ["a", "b"])
        self.assertIn("the JWK Set is not JSON", self.refusal({"jwks_file": self.file("keys")}, {}))

    def test_a_demo_keeps_messages_in_memory_unless_a_store_is_named(self):
        self.assertEqual(config.load({"demo": "true"}, {}).store, "memory")
        self.assertEqual(config.load({"demo": "true", "store": "sqlite:x"}, {}).store, "sqlite:x")
        self.assertEqual(config.load({"demo": "true"}, {"KSCHAT_STORE": "sqlite:kschat.db"}).store, "sqlite:kschat.db")

    def test_a_demo_listens_on_loopback_alone(self):
        self.assertEqual(config.load({"demo": "true"}, {}).listen, "tcp:3000:interface=127.0.0.1")
        self.assertEqual(config.load({"demo": "true"}, {"PORT": "81"}).listen, "tcp:81:interface=127.0.0.1")
        for listen in [
            "tcp:81:interface=127.0.0.1",
            "tcp:81:127.0.0.2",
            "tcp:interface=localhost:port=81",
            r"tcp6:81:interface=\:\:1",
            "unix:/run/kschat.sock",
            "ssl:443:interface=127.0.0.1",
        ]:
            self.assertEqual(config.load({"demo": "true", "listen": listen}, {}).listen, listen)
        for listen in [
            "tcp:81",
            "tcp:81:interface=",
            "tcp:81:interface=0.0.0.0",
            "tcp:81:interface=192.168.0.1",
            r"tcp6:81:interface=\:\:",
            "ssl:443:127.0.0.1",
            "systemd:domain=INET:index=0",
            "127.0.0.1",
        ]:
            self.assertIn("cannot be used with demo", self.refusal({"demo": "true", "listen": listen}, {}))

    def test_a_demo_never_gives_out_tokens_of_a_real_secret(self):
        self.assertIn("cannot be used with demo", self.refusal({"demo": "yes"}, KEY))


class TestBackends(ConfigTestCase):
    """Combinations of router and store that could not keep their promise."""

    def test_rabbitmq_goes_with_no_store_that_other_daemons_cannot_read(self):
        for store in ({}, {"store": "memory"}, {"store": "sqlite:x.db"}, {"demo": "true"}):
            sentence = self.refusal({"amqp": "amqp://localhost/", **store}, {} if "demo" in store else KEY)
            self.assertIn("give the store redis (and redis) or postgresql://…, or none (relay mode", sentence)

    def test_the_redis_store_needs_redis_and_rabbitmq(self):
        self.assertIn("give redis too", self.refusal({"store": "redis"}, KEY))
        self.assertIn("give redis too", self.refusal({"store": "redis", "amqp": "amqp://localhost/"}, KEY))
        sentence = self.refusal({"store": "redis", "redis": "redis://localhost/"}, KEY)
        self.assertIn("users on other daemons would not get their messages", sentence)
        given = {"store": "redis", "redis": "redis://localhost/", "amqp": "amqp://localhost/"}
        self.assertEqual(config.load(given, KEY).store, "redis")

    def test_relay_mode_needs_rabbitmq(self):
        self.assertIn("needs RabbitMQ: give amqp too", self.refusal({"store": "none"}, KEY))

    def test_a_url_of_something_else_is_refused_and_not_shown(self):
        sentence = self.refusal({"amqp": "http://user:hunter2@localhost/", "store": "none"}, KEY)
        self.assertIn("is not like amqp://", sentence)
        self.assertNotIn("hunter2", sentence)

    def test_the_password_is_in_no_description(self):
        loaded = config.load({"amqp": "amqp://user:hunter2@localhost/", "store": "none"}, KEY)
        self.assertNotIn("hunter2", config.describe(loaded) + repr(loaded))

    def test_a_prefix_leaves_room_for_ids(self):
        given = {"amqp": "amqp://localhost/", "store": "none", "amqp_prefix": "x" * 101}
        self.assertIn("is longer than 100 bytes", self.refusal(given, KEY))

    def test_files_for_tls_must_be_there(self):
        for name in ("amqp_ca", "amqp_cert", "amqp_key", "redis_ca", "redis_cert", "redis_key"):
            given = {"amqp": "amqps://localhost/", "store": "none", name: "/nowhere.pem"}
            self.assertIn("is not a file", self.refusal(given, KEY))

    def test_redis_needs_rabbitmq(self):
        for name in ("redis", "redis_pub", "redis_sub"):
            self.assertIn("needs RabbitMQ too", self.refusal({name: "redis://localhost/"}, KEY))

    def test_where_to_publish_and_where_to_subscribe_must_both_be_known(self):
        for name, other in (("redis_pub", "redis_sub"), ("redis_sub", "redis_pub")):
            self.assertIn(f"needs {other} too", self.refusal({**RELAY, name: "redis://localhost/"}, KEY))
        both = {"redis_pub": "redis://localhost/", "redis_sub": "redis://localhost/1"}
        self.assertEqual(config.load({**RELAY, **both}, KEY).redis_sub, both["redis_sub"])

    def test_a_url_that_is_none_of_redis_is_refused_and_not_shown(self):
        for name in ("redis", "redis_pub", "redis_sub"):
            sentence = self.refusal({**RELAY, name: "http://:hunter2@localhost/"}, KEY)
            self.assertIn("is not like redis://", sentence)
            self.assertNotIn("hunter2", sentence)

    def test_keys_in_redis_have_a_prefix(self):
        for prefix in ("", "x" * 101):
            self.assertIn("is empty, or longer", self.refusal({"redis_prefix": prefix}, KEY))


class TestEvents(ConfigTestCase):
    """Events need a receiver, secrets, and a store to be made from."""

    def test_what_they_need(self):
        url, secret = "https://app.example.org/hooks", self.file(f"whsec_{'A' * 32}\n")
        hooks = {"hooks_url": url, "hooks_secret_file": secret}
        self.assertTrue(config.load(hooks, KEY).hooks)
        self.assertFalse(config.load({}, KEY).hooks)
        config.load({**hooks, "hooks_url": "http://127.0.0.1:8000/", "hooks_ca": self.file("x")}, KEY)
        for argv, words in (
            ({"hooks_url": url}, "needs hooks_secret_file"),
            ({"hooks_secret_file": secret}, "is of no use without ask_url or hooks_url"),
            ({"hooks_ca": secret}, "is of no use without ask_url or hooks_url"),
            ({**hooks, "hooks_url": "app.example.org"}, "is not like https://app.example.org/chat-hook"),
            ({**hooks, "hooks_url": "https://u:p@app.example.org/"}, "has a user, a password"),
            ({**hooks, **RELAY}, "needs a store that keeps messages"),
            ({**hooks, "hooks_secret_file": "/nowhere"}, "cannot be read"),
            ({**hooks, "hooks_secret_file": self.file("secret")}, "cannot be used"),
            ({**hooks, "hooks_ca": "/nowhere"}, "is not a file"),
            ({**hooks, "hooks_events": "message.deleted"}, "holds 'message.deleted', which is not one of"),
            ({**hooks, "undelivered_after": "0"}, "is less than 1 seconds"),
        ):
            self.assertIn(words, self.refusal(argv, KEY))


class TestShowing(ConfigTestCase):
    """What is printed of a configuration."""

    def test_secrets_are_in_no_description_and_no_repr(self):
        loaded = config.load({}, KEY)
        for text in [config.describe(loaded), repr(loaded), str(loaded), f"{loaded}"]:
            self.assertNotIn(SECRET, text)
            self.assertIn('"(masked)"', text)

    def test_a_description_is_a_file_that_means_the_same(self):
        # What is masked can't be read again.
        values = {name: text for name, (text, _) in SAMPLES.items() if not SETTINGS[name].about.masked}
        loaded = config.load({**values, "secret_file": self.file(SECRET)}, {})
        self.assertEqual(config.load({"config": self.file(config.describe(loaded))}, {}), loaded)

    def test_the_table_of_the_documentation_is_the_one_that_is_generated(self):
        page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
        self.assertIn(f"\n{config.settings_table()}\n", page, "run `make docs`")

    def test_the_table_names_every_setting_with_its_default(self):
        table = config.settings_table()
        for name, setting in SETTINGS.items():
            self.assertIn(f"| `{name}` | `{setting.to_toml(setting.default)}` |", table)

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_any_text_survives_toml(self, text):
        written = SETTINGS["listen"].to_toml(text)
        self.assertEqual(tomllib.loads(f"x = {written}"), {"x": text})


class TestReading(SynchronousTestCase):
    """The text of one setting."""

    @given(st.sampled_from(list(SETTINGS.values())), st.text())
    def test_any_text_is_a_value_of_its_kind_or_unfit(self, setting: Setting, text: str):
        try:
            value = setting.from_text(text)
        except Unfit:
            return
        self.assertIs(type(value), type(setting.default))

    @given(
        st.sampled_from(list(SETTINGS.values())),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda some: st.lists(some) | st.dictionaries(st.text(), some),
            max_leaves=5,
        ),
    )
    def test_anything_in_a_file_is_a_value_of_its_kind_or_unfit(self, setting: Setting, found: object):
        try:
            value = setting.from_toml(found)
        except Unfit:
            return
        self.assertIs(type(value), type(setting.default))


class TestHooks(ConfigTestCase):
    """What is sent to a back end is signed, and goes to a URL."""

    def setUp(self) -> None:
        self.secret = self.file("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")

    def test_a_url_and_a_secret_are_taken(self) -> None:
        for url in ("https://app.example.org/hook", "http://127.0.0.1:9300/", "http://backend:80/hook?a=b"):
            found = config.load({"ask_url": url, "hooks_secret_file": self.secret, "hooks_ca": self.secret}, KEY)
            self.assertEqual((url, ("join", "write"), "deny"), (found.ask_url, found.ask_about, found.ask_silent))

    def test_what_can_t_be_used_is_one_sentence_that_shows_no_secret(self) -> None:
        url = "https://app.example.org/hook"
        for argv, reason in (
            ({"ask_url": url}, "needs hooks_secret_file too"),
            ({"ask_url": "app.example.org", "hooks_secret_file": self.secret}, "is not like https://"),
            ({"ask_url": "ftp://app.example.org/", "hooks_secret_file": self.secret}, "is not like https://"),
            ({"ask_url": "https://u:p@app.example.org/", "hooks_secret_file": self.secret}, "has a user"),
            ({"ask_url": "https://a.example/\r\nX: y", "hooks_secret_file": self.secret}, "is not like https://"),
            ({"hooks_secret_file": self.secret}, "is of no use without ask_url"),
            ({"hooks_ca": self.secret}, "is of no use without ask_url"),
            ({"ask_url": url, "hooks_secret_file": "/nowhere"}, "cannot be read"),
            ({"ask_url": url, "hooks_secret_file": self.file("")}, "it has 0 secrets"),
            ({"ask_url": url, "hooks_secret_file": self.file("not base 64")}, "is not whsec_ and Base64"),
            ({"ask_url": url, "hooks_secret_file": self.file("whsec_c2hvcnQ=")}, "a secret has 5 bytes"),
            ({"ask_url": url, "hooks_secret_file": self.secret, "hooks_ca": "/nowhere"}, "is not a file"),
            ({"ask_about": "join,leave"}, "which is not one of: join, write, send"),
            ({"ask_about": ""}, "is an empty list"),
        ):
            sentence = self.refusal(argv, KEY)
            self.assertIn(reason, sentence)
            self.assertNotIn("c2hvcnQ", sentence)
            self.assertNotIn("base 64", sentence)
