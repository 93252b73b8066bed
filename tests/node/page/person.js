"use strict";
// A person before the page: what one does with a keyboard and a mouse, and what one sees.

const { at } = require("./hooks.js");
const { equal } = require("./stage.js");

class Person {
  constructor(stage, page, name) {
    Object.assign(this, { stage, page, name, embedded: false });
    this.sockets = [];
    this.complaints = [];
    stage.people.push(this);
    page.on("websocket", (socket) => this.sockets.push(socket));
    // Of the document before, whose end nobody tells, none is left.
    page.on("request", (request) => { if (request.isNavigationRequest() && request.frame() === page.mainFrame()) this.sockets = []; });
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.complaints.push(`${message.type()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.complaints.push(`uncaught: ${error.message}`));
  }

  /** A tab of `context` that has loaded `url` and is connected. */
  static async open(stage, context, url, name = "") {
    const person = new Person(stage, await context.newPage(), name);
    await person.page.goto(url);
    await person.connected();
    return person;
  }

  /** The same, where `url` is an application's page that shows kschat's in a frame; see application.js. */
  static async embedded(stage, context, url, name = "") {
    const person = new Person(stage, await context.newPage(), name);
    person.embedded = true;
    await stage.serves(person.page);
    await person.page.goto(url);
    await person.connected();
    return person;
  }

  /** Where kschat's page is: the tab's document, or its frame. */
  get view() { return this.embedded ? this.page.frames()[1] ?? this.page.mainFrame() : this.page.mainFrame(); }

  locator(selector) { return this.view.locator(selector); }

  evaluate(run, argument) { return this.view.evaluate(run, argument); }

  connected() { return this.is("connected"); }

  /** Until the connection is in this state; its words. */
  async is(...states) {
    await this.stage.until(async () => states.includes(await this.state()), `${this.name} to be ${states.join(" or ")}`);
    return this.locator(at.status).innerText();
  }

  /** What the connection is, if the page is there already. */
  state() { return this.evaluate((selector) => document.querySelector(selector)?.dataset.state, at.status).catch(() => null); }

  async write(words) {
    await this.locator(at.text).fill(words);
    await this.locator(at.text).press("Enter");
  }

  /** A message that says this, as soon as it is shown. */
  message(words) { return this.locator(at.message).filter({ hasText: words }).last(); }

  async sees(words) {
    await this.message(words).waitFor({ state: "visible" });
    return this.message(words);
  }

  /** Until a message of this person has one of these states. */
  async ticks(words, ...states) {
    await this.sees(words);
    await this.stage.until(async () => states.includes(await this.message(words).getAttribute("data-state")),
      `${words} to be ${states.join(" or ")} at ${this.name}'s`);
  }

  /** What is shown of the open conversation: own or other's, and the words. */
  shown() {
    return this.evaluate((selector) => [...document.querySelectorAll(selector)].map((one) => one.innerText), at.message);
  }

  async count(words) { return this.locator(at.message).filter({ hasText: words }).count(); }

  async shows(words, times, what) { equal(await this.count(words), times, what ?? `times that ${words} is shown to ${this.name}`); }

  /** Opens a conversation of the list, at its end. */
  async opens(id) {
    await this.locator(at.item(id)).click();
    await this.stage.until(async () => await this.locator("#conversation").getAttribute("data-id") === id, `the conversation with ${id}`);
    await this.ends();
  }

  /** To the end of the conversation: it opens where the unread messages begin. */
  async ends() {
    await this.stage.until(async () => {
      if (!await this.locator(at.newer).isVisible()) return true;
      await this.locator(at.newer).click({ timeout: 2000 }).catch(() => {}); // it may just have gone
      return false;
    }, `${this.name} to be at the end`);
  }

  /** Opens a conversation with whom the list does not have, by the dialog. */
  async starts(id) {
    await this.locator("#new").click();
    await this.locator("#start-id").fill(id);
    await this.locator(`${at.start} button[type=submit]`).click();
    await this.locator(at.start).waitFor({ state: "hidden" });
    await this.stage.until(async () => await this.locator("#conversation").getAttribute("data-id") === id, `the conversation with ${id}`);
  }

  /** Presses a button of a message, which stands there while it is pointed at. */
  async does(action, words) {
    const message = await this.sees(words);
    await message.locator(".bubble").hover();
    await message.locator(at.action(action)).click();
  }

  /** An element of the list of conversations. */
  item(id) { return this.locator(at.item(id)); }

  /** As if another window covered the page, or no longer did. */
  covered(yes) {
    return this.evaluate((hidden) => {
      if (hidden) {
        Object.defineProperty(document, "hidden", { get: () => true, configurable: true });
        Object.defineProperty(document, "visibilityState", { get: () => "hidden", configurable: true });
        document.hasFocus = () => false;
      } else {
        delete document.hasFocus;
        delete document.hidden;
        delete document.visibilityState;
      }
      document.dispatchEvent(new Event("visibilitychange"));
      window.dispatchEvent(new Event(hidden ? "blur" : "focus"));
    }, yes);
  }

  /** What the console said, in a scenario that stops its daemon or takes the network away, but for connections that failed then. */
  serious() {
    // (The script is a service worker's, which Chromium fetches when it likes, also while the server is down. FILE_NOT_FOUND, which HTTP
    // does not have: a picture was drawn again, and its first object URL revoked, before it was loaded.)
    const failed = /WebSocket connection to|error occurred when fetching the script|net::ERR_(CONNECTION_(REFUSED|RESET|CLOSED)|EMPTY_RESPONSE|INTERNET_DISCONNECTED|NETWORK_CHANGED|FILE_NOT_FOUND)/;
    return this.complaints.filter((text) => !failed.test(text));
  }

  async close() { await this.page.close(); }
}

/** Everything that a browser keeps for the origin of a page or a frame, as text: a token must not be in it. */
function kept(page) {
  return page.evaluate(async () => {
    const found = [location.href, document.cookie, document.title];
    // A browser that gives a frame no storage raises at each of these.
    const look = async (find) => { try { await find(); } catch (error) { if (error.name !== "SecurityError" && error.name !== "UnknownError") throw error; } };
    await look(() => { found.push(JSON.stringify(localStorage)); });
    await look(() => { found.push(JSON.stringify(sessionStorage)); });
    await look(async () => {
      const request = (asked) => new Promise((done, fail) => {
        asked.onsuccess = () => done(asked.result);
        asked.onerror = () => fail(asked.error);
      });
      for (const { name } of await indexedDB.databases()) {
        const database = await request(indexedDB.open(name));
        for (const store of database.objectStoreNames) {
          found.push(`${name}/${store}: ${JSON.stringify(await request(database.transaction(store).objectStore(store).getAll()))}`);
        }
        database.close();
      }
    });
    await look(async () => {
      for (const name of await caches.keys()) {
        const cache = await caches.open(name);
        for (const request of await cache.keys()) found.push(`${name} ${request.url}: ${await (await cache.match(request)).text()}`);
      }
    });
    return found.join("\n");
  });
}

module.exports = { Person, kept };
