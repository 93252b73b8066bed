"use strict";
// A daemon with a file is killed, comes back, refuses; the network is gone; the browser keeps nothing. Nothing that was written is lost.
// Alice is in an application's frame, in a browser whose tabs end and begin; Bob has the page itself.

const { application } = require("./application.js");
const { at } = require("./hooks.js");
const { Person, kept } = require("./person.js");
const { equal, ok } = require("./stage.js");
const { good } = require("./views.js");

/** In the page, before its scripts: a browser that has none of these. */
function without() {
  for (const [place, name] of [[window, "indexedDB"], [window, "BroadcastChannel"], [Navigator.prototype, "locks"]]) {
    Object.defineProperty(place, name, { value: undefined, configurable: true });
  }
}

/** In the page, before its scripts: a browser that is full as soon as `full` is set, as IndexedDB says it. (The debugger's own means has no effect here.) */
function filled() {
  const { put } = IDBObjectStore.prototype;
  IDBObjectStore.prototype.put = function refused(...all) {
    const request = put.apply(this, all);
    if (window.full) {
      Object.defineProperty(this.transaction, "error", { value: new DOMException("There is no room.", "QuotaExceededError") });
      this.transaction.abort();
    }
    return request;
  };
}

module.exports = async (stage) => {
  const { url, port } = stage.config;
  const tokens = {};
  for (const user of ["alice", "bob", "carol"]) tokens[user] = await stage.ask("token", { user });
  const address = (uid, rid) => `${url}/?uid=${uid}&rid=${encodeURIComponent(rid)}&token=${tokens[uid]}`;
  const app = await application(port, "127.0.0.1");
  const mine = await stage.device(), theirs = await stage.device();
  const embedded = (name) => Person.embedded(stage, mine, app.shows(address("alice", "bob")), name);
  let alice = await embedded("alice");
  const bob = await Person.open(stage, theirs, address("bob", "alice"), "bob");

  await stage.step("the token leaves the address bar and is kept nowhere", async () => {
    await alice.write("Before");
    await bob.sees("Before");
    await bob.write("Read me");
    await alice.ticks("Before", "read");
    for (const one of [alice, bob]) {
      ok(!one.view.url().includes("token"), one.view.url());
      ok(!/eyJ/.test(await kept(one.view)), "the token is kept");
    }
  });

  // What the page fetches later must be there when the server is not.
  await stage.until(() => alice.evaluate(() => performance.getEntriesByType("resource").some(({ name }) => name.endsWith("/dialogs.js"))), "the dialogs");

  await stage.step("a daemon that is killed is told at once, with a countdown; what is written meanwhile waits", async () => {
    await stage.ask("kill");
    ok(/lost/.test(await alice.is("waiting")), "words");
    await stage.until(async () => /\d|trying/i.test(await alice.locator("#countdown").innerText()), "a countdown");
    await alice.locator("#try-now").waitFor();
    // What is not known is not shown: the dot is the other's, and who is online one cannot see from here.
    await alice.locator(`${at.item("bob")} .presence[data-online=true]`).waitFor({ state: "detached" });
    await alice.write("Written while it was down");
    await alice.write("And this after it");
    await alice.ticks("Written while it was down", "waiting", "sending");
    await good(alice, "while the server is down");
    await alice.locator(at.text).fill("A draft for Bob");
    await alice.starts("carol");
    await alice.locator(at.text).fill("A draft for Carol");
    await stage.until(async () => {
      const all = await kept(alice.view);
      return ["Written while it was down", "And this after it", "A draft for Bob", "A draft for Carol"].every((words) => all.includes(words));
    }, "all of it to be kept");
  });

  await stage.step("the tabs crash; it is sent once and in order, whichever tab comes first, and each draft is in its conversation", async () => {
    const client = await mine.newCDPSession(alice.page);
    client.send("Page.crash").catch(() => {}); // it never answers
    await alice.page.waitForEvent("crash");
    await alice.close();
    await stage.ask("restart");
    const tabs = await Promise.all([embedded("alice"), embedded("alice's other tab")]);
    // Bob's page may try by itself at the same moment, and then shows no button.
    await bob.locator("#try-now").evaluate((button) => { if (!button.hidden) button.click(); });
    await bob.connected();
    for (const words of ["Before", "Written while it was down", "And this after it"]) {
      await bob.sees(words);
      for (const one of tabs) await one.ticks(words, "sent", "delivered", "read");
    }
    const order = (await bob.shown()).join("\n");
    ok(order.indexOf("Written while it was down") < order.indexOf("And this after it"), "the order");
    for (const one of [...tabs, bob]) for (const words of ["Written while it was down", "And this after it"]) await one.shows(words, 1);
    equal(tabs.flatMap(({ sockets }) => sockets).filter((one) => !one.isClosed()).length, 1, "connections of two tabs");
    await tabs[1].close();
    [alice] = tabs;
    await alice.connected();
    equal(await alice.locator(at.text).inputValue(), "A draft for Bob", "the draft");
    await alice.opens("carol");
    equal(await alice.locator(at.text).inputValue(), "A draft for Carol", "the draft of the other conversation");
    await alice.locator(at.text).fill("");
    await alice.opens("bob");
    await alice.locator(at.text).fill("");
  });

  await stage.step("without a network it says so at once, and sends when it is back", async () => {
    await mine.setOffline(true);
    ok(/network/i.test(await alice.is("offline")), "words");
    await alice.write("Written offline");
    await alice.ticks("Written offline", "waiting");
    await mine.setOffline(false);
    await alice.connected();
    await bob.sees("Written offline");
    await bob.shows("Written offline", 1);
  });

  await stage.step("what is too long is refused in words, without a retry that cannot help, and stays in the field", async () => {
    await alice.locator(at.text).evaluate((field, text) => { field.value = text; field.dispatchEvent(new Event("input", { bubbles: true })); }, "long ".repeat(250_000));
    await alice.locator(at.text).press("Enter");
    await alice.locator(at.notice).filter({ hasText: /too long/i }).waitFor();
    equal(await alice.locator(`${at.message}[data-state=failed]`).count(), 0, "messages that failed");
    equal(await alice.locator(at.text).evaluate((field) => field.value.length), 1_250_000, "characters in the field");
    await alice.locator(at.text).fill("");
    await alice.write("After it");
    await bob.sees("After it");
  });

  await stage.step("what the server refuses says why, and can be edited and discarded", async () => {
    await alice.starts("#secret");
    await alice.locator(at.notice).waitFor();
    await alice.write("To a room that is not mine");
    await alice.ticks("To a room that is not mine", "failed");
    const failed = alice.message("To a room that is not mine");
    ok((await failed.locator(".why").innerText()).length > 20, "why");
    equal(await failed.locator(at.action("retry")).count(), 0, "buttons to try again what cannot help");
    await good(alice, "a refused message");
    await failed.locator(at.action("edit")).click();
    equal(await alice.locator(at.text).inputValue(), "To a room that is not mine", "the text to edit");
    await alice.locator(at.text).press("Escape");
    equal(await alice.locator(at.text).inputValue(), "", "the text after Escape");
    await failed.locator(at.action("discard")).click();
    await failed.waitFor({ state: "detached" });
    await alice.opens("bob");
  });

  await stage.step("who was away sees where the unread messages begin", async () => {
    await bob.page.goto("about:blank");
    for (const words of ["unread one", "unread two"]) await alice.write(words);
    await alice.ticks("unread two", "sent");
    await bob.page.goto(address("bob", "alice"));
    await bob.sees("unread two");
    await bob.locator(at.divider).waitFor();
    ok((await bob.message("unread one").innerText()).startsWith("New messages"), "the divider stands before the first of these");
    await alice.ticks("unread two", "read");
  });

  await stage.step("a token that is not valid, or has ended, is refused in words", async () => {
    for (const token of [`${tokens.alice}x`, await stage.ask("token", { user: "eve", seconds: -5 })]) {
      const stranger = new Person(stage, await (await stage.device()).newPage(), "a stranger");
      await stranger.page.goto(`${url}/?uid=eve&rid=bob&token=${token}`);
      ok(/token/.test(await stranger.is("refused")), "words");
      await good(stranger, "a refused page");
      await stranger.page.context().close();
    }
  });

  await stage.step("a browser that is full says so, and the message is sent all the same", async () => {
    const device = await stage.device();
    await device.addInitScript(filled);
    const carol = await Person.open(stage, device, address("carol", "bob"), "carol");
    await carol.write("While there is room");
    await carol.ticks("While there is room", "sent", "delivered");
    await carol.evaluate(() => { window.full = true; });
    await carol.write("No room for this");
    await carol.locator(at.notice).filter({ hasText: /no room/i }).waitFor();
    await carol.ticks("No room for this", "sent", "delivered");
    await device.close();
  });

  await stage.step("where Web Locks, BroadcastChannel and IndexedDB are missing each tab is alone, says so, and they agree", async () => {
    const device = await stage.device();
    await device.addInitScript(without);
    const tabs = [await Person.open(stage, device, address("carol", "bob"), "carol"), await Person.open(stage, device, address("carol", "bob"), "carol's other tab")];
    await tabs[0].locator(at.notice).filter({ hasText: /keeps nothing/i }).waitFor();
    equal(tabs.map(({ sockets }) => sockets.filter((one) => !one.isClosed()).length), [1, 1], "connections");
    await tabs[0].write("Alone");
    await tabs[1].sees("Alone");
    await tabs[1].write("Alone as well");
    await tabs[0].sees("Alone as well");
    await bob.opens("carol");
    await bob.sees("Alone as well");
    for (const one of [...tabs, bob]) for (const words of ["Alone", "Alone as well"]) equal(await one.locator(`${at.message} .text`).getByText(words, { exact: true }).count(), 1, words);
    await bob.opens("alice");
    await device.close();
  });

  await stage.step("a server that restarts says so; without it the service worker shows the shell, which holds no message and no token", async () => {
    await bob.evaluate(() => navigator.serviceWorker.ready.then(() => true));
    await stage.until(() => bob.evaluate(() => navigator.serviceWorker.controller !== null), "the service worker");
    const stopped = stage.ask("stop");
    ok(/restart/i.test(await bob.is("waiting")), "words");
    await stopped;
    const late = new Person(stage, await theirs.newPage(), "bob, later");
    await late.page.goto(address("bob", "alice"));
    await late.locator("h1").filter({ hasText: "cannot be reached" }).waitFor();
    await good(late, "the page without a server");
    const all = await late.evaluate(async () => {
      const urls = [], texts = [];
      for (const name of await caches.keys()) {
        const cache = await caches.open(name);
        for (const request of await cache.keys()) {
          urls.push(new URL(request.url).pathname);
          texts.push(await (await cache.match(request)).text());
        }
      }
      return { urls, text: texts.join("\n") };
    });
    ok(all.urls.length && all.urls.every((path) => path.startsWith("/static/")), `${all.urls}`);
    ok(!/eyJ|Written|unread one/.test(all.text), "a message or a token is in the shell");
    await stage.ask("restart");
    await late.locator("a").first().click();
    await late.connected();
    await late.sees("unread two");
    await bob.connected();
  });

  for (const one of stage.people) equal(one.serious(), [], `complaints of ${one.name}`);
  app.close();
};
