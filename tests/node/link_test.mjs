// How tabs share a connection, with locks and channels that this file makes: `node --test link_test.mjs`.
import assert from "node:assert/strict";
import test from "node:test";
import { Link } from "../../static/kschat/link.js";

const settle = async () => { for (let turn = 0; turn < 30; turn++) await null; };

/** A browser of several tabs. */
function browser() {
  const channels = new Set();
  const frozen = new Set();
  const queue = []; // of the one lock: the first holds it
  const timers = new Set();
  let now = 0;
  const hold = () => {
    const first = queue[0];
    if (!first || first.held) return;
    first.held = true;
    first.run().then(() => {
      if (queue.includes(first)) queue.splice(queue.indexOf(first), 1);
      first.resolve();
      hold();
    });
  };
  const locks = {
    request: (name, { steal, signal }, run) => new Promise((resolve, reject) => {
      const entry = { run, resolve, reject, held: false };
      const abort = () => reject(Object.assign(new Error("aborted"), { name: "AbortError" }));
      if (steal) {
        const holder = queue.shift();
        queue.unshift(entry);
        holder?.reject(Object.assign(new Error("stolen"), { name: "AbortError" }));
      } else queue.push(entry);
      signal?.addEventListener("abort", () => {
        if (entry.held) return;
        queue.splice(queue.indexOf(entry), 1);
        abort();
      });
      queueMicrotask(hold);
    }),
  };
  const sockets = [];
  const tab = (name, more = {}) => {
    class BroadcastChannel {
      constructor() { this.tab = name; channels.add(this); }
      postMessage(data) {
        if (frozen.has(name)) return;
        for (const channel of channels) if (channel !== this && !frozen.has(channel.tab)) queueMicrotask(() => channel.onmessage({ data: structuredClone(data) }));
      }
      close() { channels.delete(this); }
    }
    class WebSocket {
      constructor() {
        sockets.push(this);
        this.tab = name;
        queueMicrotask(() => this.onmessage({ data: '0{"sid":"s","pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}' }));
      }
      send(frame) {
        if (frame.startsWith("40")) queueMicrotask(() => this.onmessage({ data: '40/kschat,{"sid":"x"}' }));
        const match = /^42\/kschat,(\d+)(.*)$/.exec(frame);
        if (!match) return;
        const [event, payload] = JSON.parse(match[2]);
        if (event === "Presence") this.watched = payload.ids;
        const answer = event === "Presence" ? {} : { answered: event };
        queueMicrotask(() => this.onmessage({ data: `43/kschat,${match[1]}${JSON.stringify([answer])}` }));
      }
      close() { this.closed = true; }
    }
    const heard = [], notes = [], told = [];
    const link = new Link({
      url: new URL("ws://127.0.0.1:1/"), user: "alice", token: "t", renew: null, name: "lock", shared: true,
      hear: (event, payload) => heard.push([event, payload]), tell: ({ state }) => told.push(state), note: (note) => notes.push(note), leads: () => {},
      environment: {
        WebSocket, BroadcastChannel, locks, indexedDB: null, now: () => now, time: () => now, random: () => sockets.length / 10 + name.length / 100,
        setTimeout: (run, delay) => { const timer = { run, at: now + delay, tab: name }; timers.add(timer); return timer; },
        clearTimeout: (timer) => timers.delete(timer), frame: (run) => run(), visible: () => true, online: () => true, events: null, page: null, ...more,
      },
    });
    link.start();
    return { link, heard, notes, told, socket: () => sockets.filter((socket) => socket.tab === name).at(-1) };
  };
  const advance = async (milliseconds) => {
    const end = now + milliseconds;
    for (;;) {
      await settle();
      const due = [...timers].filter((timer) => timer.at <= end && !frozen.has(timer.tab)).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      now = Math.max(now, due.at);
      timers.delete(due);
      due.run();
    }
    now = end;
    await settle();
  };
  return { tab, advance, frozen, sockets, channels };
}

test("one tab has the connection; the other asks and hears through it", async () => {
  const { tab, advance, sockets } = browser();
  const one = tab("1"), two = tab("22");
  await advance(0);
  assert.deepEqual([one.link.leader, two.link.leader, sockets.length], [true, false, 1]);
  assert.equal(two.link.status.state, "connected");
  assert.equal(two.link.limit, 1000);
  assert.deepEqual(await two.link.request("History", {}), { answered: "History" });
  one.socket().onmessage({ data: '42/kschat,["RESPTYPING",{"uId":"bob"}]' });
  await settle();
  assert.deepEqual([one.heard, two.heard], [[["RESPTYPING", { uId: "bob" }]], [["RESPTYPING", { uId: "bob" }]]]);
  two.link.note({ hello: 1 });
  await settle();
  assert.deepEqual(one.notes, [{ hello: 1 }]);
});

