"""Notifications when the page is closed, in real Chromium, with a real daemon and a push service of the test's."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from kschat.hooks.vapid import VapidKey, new_key
from tests.front.scenarios import SCENARIO, play
from tests.support import Daemon
from tests.support.push import HOST, PushService, Subscriber


class PushInTheBrowser(TestCase):
    timeout = 2 * SCENARIO

    def setUp(self) -> None:
        self.key = Path(self.mktemp()).absolute()
        self.key.write_bytes(new_key())
        self.key.chmod(0o600)
        self.file = Path(self.mktemp()).absolute()

    async def test_a_user_is_notified_of_messages_when_no_page_is_open(self) -> None:
        service = PushService(self)
        browser = Subscriber(service.url("bob"))
        file = self.file
        daemon = await Daemon.start(
            self,
            secret="",
            demo=True,
            store=f"sqlite:{file}",
            push_key=self.key,
            push_contact="mailto:ops@example.org",
            push_hosts=f"{HOST}:{service.port}",
            push_private=True,
            push_ca=service.ca,
            undelivered_after=1,
            undelivered_every=1,
        )
        silent = await Daemon.start(self, secret="", demo=True)

        def rows(statement: str) -> list[Any]:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
                return connection.execute(statement).fetchall()

        async def subscriptions(said: Mapping[str, Any]) -> int:
            return int(rows("SELECT count(*) FROM subscriptions")[0][0])

        async def subscriber(said: Mapping[str, Any]) -> str:
            found = rows("SELECT u.name FROM subscriptions s JOIN users u ON u.id = s.user")
            return str(found[0][0]) if found else ""

        async def pushed(said: Mapping[str, Any]) -> Any:
            # The first one may tell of fewer messages.
            for number in count(1):
                await service.arrived(number)
                found = browser.read(service.requests[number - 1].body)
                if found["count"] == said["count"]:
                    return found
            return None

        helpers = {"subscriptions": subscriptions, "subscriber": subscriber, "pushed": pushed}
        await play(
            self,
            "push",
            [daemon, silent],
            helpers=helpers,
            subscription=browser.json,
            key=VapidKey.read(str(self.key)).public_key,
        )
        self.assertEqual([*daemon.faults, *silent.faults], [])
        self.assertEqual({one.path for one in service.requests}, {"bob"})
