"""The page in real Chromium, many steps of several people in one browser: see tests/node/page.

Where each line of the issue about the page is held. A word in quotes is the beginning of a step's name in
``tests/node/page/SCENARIO.js``; in ``talk`` and ``outage`` Alice is in the frame of an application of another site, and in
``talk`` the three people are on three daemons, one of these people on a phone.

What was seen, and must not be seen again:

* A message in another's conversation: ``talk`` "each message belongs", ``embedded`` "each message is in".
* Empty after a reload, in a second tab, on a second device: ``talk`` "after a reload", "what one tab or device".
* Lost with the page or the server: ``outage`` "a daemon that is killed", "the tabs crash", ``talk`` "one of the daemons is
  killed", ``embedded`` "what is written while". Drafts: the same steps of ``outage``. A retry that cannot help: ``outage``
  "what is too long", "what the server refuses".
* Slow under many messages: ``talk`` "under a thousand"; with times, ``make bench-page``.
* Connected for long without a network: ``outage`` "without a network". The dot is the other's: ``talk`` "the list tells",
  ``outage`` "a daemon that is killed". A paste: ``talk`` "pictures and files". Links: ``talk`` "markup is inert". Days:
  ``looks`` "each day". A message to oneself, ``#team``: ``talk`` "on a phone". High contrast: ``looks`` "right to left".
  Placeholders: every step of ``looks``.
* What stays: nothing lost over a restart (above), markup inert (``talk`` "markup is inert"), right to left (there and in
  ``looks`` "right to left"), 200 % (``looks`` "in German"), labels (axe-core, in each view).

What is delivered:

* Conversations: ``talk`` "the list tells", "an unknown sender", "on a phone"; ``looks`` "on a phone". Names: ``talk`` "who was
  away", ``embedded`` "each message is in".
* Messages: ``talk`` "markup is inert", "pictures and files", "a picture is made smaller", "a reply", "an unknown sender" (the
  divider, the newest); ``outage`` "who was away".
* Ticks: ``talk`` "who was away", "each message belongs"; ``outage`` "a daemon that is killed". The outbox: ``outage``, with "a
  browser that is full". Retry: tests.front.test_page_chromium. Edit, discard: ``outage`` "what the server refuses".
* History: ``talk`` "an unknown sender". Search: ``talk`` "search". Tabs and devices: ``talk`` "what one tab or device";
  ``outage`` "where Web Locks"; ``embedded`` "two tabs".
* The connection in words: ``outage`` in each of its steps. Tokens: ``talk`` "the token ends", "one of the daemons is killed" (the
  demo); ``embedded`` "a token that ends"; ``outage`` "the token leaves", "a token that is not valid".
* Notices: ``talk`` "the title counts". Manifest: ``looks`` "the manifest". The service worker: ``outage`` "a server that
  restarts".
* For everybody: ``looks``; who listens, under load: ``talk`` "under a thousand".
* Safe: ``policy``; each step of each scenario fails if the browser reports a violation of the page's policy. Files: ``talk``
  "pictures and files". ``Referrer-Policy``: tests.front.test_page.
* The module: ``embedded``; its types and its example: tests.front.test_client_module.

The first minute of docs/first-minute.md: ``minute``.
"""

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

#: What the application calls its users.
NAMES = {"alice": "Alice Smith"}


def in_file(test: TestCase) -> str:
    """A store in a file of the test's own, that is there after a restart."""
    return f"sqlite:{Path(test.mktemp()).absolute()}.db"


async def issued(said: Mapping[str, Any]) -> str:
    """A token as the application gives it, for ``user``, that lasts ``seconds``."""
    user = said["user"]
    data = {"id": user, **({"name": NAMES[user]} if user in NAMES else {})}
    return token(user, expires_in=said.get("seconds", 3600), data=data)


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
        tokens = {user: await issued({"user": user}) for user in ("alice", "bob", "carol")}
        await play(self, "embedded", [daemon], helpers={"token": issued}, tokens=tokens, port=port)
        self.assertEqual(daemon.faults, [])


class Page(TestCase):
    timeout = 2 * SCENARIO

    async def test_three_people_on_three_daemons_talk_on_tabs_and_devices(self) -> None:
        broker, redis = await shared_rabbitmq(), await shared_redis()
        shared = {"amqp": broker.url, "amqp_exchange": "page", "redis": redis.url, "redis_prefix": "page", "store": "redis"}
        port = free_port()
        guarded = await Daemon.start(self, frame_ancestors=f"http://localhost:{port}", **shared)
        demos = [await Daemon.start(self, secret="", demo=True, **shared) for _ in range(2)]
        for daemon in (guarded, *demos):
            await daemon.ready_becomes("ready")
        await play(self, "talk", [guarded, *demos], helpers={"token": issued}, port=port)
        self.assertEqual([line for daemon in (guarded, *demos) for line in daemon.faults], [])

    async def test_nothing_is_lost_while_the_server_the_network_or_the_page_is_away(self) -> None:
        port = free_port()
        daemon = await Daemon.start(self, store=in_file(self), frame_ancestors=f"http://127.0.0.1:{port}")
        await play(self, "outage", [daemon], helpers={"token": issued}, port=port)
        self.assertEqual(daemon.faults, [])

    async def test_each_view_on_all_screens_in_all_directions_and_by_keyboard(self) -> None:
        demo = await Daemon.start(self, secret="", demo=True)
        guarded = await Daemon.start(self)
        await play(self, "looks", [demo, guarded])
        self.assertEqual([*demo.faults, *guarded.faults], [])

    async def test_a_persons_first_minute(self) -> None:
        daemon = await Daemon.start(self, secret="", demo=True, store=in_file(self))
        await play(self, "minute", [daemon])
        self.assertEqual(daemon.faults, [])
