"use strict";
// Drives real Chromium through playwright-core: `node page.js CHROMIUM PROFILE_DIRECTORY` (which is empty).
//
// One JSON object a line, as client.js. On stdin, requests; every wait ends after `patience` milliseconds (15000):
//     {"id": 1, "do": "open", "tab": NAME, "url": …, "look": {"colorScheme": "dark", "viewport": {…}, …}, "between": "refusing"}
//           a tab; `look` is playwright's, `between` one of those below that meddle with what daemon and page say
//     {"id": 2, "do": "wait", "tab": NAME, "selector": CSS, "text": …, "state": "visible"}    until such an element is there; its text
//     {"id": 3, "do": "fill", "tab": NAME, "selector": CSS, "text": …}
//     {"id": 4, "do": "press", "tab": NAME, "selector": CSS, "key": "Enter"}
//     {"id": 5, "do": "click", "tab": NAME, "selector": CSS, "opens": NAME}     the tab it opens, where it does
//     {"id": 6, "do": "read", "tab": NAME, "script": EXPRESSION}                 its value in the page
//     {"id": 7, "do": "shoot", "tab": NAME, "path": PNG}
//     {"id": 8, "do": "complaints", "tab": NAME}                                 what the console and the page's errors said
//     {"id": 9, "do": "crash", "tab": NAME}                                      its process dies
// On stdout {"id": 2, "answer": …} or {"id": 2, "error": TEXT}. The program ends when its stdin does.

const readline = require("node:readline");
const { chromium } = require("playwright-core");

const [executablePath, profile] = process.argv.slice(2);
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync",
];

const tabs = new Map();
const cached = new Map();
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

// What stands between the page's WebSocket and the daemon, which is real all the same.
const between = {
  // A cache that gives a script again without asking whether it changed.
  async stale(page) {
    await page.route(/\/texts\.js$/, async (route) => {
      const url = route.request().url();
      if (!cached.has(url)) {
        const response = await route.fetch();
        cached.set(url, { headers: response.headers(), body: await response.body() });
      }
      await route.fulfill(cached.get(url));
    });
  },
  // The first Send is refused as a daemon would that is told to slow down.
  refusing(page) {
    let refused = false;
    return page.routeWebSocket(/socket\.io/, (socket) => {
      const daemon = socket.connectToServer();
      socket.onMessage((frame) => {
        const send = /^42\/kschat,(\d+)\["Send"/.exec(frame);
        if (!send || refused) return daemon.send(frame);
        refused = true;
        socket.send(`43/kschat,${send[1]}[{"RESPONSE":"Send Emit is failed.","ER":4,"WHY":"Too many, slow down."}]`);
      });
    });
  },
  // Every message reaches the page twice.
  repeating(page) {
    return page.routeWebSocket(/socket\.io/, (socket) => {
      const daemon = socket.connectToServer();
      daemon.onMessage((frame) => {
        socket.send(frame);
        if (/"RESPRECEIVER"/.test(frame)) socket.send(frame);
      });
    });
  },
};

function found({ tab, selector, text }) {
  const locator = tabs.get(tab).page.locator(selector);
  return (text === undefined ? locator : locator.filter({ hasText: text })).first();
}

const requests = {
  async open({ tab, url, look, between: meddler, patience }) {
    // One process for all; a context of its own for each look, since colour scheme and size belong to a context.
    browser ??= await chromium.launchPersistentContext(profile, { executablePath, args: FLAGS, headless: true });
    const context = look ? await browser.browser().newContext(look) : browser;
    const page = adopt(tab, await context.newPage());
    if (meddler) await between[meddler](page);
    await page.goto(url, { timeout: patience });
    return page.title();
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
  async crash({ tab }) {
    const { page } = tabs.get(tab);
    const crashed = page.waitForEvent("crash");
    page.goto("chrome://crash").catch(() => {}); // it never answers
    await crashed;
  },
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
