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
  const tab = (name, more = {}, { token = "t", renew = null } = {}) => {
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
        if (frame.startsWith("40")) {
          this.token = JSON.parse(frame.slice(10)).token;
          const answer = this.token.startsWith("bad") ? '44/kschat,{"message":"Authentication error"}' : '40/kschat,{"sid":"x"}';
          queueMicrotask(() => this.onmessage({ data: answer }));
        }
        const match = /^42\/kschat,(\d+)(.*)$/.exec(frame);
        if (!match) return;
        const [event, payload] = JSON.parse(match[2]);
        if (event === "Presence") this.watched = payload.ids;
        const isRefused = event === "Token" && payload.token.startsWith("bad");
        if (event === "Token" && !isRefused) this.token = payload.token;
        const answer = isRefused ? { ER: 6, WHY: "no" } : event === "Presence" ? {} : { answered: event };
        queueMicrotask(() => this.onmessage({ data: `43/kschat,${match[1]}${JSON.stringify([answer])}` }));
      }
      close() { this.closed = true; }
    }
    const heard = [], notes = [], told = [];
    const link = new Link({
      url: new URL("ws://127.0.0.1:1/"), user: "alice", token, renew, name: "lock", shared: true,
      hear: (event, payload) => heard.push([event, payload]), tell: ({ state, code }) => told.push(code ? `${state} ${code}` : state), note: (note) => notes.push(note), leads: () => {},
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

const typing = '42/kschat,["RESPTYPING",{"uId":"bob"}]';

test("a tab with a token that is not valid sees nothing of another one's connection, and is refused", async () => {
  const { tab, advance, sockets } = browser();
  const one = tab("1");
  await advance(0);
  const two = tab("22", {}, { token: "bad" });
  one.socket().onmessage({ data: typing });
  one.link.note({ secret: 1 });
  two.link.note({ outbox: "forged" });
  two.link.emit("Typing", {});
  two.link.watch(["bob"]);
  await advance(20_000);
  assert.deepEqual([two.told, two.heard, two.notes, one.notes], [["refused token"], [], [], []]);
  await assert.rejects(two.link.request("History", {}));
  assert.equal(one.socket().token, "t", "the connection keeps its own token");
  assert.equal(sockets.length, 1);
  // Nor has it the connection when the other one is gone.
  one.link.stop();
  await advance(20_000);
  assert.deepEqual([sockets.length, two.link.leader, two.link.status.state], [1, false, "refused"]);
  two.link.setToken("good");
  await advance(0);
  assert.deepEqual([two.link.leader, two.link.status.state], [true, "connected"]);
});

test("a tab with another valid token is admitted, before and after the connection is there", async () => {
  const { tab, advance } = browser();
  const one = tab("1"), two = tab("22", {}, { token: "t2" });
  await advance(0);
  const three = tab("333", {}, { token: "t3" });
  await advance(0);
  one.socket().onmessage({ data: typing });
  await settle();
  assert.deepEqual([two.heard.length, three.heard.length, one.socket().token], [1, 1, "t"]);
  assert.deepEqual(await three.link.request("History", {}), { answered: "History" });
});

test("a tab whose token is refused stands aside for one with a better token, which it does not use", async () => {
  const { tab, advance } = browser();
  const one = tab("1", {}, { token: "bad" }), two = tab("22");
  await advance(0);
  assert.deepEqual([one.link.leader, one.link.status.state, two.link.leader, two.link.status.state], [false, "refused", true, "connected"]);
  two.socket().onmessage({ data: typing });
  two.link.note({ secret: 1 });
  await advance(30_000);
  assert.deepEqual([one.heard, one.notes, one.link.leader], [[], [], false]);
  assert.deepEqual([two.link.leader, two.told.at(-1)], [true, "connected"]);
});

test("a tab whose token is refused asks its page for another, once", async () => {
  for (const [renewed, state, asked] of [["t2", "connected", 1], ["bad2", "refused", 1], [null, "refused", 1]]) {
    const { tab, advance } = browser();
    tab("1");
    await advance(0);
    let times = 0;
    const two = tab("22", {}, { token: "bad", renew: async () => { times += 1; return renewed; } });
    await advance(20_000);
    assert.deepEqual([two.link.status.state, times], [state, asked], String(renewed));
  }
});

test("a tab that lost the lock while it was frozen looks again at what it has", async () => {
  const { tab, advance, frozen } = browser();
  const one = tab("1");
  tab("22");
  await advance(60_000);
  frozen.add("1");
  await advance(21_000);
  frozen.delete("1");
  await advance(6000);
  assert.deepEqual(one.told.slice(-2), ["connecting", "connected"]);
});

test("the other tabs hear what happens, though this device's clock is set", async () => {
  const { tab, advance } = browser();
  let set = 0, now = 0;
  const clock = { time: () => now + set, now: () => now };
  const one = tab("1", clock), two = tab("22", clock);
  await advance(0);
  set = 3_600_000;
  now = 5000;
  await advance(5000);
  set = -3_600_000;
  await advance(0);
  one.socket().onmessage({ data: typing });
  await settle();
  assert.equal(two.heard.length, 1);
});
