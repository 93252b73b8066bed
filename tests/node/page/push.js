"use strict";
// Notifications when the page is closed. Chromium without a window has no push service, and so no subscription: what stands here for
// `PushManager.subscribe` gives one at the test's push service, which decrypts what the daemon sends; Chromium then delivers that text to the
// page's real service worker, which shows a real notification. Nobody can click on one here: the worker is told that somebody did.

const { at } = require("./hooks.js");
const { Person } = require("./person.js");
const { equal, ok } = require("./stage.js");

const SETTING = "#set-push";
const SAID = "#push-said";

/** In the page, before its scripts: a subscription that lasts over visits, as a browser's does. */
function subscribing(json) {
  const KEPT = "test.subscription";
  const made = (key) => ({
    endpoint: json.endpoint,
    options: { userVisibleOnly: true, applicationServerKey: Uint8Array.from(JSON.parse(key)).buffer },
    toJSON: () => json,
    unsubscribe: async () => {
      localStorage.removeItem(KEPT);
      return globalThis.hasSilentPushService ? new Promise(() => {}) : true;
    },
  });
  PushManager.prototype.getSubscription = async () => {
    const key = localStorage.getItem(KEPT);
    return key === null ? null : made(key);
  };
  PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
    if (!userVisibleOnly) throw new Error("a push without a notification");
    const key = JSON.stringify([...new Uint8Array(applicationServerKey)]);
    localStorage.setItem(KEPT, key);
    return made(key);
  };
}

