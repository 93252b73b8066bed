"""The page in real Chromium, on the real daemon: two people in two tabs."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlencode

from twisted.trial.unittest import TestCase

from tests.front.browser import Browser, Tab
from tests.support import REPOSITORY, Daemon, token

PHONE = {"viewport": {"width": 320, "height": 568}, "isMobile": True, "hasTouch": True, "colorScheme": "dark"}


class TwoTabs(TestCase):
    """In the demo, as who has just started it."""

    async def begin(self) -> tuple[Daemon, Browser]:
        daemon = await Daemon.start(self, secret="", demo=True)
        return daemon, Browser.start(self, daemon)

    async def both(self, daemon: Daemon, browser: Browser, **fields: object) -> tuple[Tab, Tab]:
        """Alice's tab (with `fields`) and Bob's, connected."""
        alice = await browser.open("alice", f"{daemon.url}/?uid=alice&rid=bob", **fields)
        bob = await browser.open("bob", f"{daemon.url}/?uid=bob&rid=alice")
        for tab in (alice, bob):
            await tab.see("#status[data-state=connected]", "Connected")
        return alice, bob

    async def test_each_sees_what_the_other_wrote(self) -> None:
        daemon, browser = await self.begin()
        alice = await browser.open("alice", f"{daemon.url}/")
        self.assertIn("This is a demo.", await alice.see("#demo"))
        await alice.do("click", selector="role=button[name='Chat']")
        await alice.see("#status[data-state=connected]")
        bob = await browser.opened_by(alice, "#other-side", "bob")
        await bob.see("#status[data-state=connected]")
        said = [
            (alice, bob, "Hello Bob!"),
            (bob, alice, "Здравствуй, 雪 \N{PILE OF POO}"),
            (alice, bob, "<script>alert(1)</script><b>bold</b> &amp;"),
            (bob, alice, "two\nlines"),
        ]
        for writer, reader, words in said:
            await writer.write(words)
            await reader.see(".other .text", words.split("\n")[0])
            stored = ":is([data-state=sent], [data-state=delivered], [data-state=read])"
            await writer.see(f".own{stored} .text", words.split("\n")[0])
        self.assertEqual(
            await alice.messages(), [("own" if writer is alice else "other", words) for writer, _, words in said]
        )
        self.assertEqual(
            await bob.messages(), [("own" if writer is bob else "other", words) for writer, _, words in said]
        )
        for tab in (alice, bob):
            self.assertEqual(await tab.complaints(), [])
        self.assertEqual(daemon.faults, [])

    async def test_a_lost_connection_is_shown_and_back_after_a_restart_with_what_was_written_meanwhile(self) -> None:
        daemon, browser = await self.begin()
        alice, bob = await self.both(daemon, browser)
        await daemon.kill()
        for tab in (alice, bob):
            await tab.see("#status[data-state=waiting]", "Connection lost")
        await alice.write("Are you there?")
        await alice.see(".own[data-state=waiting] .text", "Are you there?")
        await daemon.restart()
        # A demo makes itself a new secret: the tabs fetch a new token by themselves.
        for tab in (alice, bob):
            await tab.see("#status[data-state=connected]", "Connected")
        await alice.see(".own:is([data-state=sent], [data-state=delivered], [data-state=read]) .text", "Are you there?")
        # Whether Bob's tab was back before the message came is a race, which the memory store does not mend.
        await bob.write("Yes")
        await alice.see(".other .text", "Yes")
        await alice.write("Good")
        await bob.see(".other .text", "Good")
        await alice.see(".own .text", "Good")
        self.assertEqual((await alice.messages()), [("own", "Are you there?"), ("other", "Yes"), ("own", "Good")])
        for tab in (alice, bob):
            self.assertEqual(await tab.complaints(daemon_was_down=True), [])

    async def test_a_refused_message_says_why_and_can_be_sent_again(self) -> None:
        daemon, browser = await self.begin()
        alice, bob = await self.both(daemon, browser, between="refusing")
        await alice.write("Listen!")
        self.assertIn("Not sent: Too many messages at once.", await alice.see(".own[data-state=failed] .why"))
        await alice.do("click", selector="role=button[name='Try again']")
        await alice.see(".own:is([data-state=sent], [data-state=delivered], [data-state=read]) .text", "Listen!")
        await bob.see(".other .text", "Listen!")
        self.assertEqual(await alice.messages(), [("own", "Listen!")])

    async def test_what_is_too_large_is_not_sent_and_disturbs_nothing(self) -> None:
        daemon = await Daemon.start(self, secret="", demo=True, max_payload=2000)
        alice, bob = await self.both(daemon, Browser.start(self, daemon))
        await alice.write("я" * 1000)
        self.assertIn("too long", await alice.see("#notice"))
        self.assertEqual(await alice.do("read", script="document.getElementById('text').value.length"), 1000)
        await alice.write("я" * 800)
        await bob.see(".other .text", "я" * 800)

    async def test_a_repeated_delivery_is_shown_once(self) -> None:
        daemon, browser = await self.begin()
        alice, bob = await self.both(daemon, browser, between="repeating")
        for words in ("one", "two", "one"):
            await bob.write(words)
        await bob.write("end")
        await alice.see(".other .text", "end")
        self.assertEqual([words for _, words in await alice.messages()], ["one", "two", "one", "end"])

    async def test_it_can_be_used_on_a_phone_and_by_ear(self) -> None:
        daemon, browser = await self.begin()
        query = urlencode({"uid": "w" * 128, "rid": "m" * 128})
        phone = await browser.open("phone", f"{daemon.url}/?{query}", look=PHONE)
        await phone.see("role=status", "Connected")
        await phone.do("fill", selector=f"role=textbox[name='Message to {'m' * 128}']", text="x" * 2000)
        await phone.do("click", selector="role=button[name='Send']")
        await phone.see("role=log >> .own[data-state=sent] .text")
        wider = await phone.do("read", script="document.documentElement.scrollWidth - innerWidth")
        self.assertEqual(wider, 0)
        ground = await phone.do("read", script="getComputedStyle(document.body).backgroundColor")
        self.assertLess(sum(int(part) for part in ground.strip("rgb()").split(",")), 3 * 60, ground)


class WithTokens(TestCase):
    """Outside of the demo: the token is in the page's address."""

    async def test_a_token_in_the_address_serves_its_user_and_nobody_else(self) -> None:
        daemon = await Daemon.start(self)
        browser = Browser.start(self, daemon)
        query = {"rid": "bob", "token": token("alice")}
        alice = await browser.open("alice", f"{daemon.url}/?{urlencode({'uid': 'alice', **query})}")
        await alice.see("#status[data-state=connected]")
        mallory = await browser.open("mallory", f"{daemon.url}/?{urlencode({'uid': 'mallory', **query})}")
        said = await mallory.see("#status[data-state=refused]")
        self.assertIn("Not connected", said)
        self.assertIn("does not accept this page’s token", said)
        self.assertNotIn("token", await alice.do("read", script="location.search"))
        nobody = await browser.open("nobody", f"{daemon.url}/?uid=alice&rid=bob")
        self.assertIn("This page has no token", await nobody.see("#no-token"))
        for tab in (alice, mallory, nobody):
            self.assertEqual(await tab.complaints(), [])


