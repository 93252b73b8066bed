"use strict";
// A person before the page: what one does with a keyboard and a mouse, and what one sees.

const { at } = require("./hooks.js");
const { equal } = require("./stage.js");

class Person {
  constructor(stage, page, name) {
    Object.assign(this, { stage, page, name });
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

  connected() { return this.is("connected"); }

  /** Until the connection is in this state; its words. */
  async is(...states) {
    await this.page.waitForFunction(
      ([selector, wanted]) => wanted.includes(document.querySelector(selector)?.dataset.state), [at.status, states], { polling: 50 });
    return this.page.locator(at.status).innerText();
  }

  state() { return this.page.evaluate((selector) => document.querySelector(selector)?.dataset.state, at.status); }

  async write(words) {
    await this.page.locator(at.text).fill(words);
    await this.page.locator(at.text).press("Enter");
  }

  /** A message that says this, as soon as it is shown. */
  message(words) { return this.page.locator(at.message).filter({ hasText: words }).last(); }

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
    return this.page.evaluate((selector) => [...document.querySelectorAll(selector)].map((one) => one.innerText), at.message);
  }

  async count(words) { return this.page.locator(at.message).filter({ hasText: words }).count(); }

  async shows(words, times, what) { equal(await this.count(words), times, what ?? `times that ${words} is shown`); }

  async opens(id) {
    await this.page.locator(at.item(id)).click();
  }

  /** An element of the list of conversations. */
  item(id) { return this.page.locator(at.item(id)); }

  async close() { await this.page.close(); }
}

/** Everything that a browser keeps for the page's origin, as text: a token must not be in it. */
function kept(page) {
  return page.evaluate(async () => {
    const found = [location.href, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, document.title];
    for (const { name } of await indexedDB.databases()) {
      const database = await new Promise((done, fail) => {
        const asked = indexedDB.open(name);
        asked.onsuccess = () => done(asked.result);
        asked.onerror = () => fail(asked.error);
      });
      for (const store of database.objectStoreNames) {
        const values = await new Promise((done, fail) => {
          const asked = database.transaction(store).objectStore(store).getAll();
          asked.onsuccess = () => done(asked.result);
          asked.onerror = () => fail(asked.error);
        });
        found.push(`${name}/${store}: ${JSON.stringify(values)}`);
      }
      database.close();
    }
    for (const name of await caches.keys()) {
      const cache = await caches.open(name);
      for (const request of await cache.keys()) {
        const response = await cache.match(request);
        found.push(`${name} ${request.url}: ${await response.clone().text()}`);
      }
    }
    return found.join("\n");
  });
}

module.exports = { Person, kept };
