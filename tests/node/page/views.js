"use strict";
// Each view of the page, light and dark, on a desktop and a phone: axe-core finds nothing serious, and nothing is wider than the window.

const fs = require("node:fs");
const { Person } = require("./person.js");
const { PHONE, equal } = require("./stage.js");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** What axe-core finds that is serious or critical, a line each. */
async function findings(page) {
  // By the debugger's means: the page's policy lets no script in.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => {
    // Where colours are forced they are the user's, which computed styles do not tell.
    const forced = matchMedia("(forced-colors: active)").matches;
    return window.axe.run(document, { resultTypes: ["violations"], rules: { "color-contrast": { enabled: !forced } } });
  });
  return violations.filter(({ impact }) => impact === "serious" || impact === "critical").flatMap(({ id, impact, help, nodes }) => nodes.slice(0, 4)
    .map(({ target, failureSummary }) => `${impact} ${id}: ${help}: ${target.join(" ")}: ${failureSummary.replaceAll("\n", " ")}`));
}

/** Throws unless what `page` shows is good, light and dark. */
async function good(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    const found = await findings(page);
    if (found.length) throw new Error(`${name}, ${colorScheme}:\n${found.join("\n")}`);
  }
  await page.emulateMedia({ colorScheme: null });
  const [wide, window_] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (wide > window_) throw new Error(`${name} is ${wide} wide in a window of ${window_}`);
}

module.exports = async (stage) => {
  const [demo, guarded] = stage.config.urls;
  const looks = { "a desktop": {}, "a phone": { ...PHONE, viewport: { width: 320, height: 568 } }, "forced colours": { forcedColors: "active" } };
  const peer = await Person.open(stage, await stage.device(), `${demo}/?uid=bob&rid=alice`, "bob");
  for (const [name, look] of Object.entries(looks)) {
    const context = await stage.device(look);
    await stage.step(`the form on ${name}`, async () => {
      const page = await context.newPage();
      await page.goto(`${demo}/`);
      await page.locator("#uid").waitFor();
      await good(page, "the form");
      await page.goto(`${demo}/?uid=%23x&rid=bob`);
      await page.locator("[role=alert]").first().waitFor();
      await good(page, "the form with a name that cannot be");
      await page.goto(`${guarded}/`);
      await page.locator("#no-token").waitFor();
      await good(page, "the page without a token");
      await page.close();
    });
    await stage.step(`a conversation on ${name}`, async () => {
      const alice = await Person.open(stage, context, `${demo}/?uid=alice&rid=bob`, "alice");
      await alice.write(`Hello from ${name}`);
      await peer.sees(`Hello from ${name}`);
      await peer.write(`Hello to ${name}`);
      await alice.sees(`Hello to ${name}`);
      await good(alice.page, "a conversation");
      equal(alice.complaints, [], "the console");
    });
    await context.close();
  }
  equal(peer.complaints, [], "the console");
};

module.exports.good = good;
