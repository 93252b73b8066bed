"use strict";
// What the page's scenarios have in common: Chromium, people with their devices, steps, and the one who started this program.
//
// `node play.js SCENARIO CONFIG` prints a line of JSON for each step and each question; answers come on stdin, a line each:
//     {"step": "ticks", "seconds": 1.2}      it holds
//     {"ask": "kill", "id": 1, …}            the test does it and answers {"id": 1, "answer": …} or {"id": 1, "error": TEXT}
//     {"failed": "ticks", "error": …}        the last line, then the program ends
//     {"done": true, …}

const readline = require("node:readline");
const { chromium } = require("playwright-core");

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync", "--disable-dev-shm-usage",
];

const PHONE = { viewport: { width: 360, height: 640 }, isMobile: true, hasTouch: true };
const DESKTOP = { viewport: { width: 1200, height: 800 } };

class Stage {
  constructor(config) {
    this.config = config;
    this.patience = config.patience ?? 15000;
    this.asked = 0;
    this.waiting = new Map();
    this.steps = [];
    this.people = []; // whose consoles a failure shows
    readline.createInterface({ input: process.stdin }).on("line", (line) => {
      const said = JSON.parse(line);
      this.waiting.get(said.id)?.(said);
      this.waiting.delete(said.id);
    }).on("close", () => process.exit(1));
  }

  async begin() {
    this.browser = await chromium.launch({ executablePath: this.config.chromium, args: [...FLAGS, ...(this.config.flags ?? [])], headless: true });
  }

  async end() { await this.browser?.close(); }

  say(words) { process.stdout.write(`${JSON.stringify(words)}\n`); }

  /** Have the test do something, such as `kill` or `restart`. */
  async ask(what, more = {}) {
    const id = ++this.asked;
    const answered = new Promise((done) => { this.waiting.set(id, done); });
    this.say({ ask: what, id, ...more });
    const said = await answered;
    if (said.error) throw new Error(`${what}: ${said.error}`);
    return said.answer;
  }

  /** One thing that must hold. */
  async step(name, run) {
    const begin = Date.now();
    this.now = name;
    await run();
    // Whatever a step is about: the page's policy was kept, and nothing was raised.
    const wrong = this.people.flatMap((one) => one.complaints.filter((text) => /Content Security Policy|^uncaught/.test(text)).map((text) => `${one.name}: ${text}`));
    if (wrong.length) throw new Error(wrong.join("\n"));
    this.steps.push(name);
    this.say({ step: name, seconds: (Date.now() - begin) / 1000 });
  }

  /** A device of a person: a browser profile of its own. `look` is playwright's. */
  async device(look = {}) {
    const context = await this.browser.newContext({ ...DESKTOP, ...look });
    context.setDefaultTimeout(this.patience);
    return context;
  }

  /** Lets an application's page ask for tokens, as from its server. */
  serves(page) { return page.exposeFunction("freshToken", (user) => this.ask("token", { user })); }

  /** Until `find()` gives something true, for so many milliseconds. */
  async until(find, what, patience = this.patience) {
    const end = Date.now() + patience;
    let found;
    for (;;) {
      found = await find();
      if (found) return found;
      if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
      await new Promise((done) => { setTimeout(done, 50); });
    }
  }
}

/** Throws unless both are the same as JSON. */
function equal(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: ${a} is not ${b}`);
}

function ok(value, what) {
  if (!value) throw new Error(what);
}

/** Runs a scenario: `run(stage)`. */
async function play(run, config) {
  const stage = new Stage(config);
  let last;
  try {
    await stage.begin();
    const more = await run(stage);
    last = { done: true, steps: stage.steps, ...more };
  } catch (error) {
    const pages = stage.browser?.contexts().flatMap((context) => context.pages()) ?? [];
    const seen = await Promise.all(pages.flatMap((page) => page.frames()).map((frame) => Promise.race([
      frame.evaluate(() => `${location.href}: ${document.body.innerText.slice(-600)}`).catch((why) => String(why)),
      new Promise((done) => { setTimeout(done, 2000, "(does not answer)"); }),
    ])));
    const complaints = stage.people.filter((one) => one.complaints.length).map((one) => `${one.name}: ${one.complaints.slice(-5).join("; ")}`);
    if (config.shots) {
      for (const [number, page] of pages.entries()) {
        await page.screenshot({ path: `${config.shots}/failed-${number}.png`, timeout: 3000 }).catch(() => {});
      }
    }
    last = { failed: stage.now ?? "begin", error: String(error.stack ?? error), seen: [...seen, ...complaints] };
  }
  await stage.end().catch(() => {});
  process.stdout.write(`${JSON.stringify(last)}\n`, () => process.exit(0));
}

module.exports = { DESKTOP, FLAGS, PHONE, Stage, equal, ok, play };
