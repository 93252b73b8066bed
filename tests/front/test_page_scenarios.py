"""The page in real Chromium, many steps in one browser: see tests/node/page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from tests.front.scenarios import SCENARIO, play
from tests.support import Daemon, token
from tests.support.launch import free_port
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis


def in_file(test: TestCase) -> str:
    """A store in a file of the test's own, that is there after a restart."""
    return f"sqlite:{Path(test.mktemp()).absolute()}.db"


class Views(TestCase):
    timeout = 2 * SCENARIO

    async def test_each_view_is_accessible_light_and_dark(self) -> None:
        demo = await Daemon.start(self, secret="", demo=True)
        guarded = await Daemon.start(self)
        await play(self, "views", [demo, guarded])
        self.assertEqual([*demo.faults, *guarded.faults], [])


class InABrowser(TestCase):
    timeout = 2 * SCENARIO

    async def test_the_page_reaches_its_daemon_alone_and_is_framed_by_those_who_may(self) -> None:
        port = free_port()
        guarded = await Daemon.start(self, frame_ancestors=f"http://127.0.0.1:{port}")
        demo = await Daemon.start(self, secret="", demo=True)
        tokens = {user: token(user) for user in ("alice", "bob")}
        await play(self, "policy", [guarded, demo], tokens=tokens, port=port)
        self.assertEqual([*guarded.faults, *demo.faults], [])

    async def test_the_module_in_an_application_of_another_origin_loses_nothing(self) -> None:
        port = free_port()
        daemon = await Daemon.start(self, store=in_file(self), origins=f"http://127.0.0.1:{port}")
        tokens = {user: token(user) for user in ("bob", "carol")}
        tokens["alice"] = token("alice", data={"id": "alice", "name": "Alice Smith"})

        async def another(said: Mapping[str, Any]) -> str:
            return token(said["user"], expires_in=said.get("seconds", 3600))

        await play(self, "embedded", [daemon], helpers={"token": another}, tokens=tokens, port=port)
        self.assertEqual(daemon.faults, [])

    async def test_people_on_three_daemons_talk_while_one_of_these_is_killed(self) -> None:
        broker, redis = await shared_rabbitmq(), await shared_redis()
        shared = {"amqp": broker.url, "amqp_exchange": "page", "redis": redis.url, "redis_prefix": "page"}
        daemons = [await Daemon.start(self, store="redis", **shared) for _ in range(3)]
        for daemon in daemons:
            await daemon.ready_becomes("ready")
        await play(self, "cluster", daemons, tokens={user: token(user) for user in ("alice", "bob")})
        self.assertEqual([line for daemon in daemons for line in daemon.faults], [])


class Page(TestCase):
    timeout = 2 * SCENARIO

    async def test_three_people_talk_on_tabs_and_devices(self) -> None:
        daemon = await Daemon.start(self, secret="", demo=True)
        await play(self, "talk", [daemon])
        self.assertEqual(daemon.faults, [])

    async def test_nothing_is_lost_while_the_server_the_network_or_the_page_is_away(self) -> None:
        daemon = await Daemon.start(self, store=in_file(self))
        await play(self, "outage", [daemon], tokens={user: token(user) for user in ("alice", "bob")})
        self.assertEqual(daemon.faults, [])

    async def test_each_view_on_all_screens_in_all_directions_and_by_keyboard(self) -> None:
        daemon = await Daemon.start(self, secret="", demo=True)
        await play(self, "looks", [daemon])
        self.assertEqual(daemon.faults, [])

    async def test_a_persons_first_minute(self) -> None:
        daemon = await Daemon.start(self, secret="", demo=True, store=in_file(self))
        await play(self, "minute", [daemon])
        self.assertEqual(daemon.faults, [])