test("a tab that ends hands the connection over", async () => {
  const { tab, advance, sockets } = browser();
  const one = tab("1"), two = tab("22");
  await advance(0);
  one.link.stop();
  await advance(0);
  assert.equal(sockets[0].closed, true);
  assert.deepEqual([two.link.leader, two.link.status.state], [true, "connected"]);
  assert.deepEqual(await two.link.request("History", {}), { answered: "History" });
});

test("the lock of a frozen tab is stolen, and when it wakes it follows", async () => {
  const { tab, advance, frozen } = browser();
  const one = tab("1"), two = tab("22");
  await advance(60_000);
  assert.deepEqual([one.link.leader, two.link.leader], [true, false]);
  frozen.add("1");
  await advance(21_000);
  assert.equal(two.link.leader, true);
  frozen.delete("1");
  await advance(6000);
  assert.deepEqual([one.link.leader, two.link.leader, one.socket().closed], [false, true, true]);
  assert.deepEqual(await one.link.request("History", {}), { answered: "History" });
  assert.equal(one.link.status.state, "connected");
});

test("a tab that was frozen for long looks again at what it has, and one that is only slow does not", async () => {
  const { tab, advance, frozen } = browser();
  const one = tab("1"), two = tab("22");
  await advance(10_000);
  frozen.add("22");
  await advance(60_000);
  frozen.delete("22");
  await advance(6000);
  assert.deepEqual(two.told, ["connected"]);
  frozen.add("22");
  await advance(400_000);
  one.socket().onmessage({ data: '42/kschat,["RESPTYPING",{"uId":"bob"}]' });
  frozen.delete("22");
  await advance(6000);
  assert.deepEqual(two.told, ["connected", "connecting", "connected"]);
  one.socket().onmessage({ data: '42/kschat,["RESPTYPING",{"uId":"carol"}]' });
  await settle();
  assert.deepEqual(two.heard, [["RESPTYPING", { uId: "carol" }]]);
});

test("what was asked of a tab that is gone is lost, and so sent again", async () => {
  const { tab, advance, frozen } = browser();
  const one = tab("1"), two = tab("22");
  await advance(0);
  frozen.add("1");
  const answer = two.link.request("Send", {}).catch((error) => error.constructor.name);
  await advance(21_000);
  assert.equal(await answer, "Lost");
  assert.equal(one.link.leader, false);
});

test("whose presence a tab watched that was closed is forgotten, and of one that is slow it is not", async () => {
  const { tab, advance, frozen } = browser();
  const one = tab("1"), two = tab("22"), three = tab("333");
  await advance(0);
  for (const [{ link }, id] of [[one, "bob"], [two, "carol"], [three, "dave"]]) link.watch([id]);
  await advance(0);
  assert.deepEqual(one.socket().watched, ["bob", "carol", "dave"]);
  frozen.add("22");
  await advance(200_000);
  one.link.watch(["erin"]);
  await advance(0);
  assert.deepEqual(one.socket().watched, ["erin", "carol", "dave"]);
  await advance(200_000);
  one.link.watch(["bob"]);
  await advance(0);
  assert.deepEqual(one.socket().watched, ["bob", "dave"]);
});

test("without locks each tab has a connection of its own", async () => {
  const { tab, sockets, advance } = browser();
  const one = tab("1", { locks: null }), two = tab("22", { locks: null });
  await advance(0);
  assert.deepEqual([one.link.leader, two.link.leader, sockets.length], [true, true, 2]);
});

test("a frame to which the browser gives no locks, or no channel, has a connection of its own", async () => {
  const { tab, sockets, advance, channels } = browser();
  const refused = { request: async () => { throw Object.assign(new Error("denied"), { name: "SecurityError" }); } };
  class NoChannel { constructor() { throw new Error("denied"); } }
  const one = tab("1", { locks: refused }), two = tab("22", { BroadcastChannel: NoChannel });
  await advance(30_000);
  assert.deepEqual([one.link.leader, two.link.leader, one.link.status.state, two.link.status.state], [true, true, "connected", "connected"]);
  assert.deepEqual([sockets.length, channels.size], [2, 0]);
});
