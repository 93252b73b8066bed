"use strict";
// What makes a page break: hostile ids and reactions, two tabs that write at once, a night that passes, a slow network, the way back, paper, 400 %,
// a server that goes away in each state.

const { at } = require("./hooks.js");
const { Person } = require("./person.js");
const { equal, ok } = require("./stage.js");
const { good } = require("./views.js");
const { Writer } = require("./writer.js");

const HOSTILE = ["__proto__", "constructor", '"><img src=x onerror=alert(1)>', "a\u202eb", " spaces ", "x".repeat(128), "../..", "%00", "\u{1f469}\u200d\u{1f680}"];

module.exports = async (stage) => {
  const { url } = stage.config;
  const tokens = {};
  for (const user of ["alice", "bob"]) tokens[user] = await stage.ask("token", { user });
  const address = (uid, rid, more = "") => `${url}/?uid=${encodeURIComponent(uid)}&rid=${encodeURIComponent(rid)}&token=${tokens[uid]}${more}`;
  const mine = await stage.device(), theirs = await stage.device();
  let alice = await Person.open(stage, mine, address("alice", "bob"), "alice");
  const bob = await Person.open(stage, theirs, address("bob", "alice"), "bob");

  await stage.step("ids that are hostile are ids: each has its own conversation, its messages, its draft and its read state", async () => {
    for (const [number, id] of HOSTILE.entries()) {
      const writer = new Writer(url, id, await stage.ask("token", { user: id }));
      await writer.connected();
      await writer.send("alice", `from number ${number}`);
      await alice.locator(at.list).locator(".last").filter({ hasText: `from number ${number}` }).waitFor();
      writer.end();
    }
    for (const [number, id] of HOSTILE.entries()) {
      await alice.opens(id);
      await alice.sees(`from number ${number}`);
      equal(await alice.locator(at.message).count(), 1, `messages of ${id}`);
      await alice.locator(`${at.item(id)} .unread`).waitFor({ state: "detached" });
      await alice.write(`to number ${number}`);
      await alice.ticks(`to number ${number}`, "sent", "delivered");
      await alice.locator(at.text).fill(`draft ${number}`);
    }
    await alice.page.goto(address("alice", "bob"));
    await alice.connected();
    for (const [number, id] of HOSTILE.entries()) {
      await alice.opens(id);
      await alice.sees(`to number ${number}`);
      equal(await alice.locator(at.text).inputValue(), `draft ${number}`, `the draft for ${id}`);
      await alice.locator(at.text).fill("");
    }
    equal(await alice.evaluate(() => document.querySelectorAll("img").length), 0, "elements that an id made");
    await good(alice, "hostile ids");
    await alice.opens("bob");
  });

  await stage.step("reactions that are hostile, and very many of them, stay beside their message", async () => {
    await bob.write("React to this");
    await alice.sees("React to this");
    const writer = new Writer(url, "alice", tokens.alice);
    await writer.connected();
    const { MSG: [{ mid }] } = await writer.ask("History", { pId: "bob", limit: 1 });
    for (const emoji of ["__proto__", "<b>bold</b>", "\u202eabc", "\u{1f44d}".repeat(16)]) {
      equal((await writer.ask("React", { mid, pId: "bob", emoji })).ER, 0, emoji);
      await alice.message("React to this").locator(".reaction").filter({ hasText: emoji }).waitFor();
    }
    equal(await alice.message("React to this").locator(".reaction").count(), 1, "reactions: a user has one");
    const [wide, view] = await alice.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    ok(wide <= view, `${wide} wide in a window of ${view}`);
    writer.end();
  });

  await stage.step("two tabs that write at the same time, and are closed and opened meanwhile, agree: each message once, in one order", async () => {
    // Each in a conversation of its own: they share the draft of one.
    const tab = await Person.open(stage, mine, address("alice", "carol"), "alice's other tab");
    const write = async (person, name, count) => { for (let number = 0; number < count; number += 1) await person.write(`${name} ${number}.`); };
    await Promise.all([write(alice, "one", 12), write(tab, "two", 12), write(bob, "three", 12)]);
    await tab.opens("bob");
    const leader = [...alice.sockets].some((one) => !one.isClosed()) ? alice : tab;
    const other = leader === alice ? tab : alice;
    await other.write("last words, and the connection goes");
    await leader.close();
    await other.connected();
    for (const person of [other, bob]) for (const words of ["one 11.", "three 11.", "last words"]) await person.sees(words);
    const texts = (person) => person.evaluate((selector) => [...document.querySelectorAll(`${selector} .text`)].map((one) => one.textContent).filter((text) => /^(one|two|three) \d+\.$|^last/.test(text)), at.message);
    await stage.until(async () => JSON.stringify(await texts(other)) === JSON.stringify(await texts(bob)), "the same order on both sides");
    const all = await texts(bob);
    for (const name of ["one", "three"]) equal(all.filter((text) => text.startsWith(name)), Array.from({ length: 12 }, (_, number) => `${name} ${number}.`), name);
    equal(all.length, 25, "messages");
    await other.opens("carol");
    await other.sees("two 11.");
    await stage.until(async () => (await other.locator(`${at.message}:is([data-state=waiting], [data-state=sending])`).count()) === 0, "all to be sent");
    equal(await texts(other), Array.from({ length: 12 }, (_, number) => `two ${number}.`), "what the other tab wrote");
    await other.opens("bob");
    alice = other;
  });

  await stage.step("what is written before the page is connected, on a slow network, and then reloaded, is sent once", async () => {
    const page = await mine.newPage();
    // The server's answer to the WebSocket takes its time.
    await page.routeWebSocket(/socket\.io/, (socket) => {
      const held = [];
      let server = null;
      socket.onMessage((frame) => { if (server) server.send(frame); else held.push(frame); });
      setTimeout(() => {
        server = socket.connectToServer();
        server.onMessage((frame) => { socket.send(frame); });
        for (const frame of held) server.send(frame);
      }, 1500);
    });
    await alice.close();
    const slow = new Person(stage, page, "alice on a slow network");
    await page.goto(address("alice", "bob"));
    await slow.write("Written while connecting");
    equal(await slow.state(), "connecting", "the state");
    await page.goto(address("alice", "bob"));
    await slow.connected();
    await bob.sees("Written while connecting");
    await slow.ticks("Written while connecting", "sent", "delivered", "read");
    for (const one of [slow, bob]) await one.shows("Written while connecting", 1);
    await page.close();
    alice = await Person.open(stage, mine, address("alice", "bob"), "alice");
  });

  await stage.step("when one comes back from another page all of it is there, and connected", async () => {
    await alice.sees("Written while connecting");
    await alice.page.goto("about:blank");
    await bob.write("While you were elsewhere");
    await alice.page.evaluate((back) => { location.href = back; }, address("alice", "bob")); // the token is not in the address that one goes back to
    await alice.connected();
    await alice.sees("While you were elsewhere");
    await alice.shows("While you were elsewhere", 1);
  });

  await stage.step("a night passes: yesterday's messages say so, the connection is there, and what is written stands below today's", async () => {
    const context = await stage.device();
    await context.clock.install();
    const night = await Person.open(stage, context, address("alice", "bob"), "alice overnight");
    await night.sees("While you were elsewhere");
    await night.locator(at.day).filter({ hasText: "Today" }).last().waitFor();
    await context.clock.fastForward(24 * 3_600_000);
    await night.locator(at.day).filter({ hasText: "Yesterday" }).last().waitFor();
    await night.connected();
    await bob.write("Good morning");
    await night.sees("Good morning");
    await context.close();
  });

  await stage.step("on paper are the messages, without the page around them", async () => {
    await alice.page.emulateMedia({ media: "print" });
    for (const selector of ["#side", "#compose", "#newer"]) equal(await alice.locator(selector).isVisible(), false, `${selector} on paper`);
    const { inner, outer } = await alice.evaluate(([scroll]) => {
      const element = document.querySelector(scroll);
      return { inner: element.scrollHeight, outer: element.clientHeight };
    }, [at.scroll]);
    ok(outer >= inner - 1, `all of it is on paper: ${outer} of ${inner}`);
    await alice.page.emulateMedia({ media: null });
    await alice.locator(at.text).waitFor();
  });

  await stage.step("at 400 % one can read, write and go back", async () => {
    const large = await Person.open(stage, await stage.device({ viewport: { width: 320, height: 256 }, deviceScaleFactor: 4 }), address("alice", "bob"), "alice at 400 %");
    await large.sees("While you were elsewhere");
    const { y, height } = await large.locator("#send").boundingBox();
    ok(y >= 0 && y + height <= 256, `the field is in the window: ${y} to ${y + height}`);
    ok((await large.locator(at.scroll).boundingBox()).height >= 90, "there is room for messages");
    await large.write("Large");
    await bob.sees("Large");
    await good(large, "400 %");
    await large.locator(at.back).click();
    await large.item("bob").waitFor();
    await good(large, "the list at 400 %");
    await large.page.context().close();
  });

  await stage.step("the server goes away while the page is connecting, refused, or logged out, and comes back", async () => {
    const refused = new Person(stage, await (await stage.device()).newPage(), "refused");
    await refused.page.goto(`${url}/?uid=alice&rid=bob&token=${tokens.alice}x`);
    await refused.is("refused");
    const out = await Person.open(stage, await stage.device(), address("alice", "bob"), "logged out");
    await out.locator(at.setting).click();
    await out.locator("#logout").click();
    await out.is("ended");
    await stage.ask("kill");
    await alice.is("waiting");
    await alice.locator("#try-now").click();
    await alice.is("connecting", "waiting");
    await alice.write("Written between two tries");
    equal([await refused.state(), await out.state()], ["refused", "ended"], "states that stay");
    await stage.ask("restart");
    await alice.connected();
    await bob.connected();
    await bob.sees("Written between two tries");
    await bob.shows("Written between two tries", 1);
    equal([await refused.state(), await out.state()], ["refused", "ended"], "states that stay");
    equal(await refused.locator(at.message).count(), 0, "messages of a page that was refused");
    await out.locator("#try-now").click();
    await out.page.waitForURL(/uid=alice/);
    for (const one of [refused, out]) await one.page.context().close();
  });

  for (const one of stage.people) equal(one.serious(), [], `complaints of ${one.name}`);
};
