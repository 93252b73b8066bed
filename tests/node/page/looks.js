"use strict";
// Each view of the page, light and dark, on a desktop and on phones, by keyboard, in another language and direction, with forced colours, at 200 %.

const { at } = require("./hooks.js");
const { Person } = require("./person.js");
const { PHONE, equal, ok } = require("./stage.js");
const { good } = require("./views.js");

const SMALL = { ...PHONE, viewport: { width: 320, height: 568 } };
const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

module.exports = async (stage) => {
  const [demo, guarded] = stage.config.urls;
  const address = (uid, rid, more = "") => `${demo}/?uid=${uid}${rid ? `&rid=${encodeURIComponent(rid)}` : ""}${more}`;
  const bob = await Person.open(stage, await stage.device(), address("bob", "alice"), "bob");
  await bob.write("Hello Alice, see https://example.org and `code`");
  await bob.write(`A long text.${"\nAnd a line more.".repeat(40)}`);
  const desktop = await stage.device();
  const alice = await Person.open(stage, desktop, address("alice", "bob"), "alice");
  await alice.sees("Hello Alice");
  await alice.write("Hello Bob");
  await alice.ticks("Hello Bob", "read");
  await alice.does("reply", "Hello Alice");
  await alice.write("An answer");
  await alice.locator(at.file).setInputFiles([
    { name: "dot.png", mimeType: "image/png", buffer: Buffer.from(PICTURE, "base64") }, { name: "letter.pdf", mimeType: "application/pdf", buffer: Buffer.alloc(100) },
  ]);
  await alice.locator(at.attachment).nth(1).waitFor();

  await stage.step("what is attached, and what is answered, is accessible", async () => {
    await alice.does("reply", "Hello Alice");
    await alice.locator(at.replying).waitFor();
    await good(alice, "before it is sent");
    await alice.locator(at.text).press("Enter");
    await bob.locator(`${at.message} a.file`).filter({ hasText: "letter.pdf" }).waitFor();
  });

  await stage.step("the forms are accessible, on a desktop and on a phone", async () => {
    for (const look of [{}, SMALL]) {
      const context = await stage.device(look);
      const person = new Person(stage, await context.newPage(), "nobody");
      await person.page.goto(`${demo}/`);
      await person.locator("#uid").waitFor();
      await good(person, "the form");
      await person.page.goto(address("#x", "bob").replace("#", "%23"));
      await person.locator("[role=alert]").first().waitFor();
      await good(person, "the form with a name that cannot be");
      await person.page.goto(`${guarded}/`);
      await person.locator("#no-token").waitFor();
      await good(person, "the page without a token");
      for (const [address, words] of [[`${demo}/?lang=de`, "Wähle deinen Namen"], [`${guarded}/?lang=de`, "Diese Seite hat kein Token"]]) {
        await person.page.goto(address);
        await person.locator("main").filter({ hasText: words }).waitFor();
      }
      // A space beside a name, which the keyboards of phones add, is not of it.
      await person.page.goto(`${demo}/`);
      await person.locator("#uid").fill(" anna ");
      await person.locator("#rid").fill("ben ");
      await person.locator("button[type=submit]").click();
      await person.connected();
      equal(await person.locator("#title").textContent(), "ben", "the other's name");
      equal(await person.locator("#chat").getAttribute("data-uid"), "anna", "the own name");
      await context.close();
    }
  });

  await stage.step("a conversation with all kinds of messages is accessible", async () => {
    await alice.message("Hello Alice").locator(".bubble").hover();
    await good(alice, "a conversation");
  });

  await stage.step("the list of keys, the settings, the details, the form for another person and what a search finds are accessible", async () => {
    for (const [button, dialog] of [[at.key, at.keys], [at.setting, at.settings], ["#info", "#details"], ["#new", at.start]]) {
      await alice.locator(button).click();
      await alice.locator(dialog).waitFor();
      await good(alice, dialog);
      await alice.page.keyboard.press("Escape");
      await alice.locator(dialog).waitFor({ state: "hidden" });
      equal(await alice.evaluate(() => document.activeElement?.id), button.slice(1), "where the focus is after a dialog");
    }
    await alice.locator(at.search).fill("hello");
    await alice.locator("#results [data-key]").first().waitFor();
    await good(alice, "a search");
    // What arrives meanwhile is found, and the focus stays where it was.
    await alice.locator("#results [data-key]").first().focus();
    const focused = () => alice.evaluate(() => document.activeElement?.closest("#results .row")?.dataset.key);
    const before = await focused();
    ok(before, "a result has the focus");
    await bob.write("hello, found later");
    await alice.locator("#results [data-key]").filter({ hasText: "found later" }).waitFor();
    equal(await focused(), before, "the result that has the focus");
    await alice.page.keyboard.press("Escape");
  });

  await stage.step("without an open conversation, and without any, it is accessible", async () => {
    const page = await Person.open(stage, desktop, address("alice", ""), "alice without a conversation");
    await page.item("bob").waitFor();
    await page.locator("#welcome").waitFor();
    await good(page, "the list");
    await page.close();
    const nobody = await Person.open(stage, await stage.device(), address("zoe", ""), "zoe");
    await nobody.locator("#none").waitFor();
    await good(nobody, "an empty list");
    await nobody.starts("yan");
    await nobody.locator("#empty").waitFor();
    await good(nobody, "an empty conversation");
    await nobody.page.context().close();
  });

  await stage.step("on a phone the list and a conversation are each full, with a way back, by the button and by the browser's", async () => {
    const phone = await Person.open(stage, await stage.device(SMALL), address("alice", ""), "alice's phone");
    await phone.item("bob").waitFor();
    await good(phone, "the list on a phone");
    await phone.item("bob").tap();
    await phone.sees("Hello Bob");
    await phone.locator(at.list).waitFor({ state: "hidden" });
    await good(phone, "a conversation on a phone");
    await phone.locator(at.text).fill("From a phone");
    await phone.locator("#send").tap();
    await bob.sees("From a phone");
    await phone.locator(at.back).tap();
    await phone.item("bob").waitFor();
    await phone.locator(at.text).waitFor({ state: "hidden" });
    await phone.item("bob").tap();
    await phone.sees("From a phone");
    await phone.page.goBack();
    await phone.locator(at.text).waitFor({ state: "hidden" });
    await phone.locator(at.setting).tap();
    await phone.locator(at.settings).waitFor();
    await good(phone, "the settings on a phone");
    await phone.page.context().close();
    // A window that becomes narrow has the way back too, though it was opened with a conversation and went to another.
    const tablet = await Person.open(stage, await stage.device(), address("alice", "bob"), "alice's tablet");
    await tablet.starts("zoe");
    await tablet.page.setViewportSize({ width: 400, height: 700 });
    await tablet.locator(at.back).click();
    await tablet.item("bob").waitFor();
    await tablet.locator(at.text).waitFor({ state: "hidden" });
    await tablet.page.context().close();
  });

  await stage.step("right to left, with forced colours and less motion", async () => {
    const context = await stage.device({ reducedMotion: "reduce", forcedColors: "active" });
    const page = await Person.open(stage, context, address("alice", "bob", "&lang=ar"), "alice in Arabic");
    equal(await page.evaluate(() => getComputedStyle(document.documentElement).direction), "rtl", "the direction");
    const message = await page.sees("Hello Bob");
    ok(await message.locator(".bubble").evaluate((one) => parseFloat(getComputedStyle(one).borderTopWidth) > 0
      && getComputedStyle(one).borderTopColor !== getComputedStyle(one.closest("main")).backgroundColor), "a bubble has an edge where colours are forced");
    const [own, other] = await Promise.all(["own", "other"].map((side) => page.locator(`${at.message}.${side} .bubble`).last().boundingBox()));
    ok(own.x < other.x, "one's own messages are on the left");
    equal(await page.evaluate(() => [...document.querySelectorAll("*")].filter((one) => {
      const { animationDuration, transitionDuration } = getComputedStyle(one);
      return `${animationDuration},${transitionDuration}`.split(",").some((time) => parseFloat(time) > 0);
    }).length), 0, "things that move");
    await good(page, "right to left");
    await context.close();
  });

  await stage.step("in German and wide, and at 200 %", async () => {
    const german = await Person.open(stage, await stage.device({ viewport: { width: 2200, height: 1200 } }), address("alice", "bob", "&lang=de"), "alice in German");
    equal(await german.evaluate(() => document.documentElement.lang), "de", "the language");
    equal((await german.locator(at.status).innerText()).trim(), "Verbunden", "the status");
    await german.sees("Hello Bob");
    await good(german, "wide");
    await german.page.context().close();
    const large = await Person.open(stage, await stage.device({ viewport: { width: 600, height: 400 }, deviceScaleFactor: 2 }), address("alice", "bob"), "alice at 200 %");
    await large.sees("Hello Bob");
    for (const selector of [at.text, "#send", at.status, at.title]) ok(await large.locator(selector).isVisible(), `${selector} at 200 %`);
    const { y, height } = await large.locator("#send").boundingBox();
    ok(y + height <= 400, "the field for a message is in the window");
    await good(large, "200 %");
    await large.page.context().close();
  });

  await stage.step("each day has its own separator, and the list says which day it was", async () => {
    for (const [days, words] of [[0, "Today"], [1, "Yesterday"], [40, new RegExp(String(new Date().getFullYear()))]]) {
      const context = await stage.device();
      // The device's clock is ahead: what was written now was written on an earlier day.
      await context.clock.setFixedTime(Date.now() + days * 86_400_000);
      const page = await Person.open(stage, context, address("alice", "bob"), `alice ${days} days later`);
      await page.sees("Hello Bob");
      await page.locator(at.day).filter({ hasText: words }).waitFor();
      equal(await page.locator(at.day).count(), 1, "days");
      if (days === 1) {
        equal(await page.locator(`${at.item("bob")} time`).innerText(), "Yesterday", "the day in the list");
        await context.setOffline(true);
        await page.is("offline");
        await page.write("On the next day");
        await page.sees("On the next day");
        equal(await page.locator(at.day).allInnerTexts(), ["Yesterday", "Today"], "days");
      }
      await context.close();
    }
  });

  await stage.step("the keyboard is enough, and the focus goes in order", async () => {
    await alice.locator(at.key).focus();
    const order = [];
    for (let turn = 0; turn < 30; turn += 1) {
      order.push(await alice.evaluate(() => document.activeElement?.id || document.activeElement?.dataset?.id || document.activeElement?.tagName));
      await alice.page.keyboard.press("Tab");
    }
    const wanted = ["keys-button", "settings-button", "new", "search", "bob", "info", "scroll", "attach", "text", "send"];
    equal(order.filter((one) => wanted.includes(one)).slice(0, wanted.length), wanted, `the order of the focus (${order})`);
    await alice.locator(at.text).focus();
    await alice.page.keyboard.type("Typed");
    await alice.page.keyboard.press("Enter");
    await bob.sees("Typed");
    ok(await alice.locator(at.text).evaluate((one) => one === document.activeElement), "the focus stays in the field");
    // The messages, with arrows; an answer with a key; and back to the field.
    await alice.locator(at.scroll).focus();
    await alice.page.keyboard.press("ArrowUp");
    await alice.page.keyboard.press("ArrowUp");
    await alice.page.keyboard.press("ArrowDown");
    ok(await alice.message("Typed").evaluate((one) => one === document.activeElement), "the focus is on the newest message");
    await alice.page.keyboard.press("r");
    await alice.locator(at.replying).waitFor();
    await alice.page.keyboard.press("Escape");
    await alice.locator(at.replying).waitFor({ state: "hidden" });
    // The list: Escape leaves the conversation, Enter opens one.
    await alice.locator(at.text).press("Escape");
    await stage.until(() => alice.evaluate(() => document.activeElement?.dataset.id === "bob"), "the focus in the list");
    await alice.page.keyboard.press("?");
    await alice.locator(at.keys).waitFor();
    await alice.page.keyboard.press("Escape");
    await alice.locator(at.keys).waitFor({ state: "hidden" });
    await alice.page.keyboard.press("Control+k");
    ok(await alice.locator(at.search).evaluate((one) => one === document.activeElement), "the focus is in the search");
    await alice.page.keyboard.type("carol");
    await alice.page.keyboard.press("Enter");
    await stage.until(async () => await alice.locator(at.title).innerText() === "carol", "a new conversation by the search");
    await alice.page.keyboard.press("Alt+ArrowUp");
    await stage.until(async () => await alice.locator(at.title).innerText() === "bob", "the conversation before it");
  });

  await stage.step("the manifest and its icons are right", async () => {
    const client = await desktop.newCDPSession(alice.page);
    const { errors, data, url } = await client.send("Page.getAppManifest");
    equal(errors, [], "faults of the manifest");
    const { icons, name } = JSON.parse(data);
    equal(name, "kschat", "the name");
    const found = await alice.evaluate(async ([base, all]) => Promise.all(all.map(async ({ src, sizes, type }) => {
      const response = await fetch(new URL(src, base));
      const image = new Image();
      image.src = response.url;
      await image.decode();
      return [response.status, response.headers.get("content-type").startsWith(type), sizes === "any" || sizes === `${image.naturalWidth}x${image.naturalHeight}`];
    })), [url, icons]);
    equal(found, icons.map(() => [200, true, true]), "the icons");
  });

  for (const one of stage.people) equal(one.complaints, [], `complaints of ${one.name}`);
};