/** The key that the browser has subscribed with, as URL-safe base64. */
function keyOf(person) {
  return person.evaluate(() => {
    const key = localStorage.getItem("test.subscription");
    return key && btoa(String.fromCharCode(...JSON.parse(key))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  });
}

/** The service worker of a browser, as Chromium's own tools have it. */
class Worker {
  static async of(stage, context, url) {
    const worker = new Worker();
    // A page of the same origin that is not the chat's.
    const page = await context.newPage();
    await page.goto(`${url}/static/kschat.svg`);
    worker.session = await context.newCDPSession(page);
    let registration;
    worker.session.on("ServiceWorker.workerRegistrationUpdated", ({ registrations }) => {
      registration = registrations.find(({ isDeleted }) => !isDeleted) ?? registration;
    });
    await worker.session.send("ServiceWorker.enable");
    await stage.until(() => registration, "a service worker");
    Object.assign(worker, { stage, context, origin: url, id: registration.registrationId });
    return worker;
  }

  /** A push arrives. */
  async push(data) {
    // What Chromium says is on the screen may be out of date, so what the worker shows is written down, and shown all the same.
    await this.run(() => {
      if (self.written) return;
      self.written = [];
      const show = registration.showNotification.bind(registration);
      registration.showNotification = async (title, options) => {
        await show(title, options);
        self.written.push({ title, body: options.body, tag: options.tag, lang: options.lang, data: options.data });
      };
    });
    await this.session.send("ServiceWorker.deliverPushMessage", { origin: this.origin, registrationId: this.id, data });
  }

  run(script, argument) {
    const inside = this.context.serviceWorkers().at(-1); // it may have been started again
    return inside.evaluate(script, argument);
  }

  /** The next notification that is shown, without its data; the last one is left for a click. */
  async shows() {
    const shown = await this.stage.until(() => this.run(() => {
      const next = self.written.shift();
      if (next) self.last = next;
      return next;
    }), "a notification");
    delete shown.data;
    return shown;
  }

  /** Somebody clicks on the last one; the address of the window that is opened, null for none. */
  click() {
    return this.run(async () => {
      let opened = null, closed = false, done;
      // The browser opens a window for a real click alone.
      clients.openWindow = async (address) => { opened = address; return null; };
      const event = new Event("notificationclick");
      event.notification = { data: self.last.data, close: () => { closed = true; } };
      event.waitUntil = (promise) => { done = promise; };
      self.dispatchEvent(event);
      await done;
      if (!closed) throw new Error("the notification stays");
      return opened;
    });
  }
}

module.exports = async (stage) => {
  const { urls: [url, silent], subscription, key } = stage.config;
  const address = (uid, rid, more = "") => `${url}/?uid=${uid}&rid=${rid}${more}`;
  const device = async () => {
    const context = await stage.device({ permissions: ["notifications"] });
    await context.addInitScript(subscribing, subscription);
    return context;
  };
  const openSettings = async (person) => {
    await person.locator(at.setting).click();
    await person.locator(SETTING).waitFor();
  };
  const closeSettings = async (person) => {
    await person.page.keyboard.press("Escape");
    await person.locator(at.settings).waitFor({ state: "hidden" });
  };
  const alice = await Person.open(stage, await stage.device(), address("alice", "bob"), "alice");

  await stage.step("a server that sends none, and a browser that cannot show any, say so", async () => {
    const eve = await Person.open(stage, await device(), `${silent}/?uid=eve&rid=bob`, "eve");
    await openSettings(eve);
    await eve.locator(SAID).filter({ hasText: "This server does not send notifications." }).waitFor();
    ok(await eve.locator(SETTING).isDisabled(), "nothing can be chosen");
    await eve.close();
    const old = await device();
    await old.addInitScript(() => { delete ServiceWorkerRegistration.prototype.pushManager; });
    const fay = await Person.open(stage, old, address("fay", "bob"), "fay");
    await openSettings(fay);
    await fay.locator(SAID).filter({ hasText: "This browser cannot show notifications" }).waitFor();
    ok(await fay.locator(SETTING).isDisabled(), "nothing can be chosen");
    await fay.close();
  });

  await stage.step("a browser that forbids notifications is not subscribed", async () => {
    const context = await stage.device({ permissions: [] });
    await context.addInitScript(subscribing, subscription);
    await context.addInitScript(() => { Notification.requestPermission = async () => "denied"; });
    const gus = await Person.open(stage, context, address("gus", "bob"), "gus");
    await openSettings(gus);
    await stage.until(() => gus.locator(SETTING).isEnabled(), "the choice");
    await gus.locator(SETTING).click();
    await gus.locator(SAID).filter({ hasText: "This browser blocks notifications" }).waitFor();
    ok(!await gus.locator(SETTING).isChecked(), "it was not chosen");
    equal(await keyOf(gus), null, "a subscription");
    await gus.close();
  });

  const phone = await device();
  let bob = await Person.open(stage, phone, address("bob", "carol"), "bob");

  await stage.step("who chooses it is subscribed, with the server's key", async () => {
    equal(await stage.ask("subscriptions"), 0, "subscriptions before");
    await openSettings(bob);
    await stage.until(() => bob.locator(SETTING).isEnabled(), "the choice");
    await bob.locator(SETTING).click();
    await stage.until(() => stage.ask("subscriptions"), "a subscription");
    await stage.until(() => bob.locator(SETTING).isChecked(), "the choice to be shown");
    ok(!await bob.locator(SAID).isVisible(), "nothing is wrong");
    equal(await keyOf(bob), key, "the key");
    await closeSettings(bob);
  });

  const worker = await Worker.of(stage, phone, url);

  await stage.step("messages that wait are pushed without their texts, and shown when no page is open", async () => {
    await bob.close();
    for (const words of ["One", "Two", "Three"]) await alice.write(words);
    await alice.ticks("Three", "sent");
    const push = await stage.ask("pushed", { count: 3 });
    equal(push, { user: "bob", count: 3, peer: "alice" }, "what is pushed");
    await worker.push(JSON.stringify(push));
    equal(await worker.shows(), { title: "kschat", body: "3 new messages", tag: "kschat push bob", lang: "en" }, "what is shown");
  });

  await stage.step("a later push takes the place of an earlier one; what says nothing is shown too", async () => {
    for (const [push, body, tag] of [
      [JSON.stringify({ user: "bob", count: 1, peer: "alice" }), "New message", "kschat push bob"],
      [JSON.stringify({ user: "bob", count: 100, more: true }), "100+ new messages", "kschat push bob"],
      ["no JSON", "New message", "kschat push "],
    ]) {
      await worker.push(push);
      equal(await worker.shows(), { title: "kschat", body, tag, lang: "en" }, "what is shown");
    }
  });

  await stage.step("a click opens the conversation in a page of that user, or in a new one", async () => {
    const push = async (more) => {
      await worker.push(JSON.stringify({ user: "bob", count: 1, ...more }));
      await worker.shows();
    };
    await push({ peer: "alice" });
    equal(await worker.click(), address("bob", "alice"), "the new page");
    await push({});
    equal(await worker.click(), `${url}/?uid=bob`, "the new page without a conversation");
    await push({ peer: "alice", url: "https://app.example.org/chat?with=alice" });
    equal(await worker.click(), "https://app.example.org/chat?with=alice", "the application's page");
    bob = await Person.open(stage, phone, address("bob", "carol", "&lang=de"), "bob");
    // The worker's messages are heard once that part of the page is there.
    await stage.until(() => bob.evaluate(() => performance.getEntriesByType("resource").some(({ name }) => /notices\.js/.test(name))), "the notices");
    await push({ peer: "alice" });
    await stage.until(async () => {
      equal(await worker.click(), null, "no new page");
      return await bob.locator("#conversation").getAttribute("data-id") === "alice";
    }, "the conversation");
    await bob.sees("Three");
  });

  await stage.step("the notification is in the language of the page", async () => {
    const german = async () => {
      await worker.push(JSON.stringify({ user: "bob", count: 2 }));
      const { body, lang } = await worker.shows();
      return body === "2 neue Nachrichten" && lang === "de";
    };
    await stage.until(german, "the texts of the page");
  });

  await stage.step("another user of the browser gets the pushes, and the first one none", async () => {
    const carol = await Person.open(stage, phone, address("carol", "alice"), "carol");
    await stage.until(async () => await stage.ask("subscriber") === "carol", "the subscription to be Carol's");
    equal(await stage.ask("subscriptions"), 1, "subscriptions");
    await carol.close();
    await bob.page.reload();
    await bob.connected();
    await stage.until(async () => await stage.ask("subscriber") === "bob", "the subscription to be Bob's again");
  });

  await stage.step("it ends when the user says so", async () => {
    await openSettings(bob);
    await stage.until(() => bob.locator(SETTING).isEnabled(), "the choice");
    await bob.locator(SETTING).click();
    await stage.until(async () => await stage.ask("subscriptions") === 0, "no subscription");
    equal(await keyOf(bob), null, "the browser's subscription");
    await stage.until(() => bob.locator(SETTING).isEnabled(), "the choice");
    await bob.locator(SETTING).click();
    await stage.until(() => stage.ask("subscriptions"), "a subscription again");
    await stage.until(() => bob.locator(SETTING).isEnabled(), "the choice");
  });

  await stage.step("and at the logout, which does not wait for a push service that is silent", async () => {
    await bob.evaluate(() => { globalThis.hasSilentPushService = true; });
    await bob.locator("#logout").click();
    await bob.is("ended");
    equal(await stage.ask("subscriptions"), 0, "subscriptions");
    equal(await keyOf(bob), null, "the browser's subscription");
  });
};
