"use strict";
// Each view of the page, light and dark, on a desktop and on phones, by keyboard, in another direction and with forced colours.

const { at } = require("./hooks.js");
const { Person } = require("./person.js");
const { PHONE, equal, ok } = require("./stage.js");
const { good } = require("./views.js");

module.exports = async (stage) => {
  const { url } = stage.config;
  const address = (uid, rid, more = "") => `${url}/?uid=${uid}${rid ? `&rid=${encodeURIComponent(rid)}` : ""}${more}`;
  const bob = await Person.open(stage, await stage.device(), address("bob", "alice"), "bob");
  await bob.write("Hello Alice, see https://example.org and `code`");
  const alice = await Person.open(stage, await stage.device(), address("alice", "bob"), "alice");
  await alice.sees("Hello Alice");
  await alice.write("Hello Bob");
  await alice.ticks("Hello Bob", "read");

  await stage.step("the form for a name is accessible", async () => {
    const page = await (await stage.device()).newPage();
    await page.goto(`${url}/`);
    await page.locator("#uid").waitFor();
    await good(page, "the form");
    await page.context().close();
  });

  await stage.step("a conversation is accessible", () => good(alice.page, "a conversation"));

  await stage.step("the list of keys, the settings and the form for another person are accessible", async () => {
    for (const [button, dialog] of [[at.key, at.keys], [at.setting, at.settings], ["#new", at.start]]) {
      await alice.page.locator(button).click();
      await alice.page.locator(dialog).waitFor();
      await good(alice.page, dialog);
      await alice.page.keyboard.press("Escape");
      await alice.page.locator(dialog).waitFor({ state: "hidden" });
    }
  });

  await stage.step("without an open conversation it is accessible", async () => {
    const page = await Person.open(stage, await stage.device(), address("alice", ""), "alice");
    await page.item("bob").waitFor();
    await good(page.page, "the list");
    await page.page.context().close();
  });

  await stage.step("on a phone the list and a conversation are each full, with a way back", async () => {
    const phone = await Person.open(stage, await stage.device({ ...PHONE, viewport: { width: 320, height: 568 } }), address("alice", ""), "alice");
    await phone.item("bob").waitFor();
    await good(phone.page, "the list on a phone");
    await phone.item("bob").tap();
    await phone.sees("Hello Bob");
    await phone.page.locator(at.list).waitFor({ state: "hidden" });
    await good(phone.page, "a conversation on a phone");
    await phone.page.locator(at.text).fill("From a phone");
    await phone.page.locator("#send").tap();
    await bob.sees("From a phone");
    await phone.page.locator(at.back).tap();
    await phone.item("bob").waitFor();
    await phone.page.locator(at.text).waitFor({ state: "hidden" });
    await phone.page.context().close();
  });

  await stage.step("right to left, in another language, wide, large, with forced colours and less motion", async () => {
    const context = await stage.device({ reducedMotion: "reduce", forcedColors: "active" });
    const page = await Person.open(stage, context, address("alice", "bob", "&lang=ar"), "alice");
    equal(await page.page.evaluate(() => getComputedStyle(document.documentElement).direction), "rtl", "the direction");
    await page.sees("Hello Bob");
    ok(await page.message("Hello Bob").evaluate((one) => {
      for (const part of [one, ...one.querySelectorAll("*")]) if (parseFloat(getComputedStyle(part).borderTopWidth) > 0) return true;
      return false;
    }), "a bubble has an edge where colours are forced");
    await good(page.page, "right to left");
    await context.close();
    const german = await Person.open(stage, await stage.device({ viewport: { width: 2200, height: 1200 } }), address("alice", "bob", "&lang=de"), "alice");
    equal(await german.page.evaluate(() => document.documentElement.lang), "de", "the language");
    await german.sees("Hello Bob");
    await good(german.page, "wide");
    await german.page.context().close();
  });

  await stage.step("the keyboard is enough", async () => {
    await alice.page.locator(at.text).focus();
    await alice.page.keyboard.type("Typed");
    await alice.page.keyboard.press("Enter");
    await bob.sees("Typed");
    ok(await alice.page.locator(at.text).evaluate((one) => one === document.activeElement), "the focus stays in the field");
    await alice.page.keyboard.press("Escape");
    await alice.item("bob").focus();
    await alice.page.keyboard.press("?");
    await alice.page.locator(at.keys).waitFor();
    await alice.page.keyboard.press("Escape");
    await alice.page.locator(at.keys).waitFor({ state: "hidden" });
  });

  for (const one of [alice, bob]) equal(one.complaints, [], `complaints of ${one.name}`);
};
