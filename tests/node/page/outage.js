"use strict";
// A daemon with a file is killed, comes back, refuses; a token ends; the network is gone. Nothing that was written is lost.

const { at } = require("./hooks.js");
const { Person, kept } = require("./person.js");
const { equal, ok } = require("./stage.js");

module.exports = async (stage) => {
  const { url, tokens } = stage.config;
  const address = (uid, rid) => `${url}/?uid=${uid}&rid=${encodeURIComponent(rid)}&token=${tokens[uid]}`;
  const [mine, theirs] = [await stage.device(), await stage.device()];
  let alice = await Person.open(stage, mine, address("alice", "bob"), "alice");
  const bob = await Person.open(stage, theirs, address("bob", "alice"), "bob");

  await stage.step("the token leaves the address bar and is kept nowhere", async () => {
    await alice.write("Before");
    await bob.sees("Before");
    ok(!alice.page.url().includes("token"), alice.page.url());
    ok(!(await kept(alice.page)).includes(tokens.alice), "the token is kept");
  });

  await stage.step("a daemon that is killed is told at once, and what is written meanwhile waits", async () => {
    await stage.ask("kill");
    const words = await alice.is("waiting", "connecting", "offline");
    ok(words.length > 5, words);
    await alice.write("Written while it was down");
    await alice.write("And this after it");
    await alice.ticks("Written while it was down", "waiting", "sending");
    await alice.page.locator(at.text).fill("A draft");
    await alice.page.waitForTimeout(600);
    await alice.close();
  });

  await stage.step("it is sent once and in order after a reload, and the draft is there", async () => {
    await stage.ask("restart");
    alice = await Person.open(stage, mine, address("alice", "bob"), "alice");
    await bob.connected();
    for (const words of ["Before", "Written while it was down", "And this after it"]) {
      await bob.sees(words);
      await alice.ticks(words, "sent", "delivered", "read");
    }
    const order = (await bob.shown()).join("\n");
    ok(order.indexOf("Written while it was down") < order.indexOf("And this after it"), "the order");
    for (const one of [alice, bob]) await one.shows("Written while it was down", 1);
    equal(await alice.page.locator(at.text).inputValue(), "A draft", "the draft");
    await alice.page.locator(at.text).fill("");
  });

  await stage.step("without a network it says so at once, and sends when it is back", async () => {
    await mine.setOffline(true);
    const begin = Date.now();
    await alice.is("offline");
    ok(Date.now() - begin < 5000, "it was told late");
    await alice.write("Written offline");
    await mine.setOffline(false);
    await alice.connected();
    await bob.sees("Written offline");
    await bob.shows("Written offline", 1);
  });

  await stage.step("what is too long is refused without a retry that cannot help, and can be discarded", async () => {
    await alice.page.locator(at.text).evaluate((field, text) => { field.value = text; field.dispatchEvent(new Event("input", { bubbles: true })); }, "long ".repeat(250_000));
    await alice.page.locator(at.text).press("Enter");
    await stage.until(async () => (await alice.page.locator(at.notice).innerText().catch(() => "")).length > 5
      || await alice.page.locator(`${at.message}[data-state=failed]`).count(), "a word about it");
    const failed = alice.page.locator(`${at.message}[data-state=failed]`);
    if (await failed.count()) {
      equal(await failed.locator(at.action("retry")).count(), 0, "buttons to try again");
      await failed.locator(at.action("discard")).click();
      await failed.waitFor({ state: "detached" });
    }
    await alice.page.locator(at.text).fill("");
    await alice.write("After it");
    await bob.sees("After it");
  });

  await stage.step("who was away sees where the unread messages begin", async () => {
    await bob.page.goto("about:blank");
    for (const words of ["unread one", "unread two"]) await alice.write(words);
    await alice.ticks("unread two", "sent");
    await bob.page.goto(address("bob", "alice"));
    await bob.sees("unread two");
    await bob.page.locator(at.divider).first().waitFor();
  });

  await stage.step("a token that is not valid is refused in words", async () => {
    const context = await stage.device();
    const stranger = new Person(stage, await context.newPage(), "a stranger");
    await stranger.page.goto(`${url}/?uid=eve&rid=bob&token=${tokens.alice}x`);
    ok((await stranger.is("refused")).length > 5, "words");
    await context.close();
  });

  for (const one of [alice, bob]) {
    equal(one.complaints.filter((text) => !/WebSocket connection to|ERR_CONNECTION|ERR_INTERNET|Failed to load resource/.test(text)), [], `complaints of ${one.name}`);
  }
};
