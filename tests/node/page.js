"use strict";
// Drives real Chromium through playwright-core: `node page.js CHROMIUM PROFILE_DIRECTORY` (which is empty).
//
// One JSON object a line, as client.js. On stdin, requests; every wait ends after `patience` milliseconds (15000):
//     {"id": 1, "do": "open", "tab": NAME, "url": …, "look": {"colorScheme": "dark", "viewport": {…}, …}}   a tab; `look` is playwright's
//     {"id": 2, "do": "go", "tab": NAME, "url": …}
//     {"id": 3, "do": "wait", "tab": NAME, "selector": CSS, "text": …, "state": "visible"}    until such an element is there; its text
//     {"id": 4, "do": "fill", "tab": NAME, "selector": CSS, "text": …}
//     {"id": 5, "do": "press", "tab": NAME, "selector": CSS, "key": "Enter"}
//     {"id": 6, "do": "click", "tab": NAME, "selector": CSS, "opens": NAME}     the tab it opens, where it does
//     {"id": 7, "do": "read", "tab": NAME, "script": EXPRESSION}                 its value in the page
//     {"id": 8, "do": "shoot", "tab": NAME, "path": PNG}
//     {"id": 9, "do": "complaints", "tab": NAME}                                 what the console and the page's errors said
// On stdout {"id": 2, "answer": …} or {"id": 2, "error": TEXT}. The program ends when its stdin does.

const readline = require("node:readline");
const { chromium } = require("playwright-core");

const [executablePath, profile] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync",
];

const tabs = new Map();
let browser = null;

function adopt(name, page) {
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.message}`));
  tabs.set(name, { page, complaints });
  return page;
}

function found({ tab, selector, text }) {
  const locator = tabs.get(tab).page.locator(selector);
  return (text === undefined ? locator : locator.filter({ hasText: text })).first();
}

const requests = {
  async open({ tab, url, look, patience }) {
    // One process for all; a context of its own for each look, since colour scheme and size belong to a context.
    browser ??= await chromium.launchPersistentContext(profile, { executablePath, args: FLAGS, headless: true });
    const context = look ? await browser.browser().newContext(look) : browser;
    const page = adopt(tab, await context.newPage());
    await page.goto(url, { timeout: patience });
    return page.title();
  },
  async go({ tab, url, patience }) {
    await tabs.get(tab).page.goto(url, { timeout: patience });
  },
  async wait({ patience, state = "visible", ...where }) {
    const locator = found(where);
    await locator.waitFor({ state, timeout: patience });
    return state === "visible" ? locator.innerText() : null;
  },
  async fill({ text, patience, tab, selector }) {
    await found({ tab, selector }).fill(text, { timeout: patience });
  },
  async press({ key, patience, ...where }) {
    await found(where).press(key, { timeout: patience });
  },
  async click({ opens, tab, patience, ...where }) {
    const opened = opens && tabs.get(tab).page.context().waitForEvent("page", { timeout: patience });
    await found({ tab, ...where }).click({ timeout: patience });
    if (opens) adopt(opens, await opened);
  },
  read: ({ tab, script }) => tabs.get(tab).page.evaluate(script),
  async shoot({ tab, path }) {
    await tabs.get(tab).page.screenshot({ path });
  },
  complaints: ({ tab }) => tabs.get(tab).complaints,
};

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { id, do: verb, ...fields } = JSON.parse(line);
  let said;
  try {
    said = { id, answer: (await requests[verb]({ patience: 15000, ...fields })) ?? null };
  } catch (error) {
    said = { id, error: String(error.stack ?? error) };
  }
  process.stdout.write(JSON.stringify(said) + "\n");
});
lines.on("close", async () => {
  await browser?.close();
  process.exit(0);
});
