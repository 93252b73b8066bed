"use strict";
// What is changed after it was sent: edits, deletions and reactions, by others and by oneself, in all tabs, and after being away. And where a
// page begins: at the first unread message, with the ticks of the list, for whom its token says.

const { at } = require("./hooks.js");
const { Person } = require("./person.js");
const { PHONE, equal, ok } = require("./stage.js");
const { good } = require("./views.js");
const { Writer } = require("./writer.js");

/** The reactions below a message, and whether they are the person's own. */
function reactions(person, words) {
  return person.message(words).locator(".reaction").evaluateAll((all) => all.map((one) => [one.textContent, one.ariaPressed]));
}

module.exports = async (stage) => {
  const { url } = stage.config;
  const tokens = {};
  for (const user of ["alice", "bob", "carol"]) tokens[user] = await stage.ask("token", { user });
  const address = (uid, rid, more = "") => `${url}/?uid=${uid}&rid=${encodeURIComponent(rid)}&token=${tokens[uid]}${more}`;
  const mine = await stage.device(), theirs = await stage.device();
  let alice = await Person.open(stage, mine, address("alice", "bob"), "alice");
  const bob = await Person.open(stage, theirs, address("bob", "alice"), "bob");
  const tab = await Person.open(stage, mine, address("alice", "bob"), "alice's other tab");

  await stage.step("a message is edited with the toolbar, and all see it at once", async () => {
    await alice.write("A mesage");
    await bob.sees("A mesage");
    await alice.locator(at.text).fill("A draft of something else");
    await alice.does("edit", "A mesage");
    await alice.locator(at.replying).filter({ hasText: "Editing your message" }).waitFor();
    await alice.write("A message, as it should be");
    for (const one of [alice, bob, tab]) {
      await (await one.sees("A message, as it should be")).locator(".edited").waitFor();
      await one.shows("mesage", 0);
    }
    await alice.locator(at.replying).waitFor({ state: "hidden" });
    equal(await alice.locator(at.text).inputValue(), "A draft of something else", "the draft");
    await alice.locator(at.text).fill("");
    await bob.locator(`${at.item("alice")} .last`).filter({ hasText: "as it should be" }).waitFor();
  });

  await stage.step("reactions by mouse and by keyboard are seen by all, counted, and taken back", async () => {
    await bob.does("react", "as it should be");
    await bob.locator("#picker").waitFor();
    await good(bob, "the reactions to choose from");
    await bob.locator("#picker button").first().click();
    for (const [one, own] of [[alice, "false"], [tab, "false"], [bob, "true"]]) {
      await stage.until(async () => JSON.stringify(await reactions(one, "as it should be")) === JSON.stringify([["👍 1", own]]), `Bob's reaction at ${one.name}'s`);
    }
    await alice.locator(at.scroll).focus();
    await alice.page.keyboard.press("ArrowUp");
    await alice.page.keyboard.press("+");
    ok(await alice.locator("#picker button").first().evaluate((one) => one === document.activeElement), "the focus is on the first reaction");
    await alice.page.keyboard.press("ArrowRight");
    await alice.page.keyboard.press("Escape");
    ok(await alice.message("as it should be").evaluate((one) => one === document.activeElement), "the focus is on the message again");
    await alice.page.keyboard.press("+");
    await alice.page.keyboard.press("Enter");
    for (const one of [alice, bob, tab]) {
      await stage.until(async () => JSON.stringify(await reactions(one, "as it should be")) === '[["👍 2","true"]]' || one === tab && (await reactions(one, "as it should be"))[0]?.[0] === "👍 2", `both reactions at ${one.name}'s`);
    }
    equal(await bob.message("as it should be").locator(".reaction").getAttribute("aria-label"), "👍 2: You, Alice Smith", "who reacted");
    await good(bob, "a message with reactions");
    await bob.message("as it should be").locator(".reaction").click();
    for (const one of [alice, bob, tab]) {
      await stage.until(async () => (await reactions(one, "as it should be"))[0]?.[0] === "👍 1", `Alice's reaction at ${one.name}'s`);
    }
  });

  await stage.step("a message is deleted with the keyboard, after a question, and all see that it was", async () => {
    await alice.write("Not meant for you");
    await bob.sees("Not meant for you");
    await alice.ticks("Not meant for you", "sent", "delivered", "read");
    await alice.locator(at.scroll).focus();
    await alice.page.keyboard.press("ArrowUp");
    await alice.page.keyboard.press("Delete");
    await alice.locator("#delete").waitFor();
    await good(alice, "the question");
    await alice.locator("#delete").getByRole("button", { name: "Cancel" }).click();
    await alice.locator("#delete").waitFor({ state: "detached" });
    await bob.shows("Not meant for you", 1);
    await alice.page.keyboard.press("Delete");
    await alice.locator("#delete").getByRole("button", { name: "Delete" }).click();
    for (const one of [alice, bob, tab]) {
      await one.sees("This message was deleted.");
      await one.shows("Not meant for you", 0);
    }
    await stage.until(() => alice.message("This message was deleted.").evaluate((one) => one === document.activeElement), "the focus on the message");
    // Nothing can be done with it, nor another's message be changed.
    await bob.message("This message was deleted.").locator(".bubble").hover();
    equal(await bob.message("This message was deleted.").locator("#acts").count(), 0, "actions of a deleted message");
    await bob.message("as it should be").locator(".bubble").hover();
    await bob.message("as it should be").locator(at.action("react")).waitFor();
    for (const name of ["edit", "delete"]) equal(await bob.message("as it should be").locator(at.action(name)).isVisible(), false, `${name} of another's message`);
  });

  await stage.step("what was changed while a page was away is so when it is back, though another device was told first", async () => {
    for (const words of ["First", "Second", "Third"]) await alice.write(words);
    await bob.sees("Third");
    const phone = await Person.open(stage, await stage.device(), address("bob", "alice"), "bob's other device");
    await phone.sees("Third");
    await theirs.setOffline(true);
    await bob.is("offline");
    const writer = new Writer(url, "alice", tokens.alice);
    await writer.connected();
    const { MSG } = await writer.ask("History", { pId: "bob", limit: 3 });
    for (const [event, number, more] of [["Edit", 0, { msg: "First, edited" }], ["Delete", 1, {}], ["React", 2, { emoji: "🙏" }]]) {
      equal((await writer.ask(event, { mid: MSG[number].mid, pId: "bob", ...more })).ER, 0, event);
    }
    await phone.sees("First, edited");
    await stage.until(async () => (await reactions(phone, "Third")).length, "the reaction on the other device");
    await theirs.setOffline(false);
    await bob.connected();
    await bob.sees("First, edited");
    await bob.shows("Second", 0);
    await stage.until(async () => JSON.stringify(await reactions(bob, "Third")) === '[["🙏 1","false"]]', "the reaction");
    await phone.page.context().close();
    writer.end();
  });

  await stage.step("on a phone, in German: react, edit and delete by touch; what the server refuses is said in German", async () => {
    const device = await stage.device({ ...PHONE, viewport: { width: 320, height: 568 } });
    const phone = await Person.open(stage, device, address("alice", "bob", "&lang=de"), "alice's phone");
    await phone.write("Ja");
    await phone.ticks("Ja", "delivered", "read", "sent");
    const act = async (words, name) => {
      await phone.message(words).locator(".text").tap();
      await phone.message(words).locator(at.action(name)).waitFor();
      const { x, width } = await phone.locator("#acts").boundingBox();
      ok(x >= 0 && x + width <= 320, `the actions are in the window: ${x} to ${x + width}`);
      await phone.message(words).locator(at.action(name)).tap();
    };
    await act("Ja", "react");
    await good(phone, "the reactions on a phone");
    await phone.locator("#picker button").nth(1).tap();
    await stage.until(async () => (await reactions(bob, "Ja"))[0]?.[0] === "❤️ 1", "the reaction");
    await act("Ja", "edit");
    await phone.locator(at.replying).filter({ hasText: "Deine Nachricht bearbeiten" }).waitFor();
    await phone.locator(at.text).fill("Jawohl");
    await phone.locator("#send").tap();
    await (await phone.sees("Jawohl")).locator(".edited").filter({ hasText: "bearbeitet" }).waitFor();
    await act("Jawohl", "delete");
    await phone.locator("#delete").getByRole("button", { name: "Löschen" }).tap();
    await phone.message("Diese Nachricht wurde gelöscht.").first().waitFor();
    // A room that the token does not allow, from the first word to the last.
    await phone.locator(at.back).tap();
    await phone.starts("#secret");
    await phone.locator(at.notice).filter({ hasText: "Du darfst diesen Raum nicht betreten." }).waitFor();
    await phone.write("Hallo");
    await phone.ticks("Hallo", "failed");
    equal((await phone.message("Hallo").locator(".why span").innerText()).trim(), "Nicht gesendet: Du darfst hier nicht schreiben.", "why");
    await device.close();
  });

  await stage.step("without an answer of the server the words stay in the field, and the page says so", async () => {
    await alice.write("To be edited");
    await alice.ticks("To be edited", "sent", "delivered", "read");
    await alice.does("edit", "To be edited");
    await mine.setOffline(true);
    await alice.is("offline");
    await alice.write("Edited offline");
    await alice.locator(at.notice).filter({ hasText: "did not answer" }).waitFor();
    equal(await alice.locator(at.text).inputValue(), "Edited offline", "the words");
    await mine.setOffline(false);
    await alice.connected();
    await alice.locator(at.text).press("Enter");
    await bob.sees("Edited offline");
    await bob.shows("To be edited", 0);
  });

  await stage.step("the list has the ticks of what was delivered and read while the page was closed", async () => {
    const other = await Person.open(stage, await stage.device(), address("carol", ""), "carol");
    await alice.starts("carol");
    await alice.write("For Carol");
    await alice.ticks("For Carol", "delivered");
    await alice.page.goto("about:blank");
    await tab.page.goto("about:blank");
    await other.opens("alice");
    await other.sees("For Carol");
    // Read by now, as the server has it, and not to be guessed from what a browser keeps.
    const look = await Person.open(stage, await stage.device(), address("alice", ""), "alice's new device");
    await look.locator(`${at.item("carol")} .tick[data-state=read]`).waitFor();
    await look.page.context().close();
    await other.page.context().close();
    await alice.page.goto(address("alice", "bob"));
    await alice.connected();
  });

  await stage.step("a conversation with more missed messages than are counted opens where they begin, and reads on without a hole", async () => {
    const writer = new Writer(url, "bob", tokens.bob);
    await writer.connected();
    await alice.sees("Edited offline");
    await alice.page.goto("about:blank");
    await bob.page.goto("about:blank"); // it has enough to do with Alice's
    await writer.fill("alice", 1500, (number) => `missed ${number}.`, 100);
    await alice.page.goto(address("alice", "bob"));
    await alice.connected();
    await alice.locator(at.divider).waitFor();
    const first = alice.locator(at.message).filter({ has: alice.locator(".divider") });
    ok(/missed \d+\./.test(await first.innerText()), "the divider stands before a missed message");
    await stage.until(() => alice.evaluate(([divider, scroll]) => {
      const line = document.querySelector(divider)?.getBoundingClientRect(), view = document.querySelector(scroll).getBoundingClientRect();
      return Boolean(line) && line.top >= view.top && view.bottom - line.bottom > 100;
    }, [at.divider, at.scroll]), "the divider to be in sight, with messages below it");
    await alice.sees("Edited offline"); // what was read, above it
    await alice.locator(at.newer).filter({ hasText: "999+ new" }).waitFor();
    ok(await alice.locator(at.message).count() < 150, "not all messages are in the document");
    const numbers = () => alice.evaluate((selector) => [...document.querySelectorAll(`${selector} .text`)].map((one) => Number(/missed (\d+)/.exec(one.textContent)?.[1] ?? -1)), at.message);
    const begin = (await numbers()).find((one) => one >= 0);
    await alice.locator(at.scroll).hover();
    await stage.until(async () => {
      await alice.page.mouse.wheel(0, 1500);
      const all = (await numbers()).filter((one) => one >= 0);
      ok(all.length && new Set(all).size === all.length, "each once");
      return Math.max(...all) > begin + 120;
    }, "messages further down", 3 * stage.patience);
    await alice.ends();
    await alice.sees("missed 1499.");
    await bob.page.goto(address("bob", "alice"));
    await bob.connected();
    await alice.locator(`${at.item("bob")} .unread`).waitFor({ state: "detached" });
    writer.end();
  });

  await stage.step("a second tab with a damaged token sees nothing of the first one's user, and is refused in words", async () => {
    const before = await alice.count("missed 1499.");
    ok(before, "the first tab is there");
    await alice.locator(at.text).fill("A secret draft");
    for (const token of [`${tokens.alice}x`, tokens.bob]) {
      const stranger = new Person(stage, await mine.newPage(), "a stranger in a second tab");
      await stranger.page.goto(`${url}/?uid=alice&rid=bob&token=${token}`);
      ok(/token/.test(await stranger.is("refused")), "words");
      equal(await stranger.locator(at.message).count(), 0, "messages");
      equal(await stranger.locator(`${at.list} li`).count(), 1, "conversations: the one that its own address names");
      equal(await stranger.locator(at.text).inputValue(), "", "the draft");
      await stranger.write("Forged");
      await bob.write(`Only for Alice ${token.length}`);
      await alice.sees(`Only for Alice ${token.length}`);
      equal(await stranger.count("Only for Alice"), 0, "messages of the first tab");
      await good(stranger, "a second tab that was refused");
      await stranger.close();
    }
    await alice.page.goto(address("alice", "bob"));
    await alice.connected();
    await alice.sees("Only for Alice");
    await alice.shows("Forged", 0);
    await bob.shows("Forged", 0);
    equal(await alice.locator(at.text).inputValue(), "A secret draft", "the draft");
    await alice.locator(at.text).fill("");
  });

  for (const one of stage.people) equal(one.serious(), [], `complaints of ${one.name}`);
};
