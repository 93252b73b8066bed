"""The page in real Chromium, many steps of several people in one browser: see tests/node/page.

In ``talk`` three people are on three daemons: Alice in the frame of an application of another site, Bob on a desktop,
Carol on a phone. In ``outage`` Alice is in the frame of an application of the same site. In ``embedded`` the
application has the client module alone. ``HELD`` says which step holds which line of the issue about the page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.python.reflect import namedModule
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.front.scenarios import SCENARIO, play
from tests.support import NODE_DIRECTORY, Daemon, token
from tests.support.launch import free_port
from tests.support.rabbitmq import shared_rabbitmq
from tests.support.redis import shared_redis

#: The lines of the issue, and where each is held: a scenario and the beginning of a step's name, or a test.
HELD: Final[Mapping[str, Sequence[str]]] = {
    # What was seen, and must not be seen again.
    "each message belongs to its own conversation": ["talk: each message belongs", "embedded: each message is in"],
    "a reload, a second tab or device shows all": ["talk: after a reload", "talk: what one tab or device"],
    "what one tab sends is in the other": ["talk: what one tab or device", "embedded: two tabs share"],
    "written while the server was down, page reloaded": ["outage: the tabs crash", "embedded: what is written while"],
    "drafts": ["outage: the tabs crash", "talk: the list tells", "embedded: what is written while"],
    "no retry where it cannot help": ["outage: what is too long", "outage: what the server refuses"],
    "1,000 messages a second, and typing meanwhile": ["talk: under a thousand", "`make bench-page`, which measures"],
    "10,000 missed messages": ["`make bench-page`", "tests.front.test_client_module_chromium"],
    "offline is said at once": ["outage: without a network"],
    "the dot is the other's": ["talk: the list tells", "outage: a daemon that is killed"],
    "a paste of a picture": ["talk: pictures and files"],
    "links": ["talk: markup is inert"],
    "times have days": ["looks: each day has"],
    "a message to oneself stands once": ["talk: on a phone"],
    "#team can be opened": ["talk: on a phone"],
    "bubbles in high contrast": ["looks: right to left"],
    "the placeholder's contrast": ["looks: a conversation with", "looks: on a phone"],
    "a restart loses nothing": ["outage: the tabs crash", "talk: one of the daemons", "minute: 7 and is back"],
    "markup is inert, right to left, long words": ["talk: markup is inert", "looks: right to left"],
    "200 % zoom": ["looks: in German and wide"],
    "labels for screen readers": ["looks: a conversation with", "tests.front.test_page_chromium"],
    # Conversations.
    "last message, time, unread, dot, last seen, typing": ["talk: the list tells", "talk: each message belongs"],
    "people and rooms; start one, by click or ?rid=": ["talk: on a phone", "looks: the keyboard is enough"],
    "a list and a conversation on a phone, with back": ["looks: on a phone"],
    "an unknown sender opens a conversation": ["talk: an unknown sender"],
    "names": ["talk: who was away", "embedded: each message is in"],
    # Messages.
    "emoji, line breaks, code, show more": ["talk: markup is inert"],
    "pictures and files by paste, drop or button; preview": ["talk: pictures and files"],
    "scaled to fit, a clear word above the limit": ["talk: a picture is made smaller", "talk: pictures and files"],
    "reply with a quotation that all clients see, copy": ["talk: a reply has"],
    "jump to newest with a count, unread divider": ["talk: an unknown sender", "outage: who was away"],
    # Ticks, the outbox, history.
    "waiting, sent, delivered, read": ["outage: a daemon that is killed", "talk: each message belongs"],
    "sent once and in order, whichever tab comes first": ["outage: the tabs crash"],
    "retry, edit or discard": ["outage: what the server refuses", "tests.front.test_page_chromium"],
    "a full browser; one that keeps nothing": ["outage: a browser that is full", "outage: where Web Locks"],
    "history without jumps, windowed; search": ["talk: an unknown sender", "talk: search finds"],
    "tabs and devices agree on what is read": ["talk: what one tab or device"],
    "several tabs share one connection, or each is alone": ["outage: the tabs crash", "outage: where Web Locks"],
    # The connection.
    "reconnecting with a countdown; the reason in words": ["outage: a daemon that is killed", "outage: a server that"],
    "refused, with the reason": ["outage: a token that is not valid"],
    "a token that ends": ["talk: the token ends", "talk: one of the daemons", "embedded: a token that ends"],
    "the token leaves the address bar and is not stored": ["outage: the token leaves", "talk: the token ends"],
    # Notices, and for everybody.
    "title count, sound and notification by choice": ["talk: the title counts"],
    "manifest, icons, service worker": ["looks: the manifest", "outage: a server that restarts"],
    "Enter, Shift+Enter, arrows, Escape, keys, focus order": ["looks: the keyboard is enough", "talk: markup is inert"],
    "a live region that gathers": ["talk: under a thousand"],
    "edits, deletions and reactions, by all and in all tabs": ["changes: a message is edited", "changes: reactions by"],
    "what was changed while away": ["changes: what was changed while", "talk: a message that was deleted"],
    "thousands of missed messages open where they begin": ["changes: a conversation with more"],
    "the ticks of the list": ["changes: the list has the ticks"],
    "a tab sees what its own token allows": ["changes: a second tab with a damaged"],
    "hostile ids and reactions; tabs that race": ["hard: ids that are", "hard: reactions that", "hard: two tabs that"],
    "a slow network, the way back, a night, paper, 400 %": ["hard: what is written before", "hard: when one"],
    "the server's refusals in the page's language": ["changes: on a phone, in German"],
    "contrast, forced colours, reduced motion": ["looks: right to left", "looks: a conversation with"],
    "320 px to wide; languages and directions": ["looks: on a phone", "looks: in German and wide"],
    # Safe. Each step fails as well if the browser reports that the page's policy was violated.
    "content security policy": ["policy: a script that got in", "policy: another one does not"],
    "files as downloads of a safe type": ["talk: pictures and files"],
    "Referrer-Policy": ["tests.front.test_page"],
    # The module, and what it must show.
    "the client module, its types and its example": ["embedded: two tabs share", "tests.front.test_client_module"],
    "axe-core, each view, light and dark": ["looks: the list of keys", "looks: the forms", "outage: what the server"],
    "a person's first minute": ["minute: 1 the form", "minute: 6 the server"],
}

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


class Lines(SynchronousTestCase):
    def test_each_line_is_held_by_a_step_that_is_there(self) -> None:
        for line, places in HELD.items():
            for place in places:
                scenario, _, beginning = place.partition(": ")
                if place.startswith("tests."):
                    namedModule(place)
                elif not place.startswith("`make "):
                    text = (Path(NODE_DIRECTORY) / "page" / f"{scenario}.js").read_text("utf-8")
                    steps = re.findall(r'stage\.step\("([^"]+)"', text)
                    self.assertTrue(any(step.startswith(beginning) for step in steps), f"{line}: {place}")


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
        shared = {"amqp": broker.url, "amqp_exchange": "page", "redis": redis.url, "redis_prefix": "page"}
        port = free_port()
        guarded = await Daemon.start(self, store="redis", frame_ancestors=f"http://localhost:{port}", **shared)
        demos = [await Daemon.start(self, secret="", demo=True, store="redis", **shared) for _ in range(2)]
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

    async def test_what_is_changed_after_it_was_sent_and_where_a_page_begins(self) -> None:
        daemon = await Daemon.start(self, store=in_file(self))
        await play(self, "changes", [daemon], helpers={"token": issued})
        self.assertEqual(daemon.faults, [])

    async def test_what_makes_pages_break_does_not_break_it(self) -> None:
        daemon = await Daemon.start(self, store=in_file(self))
        await play(self, "hard", [daemon], helpers={"token": issued})
        self.assertEqual(daemon.faults, [])

    async def test_a_persons_first_minute(self) -> None:
        daemon = await Daemon.start(self, secret="", demo=True, store=in_file(self))
        await play(self, "minute", [daemon])
        self.assertEqual(daemon.faults, [])