class AnUpgrade(TestCase):
    def copied(self) -> Path:
        """The static files, in a directory of the test's own."""
        static = Path(self.mktemp()).absolute()
        shutil.copytree(REPOSITORY / "static", static)
        return static

    def upgrade(self, static: Path) -> None:
        """A script needs of another what only the new release has."""
        page = static / "page"
        with (page / "texts.js").open("a") as texts:
            texts.write('\nexport const RELEASED = "two";\n')
        script = (page / "main.js").read_text("utf-8")
        use = 'import {RELEASED} from "./texts.js";\ndocument.documentElement.dataset.release = RELEASED;\n'
        (page / "main.js").write_text(use + script, "utf-8")

    async def test_a_page_never_meets_scripts_of_another_release(self) -> None:
        static = self.copied()
        daemon = await Daemon.start(self, secret="", demo=True, static=str(static))
        browser = Browser.start(self, daemon)
        # The browser, or a cache before it, gives the texts of the first visit again wherever it can.
        tab = await browser.open("tab", f"{daemon.url}/?uid=alice&rid=bob", between="stale")
        await tab.see("#status[data-state=connected]", "Connected")
        self.upgrade(static)
        await daemon.stop()
        await daemon.restart()
        await tab.do("read", script="void setTimeout(() => { location.reload(); })")
        await tab.see("html[data-release=two] #status[data-state=connected]", "Connected")
        self.assertEqual(await tab.complaints(daemon_was_down=True), [])
        self.assertEqual(daemon.faults, [])
