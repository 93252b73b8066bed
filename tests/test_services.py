"""RabbitMQ and Redis among the services that Cloud Foundry binds, in the forms in which brokers describe them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kschat.cli.warnings import warnings_of
from kschat.settings import Config, ConfigError, load
from kschat.settings.services import bound_services

SECRET = "Zk3-vJ9qXw_7LmTd0RbYc5NfHs2GpUeA"

#: VMware Tanzu RabbitMQ, as its documentation shows it.
TANZU_RABBIT: dict[str, Any] = {
    "label": "p.rabbitmq",
    "name": "queue",
    "plan": "single-node",
    "tags": ["rabbitmq"],
    "credentials": {
        "dashboard_url": "http://rabbit.example.com",
        "username": "u1",
        "vhost": "v1",
        "password": "p1",
        "ssl": False,
        "hostname": "10.0.0.41",
        "hostnames": ["10.0.0.41", "10.0.0.51"],
        "uri": "amqp://u1:p1@10.0.0.41/v1",
        "uris": ["amqp://u1:p1@10.0.0.41/v1", "amqp://u1:p1@10.0.0.51/v1"],
        "http_api_uri": "http://u1:p1@10.0.0.41:15672/api",
        "protocols": {
            "amqp": {
                "password": "p1",
                "port": 5672,
                "ssl": False,
                "username": "u1",
                "vhost": "v1",
                "host": "10.0.0.41",
                "hosts": ["10.0.0.41", "10.0.0.51"],
                "uri": "amqp://u1:p1@10.0.0.41:5672/v1",
                "uris": ["amqp://u1:p1@10.0.0.41:5672/v1", "amqp://u1:p1@10.0.0.51:5672/v1"],
            },
            "management": {"uri": "http://u1:p1@10.0.0.41:15672/api", "port": 15672},
        },
    },
}

#: Redis of the same.
TANZU_REDIS: dict[str, Any] = {
    "label": "p.redis",
    "name": "keep",
    "tags": ["redis", "pivotal", "on-demand"],
    "credentials": {"host": "10.0.0.7", "password": "p2", "port": 6379},
}

#: A service that has nothing to do with the chat.
OTHER: dict[str, Any] = {
    "label": "cleardb",
    "name": "accounts",
    "tags": ["mysql"],
    "credentials": {"uri": "mysql://u:p@db:3306/a", "hostname": "db"},
}


def environ_with(*services: dict[str, Any], **more: str) -> dict[str, str]:
    """The environment of an app with these services."""
    offerings: dict[str, list[dict[str, Any]]] = {}
    for one in services:
        offerings.setdefault(one.get("label", "user-provided"), []).append(one)
    return {"KSCHAT_SECRET": SECRET, "VCAP_SERVICES": json.dumps(offerings), **more}


def user_provided(name: str, credentials: dict[str, Any], *tags: str) -> dict[str, Any]:
    """What ``cf create-user-provided-service`` makes."""
    return {"label": "user-provided", "name": name, "tags": [*tags], "credentials": credentials}


class TestServices(SynchronousTestCase):
    """How they are found, and what their URLs are."""

    def urls(self, *services: dict[str, Any]) -> dict[str, str]:
        return {name: url for name, (url, _) in bound_services(environ_with(*services)).items()}

    def url(self, service: dict[str, Any]) -> str:
        (found,) = self.urls(service).values()
        return found

    def test_both_are_found_among_others_and_daemons_act_as_one(self) -> None:
        loaded = load({}, environ_with(OTHER, TANZU_RABBIT, TANZU_REDIS))
        wanted = Config(
            secret=SECRET,
            store="redis",
            amqp="amqp://u1:p1@10.0.0.41:5672,10.0.0.51:5672/v1",
            redis="redis://:p2@10.0.0.7:6379",
        )
        self.assertEqual(loaded, wanted)

    def test_a_tag_a_label_a_url_or_a_name_is_enough(self) -> None:
        amqp, redis = {"uri": "amqp://u:p@h/v"}, {"host": "h", "port": 1, "password": "p"}
        for service in (
            {"label": "x", "name": "x", "tags": ["AMQP"], "credentials": amqp},
            {"label": "cloudamqp", "name": "x", "credentials": amqp},
            {"label": "rabbitmq-2.4", "name": "x", "tags": [], "credentials": amqp},
            user_provided("bus", amqp),
            user_provided("x", amqp, "rabbitmq"),
            user_provided("our-rabbit", {"hostname": "h", "username": "u", "password": "p", "vhost": "v"}),
        ):
            self.assertIn(self.urls(service), [{"amqp": "amqp://u:p@h/v"}, {"amqp": "amqp://u:p@h:5672/v"}], service)
        for service in (
            {"label": "x", "name": "x", "tags": ["redis"], "credentials": redis},
            {"label": "rediscloud", "name": "x", "credentials": redis},
            {"label": "a9s-redis70", "name": "x", "tags": ["cache", "database"], "credentials": redis},
            {"label": "redis-2.2", "name": "x", "credentials": redis},
            user_provided("chat-redis", redis),
            user_provided("x", redis, "Redis"),
            user_provided("x", {"url": "redis://:p@h:1"}),
        ):
            self.assertEqual(self.urls(service), {"redis": "redis://:p@h:1"}, service)

    def test_a_tag_counts_more_than_a_name(self) -> None:
        named = user_provided("redis-backups", {"hostname": "wrong"})
        self.assertEqual(self.urls(named, TANZU_REDIS), {"redis": "redis://:p2@10.0.0.7:6379"})

    def test_with_tls_where_the_service_has_it(self) -> None:
        credentials = TANZU_REDIS["credentials"]
        tls = {**TANZU_REDIS, "credentials": {**credentials, "tls_port": 16379, "tls_versions": ["tlsv1.2"]}}
        self.assertEqual(self.url(tls), "rediss://:p2@10.0.0.7:16379")
        flagged = {**TANZU_REDIS, "credentials": {**credentials, "tls": True}}
        self.assertEqual(self.url(flagged), "rediss://:p2@10.0.0.7:6379")
        both = {
            **TANZU_RABBIT,
            "credentials": {
                "protocols": {
                    "amqp": {"uri": "amqp://u:p@h:5672/v"},
                    "amqp+ssl": {"uri": "amqps://u:p@h:5671/v", "ssl": True},
                }
            },
        }
        self.assertEqual(self.url(both), "amqps://u:p@h:5671/v")

    def test_a_user_that_redis_does_not_know_is_not_taken_from_its_url(self) -> None:
        credentials = {
            "uri": "rediss://no-user-name-for-redis:p@master.example:6380",
            "hostname": "master.example",
            "port": 6380,
            "password": "p",
        }
        self.assertEqual(self.url({**TANZU_REDIS, "credentials": credentials}), "rediss://:p@master.example:6380")

    def test_what_has_a_meaning_in_a_url_is_escaped(self) -> None:
        credentials = {"host": "::1", "port": "5672", "user": "a@b", "pass": "p/:?#", "vhost": "/x"}
        url = self.url(user_provided("rabbit", credentials))
        self.assertEqual(url, "amqp://a%40b:p%2F%3A%3F%23@[::1]:5672/%2Fx")
        self.assertEqual(load({"store": "none"}, environ_with(user_provided("rabbit", credentials))).amqp, url)

    def test_urls_that_differ_in_more_than_their_hosts_are_not_one_cluster(self) -> None:
        uris = ["amqp://u:p@a/v", "amqp://u:q@b/v", "amqp://u:p@c/v", "http://u:p@d/v"]
        self.assertEqual(self.url(user_provided("x", {"uris": uris})), "amqp://u:p@a,c/v")

    def test_the_file_counts_less_and_a_named_setting_more(self) -> None:
        path = Path(self.mktemp())
        path.write_text('amqp = "amqp://file"\nredis = "redis://file"\nstore = "redis"\n')
        environ = environ_with(TANZU_RABBIT, TANZU_REDIS, KSCHAT_CONFIG=str(path))
        self.assertEqual(load({}, environ).redis, "redis://:p2@10.0.0.7:6379")
        self.assertEqual(load({}, {**environ, "KSCHAT_REDIS": "redis://named"}).redis, "redis://named")
        self.assertEqual(load({"amqp": "amqp://named"}, environ).amqp, "amqp://named")
        # An empty one says that the service is for something else.
        alone = load({"amqp": "", "redis": "", "store": "memory"}, environ)
        self.assertEqual((alone.amqp, alone.redis), ("", ""))

    def test_the_store_is_redis_unless_one_is_named(self) -> None:
        environ = environ_with(TANZU_RABBIT, TANZU_REDIS)
        self.assertEqual(load({"store": "none"}, environ).store, "none")
        self.assertEqual(load({}, {"KSCHAT_SECRET": SECRET}).store, "sqlite:kschat.db")

    def test_a_file_whose_name_is_that_of_the_variable_binds_nothing(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        for name in ("kschat.toml", "VCAP_SERVICES.toml"):
            path = directory / name
            path.write_text('amqp = "amqp://file"\nredis = "redis://file"\n')
            self.assertRaises(ConfigError, load, {}, {"KSCHAT_SECRET": SECRET, "KSCHAT_CONFIG": str(path)})

    def test_the_services_may_be_in_a_file(self) -> None:
        path = Path(self.mktemp())
        path.write_text(environ_with(TANZU_REDIS)["VCAP_SERVICES"])
        self.assertEqual(list(bound_services({"VCAP_SERVICES_FILE_PATH": str(path)})), ["redis"])
        error = self.assertRaises(ConfigError, bound_services, {"VCAP_SERVICES_FILE_PATH": "/nowhere"})
        self.assertIn("VCAP_SERVICES_FILE_PATH) cannot be read: No such file", str(error))

    def test_nothing_bound_changes_nothing(self) -> None:
        for text in ("", " ", "{}", json.dumps({"cleardb": [OTHER]})):
            self.assertEqual(load({}, {"KSCHAT_SECRET": SECRET, "VCAP_SERVICES": text}), Config(secret=SECRET), text)

    def refusal(self, environ: dict[str, str]) -> str:
        said = str(self.assertRaises(ConfigError, load, {}, environ))
        self.assertNotIn("\n", said)
        for secret in ("p1", "p2", SECRET):
            self.assertNotIn(secret, said)
        return said

    def test_two_of_a_kind_are_not_chosen_from(self) -> None:
        twin = {**TANZU_REDIS, "name": "cache"}
        self.assertEqual(
            self.refusal(environ_with(TANZU_REDIS, twin)),
            "redis: several bound services could be meant (cache and keep in VCAP_SERVICES): unbind all but one, or "
            "give KSCHAT_REDIS",
        )

    def test_one_without_the_other_is_refused_as_the_setting_is(self) -> None:
        self.assertIn("(VCAP_SERVICES, service keep) needs RabbitMQ too", self.refusal(environ_with(TANZU_REDIS)))
        said = self.refusal(environ_with(TANZU_RABBIT))
        self.assertIn("(VCAP_SERVICES, service queue) cannot be used with a store that other daemons", said)

    def test_a_service_without_an_address_is_refused(self) -> None:
        said = self.refusal(environ_with({**TANZU_REDIS, "credentials": {"password": "p2"}}))
        self.assertIn("has neither a uri nor a hostname in its credentials: give KSCHAT_REDIS", said)

    def test_what_is_not_the_platform_s_is_refused_without_showing_it(self) -> None:
        for text in ("p1", "[]", '{"redis": {}}', '{"redis": [{"name": "p1"}]}', '{"x": [{"credentials": "p1"}]}'):
            said = self.refusal({"KSCHAT_SECRET": SECRET, "VCAP_SERVICES": text})
            self.assertTrue(said.startswith("VCAP_SERVICES from the environment is not what Cloud Foundry"), said)

    @given(
        st.dictionaries(
            st.sampled_from(["uri", "uris", "host", "hostnames", "port", "password", "vhost", "tls", "protocols"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            ),
        )
    )
    def test_whatever_the_credentials_are_the_end_is_a_configuration_or_a_sentence(self, found: dict[str, Any]) -> None:
        services = [user_provided("rabbit", found), user_provided("redis", found)]
        try:
            load({}, environ_with(*services))
        except ConfigError as error:
            self.assertNotIn("\n", str(error))

    def test_a_disk_that_is_emptied_is_warned_of(self) -> None:
        alone = {"KSCHAT_SECRET": SECRET, "VCAP_APPLICATION": "{}"}
        (said,) = warnings_of(load({}, alone), {}, alone)
        self.assertIn("all messages are lost at the next start of this Cloud Foundry app", said)
        bound = environ_with(TANZU_RABBIT, TANZU_REDIS, VCAP_APPLICATION="{}")
        self.assertEqual(warnings_of(load({}, bound), {}, bound), [])
