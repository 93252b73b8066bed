"""The client module in real Chromium, on the real daemon: tabs, the outbox, and the app of docs/page.md."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.trial.unittest import TestCase

from tests.front.browser import Browser, Tab
from tests.support import Daemon, token
from tests.support.launch import REPOSITORY

STATIC = Path(REPOSITORY) / "static"


#: Waits until IndexedDB has the two messages and the draft.
KEPT = """(async () => {
  const all = (db, store) => new Promise((resolve, reject) => {
    const asked = db.transaction(store).objectStore(store).getAll();
    asked.onsuccess = () => { resolve(asked.result); };
    asked.onerror = () => { reject(asked.error); };
  });
  for (;;) {
    for (const {name} of await indexedDB.databases()) {
      const db = await new Promise((resolve, reject) => {
        const opening = indexedDB.open(name);
        opening.onsuccess = () => { resolve(opening.result); };
        opening.onerror = () => { reject(opening.error); };
      });
      const isOurs = db.objectStoreNames.contains("outbox");
      const [outbox, state] = isOurs ? [await all(db, "outbox"), await all(db, "state")] : [[], []];
      db.close();
      if (outbox.length === 2 && JSON.stringify(state).includes("a draft")) return;
    }
    await new Promise((resolve) => { setTimeout(resolve, 10); });
  }
})()"""


class InABrowser(TestCase):
    def served(self) -> str:
        """A directory with the module, the example, and an empty page."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        shutil.copytree(STATIC / "kschat", place / "kschat")
        shutil.copy(Path(REPOSITORY) / "examples" / "page.html", place)
        (place / "empty.html").write_text("<!DOCTYPE html><title>empty</title>")
        return str(place)

    async def begin(self, store: str = "") -> tuple[Daemon, Browser]:
        """A daemon that serves the module and the example, and a browser."""
        settings: dict[str, Any] = {"store": store} if store else {}
        daemon = await Daemon.start(self, static=self.served(), **settings)
        return daemon, Browser.start(self, daemon)

    async def client(self, browser: Browser, daemon: Daemon, name: str, user: str, state: str = "connected") -> Tab:
        """A tab with `chat`, a client of that user."""
        tab = await browser.open(name, f"{daemon.url}/static/empty.html")
        await tab.do(
            "read",
            script=f"""import("/static/kschat/chat.js").then(async ({{Chat}}) => {{
                window.chat = new Chat({{user: "{user}", token: "{token(user)}", url: "/socket.io/"}});
                await chat.start();
                await chat.open("bob");
            }})""",
        )
        await self.until(tab, f"chat.status.state === '{state}'")
        return tab

    async def until(self, tab: Tab, expression: str) -> None:
        """Waits in the page, 60 s at most; the error says what the client has by then."""
        script = f"""new Promise((resolve, reject) => {{
            const end = performance.now() + 60_000;
            const look = () => {{
                if ({expression}) resolve(true);
                else if (performance.now() < end) setTimeout(look, 10);
                else {{
                    const {{status, leader, outbox}} = chat;
                    const messages = chat.messages("bob").map(({{text, state, mid}}) => [text, state, mid]);
                    reject(new Error("waited in vain: " + JSON.stringify(
                        {{status, leader, sends: outbox.sends, entries: [...outbox.entries.values()], messages}})));
                }}
            }};
            look();
        }})"""
        await tab.do("read", script=script)

    async def texts(self, tab: Tab) -> list[str]:
        """What the conversation with Bob has."""
        texts: list[str] = await tab.do("read", script="chat.messages('bob').map(({text}) => text)")
        return texts

    async def test_tabs_share_one_connection_and_another_takes_it_over(self) -> None:
        daemon, browser = await self.begin()
        first = await self.client(browser, daemon, "first", "alice")
        second = await self.client(browser, daemon, "second", "alice")
        await daemon.health_becomes(sockets=1)
        self.assertEqual([await tab.do("read", script="chat.leader") for tab in (first, second)], [True, False])
        await first.do("read", script="void chat.send('bob', {text: 'by the first'})")
        await self.until(second, "chat.messages('bob').some(({text, mid}) => text === 'by the first' && mid)")
        await second.do("read", script="void chat.send('bob', {text: 'by the second'})")
        for tab in (first, second):
            await self.until(tab, "chat.messages('bob').filter(({mid}) => mid).length === 2")
            self.assertEqual(await self.texts(tab), ["by the first", "by the second"])
        await first.do("read", script="void setTimeout(() => { location.href = 'about:blank'; })")
        await self.until(second, "chat.leader && chat.status.state === 'connected'")
        await second.do("read", script="void chat.send('bob', {text: 'alone'})")
        await self.until(second, "chat.messages('bob').at(-1).mid")
        self.assertEqual(await self.texts(second), ["by the first", "by the second", "alone"])
        self.assertEqual(daemon.faults, [])

    async def test_what_was_written_while_the_server_was_down_survives_the_tab_and_is_sent_once(self) -> None:
        daemon, browser = await self.begin()
        tab = await self.client(browser, daemon, "tab", "alice")
        await daemon.kill()
        await self.until(tab, "chat.status.state === 'waiting' && chat.status.retryAt > 0")
        script = "for (const text of ['one', 'two']) chat.send('bob', {text}); chat.setDraft('bob', 'a draft')"
        await tab.do("read", script=f"(() => {{ {script} }})()")
        await tab.do("read", script=KEPT)
        await tab.do("read", script="void setTimeout(() => { location.href = 'about:blank'; })")
        await daemon.restart()
        again = await self.client(browser, daemon, "again", "alice")
        await self.until(again, "chat.messages('bob').filter(({mid}) => mid).length === 2")
        self.assertEqual(await self.texts(again), ["one", "two"])
        self.assertEqual(await again.do("read", script="chat.conversation('bob').draft"), "a draft")
        bob = await self.client(browser, daemon, "bob", "bob")
        await self.until(bob, "chat.conversation('alice')?.unread === 2")
        await bob.do("read", script="chat.open('alice').then(() => true)")
        script = "chat.messages('alice').map(({text}) => text)"
        self.assertEqual(await bob.do("read", script=script), ["one", "two"])

    async def test_what_is_sent_and_typed_in_the_task_that_leaves_the_page_is_kept(self) -> None:
        daemon, browser = await self.begin()
        tab = await self.client(browser, daemon, "tab", "alice")
        await daemon.kill()
        await self.until(tab, "chat.status.state === 'waiting'")
        # One task: nothing of it can wait for an answer of IndexedDB, or for a timer.
        await tab.do(
            "read",
            script="""void setTimeout(() => {
                for (let number = 0; number < 40; number++) chat.send("bob", {text: `m${number}`});
                chat.setDraft("bob", "typed in the last moment");
                location.href = "about:blank";
            })""",
        )
        await daemon.restart()
        again = await self.client(browser, daemon, "again", "alice")
        await self.until(again, "chat.messages('bob').filter(({mid}) => mid).length === 40")
        self.assertEqual(await self.texts(again), [f"m{number}" for number in range(40)])
        self.assertEqual(await again.do("read", script="chat.conversation('bob').draft"), "typed in the last moment")

    async def test_a_tab_that_crashes_leaves_its_connection_and_its_outbox_to_another(self) -> None:
        daemon, browser = await self.begin()
        first = await self.client(browser, daemon, "first", "alice")
        second = await self.client(browser, daemon, "second", "alice")
        await daemon.kill()
        await self.until(second, "chat.status.state === 'waiting'")
        await first.do("read", script="void chat.send('bob', {text: 'from the one that crashes'})")
        await self.until(second, "chat.messages('bob').length === 1")
        await first.do("crash")
        await daemon.restart()
        await self.until(second, "chat.leader && chat.messages('bob')[0].mid")
        self.assertEqual(await self.texts(second), ["from the one that crashes"])
        self.assertEqual(await second.do("read", script="chat.messages('bob')[0].state"), "sent")

    async def test_it_is_offline_at_once(self) -> None:
        daemon, browser = await self.begin()
        tab = await self.client(browser, daemon, "tab", "alice")
        await tab.do("read", script="void window.dispatchEvent(new Event('offline'))")
        self.assertEqual(await tab.do("read", script="chat.status.state"), "offline")
        await tab.do("read", script="void window.dispatchEvent(new Event('online'))")
        await self.until(tab, "chat.status.state === 'connected'")

    async def test_missed_messages_are_counted_once_and_the_newest_are_shown(self) -> None:
        daemon, browser = await self.begin(store="memory")
        alice = await self.client(browser, daemon, "alice", "alice")
        script = """(async () => {
            for (let number = 0; number < 2000; number += 100) {
                await Promise.all(Array.from({length: 30}, (_, more) => chat.link.request("Send",
                    {uId: "alice", pId: "bob", msg: `m${number + more}`, rno: 1, time: 0})));
            }
        })()"""
        await alice.do("read", script=script)
        bob = await self.client(browser, daemon, "bob", "bob")
        await self.until(bob, "chat.conversation('alice')?.unread === 600")
        await bob.do("read", script="chat.open('alice').then(() => true)")
        self.assertEqual(await bob.do("read", script="chat.messages('alice').at(-1).text"), "m1929")

    async def test_the_app_of_the_documentation_works(self) -> None:
        daemon, browser = await self.begin()
        tabs = []
        for me, peer in (("alice", "bob"), ("bob", "alice")):
            given = {"token": token(me), "me": me, "peer": peer, "url": f"{daemon.url}/socket.io/"}
            tab = await browser.open(me, f"{daemon.url}/static/page.html#{urlencode(given)}")
            await tab.see("#status", "Connected")
            tabs.append(tab)
        alice, bob = tabs
        await alice.write("Hello")
        await bob.see("#messages li", "alice: Hello (received)")
        await alice.see("#messages li", "alice: Hello (read)")
